"""What stands behind the page: values, recipes, attributes, pictures, and where the networks compute."""

import io
import json
import re
import sys
import types
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import app
from models import AttributeGenerator
from page import catalog, controls, drawing, endpoints, labels, networks, pictures, records
from page.recipe import Recipe, sample
from study import scores
from tests import shared_cases
from tests.conftest import draw_face
from tests.markup import STRANGE_NAMES
from tests.serving import serving

GAN = "Attribute GAN"


def model_of(*names: str) -> AttributeGenerator:
    return AttributeGenerator(12, 10, names, channels=(4, 4, 4, 4, 4))


def refused(function, *arguments) -> str:
    with pytest.raises(ValueError) as told:
        function(*arguments)
    sentence = str(told.value)
    assert sentence.endswith(".") and len(sentence) < 300 and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("text, values", shared_cases.RECIPES)
def test_a_recipe_is_read_and_written(text, values):
    assert Recipe.parse(text) == Recipe(*values) == Recipe.parse(str(Recipe(*values)))


@pytest.mark.parametrize("text, words", shared_cases.NO_RECIPES)
def test_what_is_no_recipe_is_told(text, words):
    assert words in refused(Recipe.parse, text)


@pytest.mark.parametrize("line, values", shared_cases.LINES)
def test_a_line_of_attributes_is_read_and_written(line, values):
    assert labels.read(line, model_of(*shared_cases.NAMES)) == values
    assert labels.read(labels.write(values), model_of(*shared_cases.NAMES)) == values


@pytest.mark.parametrize("bits, words", shared_cases.TEN_BITS)
def test_bits_are_held_or_refused(bits, words):
    model = model_of(*shared_cases.NAMES)
    if words:
        assert refused(sample, model, 7, 2, 1.0, bits) == words
    else:
        held = sample(model, 7, 2, 1.0, bits)[:, 2:]
        for index, bit in enumerate(bits):
            assert bit == "." or (held[:, index] == (1 if bit == "+" else -1)).all()


def control(kind: str, **about) -> controls.Control:
    return getattr(controls, kind.capitalize())("it", "It", about.pop("value", ""), **about)


@pytest.mark.parametrize("about, sent, value", shared_cases.VALUES + shared_cases.OTHER_VALUES)
def test_a_control_takes_a_value_or_says_what_is_wrong(about, sent, value):
    if isinstance(value, str) and value.startswith("It cannot"):
        assert refused(control(**about).check, sent, "It").startswith(value)
    else:
        assert control(**about).check(sent, "It") == value


def test_a_photograph_is_read_among_the_uploads_and_while_it_is_kept(tmp_path):
    draw_face(1).save(tmp_path / "face.png")
    kept = endpoints.file(b"a picture", "photograph")
    assert control("photograph").check(kept, "It") == kept["path"]
    Path(kept["path"]).unlink()
    for path in (tmp_path / "face.png", kept["path"]):
        said = refused(control("photograph").check, {"path": str(path)}, "It")
        assert said.endswith("is not here: uploads are kept for an hour. Upload it again.")


def test_a_mapping_is_as_good_as_a_line():
    sent = {"Smiling": True, "Young": False, "5_o_Clock_Shadow": 0.5}
    for value in (sent, json.dumps(sent)):
        assert labels.line(value, "") == "Smiling, no Young, 5_o_Clock_Shadow=0.5"
    assert labels.line(None, "") == labels.line({}, "") == labels.line("{}", "") == ""


@pytest.mark.parametrize(
    "value, words",
    [
        *((item, "") for item in shared_cases.NO_ITEMS),
        ("Smilling", 'There is no attribute "Smilling": the closest are "Smiling"'),
        ("Smiling=2", 'The attribute "Smiling" cannot be 2: choose a number from -1 to 1.'),
        ("Smiling=nan", "cannot be NaN"),
        ({"Smiling": [1]}, "cannot be a list"),
        (["Smiling"], "The attributes cannot be a list: write one line of text, of at most 10,000 characters."),
        (10_001 * "a", "at most 10,000 characters"),
        ({"\ud800": True}, "one line of text"),
        ('{"a":' * 5000, "There is no attribute|at most 10,000"),
        (9_000 * '"', "There is no attribute"),
    ],
)
def test_what_is_no_attribute_is_told_in_a_sentence(value, words):
    model = model_of(*shared_cases.NAMES)
    assert re.search(words, refused(lambda: labels.read(labels.line(value, "The attributes"), model)))


def test_every_name_that_a_line_can_hold_is_written_and_read():
    model = types.SimpleNamespace(attributes=STRANGE_NAMES, discrete_size=len(STRANGE_NAMES))
    names = labels.names_of(model)
    assert len(names) >= 6 and not {"a\nb", "\ud800", "\u202egnilims"} & set(names)
    values = {name: 1.0 if index % 2 else -1.0 for index, name in enumerate(names)}
    assert labels.read(labels.write(values), model) == values


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[1]",
        b"\xff",
        50_000 * b"[",
        b'{"Smiling": {"area": NaN}, "Young": {"area": "high"}, "Bald": {"area": true}, "Male": 7, "x": {"area": 1e999}}',
        b'{"Smiling": {}, "Young": {"area": null}, "Bald": {"area": -1}}',
    ],
)
def test_whatever_a_strangers_measurements_are_none_of_it_is_believed(tmp_path, content):
    (tmp_path / "attributes.json").write_bytes(content)
    assert labels.read_areas(tmp_path / "attributes.json") == {}


