"""A picture file becomes an upright, opaque RGB image, with Pillow alone.

Run as a script, it does so for `images.open_image` in a process of its own, which limits the time and the memory that a
stranger's file can take, whatever its decoder does, and gives all of the memory back.
"""

import importlib.util
import json
import re
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# The width and height of every picture that a model sees or makes.
IMAGE_SIZE = 64

# The formats that people have photographs in; MPO, of two cameras, opens as a JPEG. Pillow knows some 40 more, among
# them EPS, for which it would start Ghostscript.
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # It came to Pillow late.
    FORMATS.append("AVIF")

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

# The longest text of a PNG that is kept, in characters: the recipe that the page writes into its faces takes some 20.
MOST_TEXT = 1000

# How to turn a picture upright, by EXIF's orientation.
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


class UnreadableImage(ValueError):
    """A file that is no readable picture, with a sentence for the person who sent it."""


def read(
    file: str | Path | BytesIO, least_side: int | None = None, formats: list[str] | tuple[str, ...] = FORMATS
) -> Image.Image:
    """A picture file as an upright, opaque RGB image; of an animation, its first picture.

    Args:
        least_side: a larger picture is reduced by a whole number, with both sides at least this long. None to keep it.
        formats: Pillow's names of the formats to open.

    Returns:
        The image; its `info` is the file's.

    Raises:
        UnreadableImage: whatever is wrong with the file.
    """
    try:
        with Image.open(file, formats=formats) as image:
            _check_cost(image, file)
            if image.format == "TIFF":
                # Pillow would turn it, and fail where its EXIF is damaged; `to_rgb` turns it.
                image.load_end = lambda: None  # type: ignore[method-assign]
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
    tags = getattr(image, "tag_v2", {})
    # Pillow keeps the upper 8 bits of colours of 16.
    was_deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())[:1])
    image.load()
    orientation = _orientation(image)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    # Resized whole, a very long image would fill the memory before it is cropped.
    side = 4 * min(image.size)
    if max(image.size) > side:
        left, top = max(0, image.width - side) // 2, max(0, image.height - side) // 2
        image = image.crop((left, top, min(image.width, left + side), min(image.height, top + side)))
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image, tags)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode != mode:  # Otherwise this would copy it.
        image = image.convert(mode)
    if was_deep:
        image = _brighten(image)
    if least_side is not None and (factor := min(image.size) // least_side) > 1:
        image = image.reduce(factor)
    if mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _check_cost(image: Image.Image, file: str | Path | BytesIO) -> None:
    is_jpeg = image.format in ("JPEG", "MPO")
    most = MOST_PIXELS if is_jpeg else MOST_PIXELS_WHOLE
    if image.width * image.height > most:
        remedy = "" if is_jpeg else ", unless it is a JPEG"
        raise UnreadableImage(
            f"This image has {image.width * image.height / 1e6:.0f} megapixels: {most / 1e6:.0f} is the most{remedy}."
        )
    if is_jpeg:
        scans = _count_scans(Path(file).read_bytes() if isinstance(file, (str, Path)) else file.getvalue())
        if scans > MOST_SCANS:
            raise UnreadableImage("This JPEG takes too long to be read: save it anew.")


# A JPEG's markers, without those within the data of a scan and those that no segment follows.
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


def _to_8_bits(image: Image.Image, tags: dict[int, int | tuple[int, ...]]) -> Image.Image:
    """Grey values of 16 or 32 bits, whole or fractions, as L."""
    import numpy as np  # Here, since most files do without, and importing it takes longer than decoding them.

    tag = lambda number: np.ravel(tags.get(number, 1))[0]
    stored = np.asarray(image)
    if image.mode == "I" and tag(_BITS) == 32 and tag(_SAMPLE_FORMAT) == 1:
        stored = stored.view(np.uint32)  # Pillow takes them for values with a sign.
    values = stored.astype(np.float32)
    finite = stored[np.isfinite(stored)] if image.mode == "F" else stored
    if not finite.size:
        return Image.new("L", image.size)
    low, high = min(0, finite.min().item()), finite.max().item()
    if low == 0 and image.mode != "F":  # White is the greatest number of so many bits as the picture uses.
        high = 2 ** max(8, high.bit_length()) - 1
    elif low == 0 and (white := next((white for white in (1, 255) if white / 4 < high <= white), None)):
        high = white
    elif image.mode == "F":  # Temperatures, for example, lie far from 0 and close together.
        low, high = np.percentile(finite[:: max(1, finite.size // 1_000_000)], (0.1, 99.9)).tolist()
    del stored, finite  # With what follows they would take more memory than a stranger's file may.
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255 / max(high - low, 1e-30)
    if tag(_PHOTOMETRIC) == 0:  # White is 0, which Pillow heeds in 8 bits only.
        np.subtract(255, values, out=values)
    return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))


def _brighten(image: Image.Image) -> Image.Image:
    """Colours that use only 10, 12 or 14 of their 16 bits, which Pillow leaves nearly black, with the brightest at 255."""
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
    """Read the file of the first argument, with the second as `least_side`.

    Writes a line of JSON and the pixels, or a line of JSON with an error.
    """
    _limit_this_process()
    try:
        image = read(sys.argv[1], int(sys.argv[2]))
    except UnreadableImage as error:
        print(json.dumps({"error": str(error)}))
        return
    info = {key: text for key, text in image.info.items() if type(text) is str and len(text) <= MOST_TEXT}
    sys.stdout.buffer.write(json.dumps({"size": image.size, "info": info}).encode() + b"\n" + image.tobytes())


if __name__ == "__main__":
    _main()
