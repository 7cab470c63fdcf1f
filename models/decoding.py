"""A picture file becomes an upright, opaque RGB image: all that is known here about formats, with Pillow alone.

Run as a script, it does so for `images.open_image` in a process of its own: a stranger's file is given so much time and
memory and no more, whatever its decoder does with it, and all of the memory is given back.
"""

import importlib.util
import json
import math
import numbers
import re
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    import numpy as np

# The sides of every picture that a model sees or makes.
IMAGE_SIZE = 64

# The formats that people have photographs in; MPO, of two cameras, opens as a JPEG. Pillow knows some 40 more, among
# them EPS, for which it would start Ghostscript.
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # It came to Pillow late.
    FORMATS.append("AVIF")

# Sides of 4:3 photographs of phones with 50 megapixels are up to 8192 x 6144.
MOST_PIXELS = 51_000_000

# Only a JPEG can decode itself at a fraction of its size. Others take up to 16 bytes a pixel, 400 MB for these: a
# camera's 24 megapixels fit.
MOST_PIXELS_WHOLE = 24_500_000

# Encoders write 10 scans of a progressive JPEG. Each costs a pass over the whole picture, however few bytes it has.
MOST_SCANS = 40

# Seconds of processor time and bytes of memory for one file. On one core of an EPYC, a phone's 50 megapixels took 0.2 s,
# the slowest honest file that could be made 1.5 s and 410 MB: a progressive JPEG of 50 megapixels in CMYK.
MOST_SECONDS, MOST_MEMORY = 2, 600_000_000

# Characters of a text in a PNG that comes along: the recipe that the page writes into its faces takes some 20.
MOST_TEXT = 1000

# The upright picture by what EXIF says of the camera.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT = 258, 262, 274, 339
_LEAST_VALUES, _GREATEST_VALUES = (340, 280), (341, 281)
_TYPE_RANGES = (2**15, 2**16, 2**31, 2**32)


class UnreadableImage(ValueError):
    """A file that Pillow cannot make a picture of, with a sentence for the person who has it."""


def read(
    file: str | Path | BytesIO,
    most_pixels: int | None = None,
    least_side: int | None = None,
    formats: list[str] | tuple[str, ...] = FORMATS,
) -> Image.Image:
    """A picture file as an upright, opaque RGB image; of an animation, its first picture.

    Args:
        most_pixels: of a JPEG; one of another format may have at most MOST_PIXELS_WHOLE of them. None for any number.
        least_side: a larger picture is reduced by a whole number, with both sides at least this long. None for as it
            is.
        formats: Pillow's names of those that are opened.

    Returns:
        The image; its `info` is the file's.

    Raises:
        UnreadableImage: whatever is wrong with the file.
    """
    try:
        with Image.open(file, formats=formats) as image:
            if most_pixels is not None:
                _check_cost(image, file, most_pixels)
            if image.format == "TIFF":
                # Pillow would turn it, and fail where its EXIF is damaged; `to_rgb` turns it.
                image.load_end = lambda: None  # type: ignore[method-assign]
            if least_side is not None:
                image.draft("RGB", (least_side, least_side))
            return to_rgb(image, least_side)
    except UnreadableImage:
        raise
    except Exception as error:  # Decoders raise whatever they like.
        raise UnreadableImage(_in_words(error, most_pixels)) from error


def _in_words(error: Exception, most_pixels: int | None) -> str:
    match error:
        case FileNotFoundError():
            return "This image is not there any more: choose it again."
        case UnidentifiedImageError():
            return "This file is not an image that can be read: try a JPEG or a PNG."
        case Image.DecompressionBombError():
            return (
                f"This image is huge: {(most_pixels or 2 * Image.MAX_IMAGE_PIXELS) / 1e6:.0f} megapixels is the most."
            )
        case MemoryError():
            return "This image takes too much memory to be read: save it anew, as a JPEG."
        case OSError(errno=int()):
            return f"This image cannot be opened: {error.strerror}."
        case _:
            return "This image is damaged: only a part of it could be read."