def test_what_works_best_comes_first(tmp_path, monkeypatch):
    model_of(*shared_cases.NAMES[:4]).save_pretrained(tmp_path / "gan")
    areas = {"Young": {"area": 0.9}, "Smiling": {"area": 0.97, "moves": 3}, "Unknown": {"area": 1}}
    (tmp_path / "gan/attributes.json").write_text(json.dumps(areas))
    monkeypatch.setattr(catalog, "load_all", lambda: {"gan": catalog.describe(tmp_path / "gan", "")})
    assert catalog.attributes_of("gan") == ["Smiling", "Young", "No_Beard", "5_o_Clock_Shadow"]


def test_odd_names_of_attributes_have_titles():
    assert labels.title("5_o_Clock_Shadow") == "5 o clock shadow"
    assert labels.title("___") == "___"


def test_a_recipe_makes_the_face_of_the_grid():
    bits = "." * 25 + "+" * 25
    model = networks.load("GAN")
    assert torch.equal(Recipe(7, 5, 0.8, bits).latent(model), sample(model, 7, 5, 0.8, bits)[4])


def test_a_bit_is_flipped_beside_other_attributes():
    number = networks.load(GAN).attributes.index("Smiling") + 1
    off, on = drawing.flip_bit(GAN, 1, 4, 1.0, "", number, "no Young")
    for faces, smiling in ((off, "no Smiling"), (on, "Smiling")):
        assert np.abs(faces.astype(int) - drawing.generate(GAN, 1, 4, 1.0, "", f"no Young, {smiling}")).max() <= 1
    # Half on is neither.
    for one, two in zip(drawing.flip_bit(GAN, 1, 4, 1.0, "", number, "Smiling=0.5, no Young"), (off, on)):
        assert np.abs(one.astype(int) - two).max() <= 1


def test_the_diversity_is_the_one_of_the_report():
    faces = drawing.generate("GAN", 0, 12, 1.0, "")
    images = torch.from_numpy(faces).permute(0, 3, 1, 2)
    assert pictures.diversity(faces) == pytest.approx(scores.mean_distance(images) / images[0].numel() ** 0.5, rel=1e-4)
    assert pictures.diversity(np.repeat(faces[:1], 4, axis=0)) == pytest.approx(0, abs=1e-3)
    assert pictures.diversity(faces[:1]) == 0


def test_walks_go_there_and_back():
    faces = drawing.generate("GAN", 0, 5, 1.0, "")
    gif = Image.open(io.BytesIO(pictures.gif(faces)))
    assert gif.n_frames == 8 and gif.size == (256, 256) and gif.info["loop"] == 0
    for frame, face in zip(range(8), (0, 1, 2, 3, 4, 3, 2, 1)):
        gif.seek(frame)
        assert np.abs(np.asarray(gif.convert("RGB"))[::4, ::4].astype(int) - faces[face]).mean() < 4


def test_the_measured_share_of_faces_lies_between_those_that_were_measured():
    points = json.loads(records.MEASURED.read_text())["autoencoder"]
    near, far = points[10], points[11]
    between = records.face_share("Plain autoencoder", (near["mean"] + far["mean"]) / 2)
    assert between == pytest.approx((near["face_share"] + far["face_share"]) / 2)
    assert records.face_share("Plain autoencoder", near["mean"]) == near["face_share"]


def test_a_space_on_zero_gpu_has_the_function_that_it_looks_for(monkeypatch):
    lent = []
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=lent.append))
    app.build()
    assert len(lent) == 1 and callable(lent[0])


# In a server's process: writes down which other machines it looks for, and when it imports PyTorch.
WATCH = """
import os, sys

def watch(event, arguments):
    name = None
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        name = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        name = arguments[1][0]
    elif event == "import" and arguments[0] in ("torch", "torchvision"):
        name = arguments[0]
    if name not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{name}\\n")

sys.addaudithook(watch)
"""


def test_a_server_asks_nothing_of_other_machines_and_needs_pytorch_to_draw_only(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED")  # As somebody has it who has set nothing.
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    seen = tmp_path / "seen"
    seen.touch()
    with (
        serving({"PYTHONPATH": str(tmp_path), "SEEN": str(seen)}) as page,
        httpx.Client(base_url=page.url, trust_env=False, timeout=60) as client,
    ):
        told = client.get("/page.json").json()
        model = told["models"][0]
        addresses = ["/", "/?view=api", "/config", "/front/main.js", f"/{told['examples'][0]['url']}"]
        for address in [*addresses, f"/{model['weights']['url']}", f"/{model['history']['sheet']}"]:
            assert client.get(address).status_code == 200
        trained = client.post("/gradio_api/run/training", json={"data": ["GAN", 1]})
        assert len(trained.json()["data"][0]) == 16
        assert seen.read_text() == ""
        drawn = client.post("/gradio_api/run/generate", json={"data": ["GAN", 0, 2, 1, ""]})
        assert len(drawn.json()["data"][0]) == 2
    assert {"torch"} <= set(seen.read_text().split()) <= {"torch", "torchvision"}
