"""Faces as the bytes that browsers and programs take: PNG with texts inside, WebP, GIF. Faces are uint8."""

import io
import math

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

# A moving walk between two faces: its frames one way, and how long each is shown.
SMOOTH_STEPS, FRAME_MILLISECONDS = 24, 80


def png(pixels: np.ndarray, **text: str) -> bytes:
    """(height, width, 3) to a PNG that holds texts by name."""
    information, buffer = PngInfo(), io.BytesIO()
    for name, value in text.items():
        information.add_text(name, value)
    # Faces hardly compress: level 6 takes a half longer and saves 7 %. Run lengths alone (zlib's strategy 3) save 6 %.
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=information, compress_level=1, compress_type=3)
    return buffer.getvalue()


def webp(pixels: np.ndarray) -> bytes:
    """(height, width, 3) to a WebP with hardly a visible loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()


def gif(pixels: np.ndarray, scale: int = 4) -> bytes:
    """A walk of faces (n, 64, 64, 3), there and back again, as an endless GIF with `scale` pixels for each."""
    frames = []
    for face in [*pixels, *pixels[-2:0:-1]]:
        # A palette for each frame, made before it is enlarged, which is then done by repeating its numbers.
        small = Image.fromarray(face).quantize(256, dither=Image.Dither.NONE)
        frames.append(small.resize((scale * small.width, scale * small.height), Image.Resampling.NEAREST))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0)
    return buffer.getvalue()


def pixels_of(image: Image.Image) -> np.ndarray:
    """An RGB image as (height, width, 3)."""
    return np.asarray(image.convert("RGB"))


def psnr(face: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures in decibels; infinite if they are equal."""
    error = np.square(face.astype(np.float64) - other).mean()
    return 10 * math.log10(255**2 / error) if error else math.inf


def diversity(pixels: np.ndarray) -> float:
    """How much faces (n, 64, 64, 3) differ: the root mean square difference of two in grey levels, 0 to 255, averaged
    over all pairs; 0 for a single face."""
    import torch  # It has drawn them.

    if len(pixels) < 2:
        return 0.0
    flat = torch.from_numpy(pixels).flatten(1).double()
    return float(torch.pdist(flat).mean()) / flat.shape[1] ** 0.5
