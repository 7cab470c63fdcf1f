"""Picture files become 64 x 64 tensors, or a sentence: whatever people and strangers send."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, features

from models import images
from models.decoding import UnreadableImage
from models.images import denormalise, from_pil, normalise, open_image, read_pixels, resize_and_crop, to_pil
from tests.conftest import draw_face, encode


def from_array(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]


def test_bytes_survive_the_way_to_floats_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = normalise(pixels)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(denormalise(x), pixels)
    assert denormalise(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


@pytest.mark.parametrize("size", [(89, 109), (178, 218), (64, 64), (10, 10), (300, 64), (1, 1), (1, 5000), (5000, 3)])
def test_every_size_becomes_64_by_64(size):
    x = from_pil(Image.new("RGB", size, "red"))
    assert x.shape == (1, 3, 64, 64) and x[0, :, 32, 32].tolist() == [1, -1, -1]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: from_pil("face.jpg"), "an image is of type str: it must be PIL's"),
        (lambda: from_pil(np.zeros((2, 64, 64, 3), np.uint8)), "an image is of type ndarray"),
        (lambda: to_pil(np.zeros((1, 3, 8, 8))), "x is of type ndarray: it must be a tensor of floats"),
        (lambda: to_pil(torch.zeros(3, 8, 8)), r"x has shape \(3, 8, 8\): it must be \(n, 3, height, width\)"),
        (lambda: to_pil(torch.zeros(1, 8, 8, 3)), r"x has shape \(1, 8, 8, 3\)"),
    ],
)
def test_what_is_no_picture_or_tensor_of_pictures_is_refused_in_words(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
    assert to_pil(from_pil([])) == []


def test_the_centre_is_kept_and_resizing_is_antialiased():
    """A red square in the middle of a tall blue image fills the crop, and half of it fills half the share."""
    image = Image.new("RGB", (64, 128), "blue")
    image.paste("red", (0, 32, 64, 96))
    assert (np.asarray(to_pil(from_pil(image))[0]) == (255, 0, 0)).all()
    image.paste("lime", (16, 48, 48, 80))
    assert (resize_and_crop(from_array(image), share=0.5)[0, 1] == 255).all()
    # Stripes average out to grey; without antialiasing each pixel would be one of the two in the middle of its four.
    stripes = torch.zeros(1, 3, 256, 256, dtype=torch.uint8)
    stripes[..., 1::4] = stripes[..., 2::4] = 255
    assert (resize_and_crop(stripes).float() - 127.5).abs().max() < 40


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "YCbCr", "1", "I;16", "I", "F"])
def test_every_mode_keeps_its_brightness(mode):
    white = {"I;16": 65535, "I": 65535, "F": 255.0}.get(mode)
    image = Image.new("RGB", (80, 80), "white").convert(mode) if white is None else Image.new(mode, (80, 80), white)
    x = from_pil(image)
    assert x.shape == (1, 3, 64, 64) and x.min() > 0.98
    assert (from_pil(Image.new("RGBA", (70, 70), (0, 0, 0, 0))) == 1).all()  # What is transparent lies on white.


@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_formats_that_people_have_are_read_and_damage_is_refused_in_words(tmp_path, format):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    face = draw_face(3, (96, 96))
    whole = encode(face, format)
    (tmp_path / "face.jpg").write_bytes(whole)
    pixels = read_pixels(tmp_path / "face.jpg")
    assert (pixels.float() - from_array(face)).abs().mean() < 8  # What their compression may change.
    assert torch.equal(pixels, from_array(open_image(tmp_path / "face.jpg")))
    random = np.random.default_rng(0)
    for _ in range(50):
        damaged = bytearray(whole[: random.integers(1, len(whole))] if random.random() < 0.3 else whole)
        for place in random.integers(0, len(damaged), random.integers(0, 8)):
            damaged[place] = random.integers(256)
        try:
            assert read_pixels(io.BytesIO(damaged)).shape[:2] == (1, 3)
        except UnreadableImage as error:
            assert str(error).endswith(".")


@pytest.mark.parametrize("format", ["EPS", "ICO"])
def test_no_other_format_is_opened(monkeypatch, format):
    """Of an EPS, Pillow would start Ghostscript; the others are Python code that nobody has looked at."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    with pytest.raises(UnreadableImage, match="not an image that can be read"):
        read_pixels(io.BytesIO(encode(draw_face(0), format)))


def test_what_is_no_picture_is_refused_in_words(tmp_path):
    path, jpeg = tmp_path / "face.jpg", encode(draw_face(0, (300, 300)), "JPEG")
    for read in (open_image, read_pixels):
        for content, words in ((None, "not there any more"), (b"no image", "not an image"), (jpeg[:1500], "damaged")):
            if content is not None:
                path.write_bytes(content)
            with pytest.raises(UnreadableImage, match=words):
                read(path)
        path.unlink()


# What a camera may write in place of an upright face's EXIF, in TIFF's layout: cut off, and with a tag outside of it.
BROKEN_EXIF = [b"\x05\0\x12\x01", struct.pack("<HHHIII", 1, 0x8769, 4, 1, 2**31, 0)]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_loses_no_picture(format):
    face = draw_face(0, (64, 64))
    for tags in BROKEN_EXIF:
        broken = io.BytesIO(encode(face, format, exif=b"Exif\0\0II*\0\x08\0\0\0" + tags))
        assert torch.equal(read_pixels(broken), read_pixels(io.BytesIO(encode(face, format))))


