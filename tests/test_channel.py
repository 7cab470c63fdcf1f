"""What the page's own JavaScript asks of the server, and what others send in its place."""

import base64
import io
import struct
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from page import site, story, zoo
from page.recipe import Recipe
from tests import test_app
from tests.conftest import draw_face, encode
from tests.markup import MARKUP
from tests.serving import ask_page


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def latents(z: torch.Tensor) -> str:
    """As a browser sends them."""
    return base64.b64encode(struct.pack(f"<{z.numel()}f", *z.flatten().tolist())).decode()


def numbers(content: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(content), kind)


def upload(client: httpx.Client, content: bytes) -> dict:
    """A file, and what gradio's `upload` gives the page's JavaScript for it."""
    (path,) = client.post("/gradio_api/upload", files={"files": ("face.png", content)}).json()
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


NO_LATENTS = "no latents: send base64 of finite float32 numbers, 100 for each of 1 to 64 faces."


@pytest.mark.parametrize("model", zoo.MODELS)
@pytest.mark.parametrize("count", [1, 64])
def test_latents_become_the_faces_of_the_model(client, model, count):
    z = zoo.load(model).sample_latent(count, seed=3)
    shown = numbers(ask_page(client, "decode", [model, latents(z)])["faces"], np.uint8).reshape(count, 64, 64, 3)
    with torch.inference_mode():
        wanted = zoo.load(model).decode(z).add(1).mul(127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(shown - wanted).max() <= 1.5


@pytest.mark.parametrize(
    "question, words",
    [
        (["VAE", ""], 'The model cannot be "VAE": choose GAN,'),
        (["GAN", ""], NO_LATENTS),
        (["GAN", latents(torch.zeros(65, 100))], NO_LATENTS),
        (["GAN", latents(torch.zeros(99))], NO_LATENTS),
        (["GAN", latents(torch.zeros(100))[:-8]], NO_LATENTS),
        (["GAN", latents(torch.full((100,), float("nan")))], NO_LATENTS),
        (["GAN", latents(torch.full((100,), float("inf")))], NO_LATENTS),
        (["GAN", MARKUP], NO_LATENTS),
        (["GAN", None], "no question"),
        ([], "no question"),
        (None, "no question"),
        ({"model": "GAN"}, "no question"),
    ],
)
def test_what_are_no_latents_is_told_in_a_sentence(client, question, words):
    answer = ask_page(client, "decode", question)
    assert answer.keys() == {"complaint"} and words in answer["complaint"]
    test_app.assert_is_a_sentence(answer["complaint"])


def test_the_largest_numbers_are_drawn_somehow(client):
    for value in (3e38, -3e38, 1e-45):
        assert ask_page(client, "decode", ["GAN", latents(torch.full((100,), value))]).keys() == {"faces"}


def test_a_photograph_becomes_latents(client):
    answer = ask_page(client, "encode", [upload(client, encode(draw_face(1, (64, 64)), "PNG"))])
    seen = numbers(answer["seen"], np.uint8).reshape(64, 64, 3)
    assert np.abs(seen - np.asarray(draw_face(1, (64, 64))).astype(int)).max() <= 1
    assert answer["note"].endswith(".") and answer["drawn"] is None and answer["faces"] in (0, 1)
    assert [*answer["latents"]] == zoo.autoencoders()
    x = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    for name, content in answer["latents"].items():
        with torch.inference_mode():
            wanted = zoo.load(name).encode(x)[0].numpy()
        assert np.abs(numbers(content, "<f4") - wanted).max() < 1e-3


@pytest.mark.parametrize("name", site.examples())
def test_an_example_is_known_by_its_recipe(client, name):
    answer = ask_page(client, "encode", [{"example": name}])
    recipe = Recipe.parse(answer["drawn"]["recipe"])
    face = zoo.load(answer["drawn"]["model"]).generate(recipe.face, seed=recipe.seed)[-1]
    seen = numbers(answer["seen"], np.uint8).reshape(64, 64, 3)
    assert np.abs(seen - np.asarray(face).astype(int)).max() <= 3


@pytest.mark.parametrize("recipe", ["0/1", "nonsense", "0/1 bits=+", "", MARKUP.replace("\ud800", "")])
def test_a_picture_with_the_recipe_of_another_face_is_not_believed(client, recipe):
    text, buffer = PngInfo(), io.BytesIO()
    text.add_itxt(story.MODEL_KEY, "Plain autoencoder")
    text.add_itxt(story.RECIPE_KEY, recipe)
    draw_face(1, (64, 64)).save(buffer, "PNG", pnginfo=text)
    answer = ask_page(client, "encode", [upload(client, buffer.getvalue())])
    assert answer["drawn"] is None and "planted" not in str(answer)


@pytest.mark.parametrize(
    "photograph", [{"path": "/etc/hostname"}, {"path": str(site.FRONT / "index.html")}, "/etc/hostname", {"path": "\0"}]
)
def test_no_file_but_an_upload_is_opened(client, photograph):
    assert "is not here, or no longer" in ask_page(client, "encode", [photograph])["complaint"]


def test_an_upload_that_has_been_removed_is_asked_for_again(client):
    photograph = upload(client, encode(draw_face(7), "PNG"))
    Path(photograph["path"]).unlink()
    words = "is not here, or no longer: uploads are kept for an hour. Choose it again."
    assert words in ask_page(client, "encode", [photograph])["complaint"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"not an image", "not an image"),
        (encode(draw_face(1, (400, 400)), "JPEG")[:2000], "damaged"),
        (encode(Image.new("1", (15000, 15000)), "PNG"), "megapixels"),
    ],
    ids=["text", "cut", "huge"],
)
def test_what_is_no_photograph_is_told_in_a_sentence(client, content, words):
    answer = ask_page(client, "encode", [upload(client, content)])
    assert words in answer["complaint"] and answer["complaint"].endswith(".")


def test_a_photograph_is_looked_at_once(tmp_path, monkeypatch):
    path = tmp_path / "face.png"
    draw_face(2, (64, 64)).save(path)
    assert not story.is_remembered(str(path))
    first = story.see(str(path))
    monkeypatch.setattr(story, "align", None)
    assert story.is_remembered(str(path)) and story.see(str(path)) is first
    for number in range(story._MOST_REMEMBERED):
        story._REMEMBERED[f"other {number}"] = first
    monkeypatch.undo()
    draw_face(3, (64, 64)).save(tmp_path / "other.png")
    story.see(str(tmp_path / "other.png"))
    assert not story.is_remembered(str(path)) and len(story._REMEMBERED) <= story._MOST_REMEMBERED
    story._REMEMBERED.clear()


@pytest.mark.parametrize("function, good", [("decode", ["GAN", ""]), ("encode", [{"example": "gan 0 11"}])])
def test_junk_on_the_pages_own_channel_is_told_in_a_sentence(client, function, good):
    for question in [*test_app.spoilt(good, 60, seed=len(function)), *test_app.JUNK]:
        answer = ask_page(client, function, question)
        assert answer.keys() == {"complaint"}, question
        test_app.assert_is_a_sentence(answer["complaint"])


def test_what_is_no_function_of_the_page_is_no_function(client):
    for function in ("follow", "draw", "__init__", "get_config", "postprocess"):
        with pytest.raises(AssertionError, match="404"):
            ask_page(client, function, [])
