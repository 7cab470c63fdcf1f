"""What the browser draws the page from: page.json, files by their addresses, and the page as a static folder."""

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from models.history import load_history
from page import catalog, labels, networks, records, site
from tests.conftest import WEIGHTS, forget_page
from tests.markup import MARKUP, history_with, models_with_markup


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def told(client) -> dict:
    return client.get("/page.json").json()


@pytest.fixture
def show(monkeypatch, forget):
    """A function that has the page show other models."""

    def show(models: dict) -> None:
        monkeypatch.setattr(catalog, "load_all", lambda: models)
        forget()

    return show


def test_links_call_what_visitors_set_by_these_names(told):
    names = {tab["name"]: [control["name"] for control in tab["controls"]] for tab in told["tabs"]}
    directions = names.pop("reconstruct")
    moves = [f"direction.{number}" for number in range(1, 7)]
    assert names == {
        "out-of-distribution": ["mean", "seed", "faces", "models"],
        "generate": ["model", "seed", "faces", "temperature", "bits", "face", "bit", "attributes", *moves],
        "interpolate": ["model", "a", "b", "c", "steps", "way", "discrete", "image_a", "image_b"],
        "training": ["model", "epoch"],
    }
    known = json.loads((WEIGHTS / "perceptual-autoencoder/config.json").read_text())["attributes"]
    assert directions[-1] == "image" and sorted(directions[:-1]) == sorted(f"attribute.{name}" for name in known)


def test_the_bundled_models_main_directions_have_names_and_no_others(told):
    assert [len(model["directions"]) for model in told["models"]] == 6 * [6]
    files = [WEIGHTS / model["folder"] / "model.safetensors" for model in told["models"]]
    hashes = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert json.loads(site.DIRECTIONS.read_text()).keys() == hashes


def test_every_control_is_described_and_takes_its_own_value(told):
    for tab, described in zip(site.tabs(), told["tabs"], strict=True):
        for control, told_of in zip(tab.controls, described["controls"], strict=True):
            assert control.check(told_of["value"], "It") == told_of["value"] == control.component().value
            if told_of["first"] is not None:
                assert control.check(told_of["first"], "It") == told_of["first"]
            assert told_of["label"] and told_of["kind"] in ("number", "choice", "text", "attributes", "photograph")


def test_cards_and_the_report_are_there_to_be_read(client, told):
    texts = {model["card"]: WEIGHTS / model["folder"] / "README.md" for model in told["models"]}
    texts[told["links"]["report"]] = WEIGHTS.parent / "docs/report.md"
    for place, path in texts.items():
        answer = client.get(place)
        assert answer.headers["content-type"].startswith("text/plain") and answer.text == path.read_text()
    assert client.get("/weights/nobody/card.txt").status_code == 404


def test_the_models_are_told_as_they_are(told):
    """What is read without PyTorch is what the networks say."""
    folders = json.loads((WEIGHTS / "index.json").read_text())
    assert [(model["folder"], model["name"]) for model in told["models"]] == [*folders.items()]
    for model in told["models"]:
        folder, network = WEIGHTS / model["folder"], networks.load(model["name"])
        for word in ("latent_size", "discrete_size", "prior_mean", "prior_variance", "encodes"):
            assert model[word] == getattr(network, word), word
        assert (model["kind"], model["attributes"]) == (network.model_type, [*network.attributes])
        assert model["encoding_steps"] == getattr(network, "encoding_steps", 0)
        content, weights = (folder / "model.safetensors").read_bytes(), model["weights"]
        assert weights["size"] == len(content)
        assert weights["url"].endswith(f"?v={hashlib.sha256(content).hexdigest()[:16]}")
        blocks = [content[at : at + 262_144] for at in range(0, len(content), 262_144)]
        assert [hashlib.sha256(block).hexdigest() for block in blocks] == weights["blocks"]
        if (folder / "attributes.json").exists():
            measured = json.loads((folder / "attributes.json").read_text())
            best = sorted(model["attributes"], key=lambda name: -measured.get(name, {"area": -1})["area"])
            assert model["best"] == best
        training = json.loads((folder / "training.json").read_text())
        for word in ("epochs", "losses", "command"):
            assert model["history"][word] == training[word]
        assert len(model["measured"]) > 20 and model["history_problem"] is None and model["origin"] == "bundled"
    assert {model["said"] for model in told["models"]} >= {"GAN", "attribute GAN", "plain autoencoder"}
    assert [model["prior"] for model in told["models"]] == [
        "50 numbers from N(0, 1), 50 bits",
        *["100 numbers from N(0, 2)"] * 2,
        "100 numbers from N(-3, 2)",
        "50 numbers from N(0, 1), 50 bits, 40 of them attributes",
        "100 numbers from a mixture of 20 Gaussians, as a whole like N(0, 1.8)",
    ]


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