# How a camera that was held otherwise stores an upright picture.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_is_turned_upright(orientation):
    face, exif = draw_face(0, (40, 64)), Image.Exif()
    stored = face if STORED[orientation] is None else face.transpose(STORED[orientation])
    exif[274] = orientation
    for format in ("PNG", "TIFF"):
        assert torch.equal(read_pixels(io.BytesIO(encode(stored, format, exif=exif))), from_array(face)), format


def tiff(values: np.ndarray) -> io.BytesIO:
    return io.BytesIO(encode(Image.fromarray(values), "TIFF"))


RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    "dtype, low, high",
    [
        *[(np.uint16, 0, most) for most in (255, 1023, 4095, 65535)],
        *[(np.int32, 0, most) for most in (255, 65535, 2**24 - 1, 2**31 - 1)],
        (np.int32, -1000, 2000),
        *[(np.float32, *ends) for ends in ((0, 1), (0, 255), (0, 5000), (-1, 1), (-1000, 3000), (0, 1e-3))],
    ],
)
def test_grey_pictures_of_more_than_8_bits_are_scaled_to_the_range_that_they_use(dtype, low, high):
    values = low + RAMP * (high - low)
    values = (values if dtype is np.float32 else values.round()).astype(dtype)
    errors = lambda: read_pixels(tiff(values))[0, 0].double() - torch.tensor(RAMP * 255)
    off = lambda: abs(errors()) > 2
    assert not off().any() and abs(errors().mean()) < 0.1
    if dtype is np.float32:
        for strange in (np.nan, np.inf, -np.inf):
            values[32, 32] = strange
            assert off().sum() <= 1


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path):
    draw_face(0, (2400, 2200)).save(tmp_path / "large.jpg")
    assert open_image(tmp_path / "large.jpg").size == (300, 275)
    assert open_image(tmp_path / "large.jpg", least_side=1024).size == (1200, 1100)


def test_huge_pictures_are_refused_and_a_phones_largest_is_read(tmp_path):
    for size, words in {
        (6000, 5000): "30 megapixels: 24 is the most, unless it is a JPEG",
        (8000, 8000): "64 megapixels",
        (20000, 20000): "megapixels is the most",
    }.items():
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0))
        (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        with pytest.raises(UnreadableImage, match=words):
            open_image(tmp_path / "large.png")
    Image.new("L", (8192, 6144)).save(tmp_path / "phone.jpg")
    assert min(open_image(tmp_path / "phone.jpg", least_side=1024).size) >= 768


def progressive_with(scans: int) -> bytes:
    """A small JPEG of a large picture, with its last scan again and again."""
    jpeg = encode(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * scans + b"\xff\xd9"


def gif_with(blocks: bytes) -> bytes:
    gif = encode(Image.new("P", (64, 64)), "GIF")
    first = gif.index(b",\0\0\0\0")
    return gif[:first] + blocks + gif[first:]


def tiff_with_tags(count: int, size: int) -> bytes:
    """All of its tags hold the same bytes."""
    file = tiff(np.zeros((64, 64), np.uint8)).getvalue()
    first, past = 10, 10 + 12 * struct.unpack_from("<H", file, 8)[0]
    tags = b"".join(struct.pack("<HHII", 1000 + number, 1, size, 8) for number in range(count))
    return file[:8] + struct.pack("<H", (past - first) // 12 + count) + file[first:past] + tags + bytes(4) + bytes(size)


@pytest.mark.parametrize(
    "content, words",
    [
        pytest.param(lambda: progressive_with(4000), "This JPEG takes too long", id="4,000 scans"),
        pytest.param(lambda: tiff_with_tags(2000, 2_000_000), "too much memory", id="2,000 tags of the same 2 MB"),
        pytest.param(
            lambda: gif_with(b"!\xfe\x01a\0" * 2_000_000), "too long", id="2,000,000 comments", marks=pytest.mark.slow
        ),
    ],
)
def test_a_small_file_that_would_take_minutes_or_gigabytes_is_refused(content, words, tmp_path, monkeypatch):
    """By the limits of the process that decodes it, before the deadline of this one."""
    monkeypatch.setattr(images, "DEADLINE_SECONDS", 600)
    (tmp_path / "slow").write_bytes(content())
    with pytest.raises(UnreadableImage, match=words):
        open_image(tmp_path / "slow")


def test_many_scans_and_long_animations_are_read(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(progressive_with(25))
    assert min(open_image(tmp_path / "photo.jpg").size) >= 256
    gif = encode(Image.new("P", (64, 64)), "GIF")
    (tmp_path / "film.gif").write_bytes(gif_with(20_000 * gif[gif.index(b",\0\0\0\0") : -1]))
    assert open_image(tmp_path / "film.gif").size == (64, 64)


def test_any_name_of_a_file_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-P.png", "snowman \N{SNOWMAN}.png", "quote'\".png"):
        draw_face(0).save(tmp_path / name)
        assert open_image(name).size == (89, 109)
