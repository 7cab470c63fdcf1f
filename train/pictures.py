"""Pictures that a run writes: grids of faces and the loss curve."""

import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torchvision.utils import save_image

from models.history import COLUMNS, EPOCH_MILLISECONDS, ROWS, SHEET_SIZE
from models.images import IMAGE_SIZE
from models.loading import one_line

from .record import write_whole

# The report's colours.
LOSS_COLOURS = {"generator_loss": "tab:blue", "discriminator_loss": "tab:red"}

# The quality of the WebP, of 100. For 16 of the GAN's faces, 90 gives 41 dB of luminance in 28 kB, 85 gives 38 dB in
# 24 kB, and lossless takes 160 kB. Below lossless, colour has half the resolution: the noise of first epochs looks greyer.
ANIMATION_QUALITY = 90

# Pixels around every face of a grid.
PADDING = 2


class Grid(NamedTuple):
    """Faces (n, 3, 64, 64) in [-1, 1], shown row by row."""

    faces: torch.Tensor
    columns: int = COLUMNS


def save_grid(x: torch.Tensor, path: Path, columns: int = COLUMNS) -> None:
    """Save faces (n, 3, 64, 64) in [-1, 1], row by row, as a PNG."""
    x = x.float().clamp(-1, 1)
    save_image(x, path, nrow=columns, padding=PADDING, normalize=True, value_range=(-1, 1), pad_value=1)


def read_faces(path: Path) -> Image.Image:
    """The first 16 faces of a grid that `save_grid` wrote, 8 a row, without padding: 512 x 128 pixels.

    Raises:
        ValueError: there is no such file, or it is damaged.
    """
    stride = IMAGE_SIZE + PADDING
    try:
        with Image.open(path, formats=["PNG"]) as grid:
            if grid.size[0] < PADDING + COLUMNS * stride or grid.size[1] < PADDING + ROWS * stride:
                raise ValueError("it is too small")
            top = grid.crop((PADDING, PADDING, PADDING + COLUMNS * stride, PADDING + ROWS * stride))
            pixels = np.asarray(top.convert("RGB"))
    except Exception as error:  # Damaged files raise OSError, SyntaxError, struct.error, DecompressionBombError ...
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from error
    faces = pixels.reshape(ROWS, stride, COLUMNS, stride, 3)[:, :IMAGE_SIZE, :, :IMAGE_SIZE]
    return Image.fromarray(faces.reshape(*SHEET_SIZE[::-1], 3))


def save_animation(frames: list[Image.Image], path: Path) -> None:
    """Save frames of one size as an animated WebP that repeats, 200 ms a frame.

    The encoder merges frames that look alike into a longer one. So the epoch of a frame is told by the time at which it
    starts, not by its number.
    """
    buffer = io.BytesIO()
    duration, quality = EPOCH_MILLISECONDS, ANIMATION_QUALITY
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=duration, quality=quality)
    write_whole(path, buffer.getvalue())


def save_loss_curve(metrics: list[dict[str, Any]], path: Path) -> None:
    """Plot every loss in `metrics.jsonl` against the steps, as a PNG; without any there is no file."""
    steps = [line for line in metrics if any(name.endswith("_loss") for name in line)]
    if not steps:
        return
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(name for line in steps for name in line if name.endswith("_loss")):
        curve = [line["step"] for line in steps], [line.get(name, math.nan) for line in steps]
        axes.plot(*curve, label=name.removesuffix("_loss"), color=LOSS_COLOURS.get(name), linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    figure.savefig(path, dpi=100)