def test_a_history_that_is_damaged_or_missing_is_told_in_a_sentence(show, tmp_path):
    history_with(tmp_path)
    (tmp_path / "epochs.webp").write_bytes((tmp_path / "epochs.webp").read_bytes()[:5000])
    models = catalog.load_all()
    damaged, none = (
        replace(models["GAN"], history=load_history(tmp_path)),
        replace(models["Attribute GAN"], history=None),
    )
    show({**models, "GAN": damaged, "Attribute GAN": none})
    client = TestClient(Starlette(routes=site.routes()))
    told = {model["name"]: model for model in client.get("/page.json").json()["models"]}
    refused = client.get(told["GAN"]["history"]["sheet"])
    assert refused.status_code == 404 and "epochs.webp is damaged" in refused.text
    assert "immutable" not in str(refused.headers)
    assert client.get(told["Plain autoencoder"]["history"]["sheet"]).status_code == 200
    assert told["Attribute GAN"]["history"] is None
    assert "its history is missing or damaged" in told["Attribute GAN"]["history_problem"]


def test_the_words_of_a_stranger_are_text(show, tmp_path):
    show(models := models_with_markup(tmp_path))
    content = site.page()
    told = {model["name"]: model for model in json.loads(content)["models"]}
    assert content.isascii()
    for name, loaded in models.items():
        assert told[name]["origin"] == loaded.origin and MARKUP in loaded.origin
        assert told[name]["attributes"] == [*loaded.attributes]
        assert set(told[name]["best"]) == set(labels.names_of(loaded))


FIRST = '<b><img data-model="gan" src="a.webp"><img class="x" data-model="autoencoder" src="b.webp" /></b>'


def test_the_first_pictures_are_shown_beside_the_weights_that_drew_them(show, tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text(f"<!-- first screen -->{FIRST}<!-- end of the first screen -->")
    digest = hashlib.sha256((WEIGHTS / "autoencoder/model.safetensors").read_bytes()).hexdigest()
    (tmp_path / "drawn.json").write_text(json.dumps({"autoencoder": digest, "gan": digest}))
    monkeypatch.setattr(site, "FRONT", tmp_path)
    monkeypatch.setattr(site, "DRAWN", tmp_path / "drawn.json")
    show(catalog.load_all())
    assert site.part_of_index("first screen") == '<b><img class="x" data-model="autoencoder" src="b.webp" /></b>'
    first = {model["folder"]: model["first"] for model in json.loads(site.page())["models"]}
    assert first["autoencoder"] and not first["gan"] and not first["attribute-gan"]


def test_curves_are_shown_of_the_weights_that_were_measured(show, tmp_path):
    models = catalog.load_all()
    other = tmp_path / "model.safetensors"
    other.write_bytes((models["GAN"].folder / "model.safetensors").read_bytes() + b" ")
    show({**models, "GAN": replace(models["GAN"], folder=tmp_path, history=None)})
    gan, plain, *_ = json.loads(site.page())["models"]
    assert gan["measured"] == [] and len(plain["measured"]) > 20
    assert records.face_share("GAN", 0) is None and records.face_share("Plain autoencoder", 0) > 0.1


def test_the_page_says_whose_pictures_were_learned_from(show):
    models = catalog.load_all()
    assert "the pictures of CelebA to" in json.loads(site.page())["introduction"]
    show({name: replace(model, faces_from="user/cats") for name, model in models.items()})
    told = json.loads(site.page())
    assert "the pictures of user/cats to" in told["introduction"] and "CelebA" not in told["introduction"]


@pytest.mark.parametrize(
    "card, named",
    [
        ("---\ndatasets:\n- user/cats\ntags:\n- celeba\n---\n# Cats", "user/cats"),
        ("---\ntags: [celeba, faces]\n---\n", "CelebA"),
        ("---\ntags: [faces]\n---\n", None),
        ("---\ndatasets:\n- <b>cats</b>\n---\n", None),
        ("---\ndatasets: 7\n---\n", None),
        (None, None),
    ],
)
def test_a_card_names_its_data_set(tmp_path, card, named):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(WEIGHTS / "gan" / name, tmp_path)
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="latin-1")
    assert catalog.describe(tmp_path, "").faces_from == named


def test_weights_come_in_parts_and_stay(client, told):
    model = told["models"][0]
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
        "weights/gan/config.json",
        "epochs/gan.webp",
        "examples/..%2f..%2fapp.py",
        "weights/..%2f..%2fapp.py",
        "weights/gan/%00",
        "front/%2e%2e/app.py",
        "front/nothing.js",
        "front/index.html",
        "page.jsonl",
    ],
)
def test_no_other_file_has_an_address(client, address):
    answer = client.get(f"/{address}")
    assert answer.status_code == 404 and len(answer.content) < 200 and "immutable" not in str(answer.headers)


