"""A picture file becomes an upright, opaque RGB image, with Pillow alone.

Run as a script, it does so for `images.open_image` in a process of its own, which limits the time and the memory that a
stranger's file can take, whatever its decoder does, and gives all of the memory back.
"""

import re
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

# The width and height of every picture that a model sees or makes.
IMAGE_SIZE = 64

# The formats that people have photographs in; MPO, of two cameras, opens as a JPEG. Pillow knows some 40 more, among
# them EPS, for which it would start Ghostscript.
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"]

# A phone's photograph of 50 megapixels has up to 8192 x 6144.
MOST_PIXELS = 51_000_000

# Only a JPEG can be decoded at a fraction of its size. Other formats take up to 16 bytes a pixel, 400 MB for these. The
# 24 megapixels of a camera fit.
MOST_PIXELS_WHOLE = 24_500_000

# Encoders write a progressive JPEG in 10 scans. Each costs a pass over the whole picture, however few bytes it has.
MOST_SCANS = 40

# Seconds of processor time and bytes of memory for one file. On one core of an EPYC, a phone's 50 megapixels took 0.2 s.
# The slowest honest file that could be made, a progressive JPEG of 50 megapixels in CMYK, took 1.5 s and 410 MB.
MOST_SECONDS, MOST_MEMORY = 2, 600_000_000


class UnreadableImage(ValueError):
    """A file that is no readable picture, with a sentence for the person who sent it."""


def read(
    file: str | Path | BytesIO, least_side: int | None = None, formats: list[str] | tuple[str, ...] = FORMATS
) -> Image.Image:
    """A picture file as an upright, opaque RGB image; of an animation, its first picture.

    With a `least_side`, a larger picture is reduced by a whole number, with both sides at least this long. Whatever is wrong
    with the file is an UnreadableImage.
    """
    try:
        with Image.open(file, formats=formats) as image:
            _check_cost(image, file)
            if least_side is not None:
                image.draft("RGB", (least_side, least_side))
            return to_rgb(image, least_side)
    except UnreadableImage:
        raise
    except Exception as error:  # Decoders raise whatever they like.
        raise UnreadableImage(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "This image is not there any more: choose it again."
        case UnidentifiedImageError():
            return "This file is not an image that can be read: try a JPEG or a PNG."
        case Image.DecompressionBombError():
            return f"This image is huge: {MOST_PIXELS / 1e6:.0f} megapixels is the most."
        case MemoryError():
            return "This image takes too much memory to be read: save it anew, as a JPEG."
        case OSError(errno=int()):
            return f"This image cannot be opened: {error.strerror}."
        case _:
            return "This image is damaged: only a part of it could be read."


def to_rgb(image: Image.Image, least_side: int | None = None) -> Image.Image:
    """One PIL image of any mode as RGB: upright by its EXIF, laid on white where it is transparent, reduced as in `read`.

    An image more than four times as long as it is wide loses its ends: its middle, four times as long, remains. Values of
    more than 8 bits are scaled to the range that the picture uses.
    """
    image.load()
    with suppress(Exception):  # Of EXIF that somebody wrote, Pillow raises at least five kinds.
        image = ImageOps.exif_transpose(image)
    # Resized whole, a very long image would fill the memory before it is cropped.
    side = 4 * min(image.size)
    if max(image.size) > side:
        width, height = (min(length, side) for length in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode != mode:  # Otherwise this would copy it.
        image = image.convert(mode)
    if least_side is not None and (factor := min(image.size) // least_side) > 1:
        image = image.reduce(factor)
    if mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _check_cost(image: Image.Image, file: str | Path | BytesIO) -> None:
    pixels, is_jpeg = image.width * image.height, image.format in ("JPEG", "MPO")
    most, remedy = (MOST_PIXELS, "") if is_jpeg else (MOST_PIXELS_WHOLE, ", unless it is a JPEG")
    if pixels > most:
        raise UnreadableImage(f"This image has {pixels / 1e6:.0f} megapixels: {most / 1e6:.0f} is the most{remedy}.")
    if is_jpeg and _count_scans(file) > MOST_SCANS:
        raise UnreadableImage("This JPEG takes too long to be read: save it anew.")


# The markers of a JPEG that begin a segment. Those within the data of a scan are left out.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")


def _count_scans(file: str | Path | BytesIO) -> int:
    """The scans of the first picture in a file, counted to just over MOST_SCANS."""
    jpeg = file.getvalue() if isinstance(file, BytesIO) else Path(file).read_bytes()
    scans, position = 0, 2
    while (marker := _MARKER.search(jpeg, position)) and marker[1] != b"\xd9" and scans <= MOST_SCANS:
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey values of 16 or 32 bits, whole or fractions, as L."""
    import numpy as np  # Here, since most files do without, and importing it takes longer than decoding them.

    stored = np.asarray(image)
    values = np.nan_to_num(stored.astype(np.float32), copy=False, nan=0, posinf=0, neginf=0)
    low, high = min(0, values.min().item()), values.max().item()
    if low == 0 and image.mode != "F":  # White is the greatest number of so many bits as the picture uses.
        high = 2 ** max(8, stored.max().item().bit_length()) - 1
    values -= low
    values *= 255 / max(high - low, 1e-30)
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _limit_this_process() -> None:
    try:
        import resource
    except ImportError:  # Windows; `open_image` has a deadline of its own.
        return
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


def _main() -> None:
    """Print the picture of the first argument as a PPM, with the second as `least_side`, or what is wrong with it."""
    _limit_this_process()
    try:
        read(sys.argv[1], int(sys.argv[2])).save(sys.stdout.buffer, "PPM")
    except UnreadableImage as error:
        print(error)


if __name__ == "__main__":
    _main()
