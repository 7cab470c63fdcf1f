"""Every endpoint through a running server, as another program calls it."""

import json
import socket

import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from models.images import from_pil
from page import catalog, endpoints, networks
from page.recipe import RECIPE_KEY
from tests.conftest import WEIGHTS, draw_face, encode

README = WEIGHTS.parent / "README.md"


@pytest.fixture(scope="module")
def client(url):
    client = Client(url, verbose=False)
    yield client
    client.close()


def readme_example(url: str) -> str:
    """The README's example of calling the page, at this server's address."""
    section = README.read_text().partition("## Call the page from a program")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    assert "http://127.0.0.1:7860" in code
    return code.replace("http://127.0.0.1:7860", url.rstrip("/"))


def test_the_readmes_example_in_python(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_face(0, (200, 300)).save("photograph.jpg")
    names: dict = {}
    exec(readme_example(url), names)  # noqa: S102 -- the README is ours
    assert len(names["faces"]) == 16 and pixels(names["faces"][0]["image"]).shape == (64, 64, 3)
    assert [len(gallery) for gallery in names["galleries"]] == [8] * len(catalog.MODELS)
    assert names["moved"].keys() == catalog.MODELS.keys()
    assert names["versions"] and names["told"]["psnr"].keys() < catalog.MODELS.keys()


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def faces(gallery: list[dict]) -> np.ndarray:
    return np.stack([pixels(item["image"]) for item in gallery])


def assert_are(got: np.ndarray, wanted: list[Image.Image] | np.ndarray) -> None:
    """The faces that another program got are those that the library draws, but for rounding."""
    assert np.abs(got - np.stack([np.asarray(face) for face in wanted])).max() <= 1


def drawn(model: str, z: torch.Tensor) -> np.ndarray:
    """Latents decoded by the library, without the page's part."""
    with torch.inference_mode():
        x = networks.load(model).decode(z)
    return x.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).int().numpy()


def generated(client, model: str, seed: int, count: int, temperature: float = 1, bits: str = "") -> np.ndarray:
    return faces(client.predict(model, seed, count, temperature, bits, api_name="/generate")[0])


def walked(client, model: str, a: str, b: str, steps: int, way: str, discrete: str, image=None):
    """The faces of a walk, its GIF and its notes."""
    arguments = [model, a, b, image, None, steps, way, discrete]
    path, walk, numbers = client.predict(*arguments, api_name="/interpolate")
    return faces(path), walk, numbers["notes"]


@pytest.mark.parametrize("model", catalog.MODELS)
def test_generate(client, model):
    four = generated(client, model, 3, 4)
    assert_are(four, networks.load(model).generate(4, seed=3))
    assert_are(four[:2], generated(client, model, 3, 2))
    assert np.abs(four[0] - four[1]).mean() > 5


def test_draws_have_a_temperature_and_held_bits(client):
    bits = "+-" * 25
    z = networks.load("GAN").sample_latent(4, seed=3)
    z[:, :50] *= 0.5
    z[:, 50:] = torch.tensor([1.0, -1.0]).repeat(25)
    assert_are(generated(client, "GAN", 3, 4, 0.5, bits), drawn("GAN", z))
    with pytest.raises(AppError, match="each of the 50"):
        generated(client, "GAN", 3, 4, bits="+-")
    assert client.predict("GAN", 3, 4, 0, bits, api_name="/generate")[1]["diversity"] == 0


@pytest.mark.parametrize(
    "model, attributes",
    [
        ("Attribute GAN", {"Smiling": True, "Eyeglasses": False}),
        ("Perceptual autoencoder", "Smiling, no eyeglasses"),
    ],
)
def test_faces_are_given_attributes_and_say_so(client, model, attributes):
    gallery, _ = client.predict(model, 3, 4, 1, "", attributes, api_name="/generate")
    wanted = {"Smiling": True, "Eyeglasses": False}
    assert_are(faces(gallery), networks.load(model).generate(4, seed=3, attributes=wanted))
    text = Image.open(gallery[2]["image"]).info[RECIPE_KEY]
    assert text == "3/3 attributes=Smiling, no Eyeglasses"
    path, _, _ = walked(client, model, text, text, 2, "straight", "relaxed")
    assert np.abs(path - pixels(gallery[2]["image"])).max() <= 1


def test_what_a_program_leaves_out_at_the_end_has_its_default(url):
    address = f"{url}gradio_api/call/generate"
    event = httpx.post(address, json={"data": ["Attribute GAN", 3]}).json()["event_id"]
    gallery, _ = json.loads(httpx.get(f"{address}/{event}").text.partition("data: ")[2])
    got = np.stack([pixels(item["image"]["path"]) for item in gallery])
    assert_are(got, networks.load("Attribute GAN").generate(16, seed=3))


SMILING = json.loads((WEIGHTS / "attribute-gan/config.json").read_text())["attributes"].index("Smiling") + 1