def to_rgb(image: Image.Image, least_side: int | None = None) -> Image.Image:
    """One PIL image of any mode as RGB: upright by its EXIF, laid on white where it is transparent, reduced as in
    `read`. Values of more than 8 bits are scaled by what the file says of them, or else by their range.

    An image more than four times as long as it is wide loses its ends: its middle, four times as long, remains.
    """
    tags = getattr(image, "tag_v2", {})
    # Of colours, Pillow keeps the upper 8 bits of 16.
    was_deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())[:1])
    image.load()
    orientation = _orientation(image)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    # Of a very long image only the middle is kept: resized whole, it would fill the memory to be cropped after.
    side = 4 * min(image.size)
    if max(image.size) > side:
        left, top = max(0, image.width - side) // 2, max(0, image.height - side) // 2
        image = image.crop((left, top, min(image.width, left + side), min(image.height, top + side)))
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image, tags)
    if image.mode != (mode := "RGBA" if image.has_transparency_data else "RGB"):  # It would make a copy.
        image = image.convert(mode)
    if was_deep:
        image = _brighten(image)
    if least_side is not None and (factor := min(image.size) // least_side) > 1:
        image = image.reduce(factor)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _check_cost(image: Image.Image, file: str | Path | BytesIO, most_pixels: int) -> None:
    is_jpeg = image.format in ("JPEG", "MPO")
    most = most_pixels if is_jpeg else min(most_pixels, MOST_PIXELS_WHOLE)
    if image.width * image.height > most:
        remedy = "" if is_jpeg else ", unless it is a JPEG"
        raise UnreadableImage(
            f"This image has {image.width * image.height / 1e6:.0f} megapixels: {most / 1e6:.0f} is the most{remedy}."
        )
    if is_jpeg:
        scans = _count_scans(Path(file).read_bytes() if isinstance(file, (str, Path)) else file.getvalue())
        if scans > MOST_SCANS:
            raise UnreadableImage("This JPEG takes too long to be read: save it anew.")


# Of a JPEG, any marker but those within the data of a scan and those that no segment follows.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")


def _count_scans(jpeg: bytes) -> int:
    """The scans of the first picture in a file, counted to just over MOST_SCANS."""
    scans, position = 0, 2
    while (marker := _MARKER.search(jpeg, position)) and marker[1] != b"\xd9" and scans <= MOST_SCANS:
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans


def _orientation(image: Image.Image) -> int:
    """From 1 to 8; 1, which is upright, where the EXIF is damaged."""
    try:
        if hasattr(image, "tag_v2"):
            return int(image.tag_v2.get(_ORIENTATION, 1))
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Of EXIF that somebody wrote, Pillow raises at least five kinds.
        return 1


def _to_8_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Grey values of 16 or 32 bits, whole or fractions, as L."""
    import numpy as np  # Here, since most files do without, and it takes longer to import than they to decode.

    stored = np.asarray(image)
    if image.mode == "I" and _first(tags.get(_BITS)) == 32 and _first(tags.get(_SAMPLE_FORMAT, 1)) == 1:
        stored = stored.view(np.uint32)  # Pillow takes values without a sign for ones that have it.
    values = stored.astype(np.float32)
    finite = stored[np.isfinite(stored)] if image.mode == "F" else stored
    if not finite.size:
        return Image.new("L", image.size)
    least, most = float(finite.min()), float(finite.max())
    low, high = _said_range(tags, least, most) or (
        _range_of_fractions(finite, least, most) if image.mode == "F" else _range_of_whole(tags, least, most)
    )
    del stored, finite  # Together with what follows, they would take more memory than a stranger's file is given.
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255 / max(high - low, 1e-30)
    if _first(tags.get(_PHOTOMETRIC)) == 0:  # White is 0, which Pillow heeds in 8 bits only.
        np.subtract(255, values, out=values)
    return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))


def _said_range(tags: Mapping[int, Any], least: float, most: float) -> tuple[float, float] | None:
    """Black and white by what a TIFF says of its least and greatest value, where that is true and says something."""
    said = []
    for names in (_LEAST_VALUES, _GREATEST_VALUES):
        values = [_first(tags.get(name)) for name in names]
        said += [float(value) for value in values if isinstance(value, numbers.Real) and math.isfinite(value)][:1]
    # A file that has nothing to say often says the whole range of its type.
    if len(said) == 2 and said[0] <= least and most <= said[1] and said[1] + 1 not in _TYPE_RANGES:
        return said[0], said[1]
    return None


def _range_of_whole(tags: Mapping[int, Any], least: float, most: float) -> tuple[float, float]:
    """Black and white of whole numbers: 0 and the greatest of so many bits as are stored or, where those are 16 or
    more, as are used."""
    if least < 0:
        return least, most
    stored = _first(tags.get(_BITS))
    bits = [stored] if stored in (10, 12, 14) else [8, 10, 12, 14, 16, 24, 31, 32]
    return 0, next((2**count - 1 for count in bits if most < 2**count), most)


def _range_of_fractions(values: "np.ndarray", least: float, most: float) -> tuple[float, float]:
    """Black and white of floats: 0 and 1 or 255, where that is about what they fill; else what all but the outermost
    thousandths lie between."""
    import numpy as np

    if least >= 0:
        for white in (1, 255):
            if white / 4 < most <= white:
                return 0, white
    low, high = np.percentile(values[:: max(1, values.size // 1_000_000)], (0.1, 99.9)).tolist()
    if high <= low:
        low, high = least, most
    # Temperatures, say, lie far from 0 and close together.
    return (low if low < 0 or high / 2 < low < high else 0), high


def _first(value):
    return value[0] if isinstance(value, tuple) and value else value


def _brighten(image: Image.Image) -> Image.Image:
    """Colours of which 16 bits were stored and only 10, 12 or 14 used, which Pillow leaves nearly black."""
    most = max(band[1] for band in image.getextrema()[:3])  # type: ignore[index]  # A pair for each band.
    white = next((white for white in (3, 15, 63) if most <= white), 255)
    if white == 255 or most == 0:
        return image
    scaled = [min(255, round(value * 255 / white)) for value in range(256)]
    return image.point(3 * scaled + [*range(256)] * (len(image.getbands()) - 3))


def _limit_this_process() -> None:
    try:
        import resource
    except ImportError:  # Windows; `open_image` has a deadline of its own.
        return
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


def _main() -> None:
    """Read the file of the first argument; write a line of JSON and the pixels, or a line of JSON with an error."""
    path, most_pixels, least_side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit_this_process()
    try:
        image = read(path, most_pixels, least_side)
    except UnreadableImage as error:
        print(json.dumps({"error": str(error)}))
        return
    info = {key: text for key, text in image.info.items() if type(text) is str and len(text) <= MOST_TEXT}
    sys.stdout.buffer.write(json.dumps({"size": image.size, "info": info}).encode() + b"\n" + image.tobytes())


if __name__ == "__main__":
    _main()
