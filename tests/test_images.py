import io

import numpy as np
import pytest
import torch
from PIL import Image

from models.images import denormalise, from_pil, normalise, open_image, resize_and_crop, to_pil
from tests.conftest import draw_face


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
