"""The Space that is made of the checkout: what it gets, and what it must not get."""

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client
from huggingface_hub import RepoCard
from PIL import Image

from models import load
from models.index import repository_name
from page import catalog, publish, site
from tests.conftest import GAN_ID, WEIGHTS
from tests.loopback_hub import READ, Fault
from tests.serving import serving

SPACE = "tester/latent-faces"
CHECKOUT = WEIGHTS.parent


def files_on(hub) -> dict[str, bytes]:
    return hub.repository("space", SPACE).files


def front(files: dict[str, bytes]):
    return RepoCard(files["README.md"].decode()).data


def test_the_space_gets_what_the_page_needs_and_no_more(hub, published, tmp_path):
    assert publish.publish(SPACE, models="tester") == f"{hub.url}/spaces/{SPACE}"
    space = hub.repository("space", SPACE)
    weights = {f"weights/{path.relative_to(WEIGHTS)}" for path in WEIGHTS.glob("*/*")}
    assert {"app.py", "requirements.txt", "weights/index.json", *weights} <= set(space.files)
    assert not any(path.startswith(("train", "tests", ".")) or "__pycache__" in path for path in space.files)
    assert space.sdk == "gradio" and len(front(space.files)["short_description"]) <= 60
    assert front(space.files)["sdk_version"] in space.files["requirements.txt"].decode()

    for path, content in space.files.items():
        (tmp_path / "space" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / path).write_bytes(content)
    variables = {name: variable["value"] for name, variable in space.variables.items()}
    with serving({**hub.environment(tmp_path / "visitor"), **variables}, tmp_path / "space") as page:
        models = {model["folder"]: model for model in httpx.get(f"{page.url}page.json").json()["models"]}
        pulled = httpx.get(f"{page.url}{models['gan']['weights']['url']}").content
        gallery, _ = Client(page.url, verbose=False).predict("GAN", 3, 4, 1, "", api_name="/generate")
    # It shows the models of the namespace, and draws their very faces.
    assert models["gan"]["origin"].startswith(f"{GAN_ID} at ") and models["gan"]["history"]["shown"] == [1, 2, 3]
    assert models["autoencoder"]["origin"].startswith("bundled (tester/latent-faces-autoencoder: there is no ")
    assert pulled == (published / "model.safetensors").read_bytes()
    for item, face in zip(gallery, load(published).generate(4, seed=3), strict=True):
        assert np.abs(np.asarray(Image.open(item["image"])).astype(int) - np.asarray(face)).max() <= 1


def test_a_static_space_gets_files_only(hub, published, monkeypatch, request, forget, tmp_path):
    before = ("app.py", "models/gan.py", "page/site.py", "docs/report.md", "front/gone.js", "of-its-owner.txt")
    write_all(tmp_path / "before", before, "of the Space that it was")
    hub.add_folder("space", SPACE, tmp_path / "before")
    for name in ("LATENT_FACES_HUB", "SPACE_ID", "SPACE_HOST"):
        monkeypatch.setenv(name, "")  # Publishing sets them.
    monkeypatch.setattr(site, "MOST_EPOCHS_SHOWN", 2)
    catalog.load_all.cache_clear()
    request.addfinalizer(catalog.load_all.cache_clear)
    forget()
    publish.main([SPACE, "--static", "--models", "tester"])
    files = files_on(hub)
    assert set(before) & set(files) == {"of-its-owner.txt"}
    told = json.loads(files["page.json"])
    assert told["models"][0]["origin"].startswith(f"{GAN_ID} at ")
    for model in told["models"]:
        bundled = WEIGHTS / model["folder"] / "model.safetensors"
        content = (published / "model.safetensors" if model["folder"] == "gan" else bundled).read_bytes()
        assert files[model["weights"]["url"].partition("?")[0]] == content
        assert model["history"]["sheet"].partition("?")[0] in files and model["card"] in {*files, None}
    assert told["links"]["report"] in files and SPACE in told["links"]["code"]
    index = files["index.html"].decode()
    assert "front/main.js" in index
    # Social networks want an absolute address.
    assert '"og:image" content="https://tester-latent-faces.static.hf.space/front/first/card.jpg"' in index
    own = {name.removeprefix("page/") for name in publish.own_files() if name.startswith("page/front/")}
    assert own <= {*files, "front/index.html"}
    assert front(files)["sdk"] == "static" and front(files)["app_file"] == "index.html"
    assert "sdk_version" not in front(files) and "preload_from_hub" not in front(files)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


