"""The figures of docs/report.md: curves of saved results, and faces that the models draw."""

from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure

from models.base import FaceModel
from train.pictures import save_grid

from .evaluate import decode

NAMES = {
    "gan": "GAN",
    "autoencoder": "plain (whitened)",
    "matched-autoencoder": "matched",
    "shifted-autoencoder": "shifted",
}
CURVES = {
    "face_share": "share with a face",
    "pixel_diversity": "diversity (grey levels)",
    "kernel_distance": "distance to real faces",
    "frozen_units": "frozen hidden units",
    "clipped": "clipped values",
}


def draw_curves(results: dict[str, Any], folder: Path) -> None:
    """The curves of results/*.json, by name with underscores, as SVG files beside the report."""
    if "out_of_distribution" in results:
        _draw_out_of_distribution(results["out_of_distribution"], folder / "out-of-distribution-curves.svg")
    if "bits" in results:
        _draw_bits(results["bits"], folder / "bits.svg")
    if "sweep" in results:
        _draw_sweep(results["sweep"], folder / "sweep.svg")


def _draw_out_of_distribution(result: dict[str, Any], path: Path) -> None:
    curves = {key: label for key, label in CURVES.items() if result["gan"][0][key] is not None}
    figure = Figure(figsize=(8, 2.1 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), 1, sharex=True)
    for axis, (key, label) in zip(axes, curves.items()):
        for name, title in NAMES.items():
            axis.plot([p["mean"] for p in result[name]], [p[key] for p in result[name]], ".-", label=title, lw=1)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    # Most happens near the prior, and the ends are far away.
    axes[-1].set_xscale("symlog", linthresh=5)
    ticks = [-100, -30, -10, -5, -3, 0, 3, 5, 10, 30, 100]
    axes[-1].set_xticks(ticks, [str(tick) for tick in ticks])
    axes[-1].minorticks_off()
    axes[-1].set_xlabel("mean that latents are drawn with")
    axes[0].legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    _save(figure, path)


def _draw_bits(result: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axis = figure.subplots()
    for half in ("continuous", "discrete"):
        axis.plot(sorted((move["pixels"] for move in result[half]), reverse=True), ".-", lw=1, label=half)
    axis.axhline(result["two faces"]["pixels"], color="grey", ls="--", lw=1, label="two different faces")
    axis.set(
        xlabel="numbers of the latent, the strongest first", ylabel="change of the face\n(grey levels)", ylim=(0, None)
    )
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    _save(figure, path)


def _draw_sweep(result: dict[str, Any], path: Path) -> None:
    rows = result["rows"]
    figure = Figure(figsize=(7, 0.32 * len(rows) + 1), layout="constrained")
    axis = figure.subplots()
    for position, row in enumerate(reversed(rows)):
        distances = [run["kernel_distance"] for run in row["runs"]]
        axis.plot(distances, [position] * len(distances), "o", color="C0", ms=4)
    axis.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    axis.set_xlabel("kernel distance to real faces, a dot a seed")
    axis.grid(alpha=0.3)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # Without the date and random names, so that equal results make equal files.
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})


def draw_faces(models: dict[str, FaceModel], folder: Path) -> None:
    """Grids of generated faces: each autoencoder at both means, and what the GAN's strongest bits change."""
    rows = []
    for name in ("autoencoder", "matched-autoencoder", "shifted-autoencoder"):
        for mean in (0.0, -3.0):
            rows.append(decode(models[name], models[name].sample_latent(10, seed=1, mean=mean, variance=2)))
    save_grid(_floats(torch.cat(rows)), folder / "plain-matched-shifted.png", columns=10)

    gan = models["gan"]
    z = gan.sample_latent(4, seed=3)
    discrete = range(gan.continuous_size, gan.latent_size)
    flipped = torch.stack([torch.cat([z, *(_flip(z, number) for number in discrete)])])[0]
    faces = decode(gan, flipped).view(len(discrete) + 1, len(z), 3, 64, 64)
    change = (faces[1:].float() - faces[:1].float()).square().flatten(1).mean(1)
    strongest = [0, *(change.argsort(descending=True)[:9] + 1).tolist()]
    save_grid(_floats(faces[strongest].transpose(0, 1).flatten(0, 1)), folder / "flipped-bits.png", columns=10)


def _flip(z: torch.Tensor, number: int) -> torch.Tensor:
    z = z.clone()
    z[:, number] *= -1
    return z


def _floats(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1
