"""Pictures in and out: every model here sees 64 x 64 RGB images as floats in [-1, 1]."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SIZE = 64


def resize_and_crop(images: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """Shorter side to 64 pixels (bilinear, antialiased), then the centre 64 x 64.

    Training, evaluation and the page all crop with this one function: published scores of face models differ by
    several points for the resize filter alone.

    Args:
        images: (n, 3, height, width) uint8.
        share: of the shorter side, more than 0 and at most 1: below 1 only the centre square of that side is seen.

    Returns:
        (n, 3, 64, 64) uint8.
    """
    if share < 1:
        side = max(1, round(share * min(images.shape[-2:])))
        images = _centre(images, side)
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
    """Floats in [-1, 1] to uint8 in [0, 255], any shape; values outside are clipped."""
    return x.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def from_pil(images: Image.Image | Iterable[Image.Image]) -> torch.Tensor:
    """PIL images of any size and mode to (n, 3, 64, 64) float32 in [-1, 1].

    The EXIF rotation is applied; transparent pixels are laid on white; grey and 16-bit images become RGB.
    """
    if isinstance(images, Image.Image):
        images = [images]
    return torch.cat([normalise(crop(image)) for image in images])


def crop(image: Image.Image, share: float = 1.0) -> torch.Tensor:
    """One PIL image, as `from_pil` takes it, to (1, 3, 64, 64) uint8; `share` as `resize_and_crop` takes it."""
    return resize_and_crop(to_uint8(image), share)


def to_uint8(image: Image.Image) -> torch.Tensor:
    """One PIL image of any size and mode to (1, 3, height, width) uint8, upright and opaque as `from_pil` says.

    An image more than four times as long as it is wide loses its ends: its middle, four times as long, remains.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit and float images: PIL's own conversion to 8 bits clips at 255 where the eye expects scaling.
        values = np.asarray(image, dtype=np.float32)
        white = 65535 if image.mode.startswith("I") else max(1.0, float(values.max()))
        image = Image.fromarray((values / white * 255).clip(0, 255).astype(np.uint8))
    # Of a very long image only the middle is kept: resized whole, it would fill the memory to be cropped after.
    side = 4 * min(image.size)
    if max(image.size) > side:
        left, top = max(0, image.width - side) // 2, max(0, image.height - side) // 2
        image = image.crop((left, top, min(image.width, left + side), min(image.height, top + side)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def to_pil(x: torch.Tensor) -> list[Image.Image]:
    """(n, 3, height, width) floats in [-1, 1] to a list of n RGB PIL images."""
    return [Image.fromarray(pixels) for pixels in denormalise(x).permute(0, 2, 3, 1).contiguous().cpu().numpy()]


def open_image(path: str | Path, max_pixels: int = 50_000_000, least_side: int = 4 * IMAGE_SIZE) -> Image.Image:
    """Open an image file that a stranger sent.

    Args:
        max_pixels: of the file; one with more is refused.
        least_side: a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, with both sides at least this long.

    Raises:
        ValueError: with a sentence for that person: no image, a damaged one, or more than `max_pixels`.
    """
    try:
        with warnings.catch_warnings():
            # PIL's own warning about huge images; the limit below is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        if image.width * image.height > max_pixels:
            megapixels = image.width * image.height / 1e6
            raise ValueError(f"This image has {megapixels:.0f} megapixels; {max_pixels / 1e6:.0f} is the most.")
        # A JPEG can decode itself at a fraction of its size, which is what makes a big photo cheap.
        image.draft("RGB", (least_side, least_side))
        image.load()
    except Image.DecompressionBombError:
        raise ValueError(f"This image is huge; {max_pixels / 1e6:.0f} megapixels is the most.") from None
    except UnidentifiedImageError:
        raise ValueError("This file is not an image that can be read: try a JPEG or a PNG.") from None
    except (OSError, SyntaxError, EOFError):
        raise ValueError("This image is damaged: only a part of it could be read.") from None
    return image
