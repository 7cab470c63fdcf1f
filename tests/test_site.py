"""What the browser draws the page from: page.json, files by their addresses, and the page as a static folder."""

import hashlib
import io
import json
import math
from base64 import b64decode
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image

from models.history import load_history
from page import labels, site, story, zoo
from page.controls import Attributes, Choice, Number, Photograph, Text
from tests.conftest import WEIGHTS
from tests.markup import MARKUP, history_with, models_with_markup


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def told(client) -> dict:
    return client.get("/page.json").json()


@pytest.fixture
def show(monkeypatch):
    """A function that has the page show other models."""
    cached = (site.tabs, site.page, site.sheet, site._hash)

    def show(models: dict) -> None:
        for module in (zoo, story, site):
            monkeypatch.setattr(module, "load_all", lambda: models)
        for function in cached:
            function.cache_clear()

    yield show
    for function in cached:
        function.cache_clear()


def test_links_call_what_visitors_set_by_these_names(told):
    names = {tab["name"]: [control["name"] for control in tab["controls"]] for tab in told["tabs"]}
    directions = names.pop("reconstruct")
    assert names == {
        "out-of-distribution": ["mean", "seed", "faces", "models"],
        "generate": ["model", "seed", "faces", "temperature", "bits", "face", "bit", "attributes"],
        "interpolate": ["model", "a", "b", "c", "steps", "way", "discrete", "image_a", "image_b"],
        "training": ["model", "epoch"],
    }
    known = json.loads((WEIGHTS / "perceptual-autoencoder/config.json").read_text())["attributes"]
    assert directions[-1] == "image" and sorted(directions[:-1]) == sorted(f"attribute.{name}" for name in known)


def test_every_control_is_described_and_takes_its_own_value(told):
    for tab, described in zip(site.tabs(), told["tabs"], strict=True):
        for control, told_of in zip(tab.controls, described["controls"], strict=True):
            assert control.check(told_of["value"], "It") == told_of["value"] == control.component().value
            if told_of["first"] is not None:
                assert control.check(told_of["first"], "It") == told_of["first"]
            assert told_of["label"] and told_of["kind"] in ("number", "choice", "text", "attributes", "photograph")
            if told_of["kind"] == "number":
                for wrong in (told_of["least"] - 1, told_of["most"] + 1):
                    with pytest.raises(ValueError, match="It cannot be"):
                        control.check(wrong, "It")


@pytest.mark.parametrize(
    "control, value, words",
    [
        (Number("seed", "Seed", 0, least=0, most=2**32 - 1), None, "The seed cannot be empty: choose a whole number"),
        (Number("seed", "Seed", 0, least=0, most=9), 1.5, "cannot be 1.5: choose a whole number from 0 to 9."),
        (Number("t", "Temperature", 1, least=0, most=2, step=0.05), math.nan, "cannot be NaN: choose a number from"),
        (Choice("way", "Way", "a", ["a", "b"]), "c", 'The seed cannot be "c": choose a or b.'),
        (Text("bits", "Bits"), "a\0", 'cannot be "a?": write one line of text, of at most 1,200 characters.'),
        (Attributes(), ["Smiling"], "cannot be a list: write a line such as Smiling, no Eyeglasses."),
        (Photograph("image", "Photograph", None), {"path": "/etc/hostname"}, "is not here, or no longer"),
    ],
)
def test_a_control_refuses_in_a_sentence(control, value, words):
    with pytest.raises(ValueError) as told:
        control.check(value, "The seed")
    assert words in str(told.value) and str(told.value).endswith(".")


