"""The figures of docs/report.md: curves of saved results, and faces that the models draw."""

from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure

from models.base import FaceModel
from train.pictures import save_grid

from .evaluate import decode
from .experiments import REPORTED
from .tables import swept

# The means that autoencoders are drawn from: the reports' two priors, of one variance.
FACE_MEANS, FACE_VARIANCE = (0.0, -3.0), 2.0

# Bits flipped in a picture, the strongest ones.
FLIPPED_BITS = 9

CURVES = {
    "face_share": "share with a face",
    "pixel_diversity": "diversity (grey levels)",
    "kernel_distance": "distance to real faces",
    "frozen_units": "frozen hidden units",
    "clipped": "clipped values",
}


def draw_curves(results: dict[str, Any], titles: dict[str, str], folder: Path) -> None:
    """The curves of results by name, as SVG files beside the report.

    Args:
        titles: of the models by name, in the order of their lines.
    """
    measured = {name: title for name, title in titles.items() if name in results["out-of-distribution"]}
    curves = out_of_distribution_curves(results["out-of-distribution"], measured)
    _save(curves, folder / "out-of-distribution-curves.svg")
    if bits := {title: results["bits"][name] for name, title in titles.items() if name in results["bits"]}:
        _save(bit_curves(bits), folder / "bits.svg")
    if rows := swept(results):
        _save(sweep_dots(rows), folder / "sweep.svg")


def out_of_distribution_curves(result: dict[str, Any], titles: dict[str, str]) -> Figure:
    """One below the other what was measured of each model against the mean that its latents were drawn with."""

    def measured(name: str, key: str) -> bool:
        return all(point[key] is not None for point in result[name])

    curves = {key: label for key, label in CURVES.items() if any(measured(name, key) for name in titles)}
    figure = Figure(figsize=(8, 2.1 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), 1, sharex=True)
    for axis, (key, label) in zip(axes, curves.items()):
        for number, (name, title) in enumerate(titles.items()):
            if measured(name, key):
                points = [(point["mean"], point[key]) for point in result[name]]
                axis.plot(*zip(*points), ".-", label=title, lw=1, color=f"C{number}")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    # Most happens near the prior, and the ends are far away.
    axes[-1].set_xscale("symlog", linthresh=5)
    ticks = [-100, -30, -10, -5, -3, 0, 3, 5, 10, 30, 100]
    axes[-1].set_xticks(ticks, [str(tick) for tick in ticks])
    axes[-1].minorticks_off()
    axes[-1].set_xlabel("mean that latents are drawn with")
    axes[0].legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure


def bit_curves(results: dict[str, dict[str, Any]]) -> Figure:
    """How much each number of a latent changes a face, by the models' titles, one below the other."""
    figure = Figure(figsize=(7, 2.8 * len(results)), layout="constrained")
    for axis, (title, result) in zip(figure.subplots(len(results), 1, squeeze=False).flat, results.items()):
        for half in ("continuous", "discrete"):
            axis.plot(sorted((move["pixels"] for move in result[half]), reverse=True), ".-", lw=1, label=half)
        axis.axhline(result["two faces"]["pixels"], color="grey", ls="--", lw=1, label="two different faces")
        axis.set(
            title=title,
            xlabel="numbers of the latent, the strongest first",
            ylabel="change of the face\n(grey levels)",
            ylim=(0, None),
        )
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    return figure


def sweep_dots(rows: list[dict[str, Any]]) -> Figure:
    """The kernel distance of each run, the first row at the top."""
    figure = Figure(figsize=(7, 0.32 * len(rows) + 1), layout="constrained")
    axis = figure.subplots()
    for position, row in enumerate(reversed(rows)):
        distances = [run["kernel_distance"] for run in row["runs"]]
        axis.plot(distances, [position] * len(distances), "o", color="C0", ms=4)
    axis.set_yticks(range(len(rows)), [f"{row['name']}, {row['epochs']} epochs" for row in reversed(rows)])
    axis.set_xlabel("kernel distance to real faces, a dot a seed")
    axis.grid(alpha=0.3)
    return figure


def _save(figure: Figure, path: Path) -> None:
    # Without the date and random names, so that equal results make equal files.
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})


def draw_faces(models: dict[str, FaceModel], folder: Path) -> None:
    """Grids of generated faces: each autoencoder at both means, and what the strongest bits of a model change.

    That of the reports' autoencoders has a row for each of FACE_MEANS, model after model. Each model with bits has a
    grid of its own, with a row for each of four faces: the face, and the same with one bit flipped, the strongest first.
    """
    rows = [
        decode(model, model.sample_latent(10, seed=1, mean=mean, variance=FACE_VARIANCE))
        for model in models.values()
        if model.encodes and model.model_type in REPORTED
        for mean in FACE_MEANS
    ]
    if rows:
        save_grid(_floats(torch.cat(rows)), folder / "autoencoders.png", columns=10)
    for name, model in models.items():
        if model.discrete_size:
            faces = flipped_bits(model, model.sample_latent(4, seed=3))
            grid = faces.transpose(0, 1).flatten(0, 1)
            save_grid(_floats(grid), folder / f"flipped-bits-{name}.png", columns=len(faces))


def flipped_bits(model: FaceModel, z: torch.Tensor) -> torch.Tensor:
    """The faces of latents (n, latent_size), and with each of the strongest bits flipped: (1 + bits, n, 3, 64, 64)."""
    discrete = range(model.continuous_size, model.latent_size)
    flipped = torch.cat([z, *(_flip(z, number) for number in discrete)])
    faces = decode(model, flipped).unflatten(0, (-1, len(z)))
    change = (faces[1:].float() - faces[:1].float()).square().flatten(1).mean(1)
    return faces[[0, *(change.argsort(descending=True)[:FLIPPED_BITS] + 1).tolist()]]


def _flip(z: torch.Tensor, number: int) -> torch.Tensor:
    z = z.clone()
    z[:, number] *= -1
    return z


def _floats(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1
