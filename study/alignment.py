"""Measure CelebA's framing, and how well models/alignment.py finds it again: python -m study.alignment --help"""

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from models.alignment import FRAME_SIZE, Similarity, align, cut, look
from models.images import IMAGE_SIZE, from_pil, normalise, resize_and_crop, to_pil
from train.data import crop_by_itself
from train.losses import psnr
from train.settings import DataSettings, Range, TrainingError, command_line, run_command
from train.source import Picture
from train.tables import find_source

from .markdown import shown, table

# The middle of the frame.
CENTRE = IMAGE_SIZE / 2 * (1 + 1j)

TILTS = ((0, 15), (15, 30), (30, 45), (45, 135), (135, 180))


@dataclass(frozen=True)
class AlignmentSettings(DataSettings):
    faces: Annotated[int, Range(1, 1_000_000)] = 2000
    """Measure the landmarks of the first so many faces."""

    photographs: Annotated[int, Range(1, 1_000_000)] = 200
    """How many of the next faces are hidden in pictures at each tilt, and searched for."""


def framing(pixels: torch.Tensor) -> Similarity:
    """Where training moves the points of a picture (1, 3, height, width), by `resize_and_crop` with the crop of CelebA."""
    height, width = pixels.shape[-2:]
    scale = IMAGE_SIZE / (crop_by_itself(pixels) * min(height, width))
    return Similarity(scale, CENTRE - scale * complex(width, height) / 2)


def landmarks(images: list[torch.Tensor]) -> np.ndarray:
    """MTCNN's landmarks of the aligned faces in which it finds one, in the 64 x 64 frame: (n, 5), x + iy."""
    found = [look(pixels, framing(pixels)) for pixels in images]
    return np.array([faces[0][1] for faces in found if faces]).reshape(-1, 5)


def hide(pixels: torch.Tensor, tilt: float, generator: np.random.Generator) -> tuple[torch.Tensor, Similarity]:
    """A picture (1, 3, 256, 256) uint8 with an aligned face tilted somewhere in it, and the map from there to the frame.

    The frame is a quarter to two thirds as wide as the picture, and its middle lies within the picture's middle half.
    Beyond the face's picture, its edge is repeated.
    """
    size = FRAME_SIZE * math.exp(generator.uniform(math.log(1 / 4), math.log(2 / 3)))
    x, y = generator.uniform(FRAME_SIZE / 4, FRAME_SIZE * 3 / 4, 2)
    factor = size / IMAGE_SIZE * np.exp(1j * math.radians(tilt))
    from_frame = Similarity(complex(factor), complex(complex(x, y) - factor * CENTRE))
    # `cut` takes a map to the 64 x 64 that it then draws four times as large.
    drawn = cut(pixels, framing(pixels).then(from_frame).then(Similarity(IMAGE_SIZE / FRAME_SIZE)))
    return drawn, from_frame.inverse


def recover(images: list[torch.Tensor], tilts: tuple[int, int]) -> list[str]:
    """What `align` finds of faces that are hidden at angles between two tilts, to either side: the row of a table."""
    generator = np.random.default_rng(0)
    middle, recovered, errors = [], [], []
    for pixels in images:
        tilt = generator.uniform(*tilts) * generator.choice((-1, 1))
        picture, to_frame = hide(pixels, tilt, generator)
        photograph = to_pil(normalise(picture))[0]
        original = normalise(resize_and_crop(pixels, crop_by_itself(pixels)))
        middle.append(psnr(from_pil(photograph), original).item())
        aligned = align(photograph)
        if aligned.faces:
            recovered.append(psnr(from_pil(aligned.image), original).item())
            errors.append(abs((aligned.angle - to_frame.angle + 180) % 360 - 180))
    upright = sum(error < 20 for error in errors)
    shares = [f"{count / len(images):.3f}" for count in (len(errors), upright)]
    medians = [shown(statistics.median(values) if values else None, ".1f") for values in (errors, recovered, middle)]
    return [f"{tilts[0]} to {tilts[1]}", *shares, *medians]


def describe(points: np.ndarray) -> str:
    """A table of the medians, deviations and weights of landmarks (n, 5), x + iy."""
    x_and_y = np.stack((points.real, points.imag), axis=-1)
    median = np.median(x_and_y, axis=0)
    # Of a normal distribution the standard deviation is 1.4826 times the median one, which outliers do not move.
    deviation = 1.4826 * np.median(abs(x_and_y - median), axis=0)
    weights = 1 / np.square(deviation).sum(axis=1)
    columns = np.column_stack((median, deviation, weights / weights[:2].mean()))
    names = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")
    rows = [[name, *(f"{value:.2f}" for value in row)] for name, row in zip(names, columns, strict=True)]
    return table(("", "x, median", "y, median", "x, deviation", "y, deviation", "weight"), rows)


def _readable(pictures: Iterable[Picture]) -> Iterator[torch.Tensor]:
    for picture in pictures:
        with suppress(ValueError):  # Damaged ones are left out, as in training.
            yield picture.pixels()


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(AlignmentSettings, "study.alignment", __doc__, arguments)
    images = _readable(find_source(settings, settings.split).pictures())
    measured, hidden = (list(itertools.islice(images, count)) for count in (settings.faces, settings.photographs))
    if not hidden:
        raise TrainingError(
            f"--faces is {settings.faces}: the data set holds no more, and the next ones are to be hidden"
        )
    points = landmarks(measured)
    if not len(points):
        raise TrainingError(f"--dataset {settings.dataset}: no face is found in it")
    print(f"Landmarks of {len(points)} of {len(measured)} faces, in the 64 x 64 frame:\n\n{describe(points)}\n")
    head = ("degrees", "found", "upright", "degrees off", "PSNR (dB)", "PSNR of the picture's middle")
    print(f"{len(hidden)} faces hidden in pictures:\n\n{table(head, [recover(hidden, tilts) for tilts in TILTS])}")


if __name__ == "__main__":
    run_command(main)
