"""The figures of docs/report.md: curves of results, and faces that the models draw."""

from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure

from models.base import FaceModel
from train.record import save_grid

from .experiments import REPORTED
from .protocol import decode

# The reports' two priors.
FACE_MEANS, FACE_VARIANCE = (0.0, -3.0), 2.0

# The strongest bits, which are flipped in a picture.
FLIPPED_BITS = 9

CURVES = {
    "face_share": "share with a face",
    "pixel_diversity": "diversity (grey levels)",
    "kernel_distance": "distance to real faces",
    "frozen_units": "frozen hidden units",
    "clipped": "clipped values",
}


def out_of_distribution_curves(result: dict[str, Any], titles: dict[str, str]) -> Figure:
    """What was measured against the mean that latents were drawn with: a chart for each of CURVES, a line for each
    model."""

    def measured(name: str, key: str) -> bool:
        return name in result and all(point[key] is not None for point in result[name])

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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, without the date and random names, so that equal results make equal files."""
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})


def draw_faces(models: dict[str, FaceModel], folder: Path) -> None:
    """Draw grids of generated faces. The reports' autoencoders share one, with a row for each of FACE_MEANS, model after
    model. Each model with bits has its own, with a row for each of four faces: the face, and the same with one bit
    flipped, the strongest first."""
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
            faces = flipped_bits(model, model.sample_latent(4, seed=3)).transpose(0, 1)
            save_grid(_floats(faces.flatten(0, 1)), folder / f"flipped-bits-{name}.png", columns=FLIPPED_BITS + 1)


def flipped_bits(model: FaceModel, z: torch.Tensor) -> torch.Tensor:
    """The faces of latents (n, latent_size), and with each of the strongest bits flipped: (1 + bits, n, 3, 64, 64)."""
    flips = torch.ones(1 + model.discrete_size, model.latent_size)
    flips[1:, model.continuous_size :] -= 2 * torch.eye(model.discrete_size)
    faces = decode(model, (flips[:, None] * z).flatten(0, 1)).unflatten(0, (-1, len(z)))
    change = (faces[1:].float() - faces[:1].float()).square().flatten(1).mean(1)
    return faces[[0, *(change.argsort(descending=True)[:FLIPPED_BITS] + 1).tolist()]]


def _floats(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1
