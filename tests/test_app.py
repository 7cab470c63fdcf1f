"""Every endpoint through a running server, as another program calls it."""

import io
import shutil
import subprocess

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import app
from tests.conftest import WEIGHTS, draw_face, encode

README = WEIGHTS.parent / "README.md"


@pytest.fixture(scope="module")
def url():
    page = app.build()
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield url
    page.close()


@pytest.fixture(scope="module")
def client(url):
    client = Client(url, verbose=False)
    yield client
    client.close()


def readme_example(language: str, url: str) -> str:
    """The README's example of calling the page, at this server's address."""
    section = README.read_text().partition("## Call the page from a program")[2]
    code = section.partition(f"```{language}\n")[2].partition("```")[0]
    assert "http://127.0.0.1:7860" in code
    return code.replace("http://127.0.0.1:7860", url.rstrip("/"))


def test_the_readmes_example_in_python(url, capsys):
    names: dict = {}
    exec(readme_example("python", url), names)  # noqa: S102 -- the README is ours
    assert len(names["faces"]) == 16 and pixels(names["faces"][0]["image"]).shape == (64, 64, 3)
    assert [len(gallery) for gallery in names["galleries"]] == [8] * 4
    assert str(names["spreads"]) in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_readmes_example_with_curl(url):
    answer = subprocess.run(["bash", "-c", readme_example("bash", url)], capture_output=True, text=True, check=True)
    assert "event: complete" in answer.stdout and answer.stdout.count(".png") >= 16


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def faces(gallery: list[dict]) -> np.ndarray:
    return np.stack([pixels(item["image"]) for item in gallery])


def test_the_bundled_models_are_the_four_of_the_page():
    assert sorted(folder for _, folder in app.MODELS.values()) == sorted(path.name for path in WEIGHTS.iterdir())
    for path in WEIGHTS.rglob("*"):
        assert path.stat().st_size < 10 * 1024 * 1024
    priors = [(app.load(name).prior_mean, app.load(name).prior_variance) for name in app.MODELS]
    assert priors == [(0, 1), (0, 2), (0, 2), (-3, 2)]


@pytest.mark.parametrize("model", app.MODELS)
def test_generate(client, model):
    four = faces(client.predict(model, 3, 4, api_name="/generate"))
    assert four.shape == (4, 64, 64, 3)
    assert np.abs(four[:2] - faces(client.predict(model, 3, 2, api_name="/generate"))).max() <= 1
    assert np.abs(four - np.stack([np.asarray(face) for face in app.load(model).generate(4, seed=3)])).max() <= 1
    assert np.abs(four[0] - four[1]).mean() > 5


@pytest.mark.parametrize("model", app.MODELS)
def test_interpolate_between_seeds(client, model):
    path, message = client.predict(model, 3, 4, None, None, 11, api_name="/interpolate")
    path = faces(path)
    assert len(path) == 11 and message == ""
    for index, seed in ((0, 3), (10, 4)):
        # `generate` may compute in bfloat16, `decode` does not.
        assert np.abs(path[index] - faces(client.predict(model, seed, 1, api_name="/generate"))[0]).max() <= 2


def test_interpolate_between_photographs(client, tmp_path):
    draw_face(1).save(tmp_path / "a.png")
    image = handle_file(tmp_path / "a.png")
    path, message = client.predict("Plain autoencoder", 0, 1, image, None, 5, api_name="/interpolate")
    assert len(path) == 5 and message == ""
    path, message = client.predict("GAN", 0, 1, image, None, 5, api_name="/interpolate")
    assert path == [] and "no encoder" in message


def test_out_of_distribution(client):
    *here, spread_here = client.predict(0, 0, 4, api_name="/out_of_distribution")
    *there, spread_there = client.predict(100, 0, 4, api_name="/out_of_distribution")
    assert [faces(gallery).shape for gallery in here] == 4 * [(4, 64, 64, 3)]
    assert list(spread_here) == list(app.MODELS)
    assert np.abs(faces(here[0]) - faces(client.predict("GAN", 0, 4, api_name="/generate"))).max() <= 2
    assert all(np.abs(faces(one) - faces(two)).mean() > 1 for one, two in zip(here, there))
    assert spread_there["Matched autoencoder"] < spread_here["Matched autoencoder"] / 2


def test_the_experiment(client):
    plain, shifted = client.predict(0, api_name="/experiment")
    assert faces(plain).shape == faces(shifted).shape == (16, 64, 64, 3)
    assert (
        np.abs(faces(shifted)[:4] - faces(client.predict("Shifted autoencoder", 0, 4, api_name="/generate"))).max() <= 2
    )


def upload(tmp_path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    return handle_file(path)


def rotated() -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 3
    draw_face(1).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name, content",
    [
        ("face.jpg", encode(draw_face(1), "JPEG")),
        ("grey.png", encode(draw_face(1).convert("L"), "PNG")),
        ("transparent.png", encode(draw_face(1).convert("RGBA"), "PNG")),
        ("rotated.jpg", rotated()),
        ("big.jpg", encode(draw_face(1, (4000, 3000)), "JPEG")),
        ("cmyk.jpg", encode(draw_face(1).convert("CMYK"), "JPEG")),
        ("one.gif", encode(draw_face(1), "GIF")),
        ("pixel.png", encode(draw_face(1, (1, 1)), "PNG")),
    ],
)
def test_every_kind_of_picture_is_reconstructed(client, tmp_path, name, content):
    pictures, message = client.predict(upload(tmp_path, name, content), api_name="/reconstruct")
    assert message == ""
    assert faces(pictures).shape == (4, 64, 64, 3)
    assert [item["caption"].partition(":")[0] for item in pictures] == ["What the networks see", *app.AUTOENCODERS]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("face.png", b"not an image", "not an image"),
        ("face.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        ("cut.jpg", encode(draw_face(1, (400, 400)), "JPEG")[:2000], "damaged"),
        ("huge.png", encode(Image.new("1", (15000, 15000)), "PNG"), "megapixels"),
    ],
)
def test_what_cannot_be_reconstructed_is_told_in_words(client, tmp_path, name, content, sentence):
    pictures, message = client.predict(upload(tmp_path, name, content), api_name="/reconstruct")
    assert pictures == [] and sentence in message


def test_nothing_to_reconstruct_asks_for_a_face(client):
    pictures, message = client.predict(None, api_name="/reconstruct")
    assert pictures == [] and "Upload a face" in message
