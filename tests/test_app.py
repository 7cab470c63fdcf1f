"""Every endpoint through a running server, as another program calls it."""

import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from page import catalog, networks, story
from page.recipe import Recipe
from tests.conftest import WEIGHTS, draw_face, encode
from tests.markup import MARKUP

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


def generated(client, model: str, seed: int, count: int, temperature: float = 1, bits: str = "") -> np.ndarray:
    return faces(client.predict(model, seed, count, temperature, bits, api_name="/generate")[0])


def test_the_bundled_models_are_those_of_the_page():
    assert sorted(catalog.MODELS.values()) == sorted(path.name for path in WEIGHTS.iterdir() if path.is_dir())
    for path in WEIGHTS.rglob("*"):
        assert path.stat().st_size < 10 * 1024 * 1024
    priors = [(catalog.load(name).prior_mean, catalog.load(name).prior_variance) for name in catalog.MODELS]
    assert priors == [(0, 1), (0, 2), (0, 2), (-3, 2), (0, 1), (0, 1.8)]


def test_every_endpoint_is_named_typed_and_documented(client):
    described = client.view_api(return_format="dict")
    assert not described["unnamed_endpoints"]
    endpoints = described["named_endpoints"]
    wanted = {
        "/generate",
        "/flip_bit",
        "/interpolate",
        "/reconstruct",
        "/out_of_distribution",
        "/experiment",
        "/training",
    }
    assert wanted <= endpoints.keys()
    for name, endpoint in endpoints.items():
        assert endpoint["description"], name
        for parameter in endpoint["parameters"]:
            assert parameter["python_type"]["type"] not in ("", "Any"), (name, parameter)


@pytest.mark.parametrize("model", catalog.MODELS)
def test_generate(client, model):
    four = generated(client, model, 3, 4)
    assert four.shape == (4, 64, 64, 3)
    assert np.abs(four[:2] - generated(client, model, 3, 2)).max() <= 1
    assert np.abs(four - np.stack([np.asarray(face) for face in networks.load(model).generate(4, seed=3)])).max() <= 1
    assert np.abs(four[0] - four[1]).mean() > 5


def test_a_lower_temperature_draws_faces_that_differ_less(client):
    diversity = [
        client.predict("Matched autoencoder", 0, 16, temperature, "", api_name="/generate")[1]["diversity"]
        for temperature in (0, 0.5, 1)
    ]
    assert diversity[0] == 0 < diversity[1] < 0.8 * diversity[2]


def test_held_bits_are_the_same_in_all_faces(client):
    bits = "+-" * 25
    held = networks.load("GAN").hold_bits(networks.load("GAN").sample_latent(4, seed=3), bits)
    assert np.abs(generated(client, "GAN", 3, 4, bits=bits) - networks.decode("GAN", held)).max() <= 1
    assert np.abs(generated(client, "GAN", 3, 4, bits=bits) - generated(client, "GAN", 3, 4)).mean() > 5
    with pytest.raises(AppError, match="each of the 50"):
        generated(client, "GAN", 3, 4, bits="+-")


def test_a_generated_face_says_what_it_is(client):
    gallery, _ = client.predict("GAN", 3, 4, 0.8, "." * 49 + "+", api_name="/generate")
    text = Image.open(gallery[2]["image"]).info
    assert text[story.MODEL_KEY] == "GAN"
    assert Recipe.parse(text[story.RECIPE_KEY]) == Recipe(3, 3, 0.8, "." * 49 + "+")


@pytest.mark.parametrize("attributes", ["Smiling, no eyeglasses", {"Smiling": True, "Eyeglasses": False}])
@pytest.mark.parametrize("model", ["Attribute GAN", "Perceptual autoencoder"])
def test_faces_are_given_attributes_and_say_so(client, model, attributes):
    gallery, _ = client.predict(model, 3, 4, 1, "", attributes, api_name="/generate")
    wanted = networks.load(model).generate(4, seed=3, attributes={"Smiling": True, "Eyeglasses": False})
    assert np.abs(faces(gallery) - np.stack([np.asarray(face) for face in wanted])).max() <= 1
    text = Image.open(gallery[2]["image"]).info[story.RECIPE_KEY]
    assert text == "3/3 attributes=Smiling, no Eyeglasses"
    image = handle_file(gallery[2]["image"])
    path, _, numbers = client.predict(model, "0", text, image, None, 3, "straight", "relaxed", api_name="/interpolate")
    assert "its latent is known" in numbers["notes"][0]
    assert np.abs(faces(path) - pixels(gallery[2]["image"])).max() <= 1