def test_the_models_are_told_as_they_are(told):
    folders = json.loads((WEIGHTS / "index.json").read_text())
    assert [(model["folder"], model["name"]) for model in told["models"]] == [*folders.items()]
    for model in told["models"]:
        folder = WEIGHTS / model["folder"]
        config, content = json.loads((folder / "config.json").read_text()), (folder / "model.safetensors").read_bytes()
        assert model["kind"] == config["model_type"] and model["latent_size"] == config["latent_size"]
        assert model["discrete_size"] == config.get("discrete_size", 0)
        assert model["attributes"] == config.get("attributes", [])
        assert model["weights"]["size"] == len(content)
        assert hashlib.sha256(content).hexdigest().startswith(model["weights"]["hash"])
        if (folder / "attributes.json").exists():
            measured = json.loads((folder / "attributes.json").read_text())
            best = sorted(model["attributes"], key=lambda name: -measured.get(name, {"area": -1})["area"])
            assert model["best"] == best
        assert model["encodes"] == ("encoder" in config["model_type"])
        assert model["architecture"] == model["kind"] + "-affine" * config.get("affine", False)
        assert model["origin"] == "bundled" and model["graph"] == f"front/graphs/{model['architecture']}.onnx"
        assert (site.FRONT / model["graph"].removeprefix("front/")).is_file()
        training = json.loads((folder / "training.json").read_text())
        assert {name: model["history"][name] for name in ("epochs", "losses", "command")} == {
            name: training[name] for name in ("epochs", "losses", "command")
        }
        assert len(model["measured"]) > 20 and model["history_problem"] is None
    assert {model["said"] for model in told["models"]} >= {"GAN", "attribute GAN", "plain autoencoder"}
    assert told["models"][3]["prior"] == "100 numbers from N(-3, 2)"


def test_a_sheet_has_a_row_for_every_epoch(client, told):
    model = told["models"][0]
    answer = client.get(model["history"]["sheet"])
    sheet = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)
    assert answer.headers["Content-Type"] == "image/webp" and "immutable" in answer.headers["Cache-Control"]
    assert model["history"]["shown"] == [*range(1, model["history"]["epochs"] + 1)]
    assert sheet.shape == (64 * model["history"]["epochs"], 1024, 3)
    history = load_history(WEIGHTS / model["folder"])
    for row, epoch in enumerate(model["history"]["shown"]):
        for number, face in enumerate(history.faces_after(epoch)):
            shown = sheet[64 * row : 64 * (row + 1), 64 * number : 64 * (number + 1)]
            assert np.abs(shown - np.asarray(face)).mean() < 6


@pytest.mark.parametrize("epochs", [1, 2, 249, 250, 251, 2000])
def test_of_many_epochs_some_are_shown_and_the_last_always(epochs):
    shown = site._shown(epochs)
    assert len(shown) == min(epochs, 250) == len(set(shown)) and shown == sorted(shown)
    assert shown[0] == 1 and shown[-1] == epochs
    assert epochs == 1 or np.ptp(np.diff(shown)) <= 1, "evenly"


def test_a_damaged_animation_is_told_in_a_sentence(show, tmp_path):
    history_with(tmp_path)
    (tmp_path / "epochs.webp").write_bytes((tmp_path / "epochs.webp").read_bytes()[:5000])
    models = zoo.load_all()
    show({**models, "GAN": replace(models["GAN"], history=load_history(tmp_path))})
    gan, plain, *_ = json.loads(site.page())["models"]
    assert gan["history"] is None and "epochs.webp is damaged" in gan["history_problem"]
    assert gan["history_problem"].endswith(".") and plain["history"]


def test_a_model_without_history_is_told_so(show):
    models = zoo.load_all()
    show({**models, "GAN": replace(models["GAN"], history=None)})
    (gan, *_) = json.loads(site.page())["models"]
    assert gan["history"] is None and "without a history of its training" in gan["history_problem"]


def test_the_words_of_a_stranger_are_text(show, tmp_path):
    show(models := models_with_markup(tmp_path))
    content = site.page()
    told = {model["name"]: model for model in json.loads(content)["models"]}
    assert content.isascii()
    for name, loaded in models.items():
        assert told[name]["origin"] == loaded.origin and MARKUP in loaded.origin
        assert told[name]["attributes"] == [*loaded.model.attributes]
        assert set(told[name]["best"]) == set(labels.names_of(loaded.model))
    pictures = site.first_pictures()
    assert pictures.count("<img ") == len(models) and "planted" not in pictures


