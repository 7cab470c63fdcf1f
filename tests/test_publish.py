"""The Space that is made of the checkout: what it gets, and what it must not get."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch
from huggingface_hub import RepoCard

from models import Generator
from models.index import repository_name
from page import publish
from tests.conftest import WEIGHTS
from tests.loopback_hub import READ, Fault
from tests.serving import serving

SPACE = "tester/latent-faces"
CHECKOUT = WEIGHTS.parent
GAN = repository_name("tester", "gan")


@pytest.fixture
def published(hub, tmp_path):
    """A namespace with one model of its own and one that nobody else may see."""
    torch.manual_seed(1)
    Generator(latent_size=10, discrete_size=5, hidden_size=4).save_pretrained(tmp_path / "published")
    hub.add_folder("model", GAN, tmp_path / "published")
    hub.add_folder("model", repository_name("tester", "attribute-gan"), WEIGHTS / "attribute-gan").private = True
    return hub


def front(files: dict[str, bytes]):
    return RepoCard(files["README.md"].decode()).data


def test_the_space_gets_what_the_page_needs_and_no_more(published, tmp_path):
    assert publish.publish(SPACE, models="tester") == f"{published.url}/spaces/{SPACE}"
    space = published.repository("space", SPACE)
    assert space.sdk == "gradio" and space.variables["LATENT_FACES_HUB"]["value"] == "tester"
    weights = {f"weights/{path.relative_to(WEIGHTS)}" for path in WEIGHTS.glob("*/*")}
    assert {"app.py", "requirements.txt", "weights/index.json", *weights} <= set(space.files)
    assert not any(path.startswith(("train", "tests", ".")) or "__pycache__" in path for path in space.files)
    for path, content in space.files.items():
        (tmp_path / "space" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / path).write_bytes(content)
    with serving(folder=tmp_path / "space") as page:
        assert "Latent Faces" in httpx.get(page.url).text

    told = front(space.files)
    assert told["sdk_version"] in space.files["requirements.txt"].decode()
    assert len(told["short_description"]) <= 60
    # The models that there are; of these the Hub fetches public ones when it builds the Space.
    assert told["models"] == [GAN, repository_name("tester", "attribute-gan")]
    assert told["preload_from_hub"] == [f"{GAN} config.json,model.safetensors"]

    publish.main([SPACE])
    space = published.repository("space", SPACE)
    assert "LATENT_FACES_HUB" not in space.variables and "preload_from_hub" not in front(space.files)


def test_a_namespace_without_models_is_no_page(hub, capsys):
    with pytest.raises(SystemExit, match="--models nobody: there is no model to show"):
        publish.main([SPACE, "--models", "nobody"])
    with pytest.raises(KeyError):
        hub.repository("space", SPACE)


def test_whoever_cannot_publish_is_told(hub):
    hub.access = READ
    with pytest.raises(SystemExit, match="error: cannot push to tester/latent-faces: this token may only read"):
        publish.main([SPACE])


def test_the_files_are_listed_before_any_is_sent(hub, capsys):
    hub.fault = Fault("500", "POST /api/repos/create")
    with pytest.raises(SystemExit):
        publish.main([SPACE])
    assert "  weights/gan/model.safetensors\n" in capsys.readouterr().out


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A small one, with all that must not leave it."""
    folder = tmp_path / "checkout"
    for name in MINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    shutil.copy(CHECKOUT / "README.md", folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    for name in SECRETS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.js").write_text("a secret")
    (folder / "page/front/linked.js").symlink_to(tmp_path / "elsewhere/secret.js")
    (folder / "page/front/linked").symlink_to(tmp_path / "elsewhere")
    (folder / "page/examples/gone.png").symlink_to(tmp_path / "nowhere")
    git(folder, "add", "page/front/linked.js", "page/front/linked", "page/examples/gone.png")
    monkeypatch.setattr(publish, "CHECKOUT", folder)
    return folder


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


@pytest.mark.parametrize("tracked", [True, False])
def test_nothing_leaves_the_checkout_but_what_is_on_the_list(hub, checkout, tracked, capsys):
    """Where there is no git to ask, as in an unpacked archive, it is the list alone that keeps secrets."""
    if not tracked:
        shutil.rmtree(checkout / ".git")
    publish.main([SPACE])
    files = hub.repository("space", SPACE).files
    assert set(files) == {*MINE, "README.md"}
    assert not any(b"a secret" in content for content in files.values())
    assert "Left out" in (said := capsys.readouterr().out) and "page/front/linked.js" in said


def test_what_git_does_not_track_is_left_out_and_named(hub, checkout, capsys):
    for name in ("page/mine.py", "page/front/mine.js", "weights/mine/config.json", "weights/mine/model.safetensors"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("a secret")
    publish.main([SPACE])
    assert set(hub.repository("space", SPACE).files) == {*MINE, "README.md"}
    said = capsys.readouterr().out
    assert all(name in said.partition("\n")[0] for name in ("page/mine.py", "weights/mine/model.safetensors"))


def test_another_projects_git_around_the_checkout_does_not_matter(hub, checkout):
    shutil.rmtree(checkout / ".git")
    git(checkout.parent, "init", "-q")
    publish.main([SPACE])
    assert set(hub.repository("space", SPACE).files) == {*MINE, "README.md"}


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="this is no checkout")
def test_all_of_the_page_is_on_the_list():
    tracked = subprocess.run(["git", "ls-files", "page"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    present = {name for name in tracked.stdout.split() if (CHECKOUT / name).exists()}
    assert present - publish.NOT_IN_A_SPACE <= set(publish.own_files())


def test_a_static_space_gets_files_only(published, tmp_path):
    publish.publish(SPACE, models="tester")
    command = [sys.executable, "-m", "page.publish", SPACE, "--static", "--models", "tester"]
    environment = {**os.environ, **published.environment(tmp_path / "home")}
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
    files = published.repository("space", SPACE).files
    told, pulled = json.loads(files["page.json"]), (tmp_path / "published/model.safetensors").read_bytes()
    assert told["models"][0]["origin"].startswith(f"{GAN} at ")
    for model in told["models"]:
        content = files[model["weights"]["url"].partition("?")[0]]
        bundled = (WEIGHTS / model["folder"] / "model.safetensors").read_bytes()
        assert content == (pulled if model["folder"] == "gan" else bundled)
    assert b"front/main.js" in files["index.html"]
    assert {name.removeprefix("page/") for name in publish.own_files() if name.startswith("page/front/")} <= {
        *files,
        "front/index.html",
    }
    # Nothing is left of the Space that it was.
    assert not [path for path in files if path.endswith(".py") or path.startswith(("models/", "page/", "docs/"))]
    assert front(files)["sdk"] == "static" and front(files)["app_file"] == "index.html"
    assert "sdk_version" not in front(files) and "preload_from_hub" not in front(files)