def test_what_a_program_leaves_out_at_the_end_is_as_on_arrival(url, client):
    address = f"{url}gradio_api/call/generate"
    event = httpx.post(address, json={"data": ["Attribute GAN", 3]}).json()["event_id"]
    gallery, _ = json.loads(httpx.get(f"{address}/{event}").text.partition("data: ")[2])
    assert len(gallery) == 16


def test_a_bit_with_a_name_is_flipped(client):
    number = networks.load("Attribute GAN").attributes.index("Smiling") + 1
    off, on, numbers = client.predict(3, 2, 1, "", number, "Attribute GAN", "", api_name="/flip_bit")
    assert numbers["name"] == "Smiling"
    for gallery, value in ((off, False), (on, True)):
        wanted = networks.load("Attribute GAN").generate(2, seed=3, attributes={"Smiling": value})
        assert np.abs(faces(gallery) - np.stack([np.asarray(face) for face in wanted])).max() <= 1


def test_a_photograph_is_given_attributes(client, tmp_path):
    image = upload(tmp_path, "face.png", encode(draw_face(1), "PNG"))
    plain, _ = client.predict(image, api_name="/reconstruct")
    moved, numbers = client.predict(image, {"Smiling": 1.5, "Bangs": -1}, api_name="/reconstruct")
    assert np.abs(faces(moved)[: len(plain)] - faces(plain)).max() == 0
    (last,) = moved[len(plain) :]
    assert last["caption"] == "Perceptual autoencoder, moved: Smiling=1.5, no Bangs"
    assert np.abs(pixels(last["image"]) - faces(plain)[-1]).mean() > 0.1
    assert numbers["psnr"].keys() == set(catalog.autoencoders())


def test_flipping_a_bit_changes_no_other(client):
    off, on, numbers = client.predict(3, 4, 1, "", 7, api_name="/flip_bit")
    difference = np.abs(faces(on) - faces(off)).mean()
    assert numbers["change"] == pytest.approx(difference, abs=0.01) and difference > 0.5
    drawn = generated(client, "GAN", 3, 4)
    nearest = np.minimum(np.abs(faces(off) - drawn).max((1, 2, 3)), np.abs(faces(on) - drawn).max((1, 2, 3)))
    assert nearest.max() <= 1, "each face is itself at one of the two values"


@pytest.mark.parametrize("model", catalog.MODELS)
@pytest.mark.parametrize("way", ["straight", "spherical"])
def test_interpolate_between_seeds(client, model, way):
    gallery, walk, notes = client.predict(model, "3", "4/2", None, None, 11, way, "relaxed", api_name="/interpolate")
    path = faces(gallery)
    assert len(path) == 11 and notes == {"notes": []}
    assert np.abs(path[0] - generated(client, model, 3, 1)[0]).max() <= 1
    assert np.abs(path[10] - generated(client, model, 4, 2)[1]).max() <= 1
    assert Image.open(walk).n_frames > 11


def test_the_bits_on_the_way_are_relaxed_switched_or_held(client):
    walks = {
        discrete: faces(
            client.predict("GAN", "3", "4", None, None, 5, "straight", discrete, api_name="/interpolate")[0]
        )
        for discrete in ("relaxed", "switched", "held")
    }
    assert np.abs(walks["relaxed"][0] - walks["held"][0]).max() <= 1
    assert np.abs(walks["relaxed"][-1] - walks["switched"][-1]).max() <= 1
    assert np.abs(walks["held"][1] - walks["switched"][1]).max() <= 1
    assert np.abs(walks["held"][-1] - walks["switched"][-1]).mean() > 3
    assert np.abs(walks["relaxed"][1] - walks["switched"][1]).mean() > 1


