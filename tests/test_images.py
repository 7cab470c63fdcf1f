import io
import struct
import threading
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, features

from models import images
from models.decoding import UnreadableImage
from models.images import denormalise, from_pil, normalise, open_image, read_pixels, resize_and_crop, to_pil
from tests.conftest import draw_face, encode


def test_bytes_survive_the_way_to_floats_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = normalise(pixels)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(denormalise(x), pixels)


@pytest.mark.parametrize("size", [(89, 109), (178, 218), (64, 64), (10, 10), (300, 64), (1, 1), (1, 5000), (5000, 3)])
def test_every_size_becomes_64_by_64(size):
    assert from_pil(Image.new("RGB", size, "red")).shape == (1, 3, 64, 64)


def test_the_centre_is_kept():
    """A red square in the middle of a tall blue image fills the crop."""
    image = Image.new("RGB", (64, 128), "blue")
    image.paste("red", (0, 32, 64, 96))
    pixels = np.asarray(to_pil(from_pil(image))[0])
    assert (pixels == (255, 0, 0)).all()


def test_resizing_is_antialiased():
    """One-pixel stripes average out to grey; without antialiasing they would alias to black or white."""
    stripes = torch.zeros(1, 3, 256, 256, dtype=torch.uint8)
    stripes[..., ::2] = 255
    assert (resize_and_crop(stripes).float() - 127.5).abs().max() < 20


def test_a_rotated_photograph_is_turned_upright(tmp_path):
    face = draw_face(1, (128, 128))
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was held on its side: turn by 270 degrees to see it.
    face.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "rotated.png", exif=exif)
    assert torch.equal(from_pil(open_image(tmp_path / "rotated.png")), from_pil(face))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16", "I", "F"])
def test_every_mode_keeps_its_brightness(mode):
    white = {"I;16": 65535, "I": 65535, "F": 255.0}.get(mode)
    image = Image.new("RGB", (80, 80), "white").convert(mode) if white is None else Image.new(mode, (80, 80), white)
    x = from_pil(image)
    assert x.shape == (1, 3, 64, 64)
    assert x.min() > 0.98


def test_transparency_is_laid_on_white():
    assert torch.equal(from_pil(Image.new("RGBA", (70, 70), (0, 0, 0, 0))), torch.ones(1, 3, 64, 64))


def test_a_file_that_is_no_image_is_refused_in_words(tmp_path):
    path = tmp_path / "face.png"
    path.write_text("not an image")
    with pytest.raises(ValueError, match="not an image"):
        open_image(path)


def test_a_truncated_image_is_refused_in_words(tmp_path):
    buffer = io.BytesIO()
    draw_face(0, (300, 300)).save(buffer, "JPEG")
    path = tmp_path / "face.jpg"
    path.write_bytes(buffer.getvalue()[:1500])
    with pytest.raises(ValueError, match="damaged"):
        open_image(path)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path):
    draw_face(0, (2400, 2200)).save(tmp_path / "large.jpg")
    assert open_image(tmp_path / "large.jpg").size == (300, 275)
    assert open_image(tmp_path / "large.jpg", least_side=1024).size == (1200, 1100)


@pytest.mark.parametrize("side", [8000, 20000])
def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "huge.png"
    Image.new("1", (side, side)).save(path)
    with pytest.raises(ValueError, match="megapixels"):
        open_image(path)


@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_formats_that_people_have_are_read(tmp_path, format):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    face = draw_face(3, (96, 96))
    (tmp_path / "face.jpg").write_bytes(encode(face, format))
    pixels = read_pixels(tmp_path / "face.jpg")
    assert (pixels.float() - from_array(face)).abs().mean() < 8  # What their compression may change.
    assert torch.equal(pixels, from_array(open_image(tmp_path / "face.jpg")))
    assert torch.equal(pixels, read_pixels(io.BytesIO((tmp_path / "face.jpg").read_bytes())))


