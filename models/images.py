"""Pictures as tensors and back: every model sees 64 x 64 RGB images as floats in [-1, 1]."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from . import decoding
from .decoding import IMAGE_SIZE, UnreadableImage, to_rgb
from .latents import check_floats

# The time that a stranger's file may take.
DEADLINE_SECONDS = 10

_OUT_OF_TIME = {getattr(signal, name, None) for name in ("SIGXCPU", "SIGKILL")}


def resize_and_crop(images: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """The centre 64 x 64 of images, resized to a shorter side of 64 pixels (bilinear, antialiased).

    Training, evaluation and the page all crop with this function: scores of face models differ by several points for
    another resize filter.

    Args:
        images: (n, 3, height, width) uint8.
        share: more than 0 and at most 1; below 1, only the centre square with this share of the shorter side is kept.

    Returns:
        (n, 3, 64, 64) uint8.
    """
    if share < 1:
        images = _centre(images, max(1, round(share * min(images.shape[-2:]))))
    height, width = images.shape[-2:]
    scale = IMAGE_SIZE / min(height, width)
    # Never below 64: rounding the shorter side must not lose a row.
    height, width = max(IMAGE_SIZE, round(height * scale)), max(IMAGE_SIZE, round(width * scale))
    images = F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
    return _centre(images, IMAGE_SIZE).contiguous()


def _centre(images: torch.Tensor, side: int) -> torch.Tensor:
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    return images[..., top : top + side, left : left + side]


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 in [0, 255] to float32 in [-1, 1], any shape."""
    return images.float().div_(127.5).sub_(1)


def denormalise(x: torch.Tensor) -> torch.Tensor:
    """Floats in [-1, 1] to uint8 in [0, 255], any shape. Values outside are clipped."""
    return x.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def from_pil(images: Image.Image | Iterable[Image.Image]) -> torch.Tensor:
    """PIL images of any size and mode to (n, 3, 64, 64) float32 in [-1, 1].

    Images are turned upright by their EXIF and laid on white where they are transparent. Grey and 16-bit ones become RGB.
    """
    images = [images] if isinstance(images, Image.Image) else images
    none = torch.empty(0, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8, device="cpu")
    return normalise(torch.cat([none, *map(crop, images)]))


def crop(image: Image.Image, share: float = 1.0) -> torch.Tensor:
    """One PIL image, as `from_pil` takes it, to (1, 3, 64, 64) uint8; `share` as `resize_and_crop` takes it."""
    return resize_and_crop(to_uint8(image), share)


def to_uint8(image: Image.Image) -> torch.Tensor:
    """One PIL image of any size and mode to (1, 3, height, width) uint8, upright and opaque as `from_pil` says.

    An image more than four times as long as it is wide loses its ends: its middle, four times as long, remains.

    Raises:
        TypeError, ValueError: it is no PIL image, or is empty.
    """
    if not isinstance(image, Image.Image):
        raise TypeError(f"an image is of type {type(image).__name__}: it must be PIL's, as PIL.Image.open reads it")
    if not min(image.size):
        raise ValueError(f"an image has {image.width} x {image.height} pixels: both must be 1 or more")
    return torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1)[None]


def read_pixels(file: str | Path | BytesIO, formats: list[str] | tuple[str, ...] = decoding.FORMATS) -> torch.Tensor:
    """One picture file, in one of Pillow's `formats`, to (1, 3, height, width) uint8, as `to_uint8`; an UnreadableImage,
    whatever is wrong with the file."""
    image = decoding.read(file, formats=formats)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def to_pil(x: torch.Tensor) -> list[Image.Image]:
    """(n, 3, height, width) floats in [-1, 1] to a list of n RGB PIL images.

    Raises:
        TypeError, ValueError: it is no tensor of floats, or of another shape.
    """
    check_floats("x", x, "n, 3, height, width", "a model")
    return [Image.fromarray(pixels) for pixels in denormalise(x).permute(0, 2, 3, 1).contiguous().cpu().numpy()]


def open_image(path: str | Path, least_side: int = 4 * IMAGE_SIZE) -> Image.Image:
    """Open an image file that a stranger sent.

    A process of its own decodes it, within the limits of decoding.py.

    Args:
        least_side: a larger image is reduced, with both sides at least this long.

    Returns:
        An RGB image, upright and opaque as `from_pil` says.

    Raises:
        UnreadableImage: a ValueError with a sentence for that person.
    """
    command = [sys.executable, "-P", "-W", "ignore", decoding.__file__, path, str(least_side)]
    # OpenBLAS takes memory for each of its threads.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    try:
        answer = subprocess.run(command, check=False, env=environment, capture_output=True, timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        answer = None
    if answer is None or -answer.returncode in _OUT_OF_TIME:
        raise UnreadableImage("This image takes too long to be read: save it anew, as a JPEG.")
    if answer.returncode != 0:  # A decoder took the process down with it.
        raise UnreadableImage("This image is damaged: it cannot be read.")
    if not answer.stdout.startswith(b"P6"):
        raise UnreadableImage(answer.stdout.decode(errors="replace").strip())
    return Image.open(BytesIO(answer.stdout), formats=["PPM"])