def test_interpolate_between_photographs(client, tmp_path):
    draw_face(1).save(tmp_path / "a.png")
    image = handle_file(tmp_path / "a.png")
    arguments = ["0", "1", image, None, 5, "straight", "relaxed"]
    path, _, numbers = client.predict("Plain autoencoder", *arguments, api_name="/interpolate")
    assert len(path) == 5 and numbers["notes"][0].startswith("A: ")
    with pytest.raises(AppError, match="no encoder"):
        client.predict("GAN", *arguments, api_name="/interpolate")


@pytest.mark.parametrize("model", ["GAN", "Matched autoencoder"])
def test_a_face_that_was_downloaded_is_known_by_its_recipe(client, model):
    gallery, _ = client.predict(model, 3, 4, 0.8, "", api_name="/generate")
    image = handle_file(gallery[2]["image"])
    path, _, numbers = client.predict(model, "0", "1", image, None, 3, "straight", "relaxed", api_name="/interpolate")
    assert "its latent is known" in numbers["notes"][0]
    assert np.abs(faces(path)[0] - pixels(gallery[2]["image"])).max() <= 1


@pytest.mark.parametrize("resample", [Image.Resampling.NEAREST, Image.Resampling.BICUBIC])
def test_a_face_is_known_that_was_downloaded_enlarged(client, tmp_path, resample):
    gallery, _ = client.predict("Attribute GAN", 3, 1, 1, "", api_name="/generate")
    face, text = Image.open(gallery[0]["image"]), PngInfo()
    for name, value in face.info.items():
        text.add_text(name, str(value))
    face.resize((512, 512), resample).save(tmp_path / "large.png", pnginfo=text)
    image = handle_file(tmp_path / "large.png")
    arguments = ["0", "1", image, None, 3, "straight", "relaxed"]
    path, _, numbers = client.predict("Attribute GAN", *arguments, api_name="/interpolate")
    assert "its latent is known" in numbers["notes"][0]
    assert np.abs(faces(path)[0] - pixels(gallery[0]["image"])).max() <= 1


@pytest.mark.parametrize("recipe", ["3/1", "nonsense", "3/1 bits=+", ""])
def test_a_picture_with_the_recipe_of_another_face_is_not_believed(client, tmp_path, recipe):
    text = PngInfo()
    text.add_text(story.MODEL_KEY, "GAN")
    text.add_text(story.RECIPE_KEY, recipe)
    draw_face(1, (64, 64)).save(tmp_path / "liar.png", pnginfo=text)
    image = handle_file(tmp_path / "liar.png")
    with pytest.raises(AppError, match="no encoder"):
        client.predict("GAN", "0", "1", image, None, 3, "straight", "relaxed", api_name="/interpolate")


def test_out_of_distribution(client):
    *here, numbers_here = client.predict(0, 0, 4, api_name="/out_of_distribution")
    *there, numbers_there = client.predict(100, 0, 4, api_name="/out_of_distribution")
    assert [faces(gallery).shape for gallery in here] == [(4, 64, 64, 3)] * len(catalog.MODELS)
    assert list(numbers_here) == list(catalog.MODELS)
    assert np.abs(faces(here[0]) - generated(client, "GAN", 0, 4)).max() <= 1
    assert all(np.abs(faces(one) - faces(two)).mean() > 1 for one, two in zip(here, there))
    matched_here, matched_there = (numbers["Matched autoencoder"] for numbers in (numbers_here, numbers_there))
    assert matched_there["diversity"] < matched_here["diversity"] / 2
    assert matched_here["distance"] == 0 and matched_there["distance"] == pytest.approx(100 / 2**0.5, abs=0.01)
    measured = [numbers["Plain autoencoder"]["measured_face_share"] for numbers in (numbers_there, numbers_here)]
    assert measured[0] < 0.1 < measured[1]