def test_no_other_format_is_opened(tmp_path, monkeypatch):
    """Of an EPS, Pillow would start Ghostscript; of the others, Python code that nobody has looked at."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    for format in ("EPS", "PPM", "TGA", "PCX", "ICO", "SGI", "IM", "DDS", "JPEG2000"):
        (tmp_path / "photo.jpg").write_bytes(encode(draw_face(0), format))
        for read in (open_image, read_pixels):
            with pytest.raises(UnreadableImage, match="not an image that can be read"):
                read(tmp_path / "photo.jpg")


def from_array(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]


# Of an upright face in TIFF's layout, what a camera may have written in its stead: too short, of no type, a fraction
# over 0, a place for more outside the file, text for a number.
BROKEN_EXIF = {
    "cut": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
    "no TIFF": b"Exif\0\0what is this",
    "empty": b"Exif\0\0",
    "strange type": b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 99, 1, 6, 0),
    "nothing over nothing": b"Exif\0\0II*\0"
    + struct.pack("<IHHHIIHHIIIIII", 8, 2, 0x0128, 3, 1, 2, 0x11A, 5, 1, 38, 0, 0, 0, 0),
    "outside": b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 2**31, 0),
    "text": b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, 0x0112, 2, 4, b"six\0", 0),
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", BROKEN_EXIF)
def test_broken_exif_loses_no_picture(exif, format):
    face, file = draw_face(0, (64, 64)), io.BytesIO()
    face.save(file, format, exif=BROKEN_EXIF[exif])
    expected = io.BytesIO(encode(face, format))
    assert torch.equal(read_pixels(file), read_pixels(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_deflate"])
def test_a_tiff_is_turned_upright_though_its_exif_is_broken(orientation, compression):
    face = draw_face(0, (40, 64))
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    file = io.BytesIO()
    stored = face if turned is None else face.transpose(turned)
    # The tag of EXIF leads out of the file.
    stored.save(file, "TIFF", compression=compression, tiffinfo={274: orientation, 34665: 2**31})
    assert torch.equal(read_pixels(file), from_array(face))


def tiff(values: np.ndarray, **tags: int) -> io.BytesIO:
    """A grey TIFF, uncompressed, with `t258=...` for the value of tag 258."""
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape
    said = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: 1, 277: 1, 278: height, 279: values.nbytes}
    said |= {339: kind} | {int(name[1:]): value for name, value in tags.items()}
    said[273] = 8 + 2 + 12 * (len(said) + 1) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(said.items())]
    return io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + values.tobytes())


RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    "values, tags",
    [
        (RAMP * 65535, {}),
        (RAMP * 4095, {}),
        (RAMP * 1023, {}),
        (RAMP * 255, {}),
        (RAMP * 4000, {"t280": 0, "t281": 4000}),
        (RAMP * 4095, {"t280": 0, "t281": 65535}),  # Which says nothing.
        (65535 - RAMP * 65535, {"t262": 0}),  # White is 0.
    ],
    ids=str,
)
def test_grey_pictures_of_16_bits_are_scaled_by_what_they_use(values, tags):
    assert_ramp(tiff(values.round().astype(np.uint16), **tags))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
@pytest.mark.parametrize("most", [255, 4095, 65535, 2**24 - 1, 2**31 - 1])
def test_grey_pictures_of_32_bits_are_scaled_by_what_they_use(dtype, most):
    assert_ramp(tiff((RAMP * most).astype(dtype)))


def test_values_without_a_sign_and_below_zero():
    assert_ramp(tiff((RAMP * (2**32 - 1)).astype(np.uint32)))
    assert_ramp(tiff((RAMP * 3000 - 1000).astype(np.int16)))
    assert_ramp(tiff((RAMP * 3000 - 1000).astype(np.int32)))


@pytest.mark.parametrize("low, high", [(0, 1), (0, 255), (0, 5000), (-1, 1), (-1000, 3000), (0, 1e-3), (290, 310)])
def test_floats_are_scaled_by_what_they_use(low, high):
    values = (low + RAMP * (high - low)).astype(np.float32)
    assert_ramp(tiff(values))
    for strange in (np.nan, np.inf, -np.inf):
        values[32, 32] = strange
        assert_ramp(tiff(values), but=[(32, 32)])


def test_floats_that_are_all_no_numbers_are_one_picture():
    assert len(read_pixels(tiff(np.full((64, 64), np.nan, np.float32))).unique()) == 1


@pytest.mark.parametrize("bits, off", [(16, 1), (12, 17)])
def test_colours_of_12_bits_in_16_are_not_black(bits, off):
    """Pillow keeps the upper 8 bits of 16, so that of 12 used ones 4 remain: steps of 17."""
    ramp = (RAMP * (2**bits - 1)).astype(">u2")
    rows = np.zeros((64, 1 + 64 * 6), np.uint8)
    rows[:, 1:] = np.repeat(ramp[..., None], 3, -1).view(np.uint8).reshape(64, -1)
    header = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
    file = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b"")]
    pixels = read_pixels(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(file)))
    assert (pixels[0, 0].float() - torch.tensor(RAMP * 255)).abs().max() <= off


def assert_ramp(file: io.BytesIO, but: list[tuple[int, int]] = ()) -> None:
    difference = (read_pixels(file)[0, 0].double() - torch.tensor(RAMP * 255)).abs()
    for place in but:
        difference[place] = 0
    assert difference.max() <= 2


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "CMYK", "P", "1", "LA"])
def test_tiffs_of_other_colours_are_read(mode):
    face = draw_face(2, (64, 64))
    image = face.convert(mode) if mode != "LAB" else lab(face)
    expected = {"1": image, "P": image, "LA": face.convert("L")}.get(mode, face)
    file = io.BytesIO()
    image.save(file, "TIFF", compression="jpeg" if mode == "YCbCr" else "tiff_lzw")
    difference = read_pixels(file).float() - from_array(expected)
    assert difference.abs().mean() < 8


def lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    return ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_damaged_files_are_refused_in_words_whatever_their_decoders_raise(format, tmp_path):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    whole = encode(draw_face(0, (64, 64)), format)
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole[: random.integers(1, len(whole))] if random.random() < 0.3 else whole)
        for place in random.integers(0, len(damaged), random.integers(0, 8)):
            damaged[place] = random.integers(256)
        try:
            assert read_pixels(io.BytesIO(damaged)).shape[:2] == (1, 3)
        except UnreadableImage as error:
            assert str(error).endswith((".", "PNG."))


def test_a_file_that_is_gone_is_told_from_a_damaged_one(tmp_path):
    for read in (open_image, read_pixels):
        with pytest.raises(UnreadableImage, match="not there any more"):
            read(tmp_path / "gone.jpg")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def progressive_with(scans: int) -> bytes:
    """A small JPEG of a large picture, whose last scan comes again and again."""
    jpeg = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(jpeg, "JPEG", progressive=True)
    last = jpeg.getvalue().rindex(b"\xff\xda")
    return jpeg.getvalue()[:last] + jpeg.getvalue()[last:-2] * scans + b"\xff\xd9"


def gif_with_comments(count: int) -> bytes:
    gif = encode(Image.new("P", (64, 64)), "GIF")
    first = gif.index(b",\0\0\0\0")
    return gif[:first] + b"!\xfe\x01a\0" * count + gif[first:]


def png_with(chunks: bytes) -> bytes:
    png = encode(Image.new("RGB", (64, 64)), "PNG")
    return png[:33] + chunks + png[33:]


def tiff_with_tags(count: int, size: int) -> bytes:
    """All of whose tags hold the same bytes."""
    file = tiff(np.zeros((64, 64), np.uint8)).getvalue()
    first, past = 10, 10 + 12 * struct.unpack_from("<H", file, 8)[0]
    tags = b"".join(struct.pack("<HHII", 1000 + number, 1, size, 8) for number in range(count))
    return file[:8] + struct.pack("<H", (past - first) // 12 + count) + file[first:past] + tags + bytes(4) + bytes(size)


# Each would take minutes, or gigabytes, where nothing stopped it.
SLOW = {
    "a progressive JPEG of 4,000 scans": lambda: progressive_with(4000),
    "a JPEG whose scans hide behind a marker without a length": lambda: progressive_with(4000).replace(
        b"\xff\xda", b"\xff\x01\xff\xda"
    ),
    "a GIF of 300,000 comments": lambda: gif_with_comments(300_000),
    "a TIFF whose 2,000 tags are the same 2 MB": lambda: tiff_with_tags(2000, 2_000_000),
    "a PNG with a profile of 100 MB": lambda: png_with(
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(100_000_000)))
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_file_that_is_slow_rather_than_large_is_refused_in_time(name, tmp_path):
    (tmp_path / "slow").write_bytes(SLOW[name]())
    start = used_by_children()
    with pytest.raises(UnreadableImage):
        open_image(tmp_path / "slow")
    assert used_by_children() - start < 3


def used_by_children() -> float:
    """Seconds of processor time, which other work on the machine does not change."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("scans", [10, 30])