MINE = (
    *("app.py", "models/gan.py", "page/site.py", "page/tabs/generate.py", "page/front/main.js"),
    *("page/front/graphs/generator.onnx", "page/front/vendor/LICENSE.other", "page/examples/gan.png"),
    *("weights/index.json", "weights/gan/config.json", "weights/gan/model.safetensors"),
)
SECRETS = (
    *("page/.env", ".env", "page/id_rsa", "page/front/key.pem", "models/.cache/token.py", "weights/gan/checkpoint.pt"),
    *("page/front/node_modules/left-pad/index.js", "page/front/.vscode/settings.json", "runs/gan/run.json"),
    *("weights/gan/photograph.png", "docs/results/private.json", "page/__pycache__/site.cpython-311.pyc"),
)
UNTRACKED = ("page/mine.py", "page/front/mine.js", "weights/mine/config.json", "weights/mine/model.safetensors")


def write_all(folder: Path, names: tuple[str, ...], content: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A small one, with all that must not leave it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "checkout"
    write_all(folder, MINE, "{}")
    shutil.copy(CHECKOUT / "README.md", folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    write_all(folder, SECRETS, "a secret")
    write_all(tmp_path, ("elsewhere/secret.js",), "a secret")
    (folder / "page/front/linked.js").symlink_to(tmp_path / "elsewhere/secret.js")
    (folder / "page/front/linked").symlink_to(tmp_path / "elsewhere")
    (folder / "page/examples/gone.png").symlink_to(tmp_path / "nowhere")
    git(folder, "add", "page/front/linked.js", "page/front/linked", "page/examples/gone.png")
    monkeypatch.setattr(publish, "CHECKOUT", folder)
    return folder


def test_a_space_names_the_models_that_there_are(hub, published, checkout):
    (checkout / "weights/index.json").write_text('{"gan": "GAN", "attribute-gan": "Attribute GAN", "autoencoder": ""}')
    secret = repository_name("tester", "attribute-gan")
    hub.add_folder("model", secret, published).private = True
    first = hub.repository("model", GAN_ID).commits[0].sha
    publish.main([SPACE, "--models", "tester"])
    space = hub.repository("space", SPACE)
    # The Hub fetches public ones when it builds the Space.
    assert front(space.files)["models"] == [GAN_ID, secret]
    assert front(space.files)["preload_from_hub"] == [f"{GAN_ID} config.json,model.safetensors"]
    assert space.variables["LATENT_FACES_HUB"]["value"] == "tester"
    publish.main([SPACE, "--models", f"tester@{first}"])
    assert front(space.files)["preload_from_hub"] == [f"{GAN_ID} config.json,model.safetensors {first}"]
    publish.main([SPACE])
    assert "LATENT_FACES_HUB" not in space.variables and "preload_from_hub" not in front(space.files)


@pytest.mark.parametrize("has_git", [True, False])
def test_nothing_leaves_the_checkout_but_what_is_on_the_list(hub, checkout, has_git, capsys):
    """Where there is no git to ask, as in an unpacked archive, it is the list alone that keeps secrets."""
    if has_git:
        write_all(checkout, UNTRACKED, "a secret")
    else:
        shutil.rmtree(checkout / ".git")
    publish.main([SPACE])
    files = files_on(hub)
    assert set(files) == {*MINE, "README.md"}
    assert not any(b"a secret" in content for content in files.values())
    said = capsys.readouterr().out
    named = ["page/front/linked.js", *(UNTRACKED if has_git else ())]
    assert said.startswith("Left out") and all(name in said.partition("\n")[0] for name in named)


def test_the_files_are_listed_before_any_is_sent(hub, checkout, capsys):
    hub.fault = Fault("500", "POST /api/repos/create")
    with pytest.raises(SystemExit):
        publish.main([SPACE])
    assert "  weights/gan/model.safetensors\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "arguments", "words"),
    [
        (lambda hub, checkout: setattr(hub, "access", READ), [], f"cannot push to {SPACE}: this token may only read"),
        (lambda hub, checkout: None, ["--models", "nobody"], "--models nobody: there is no model to show"),
        (lambda hub, checkout: (checkout / ".git/HEAD").unlink(), [], "Command .*git.* returned"),
        (lambda hub, checkout: (checkout / "README.md").write_text("---\n: [\n---\n"), [], "while parsing"),
    ],
    ids=["a token that may only read", "no models", "a damaged git", "a damaged README"],
)
def test_what_cannot_be_published_is_told_in_a_sentence_and_nothing_is_sent(hub, checkout, damage, arguments, words):
    damage(hub, checkout)
    with pytest.raises(SystemExit, match=f"^error: {words}") as told:
        publish.main([SPACE, *arguments])
    assert "\n" not in str(told.value)
    with pytest.raises(KeyError):
        files_on(hub)


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="this is no checkout")
def test_all_of_the_page_is_on_the_list():
    tracked = subprocess.run(["git", "ls-files", "page"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    present = {name for name in tracked.stdout.split() if (CHECKOUT / name).exists()}
    tools = {"page/publish.py", *(name for name in present if name.endswith(("/export.py", ".c")))}
    assert present - tools == {name for name in publish.own_files() if name.startswith("page/")}