def test_the_experiment(client):
    plain, shifted, diversity = client.predict(0, api_name="/experiment")
    assert faces(plain).shape == faces(shifted).shape == (16, 64, 64, 3)
    assert np.abs(faces(shifted)[:4] - generated(client, "Shifted autoencoder", 0, 4)).max() <= 1
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
        ("/generate", ["GAN", 0, 10_000, 1, ""], "64"),
        ("/generate", ["GAN", -1, 4, 1, ""], "0"),
        ("/generate", ["GAN", "seven", 4, 1, ""], "number"),
        ("/generate", ["GAN", 0, 4, 1e9, ""], "2"),
        ("/generate", ["VAE", 0, 4, 1, ""], "VAE"),
        ("/flip_bit", [0, 4, 1, "", 51], "50"),
        ("/interpolate", ["GAN", "seven", "1", None, None, 11, "straight", "relaxed"], "no face"),
        ("/interpolate", ["GAN", "7/65", "1", None, None, 11, "straight", "relaxed"], "64"),
        ("/interpolate", ["GAN", "0", "1", None, None, 1, "straight", "relaxed"], "2"),
        ("/interpolate", ["GAN", "0", "1", None, None, 11, "crooked", "relaxed"], "crooked"),
        ("/out_of_distribution", [1e9, 0, 4], "100"),
        ("/out_of_distribution", ["far", 0, 4], "number"),
        ("/experiment", [None], "seed"),
        ("/generate", ["Attribute GAN", 0, 4, 1, "", "Smilling"], "Smiling"),
        ("/generate", ["Attribute GAN", 0, 4, 1, "", {"Smiling": 3}], "from -1 to 1"),
        ("/generate", ["Attribute GAN", 0, 4, 1, "", ["Smiling"]], "a list"),
        ("/generate", ["GAN", 0, 4, 1, "", "Smiling"], "choose the attribute GAN or the perceptual autoencoder"),
        ("/flip_bit", [0, 4, 1, "", 1, "Plain autoencoder"], "no bits"),
        ("/interpolate", ["Attribute GAN", "7 attributes=x", "1", None, None, 2, "straight", "relaxed"], '"x"'),
    ],
)
def test_bad_input_is_answered_by_one_clear_sentence(client, endpoint, arguments, words):
    with pytest.raises(AppError) as told:
        client.predict(*arguments, api_name=endpoint)
    assert words in str(told.value) and "Traceback" not in str(told.value)
    assert len(generated(client, "GAN", 0, 1)) == 1, "the server goes on"


@pytest.mark.parametrize(
    "endpoint, data, word",
    [
        ("generate", '["GAN", 0, 4, NaN, ""]', "temperature"),
        ("out_of_distribution", "[NaN, 0, 4]", "mean"),
        ("out_of_distribution", "[-Infinity, 0, 4]", "-100"),
    ],
)
def test_what_is_no_number_is_answered_by_one_clear_sentence(url, endpoint, data, word):
    """Python's own client sends no NaN."""
    address = f"{url}gradio_api/call/{endpoint}"
    sent = httpx.post(address, content=f'{{"data": {data}}}', headers={"Content-Type": "application/json"})
    answer = sent.text if sent.is_error else httpx.get(f"{address}/{sent.json()['event_id']}").text
    assert "error" in answer and word in answer and "Traceback" not in answer


def test_eight_programs_that_ask_for_the_same_faces_get_whole_files(url):
    address = f"{url}gradio_api/call/generate"

    def fetch(_) -> list[bytes]:
        with httpx.Client() as client:
            event = client.post(address, json={"data": ["GAN", 11, 8, 1, ""]}).json()["event_id"]
            answer = client.get(f"{address}/{event}").text
            gallery, _ = json.loads(answer.partition("data: ")[2])
            return [client.get(item["image"]["url"]).content for item in gallery]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(fetch, range(48)))
    for files in zip(*answers, strict=True):
        assert len(set(files)) == 1 and files[0].endswith(b"IEND\xaeB\x60\x82")


JUNK = [
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        1.5,
        63.999,
        65,
        2**31,
        2**32,
        2**64,
        10**400,
        -0.0,
        1e-320,
        1e308,
        math.nan,
        math.inf,
    ),
    *("", "7", "7/0", "seven", "\0", "\ud800", "\u202e", MARKUP, 100_000 * "+", "GAN", "/etc/hostname", "../../app.py"),
    *(
        [],
        [1],
        [[[[]]]],
        {},
        {"path": None},
        {"path": "/etc/hostname"},
        {"path": "\0"},
        {"path": 5000 * "a"},
        {"a": {}},
    ),
    {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}, "orig_name": "a.svg"},
]