def test_what_changes_with_a_version_is_asked_for_again(client, told):
    for address in ("/page.json", "/front/main.js", f"/{told['examples'][0]['url']}"):
        answer = client.get(address)
        assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-cache"
        again = client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.content
    assert client.get("/page.json").headers["Content-Encoding"] in ("br", "gzip")


def test_a_page_for_people_and_one_for_programs(client):
    """Gradio's own, of 2 MB, is loaded by those who want to read what programs can ask."""
    page = client.get("/")
    assert page.text == site.index() and "gradio" not in page.text
    assert page.headers["Content-Type"].startswith("text/html") and page.headers["Cache-Control"] == "no-cache"
    assert client.get("/", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    assert "gradio_config" in client.get("/?view=api").text


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def few_epochs():
    """Sheets of two rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "MOST_EPOCHS_SHOWN", 2)
        forget_page()
        yield
    forget_page()


def test_the_static_folder_holds_all_that_its_page_names(tmp_path, few_epochs):
    site.main([str(tmp_path)])
    told, whole = json.loads((tmp_path / "page.json").read_text()), json.loads(site.page())
    assert told == {**whole, "api": False} and whole["api"] is True
    named = [address for model in told["models"] for address in (model["weights"]["url"], model["history"]["sheet"])]
    named += [*(model["card"] for model in told["models"]), *(example["url"] for example in told["examples"])]
    front = {f"front/{path.relative_to(site.FRONT)}" for path in site.FRONT.rglob("*") if path.is_file()}
    front = {place for place in front if not place.endswith((".c", ".py", ".pyc", "/index.html"))}
    expected = {address.partition("?")[0] for address in named} | front
    assert written(tmp_path) == expected | {"index.html", "page.json", told["links"]["report"], site.WRITTEN}


def test_its_own_folder_is_written_anew_and_what_else_is_there_stays(tmp_path, few_epochs):
    folder = tmp_path / "site"
    site.main([str(folder)])
    (folder / "CNAME").write_text("faces.example")
    (folder / site.WRITTEN).open("a").write(f"\nfront/gone.js\n../precious\n{tmp_path}/precious\n")
    (folder / "front/gone.js").write_text("of an older page")
    (tmp_path / "precious").write_text("mine")
    before = written(folder)
    site.main([str(folder)])
    assert written(folder) == before - {"front/gone.js"} and (folder / "CNAME").read_text() == "faces.example"
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    "there",
    [
        {"site/index.html": "mine"},
        {"site": "mine"},
        {"site": "-> elsewhere"},
        {f"site/{site.WRITTEN}": "index.html\nfront/main.js", "site/front": "-> elsewhere"},
        {f"site/{site.WRITTEN}": "page.json", "site/index.html": "-> precious"},
        {f"site/{site.WRITTEN}": "page.json", "site/index.html": "mine"},
    ],
    ids=["a folder", "a file", "a link", "a folder that is a link", "a file that is a link", "a file among the page's"],
)
def test_what_somebody_has_there_is_not_touched(tmp_path, few_epochs, there):
    (tmp_path / "elsewhere").mkdir()
    for name, content in {"precious": "mine", **there}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if content.startswith("-> "):
            (tmp_path / name).symlink_to(tmp_path / content.removeprefix("-> "))
        else:
            (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as told:
        site.main([str(tmp_path / "site")])
    assert str(told.value).endswith(".") and "\n" not in str(told.value) and f"{tmp_path}/site" in str(told.value)
    mine = ["precious", *(name for name, content in there.items() if content == "mine")]
    assert {(tmp_path / name).read_text() for name in mine} == {"mine"} and not [*(tmp_path / "elsewhere").iterdir()]


def test_only_files_of_the_page_are_served_and_written(tmp_path, monkeypatch, few_epochs, forget):
    front = shutil.copytree(site.FRONT, tmp_path / "front")
    secrets = (".env", "id_rsa", "notes.txt", "node_modules/a.js", ".git/config.json", "last.pt")
    for name in secrets:
        (front / name).parent.mkdir(exist_ok=True)
        (front / name).write_text("secret")
    (tmp_path / "elsewhere.js").write_text("secret")
    (front / "linked.js").symlink_to(tmp_path / "elsewhere.js")
    monkeypatch.setattr(site, "FRONT", front)
    forget()
    client = TestClient(Starlette(routes=site.routes()))
    assert client.get("/front/main.js").status_code == 200
    for name in (*secrets, "linked.js"):
        assert client.get(f"/front/{name}").status_code == 404
    site.write(tmp_path / "site")
    assert "front/main.js" in written(tmp_path / "site") and "front/linked.js" not in written(tmp_path / "site")
    assert not any((tmp_path / "site" / name).read_bytes() == b"secret" for name in written(tmp_path / "site"))