def test_the_first_pictures_are_those_of_the_first_tab():
    html = site.first_pictures()
    assert [part.partition("<")[0] for part in html.split("<h3>")[1:]] == [*zoo.MODELS]
    for name, source in zip(zoo.MODELS, html.split('src="data:image/webp;base64,')[1:], strict=True):
        strip = Image.open(io.BytesIO(b64decode(source.partition('"')[0]))).convert("RGB")
        faces = zoo.load(name).generate(6, seed=0, mean=0)
        wanted = np.concatenate([np.asarray(face) for face in faces], axis=1).astype(int)
        assert np.abs(np.asarray(strip) - wanted).mean() < 6


def test_weights_come_in_parts_and_stay(client, told):
    for model in told["models"]:
        content = (WEIGHTS / model["folder"] / "model.safetensors").read_bytes()
        part = client.get(model["weights"]["url"], headers={"Range": "bytes=8-107"})
        assert part.status_code == 206 and part.content == content[8:108]
        assert part.headers["Content-Range"] == f"bytes 8-107/{len(content)}"
        assert "immutable" in part.headers["Cache-Control"] and "Content-Encoding" not in part.headers
    assert client.get(model["weights"]["url"]).content == content


@pytest.mark.parametrize(
    "address",
    [
        "weights/gan/model.safetensors",
        "weights/gan/model.safetensors?v=0123456789abcdef",
        "weights/nothing/model.safetensors?v=",
        "weights/..%2f..%2fapp/model.safetensors",
        "weights/gan/config.json",
        "epochs/gan.webp",
        "epochs/..%2Fgan.webp?v=1",
        "front/../zoo.py",
        "front/%2e%2e/zoo.py",
        "examples/..%2f..%2fapp.py",
        "front/nothing.js",
    ],
)
def test_no_other_file_has_an_address(client, address):
    answer = client.get(f"/{address}")
    assert answer.status_code == 404 and len(answer.content) < 200 and "immutable" not in str(answer.headers)


def test_what_changes_with_a_version_is_asked_for_again(client):
    for address in ("/page.json", "/front/index.html", f"/examples/{next(iter(site.examples().values())).name}"):
        answer = client.get(address)
        assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-cache"
        again = client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.content
    assert client.get("/page.json").headers["Content-Encoding"] in ("br", "gzip")


def test_the_page_itself_is_compressed(client):
    answer = client.get("/")
    assert answer.headers["Content-Encoding"] == "gzip" and "Latent Faces" in answer.text
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers and plain.text == answer.text
    assert int(answer.headers["Content-Length"]) < len(plain.content) / 4
    assert "Content-Encoding" not in client.get("/health").headers


def test_scripts_are_scripts_and_sheets_are_sheets(client):
    """Else browsers refuse them."""
    for path in [*site.FRONT.rglob("*.js"), *site.FRONT.rglob("*.css")]:
        kind = client.get(f"/front/{path.relative_to(site.FRONT)}").headers["Content-Type"].partition(";")[0]
        assert kind in {".js": ("text/javascript", "application/javascript"), ".css": ("text/css",)}[path.suffix]


def test_the_static_folder_holds_all_that_its_page_names_and_no_photographs(tmp_path):
    site.main([str(tmp_path)])
    site.main([str(tmp_path)])  # Over what is there.
    told = json.loads((tmp_path / "page.json").read_text())
    assert told["server"] is False and told["examples"] == []
    assert [tab["name"] for tab in told["tabs"]] == ["out-of-distribution", "generate", "interpolate", "training"]
    assert "photograph" not in {control["kind"] for tab in told["tabs"] for control in tab["controls"]}
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    named = {model["weights"]["url"] for model in told["models"]} | {
        model["history"]["sheet"] for model in told["models"]
    }
    named |= {model["graph"] for model in told["models"] if model["graph"]}
    front = {f"front/{path.relative_to(site.FRONT)}" for path in site.FRONT.rglob("*") if path.is_file()}
    expected = {address.partition("?")[0] for address in named} | front - {"front/index.html"}
    assert files == expected | {"index.html", "page.json"}