def spoilt(good: list, count: int, seed: int) -> list[list]:
    """Copies of a list of arguments, with junk in the place of one or more."""
    random, copies = Random(seed), []
    for _ in range(count):
        copy = list(good)
        for place in random.sample(range(len(good)), random.choice([1, 1, 1, min(2, len(good)), len(good)])):
            copy[place] = random.choice(JUNK)
        copies.append(copy)
    return copies


def assert_is_a_sentence(text: str) -> None:
    assert text.endswith(".") and len(text) < 300, text
    for word in ("NoneType", "Traceback", "object at", "argument", "unpack", "Error", "+0"):
        assert word not in text, text
    text.encode()


@pytest.fixture(scope="module")
def functions():
    """What stands behind the endpoints, by name: functions of what programs send."""
    import app

    return {event.api_name: event.fn for event in app.build().fns.values() if event.api_visibility == "public"}


@pytest.mark.parametrize(
    "name, values",
    [
        ("generate", ["Plain autoencoder", 0, 1, 1, "", ""]),
        ("generate", ["Attribute GAN", 0, 1, 1, "", "Smiling"]),
        ("flip_bit", [0, 1, 1, "", 1, "Attribute GAN", ""]),
        ("interpolate", ["Plain autoencoder", "0", "1", None, None, 2, "straight", "relaxed"]),
        ("reconstruct", [None, ""]),
        ("out_of_distribution", [0, 0, 1]),
        ("experiment", [0]),
        ("training", ["GAN", 1]),
    ],
)
def test_junk_from_a_program_is_told_in_a_sentence(functions, name, values):
    told = 0
    for sent in spoilt(values, 60, seed=len(name)):
        try:
            functions[name](*sent)
        except gr.Error as error:
            told += 1
            assert_is_a_sentence(error.message)
    assert told >= 40


def test_an_upload_that_has_been_removed_is_asked_for_again(url, functions):
    (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": ("face.png", encode(draw_face(1), "PNG"))}).json()
    Path(path).unlink()
    with pytest.raises(gr.Error, match="is not here, or no longer: uploads are kept for an hour. Choose it again."):
        functions["reconstruct"]({"path": path, "meta": {"_type": "gradio.FileData"}}, "")


def upload(tmp_path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    return handle_file(path)


def rotated() -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 3
    draw_face(1).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def moving() -> bytes:
    buffer = io.BytesIO()
    draw_face(1).save(buffer, "GIF", save_all=True, append_images=[draw_face(2), draw_face(3)])
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
        ("moving.gif", moving()),
        ("sixteen.png", encode(Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80) * 10), "PNG")),
        ("pixel.png", encode(draw_face(1, (1, 1)), "PNG")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_picture_is_reconstructed(client, tmp_path, name, content):
    pictures, numbers = client.predict(upload(tmp_path, name, content), api_name="/reconstruct")
    assert faces(pictures).shape == (1 + len(catalog.autoencoders()), 64, 64, 3)
    assert [item["caption"].partition(":")[0] for item in pictures] == [
        "What the networks see",
        *catalog.autoencoders(),
    ]
    assert numbers["note"].endswith(".") and numbers["psnr"].keys() == set(catalog.autoencoders())
    seen, *reconstructions = faces(pictures)
    for psnr, face in zip(numbers["psnr"].values(), reconstructions):
        assert psnr == pytest.approx(10 * np.log10(255**2 / np.square(face - seen).mean()), abs=0.01)


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("face.png", b"not an image", "not an image"),
        ("face.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        ("cut.jpg", encode(draw_face(1, (400, 400)), "JPEG")[:2000], "damaged"),
        ("huge.png", encode(Image.new("1", (15000, 15000)), "PNG"), "megapixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_reconstructed_is_told_in_words(client, tmp_path, name, content, sentence):
    with pytest.raises(AppError, match=sentence):
        client.predict(upload(tmp_path, name, content), api_name="/reconstruct")


def test_nothing_to_reconstruct_asks_for_a_face(client):
    with pytest.raises(AppError, match="photograph"):
        client.predict(None, api_name="/reconstruct")
