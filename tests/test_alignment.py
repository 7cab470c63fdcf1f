"""Photographs in CelebA's framing. The faces in them are the bundled GAN's, which learned that framing."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from models import Generator, alignment
from models.alignment import (
    FRAME_SIZE,
    LANDMARK_WEIGHTS,
    LEAST_FRAMED_FACE,
    TARGETS,
    Similarity,
    align,
    cut,
    detect,
    look,
    look_again,
)
from models.images import from_pil, to_pil, to_uint8
from tests.conftest import WEIGHTS as BUNDLED


def distance(face: Image.Image) -> float:
    """How far MTCNN's landmarks of a 64 x 64 face lie from where CelebA's do: their mean, in pixels."""
    found = look(to_uint8(face), Similarity(1))
    return abs(found[0][1] - TARGETS).mean() if found and found[0][0] > 0.999 else np.inf


def difference(a: Image.Image, b: Image.Image) -> float:
    """Root mean square of the grey levels that two pictures differ by."""
    return np.sqrt(np.square(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    """Five 64 x 64 faces in the framing, the best of 64."""
    return sorted(Generator.from_pretrained(BUNDLED / "gan").generate(64, seed=0), key=distance)[:5]


def photograph(*placed: tuple[Image.Image, int, float, tuple[int, int]], size: tuple[int, int]) -> Image.Image:
    """A grey picture with faces in it, each (face, side, degrees counter-clockwise, place)."""
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    for face, side, degrees, place in placed:
        enlarged = face.resize((side, side), Image.Resampling.BICUBIC).convert("RGBA")
        turned = enlarged.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        picture.paste(turned, place, turned)
    return picture


@pytest.mark.parametrize(
    "degrees", [20, -100, *(pytest.param(more, marks=pytest.mark.slow) for more in (0, -35, 90, 180))]
)
def test_a_face_is_turned_upright_and_framed(faces, degrees):
    aligned = [align(photograph((face, 200, degrees, (150, 30)), size=(500, 400))) for face in faces]
    assert {(found.image.size, found.image.mode) for found in aligned} == {((64, 64), "RGB")}
    off = [abs((found.angle + degrees + 180) % 360 - 180) for found in aligned]
    assert np.median(off) < 3
    assert np.median([distance(found.image) for found in aligned]) < 1.2
    assert f"turned upright by {round(abs(aligned[0].angle))} degrees and framed" in aligned[0].note or degrees == 0
    # Of real faces too a few are missed, or taken for faces the wrong way round.
    assert sum(found.faces == 1 and angle < 10 for found, angle in zip(aligned, off, strict=True)) >= len(faces) - 1
    assert np.median([difference(found.image, face) for found, face in zip(aligned, faces, strict=True)]) < 30


@pytest.mark.parametrize(
    "face, size",
    [((900, 10, (2500, 1200)), (4000, 3000)), ((40, 0, (4, 8)), (60, 56)), ((90, 0, (4, 8)), (110, 106))],
)
def test_large_and_small_photographs(faces, face, size):
    found = align(photograph((faces[0], *face), size=size))
    assert found.faces == 1 and distance(found.image) < 1.5 and abs(found.angle + face[1]) < 5


def test_the_largest_of_several_faces_is_taken(faces):
    small, large = (faces[0], 90, 0, (20, 20)), (faces[1], 160, 10, (200, 100))
    for placed in ((small, large), (large, small)):
        found = align(photograph(*placed, size=(440, 320)))
        assert found.faces == 2
        assert found.note.startswith("The largest of 2 faces was taken")
        assert 2 * difference(found.image, faces[1]) < difference(found.image, faces[0])
    found = align(photograph(*((face, 100, 0, (110 * i, 40)) for i, face in enumerate(faces)), size=(560, 200)))
    assert found.faces == 5 and found.note.startswith("The largest of 5 faces was taken")


def test_a_second_look_keeps_to_its_face(faces):
    """Of two faces cheek to cheek in one frame, it takes the one that the first look framed."""
    picture = Image.new("RGB", (300, 256))
    for number, face in enumerate(faces[:2]):
        picture.paste(face.resize((256, 256), Image.Resampling.BICUBIC).crop((53, 0, 203, 256)), (150 * number, 0))
    for number in range(2):
        exact = Similarity(1 / 4, (53 - 150 * number) / 4)
        # Too small and beside the middle, towards the other face.
        first = exact.then(Similarity(0.7, 0.3 * (32 + 32j) + 16 * number - 8))
        assert len(detect(cut(to_uint8(picture), first), LEAST_FRAMED_FACE)) == 2
        _, second = look_again(to_uint8(picture), first)
        assert abs(second(exact.inverse(TARGETS)) - TARGETS).mean() < 1.5


def test_without_a_face_the_middle_is_taken(faces):
    picture = Image.radial_gradient("L").resize((300, 200)).convert("RGB")
    found = align(picture)
    assert (found.faces, found.angle) == (0, 0)
    assert found.note == "No face was found: this is the middle of the picture."
    assert difference(found.image, to_pil(from_pil(picture))[0]) == 0
    small = align(faces[0].rotate(40))  # Of the models' own size.
    assert difference(small.image, faces[0].rotate(40)) == 0 and "as it is" in small.note and small.faces == 0


def test_without_the_detector_the_middle_is_taken(faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    monkeypatch.setattr(alignment, "_detector", alignment.load_detector)
    picture = photograph((faces[0], 200, 20, (50, 30)), size=(400, 300))
    found = align(picture)
    assert found.note == "Faces cannot be looked for without facenet-pytorch: this is the middle of the picture."
    assert difference(found.image, to_pil(from_pil(picture))[0]) == 0


def test_the_frame_is_filled_with_the_edge():
    """The right half of the frame lies beyond the picture, where its last column goes on."""
    pixels = torch.zeros(1, 3, 100, 100, dtype=torch.uint8)
    pixels[..., 90:] = 200
    frame = cut(pixels, Similarity(0.32))
    assert (frame[..., :100] == 0).all() and (frame[..., 130:] == 200).all()
    # And all of it where the frame misses the picture.
    assert (cut(pixels, Similarity(1, -1000)) == 200).all()
    # Where two frames overlap they are alike, up to their edges: what lies beyond an edge counts in the filters.
    pixels = torch.randint(0, 256, (1, 3, 600, 600), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    left, right = cut(pixels, Similarity(0.25, -25.1 - 25.1j)), cut(pixels, Similarity(0.25, -41.1 - 25.1j))
    assert (left[..., 64:].int() - right[..., :-64].int()).abs().max() <= 1


def test_the_frame_is_antialiased():
    """One-pixel stripes average out to grey, also at an angle."""
    pixels = torch.zeros(1, 3, 1000, 1000, dtype=torch.uint8)
    pixels[..., ::2] = 255
    for angle in (0, 10, 45):
        factor = 64 / 600 * np.exp(1j * np.radians(angle))
        frame = cut(pixels, Similarity(factor, 32 + 32j - factor * (500 + 500j)))
        assert (frame.float() - 127.5).abs().max() < 20


def test_the_frame_lies_where_the_map_says():
    """A white disc at a known place is at the place where the map takes it to."""
    y, x = np.mgrid[:300, :400] + 0.5
    disc = (abs(x + 1j * y - (250 + 120j)) < 15) * np.uint8(255)
    to_frame = Similarity(0.3 * np.exp(0.5j), -20 - 30j)
    frame = cut(torch.from_numpy(disc).expand(1, 3, 300, 400), to_frame)[0, 0].double().numpy()
    y, x = np.mgrid[:FRAME_SIZE, :FRAME_SIZE] + 0.5
    centre = ((x + 1j * y) * frame).sum() / frame.sum() * 64 / FRAME_SIZE
    assert abs(centre - to_frame(250 + 120j)) < 0.05


def test_a_similarity_is_fitted_inverted_and_composed():
    expected = Similarity(2 * np.exp(-0.5j), 3 - 7j)
    points = TARGETS * 1.7 + 4
    fitted = Similarity.fit(points, expected(points), LANDMARK_WEIGHTS)
    assert np.allclose([fitted.factor, fitted.shift], [expected.factor, expected.shift])
    assert np.isclose(fitted.angle, np.degrees(0.5))  # y runs down: a negative phase turns counter-clockwise.
    assert np.allclose(fitted.then(fitted.inverse)(points), points)
    other = Similarity(0.3j, 5)
    assert np.allclose(fitted.then(other)(points), other(fitted(points)))
    assert Similarity(-1).angle == Similarity(complex(-1, -0.0)).angle == 180
    off = []
    for landmark in (0, 2):  # A nose far off moves a fit less than an eye as far off.
        points = TARGETS.copy()
        points[landmark] += 5
        off.append(abs(Similarity.fit(points, TARGETS, LANDMARK_WEIGHTS)(TARGETS) - TARGETS).mean())
    assert off[1] < off[0] / 2
