"""The record of a run: run.json (what it is, its settings, its command), metrics.jsonl (its losses) and its pictures."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from pandas import DataFrame
from PIL import Image
from torchvision.utils import save_image

from models.history import COLUMNS, EPOCH_MILLISECONDS, ROWS, SHEET_SIZE
from models.images import IMAGE_SIZE

from .settings import TrainingError

# The report's colours.
LOSS_COLOURS = {"generator_loss": "tab:blue", "discriminator_loss": "tab:red"}

# The quality of the WebP, of 100. For 16 of the GAN's faces, 90 gives 41 dB of luminance in 28 kB, 85 gives 38 dB in
# 24 kB, and lossless takes 160 kB. Below lossless, colour has half the resolution: the noise of first epochs looks greyer.
ANIMATION_QUALITY = 90

# Pixels around every face of a grid.
PADDING = 2


class Record:
    """Reads and writes the record in a run's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._description_path, self._metrics_path = folder / "run.json", folder / "metrics.jsonl"

    @property
    def description(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            TrainingError: there is no such file, or it is damaged.
        """
        try:
            description = json.loads(self._description_path.read_bytes())
            if {"kind", "command", "settings"} <= description.keys():
                return description
        except OSError as error:
            raise TrainingError(f"{self.folder} holds no run: {error.strerror}") from error
        except (ValueError, AttributeError, RecursionError):
            pass
        raise TrainingError(f"{self._description_path} is damaged: it does not tell what was trained")

    def describe(self, description: dict[str, Any]) -> None:
        """Write run.json."""
        write_whole(self._description_path, json.dumps(description, indent=2) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """A line for each step, with its losses, and one for each finished epoch, with "seconds" and its measurements.

        Damaged lines are left out, such as the last line of a run that was killed.
        """
        return [values for _, values in self._lines()]

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of finished epochs."""
        return [line for line in self.metrics() if "seconds" in line]

    def picture_path(self, series: str, epoch: int) -> Path:
        """Where the picture of an epoch is, or will be. Series: "samples", "reconstructions" or "interpolations"."""
        return self.folder / series / f"epoch-{epoch:04d}.png"

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines to metrics.jsonl."""
        with open(self._metrics_path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def forget_after(self, step: int, epoch: int) -> None:
        """Drop damaged lines, lines of steps after this one, and the lines of this epoch's end and later ones."""
        kept = [
            line
            for line, values in self._lines()
            if values["step"] <= step and not ("seconds" in values and values["epoch"] >= epoch)
        ]
        write_whole(self._metrics_path, b"".join(kept))

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Each sound line, as bytes and as values."""
        lines = self._metrics_path.read_bytes().splitlines(keepends=True) if self._metrics_path.exists() else []
        for line in lines:
            try:
                values = json.loads(line)
                sound = "step" in values and all(type(value) in (int, float) for value in values.values())
            except (ValueError, AttributeError, TypeError, RecursionError):
                continue
            if sound and line.endswith(b"\n"):
                yield line, values


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file so that a crash or a full disk leaves either the old file or the whole new one."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    os.replace(temporary, path)


class Grid(NamedTuple):
    """Faces (n, 3, 64, 64) in [-1, 1], shown row by row."""

    faces: torch.Tensor
    columns: int = COLUMNS


def save_grid(x: torch.Tensor, path: Path, columns: int = COLUMNS) -> None:
    """Save faces (n, 3, 64, 64) in [-1, 1], row by row, as a PNG."""
    x = x.float().clamp(-1, 1)
    save_image(x, path, nrow=columns, padding=PADDING, normalize=True, value_range=(-1, 1), pad_value=1)


def read_faces(path: Path) -> Image.Image:
    """The first 16 faces of a grid that `save_grid` wrote, 8 a row, without padding: 512 x 128 pixels."""
    stride = IMAGE_SIZE + PADDING
    with Image.open(path, formats=["PNG"]) as grid:
        top = grid.crop((PADDING, PADDING, PADDING + COLUMNS * stride, PADDING + ROWS * stride))
        pixels = np.asarray(top.convert("RGB"))
    faces = pixels.reshape(ROWS, stride, COLUMNS, stride, 3)[:, :IMAGE_SIZE, :, :IMAGE_SIZE]
    return Image.fromarray(faces.reshape(*SHEET_SIZE[::-1], 3))


def save_animation(frames: list[Image.Image], path: Path) -> None:
    """Save frames of one size as an animated WebP that repeats, 200 ms a frame.

    The encoder merges frames that look alike into a longer one. So the epoch of a frame is told by the time at which it
    starts, not by its number.
    """
    duration, quality = EPOCH_MILLISECONDS, ANIMATION_QUALITY
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:], duration=duration, quality=quality)


def save_loss_curve(metrics: list[dict[str, Any]], path: Path) -> None:
    """Plot every loss in `metrics.jsonl` against the steps, as a PNG; without any there is no file."""
    curves = DataFrame(metrics).set_index("step").filter(regex="_loss$").dropna(how="all")
    if curves.empty:
        return
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(curve, label=name.removesuffix("_loss"), color=LOSS_COLOURS.get(name), linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    figure.savefig(path, dpi=100)