@pytest.mark.parametrize("model, bit, name", [("GAN", 7, "bit 7"), ("Attribute GAN", SMILING, "Smiling")])
def test_flipping_a_bit_changes_no_other(client, model, bit, name):
    off, on, numbers = client.predict(3, 4, 1, "", bit, model, api_name="/flip_bit")
    difference = np.abs(faces(on) - faces(off)).mean()
    assert numbers == {"change": pytest.approx(difference, abs=0.01), "name": name} and difference > 0.5
    z = networks.load(model).sample_latent(4, seed=3)
    for gallery, value in ((off, -1), (on, 1)):
        z[:, 50 + bit - 1] = value
        assert_are(faces(gallery), drawn(model, z))


@pytest.mark.parametrize(
    "model, way, discrete",
    [
        ("GAN", "straight", "switched"),
        ("GAN", "straight", "held"),
        ("Shifted autoencoder", "spherical", "relaxed"),
    ],
)
def test_interpolate_between_seeds(client, model, way, discrete):
    path, walk, notes = walked(client, model, "3", "4/2", 5, way, discrete)
    network = networks.load(model)
    start, end = network.sample_latent(1, seed=3)[0], network.sample_latent(2, seed=4)[1]
    assert len(path) == 5 and notes == []
    assert_are(path, drawn(model, network.interpolate(start, end, 5, way == "spherical", discrete)))
    assert Image.open(walk).n_frames == 2 * 24 - 2


def test_interpolate_between_photographs(client, tmp_path):
    image = upload(tmp_path, "a.png", encode(draw_face(1), "PNG"))
    path, _, notes = walked(client, "Plain autoencoder", "0", "1", 5, "straight", "relaxed", image)
    versions, _ = client.predict(image, api_name="/reconstruct")
    version = next(item for item in versions if item["caption"].startswith("Plain autoencoder"))
    assert np.abs(path[0] - pixels(version["image"])).max() <= 1 and notes[0].startswith("A: ")
    with pytest.raises(AppError, match="no encoder"):
        walked(client, "GAN", "0", "1", 5, "straight", "relaxed", image)


def test_out_of_distribution(client):
    *here, numbers_here = client.predict(0, 0, 4, api_name="/out_of_distribution")
    *there, numbers_there = client.predict(100, 0, 4, api_name="/out_of_distribution")
    assert [faces(gallery).shape for gallery in here] == [(4, 64, 64, 3)] * len(catalog.MODELS)
    assert list(numbers_here) == list(catalog.MODELS)
    for model, gallery in zip(catalog.MODELS, there):
        assert_are(faces(gallery), networks.load(model).generate(4, seed=0, mean=100))
    matched_here, matched_there = (numbers["Matched autoencoder"] for numbers in (numbers_here, numbers_there))
    assert matched_there["diversity"] < matched_here["diversity"] / 2
    assert matched_here["distance"] == 0 and matched_there["distance"] == pytest.approx(100 / 2**0.5, abs=0.01)
    measured = [numbers["Plain autoencoder"]["measured_face_share"] for numbers in (numbers_there, numbers_here)]
    assert measured[0] < 0.1 < measured[1]


def test_the_experiment(client):
    *galleries, diversity = client.predict(0, api_name="/experiment")
    z = networks.load("Shifted autoencoder").sample_latent(16, seed=0)
    for name, gallery in zip(["Plain autoencoder", "Shifted autoencoder"], galleries, strict=True):
        assert_are(faces(gallery), drawn(name, z))
    assert diversity.keys() == {"Plain autoencoder", "Shifted autoencoder"}


def test_training(client):
    first, numbers = client.predict("GAN", 1, api_name="/training")
    last, _ = client.predict("GAN", numbers["epochs"], api_name="/training")
    assert faces(first).shape == faces(last).shape == (16, 64, 64, 3)
    assert np.abs(faces(first) - faces(last)).mean() > 20
    assert {"generator_loss", "discriminator_loss"} < numbers["losses"].keys() and "train.gan" in numbers["command"]