def test_a_jpeg_of_more_scans_than_usual_is_read(scans, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(progressive_with(scans))
    assert min(open_image(tmp_path / "photo.jpg").size) >= 256


def test_an_animation_of_thousands_of_pictures_is_its_first(tmp_path):
    gif = encode(Image.new("P", (64, 64)), "GIF")
    first = gif.index(b",\0\0\0\0")
    (tmp_path / "film.gif").write_bytes(gif[:first] + 20_000 * gif[first:-1] + gif[-1:])
    start = used_by_children()
    assert open_image(tmp_path / "film.gif").size == (64, 64)
    assert used_by_children() - start < 1


def test_large_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    """34 bytes that take 400 MB to decode: eight at once take no more, and none of it in this process."""
    path = tmp_path / "flat.webp"
    Image.new("RGB", (4900, 5000)).save(path, lossless=True, quality=0, method=0)
    assert path.stat().st_size < 100
    at_once, most, lock = 0, 0, threading.Lock()
    run = images.subprocess.run

    def count(*arguments, **options):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            time.sleep(0.02)
            return run(*arguments, **options)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(images.subprocess, "run", count)
    sizes = []
    threads = [threading.Thread(target=lambda: sizes.append(open_image(path).size)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and sizes == 3 * [(258, 264)]


def test_whoever_waits_too_long_is_told_so(tmp_path, monkeypatch):
    draw_face(0).save(tmp_path / "face.png")
    monkeypatch.setattr(images, "WAIT_SECONDS", 0.05)
    with images._one_at_a_time, pytest.raises(UnreadableImage, match="try again"):
        open_image(tmp_path / "face.png")
    open_image(tmp_path / "face.png")


def test_what_no_jpeg_can_be_is_refused_from_fewer_pixels_on(tmp_path):
    Image.new("1", (6000, 5000)).save(tmp_path / "large.png")
    with pytest.raises(UnreadableImage, match="30 megapixels: 24 is the most, unless it is a JPEG"):
        open_image(tmp_path / "large.png")
    Image.new("L", (8192, 6144)).save(tmp_path / "phone.jpg")
    assert min(open_image(tmp_path / "phone.jpg", least_side=1024).size) >= 768


def test_of_a_png_the_texts_come_along(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("recipe", "7/3")
    texts.add_text("novel", "x" * 100_000)
    draw_face(0).save(tmp_path / "face.png", pnginfo=texts)
    assert open_image(tmp_path / "face.png").info == {"recipe": "7/3"}


@pytest.mark.parametrize("name", ["a b.png", "-P.png", "snowman \N{SNOWMAN}.png", "quote'\".png"])
def test_any_name_will_do(name, tmp_path, monkeypatch):
    draw_face(0, (64, 64)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert open_image(name).size == open_image(tmp_path / name).size == (64, 64)
