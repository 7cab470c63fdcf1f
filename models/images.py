"""Pictures in and out: every model here sees 64 x 64 RGB images as floats in [-1, 1]."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

IMAGE_SIZE = 64


def resize_and_crop(images: torch.Tensor) -> torch.Tensor:
    """Shorter side to 64 pixels (bilinear, antialiased), then the centre 64 x 64.

    Training, evaluation and the page all crop with this one function: published scores of face models differ by
    several points for the resize filter alone.

    Args:
        images: (n, 3, height, width) uint8.

    Returns:
        (n, 3, 64, 64) uint8.
    """
    height, width = images.shape[-2:]
    scale = IMAGE_SIZE / min(height, width)
    # Never below 64: rounding the shorter side must not lose a row.
    height, width = max(IMAGE_SIZE, round(height * scale)), max(IMAGE_SIZE, round(width * scale))
    images = F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
    top, left = (height - IMAGE_SIZE) // 2, (width - IMAGE_SIZE) // 2
    return images[..., top : top + IMAGE_SIZE, left : left + IMAGE_SIZE].contiguous()


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
    return torch.cat([normalise(resize_and_crop(_to_uint8(image))) for image in images])


def to_pil(x: torch.Tensor) -> list[Image.Image]:
    """(n, 3, height, width) floats in [-1, 1] to a list of n RGB PIL images."""
    return [Image.fromarray(pixels) for pixels in denormalise(x).permute(0, 2, 3, 1).contiguous().cpu().numpy()]


def _to_uint8(image: Image.Image) -> torch.Tensor:
    # A JPEG can decode itself at a fraction of its size, which is what makes a huge photo cheap.
    image.draft("RGB", (4 * IMAGE_SIZE, 4 * IMAGE_SIZE))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit and float images: PIL's own conversion to 8 bits clips at 255 where the eye expects scaling.
        values = np.asarray(image, dtype=np.float32)
        top = 65535 if image.mode.startswith("I") else max(1.0, float(values.max()))
        image = Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