@pytest.mark.parametrize(
    "endpoint, arguments, words",
    [
        ("generate", '["GAN", 0, 10000, 1, ""]', "The count cannot be 10,000: choose a whole number from 1 to 64."),
        ("generate", '["GAN", 0, 4, NaN, ""]', "The temperature cannot be NaN: choose a number from 0 to 2."),
        ("generate", '["VAE", 0, 4, 1, ""]', 'The model cannot be \\"VAE\\": choose GAN'),
        ("generate", '["GAN", 0, 4, 1, "", "Smiling"]', "This model knows no attributes"),
        ("generate", '["Attribute GAN", 0, 4, 1, "", {"Smiling": 3}]', "from -1 to 1"),
        ("flip_bit", '[0, 4, 1, "", 51]', "The bit cannot be 51: choose a whole number from 1 to 50."),
        ("flip_bit", '[0, 4, 1, "", 1, "Plain autoencoder"]', "The Plain autoencoder has no bits."),
        ("interpolate", '["GAN", "7/65", "1"]', "faces from 1 to 64"),
        ("interpolate", '["Attribute GAN", "7 attributes=x", "1"]', 'no attribute \\"x\\"'),
        ("out_of_distribution", "[-Infinity, 0, 4]", "The mean cannot be infinite: choose a number from -100 to 100."),
        ("reconstruct", "[null]", "There is no image: send a photograph of a face."),
    ],
)
def test_bad_input_is_answered_by_one_clear_sentence(url, endpoint, arguments, words):
    address = f"{url}gradio_api/call/{endpoint}"
    headers = {"Content-Type": "application/json"}  # As text: Python's own client sends no NaN.
    event = httpx.post(address, content=f'{{"data": {arguments}}}', headers=headers).json()["event_id"]
    answer = httpx.get(f"{address}/{event}").text
    assert "event: error" in answer and words in answer and "Traceback" not in answer


async def endless():
    while True:
        yield bytes(2**20)


def foreign(request: httpx.Request) -> httpx.Response:
    """A stranger's server."""
    match request.url.path:
        case "/photograph":
            return httpx.Response(200, stream=httpx.ByteStream(encode(draw_face(1), "PNG")))
        case "/moved":
            return httpx.Response(302, headers={"Location": "photograph"})
        case "/around":
            return httpx.Response(302, headers={"Location": "around"})
        case "/endless":
            return httpx.Response(200, content=endless())
    return httpx.Response(404)


@pytest.mark.parametrize(
    ("place", "is_fetched"),
    [("photograph", True), ("moved", True), ("around", False), ("endless", False), ("nothing", False)],
)
def test_a_picture_at_an_address_is_fetched_if_it_is_small_enough(client, monkeypatch, place, is_fetched):
    resolve, found = socket.getaddrinfo, [(None, None, None, "", ("93.184.215.14", 0))]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *at, **how: found if "example" in str(name) else resolve(name, *at, **how)
    )
    monkeypatch.setattr(endpoints, "AsyncSecureTransport", lambda address: httpx.MockTransport(foreign))
    image = handle_file(f"http://pictures.example/{place}")
    if is_fetched:
        assert len(client.predict(image, api_name="/reconstruct")[0]) > 1
    else:
        with pytest.raises(AppError, match="it must be public, and send at most 30 MB within 20 seconds"):
            client.predict(image, api_name="/reconstruct")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_nothing_of_this_network_is_fetched(client, url, host):
    picture = f"{url.replace('127.0.0.1', host)}front/first/card.jpg"
    assert httpx.get(picture, trust_env=False).status_code == 200
    with pytest.raises(AppError, match="cannot be fetched: it must be public"):
        client.predict(handle_file(picture), api_name="/reconstruct")


def upload(tmp_path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    return handle_file(path)


@pytest.mark.parametrize("name, size", [("face.jpg", (400, 300)), ("pixel.png", (1, 1))])
def test_a_picture_is_reconstructed(client, tmp_path, name, size):
    draw_face(1, size).save(tmp_path / name)
    pictures, numbers = client.predict(handle_file(tmp_path / name), api_name="/reconstruct")
    seen, *reconstructions = faces(pictures)
    assert [item["caption"].partition(":")[0] for item in pictures] == [
        "What the networks see",
        *catalog.autoencoders(),
    ]
    assert numbers["note"].endswith(".") and list(numbers["psnr"]) == catalog.autoencoders()
    for psnr, face in zip(numbers["psnr"].values(), reconstructions):
        assert psnr == pytest.approx(10 * np.log10(255**2 / np.square(face - seen).mean()), abs=0.01)


def test_a_photograph_is_given_attributes(client, tmp_path):
    image = upload(tmp_path, "face.png", encode(draw_face(1), "PNG"))
    plain, _ = client.predict(image, api_name="/reconstruct")
    moved, _ = client.predict(image, {"Smiling": 1.5, "Bangs": -1}, api_name="/reconstruct")
    assert np.abs(faces(moved)[: len(plain)] - faces(plain)).max() == 0
    (last,) = moved[len(plain) :]
    assert last["caption"] == "Perceptual autoencoder, moved: Smiling=1.5, no Bangs"
    model = networks.load("Perceptual autoencoder")
    smiling, bangs = (model.directions[model.attributes.index(name)] for name in ("Smiling", "Bangs"))
    z = model.encode(from_pil(Image.open(plain[0]["image"]).convert("RGB")))
    assert np.abs(pixels(last["image"]) - drawn("Perceptual autoencoder", z + 1.5 * smiling - bangs)).max() <= 1


def test_what_is_no_picture_is_told_in_words(client, tmp_path):
    with pytest.raises(AppError, match="not an image"):
        client.predict(upload(tmp_path, "face.png", b"not an image"), api_name="/reconstruct")
