"""The library as other code gets it: installed under its own name, type-checked, through torch.hub."""

import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import Autoencoder, Generator, load
from models.index import read_index
from tests.conftest import WEIGHTS, draw_face
from train.settings import Settings

REPOSITORY = Path(__file__).parent.parent

# What the library may not need: it is there where the tests run, so that an import of it would go unnoticed.
NOT_NEEDED = [
    *("gradio", "datasets", "torchvision", "facenet_pytorch", "matplotlib", "tyro"),
    *("models", "train", "study", "page"),
]


def readme_code() -> str:
    """All of README's examples in other code."""
    readme = (REPOSITORY / "README.md").read_text()
    section = readme.partition("## Use the models in other code")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 2
    return "".join(blocks)


def notebook_code() -> list[str]:
    """The code of the cells of docs/example.ipynb."""
    cells = json.loads((REPOSITORY / "docs/example.ipynb").read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def copy_source(folder: Path) -> Path:
    # Building leaves its traces in the source.
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("models", "weights"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def install(*arguments: str | Path, python: str | Path = sys.executable) -> None:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    subprocess.run([*pip, *options, *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    install("--target", folder, copy_source(tmp_path_factory.mktemp("source")))
    return folder


# What the package is asked for first: names and files without PyTorch, then models, without a compiler that takes seconds.
# A folder wins over the bundled model of its name.
FIRST = f"""
import latent_faces
from latent_faces.history import load_history
from latent_faces.index import bundled
assert {{"load", "Generator", "PerceptualAutoencoder", "interpolate"}} <= {{*dir(latent_faces)}}
assert "torch" not in sys.modules and not hasattr(latent_faces, "nothing")
from latent_faces import *
assert load("autoencoder").latent_size == 10 and not Generator(10, 5, 4).encodes
assert [*bundled()] == {[*read_index(WEIGHTS)]!r}
for name, folder in bundled().items():
    assert len(load(folder).generate(1, seed=0)) == 1 and (name == "autoencoder" or load(name).latent_size == 100)
    assert load_history(folder).epochs > 1 and (folder / "README.md").is_file()
assert not sys.modules.keys() & {{"torch._dynamo", "torch._inductor", "sympy"}}
"""

README = """
assert (len(faces), len(path), len(far)) == (16, 11, 16)
assert reconstruction.shape == older.shape == (1, 3, 64, 64)
from PIL import Image
display = lambda face: isinstance(face, Image.Image) or exit("no picture")
"""


def test_the_package_readmes_lines_and_the_notebook_run_in_another_project(installed, tmp_path):
    """In a folder of its own, without a Hub, with the package and what it needs only."""
    draw_face(0, (200, 300)).save(tmp_path / "photograph.jpg")
    Autoencoder(10, 5, (4, 4, 4)).save_pretrained(tmp_path / "autoencoder")
    cells = notebook_code()
    assert len(cells) == 10
    block = f"import sys; sys.modules.update(dict.fromkeys({NOT_NEEDED!r})); sys.path.insert(0, {str(installed)!r})"
    (tmp_path / "script.py").write_text("\n".join([block, FIRST, readme_code(), README, *cells]))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-P", "script.py"], check=True, cwd=tmp_path, env=environment, timeout=300)
    faces = [Image.open(tmp_path / name) for name in ("face.png", "between.png")]
    assert [face.size for face in faces] == [(64, 64)] * 2
    (drawn,) = load(WEIGHTS / "attribute-gan").generate(1, seed=0, attributes={"Smiling": True, "Eyeglasses": False})
    assert np.abs(np.asarray(faces[0]).astype(int) - np.asarray(drawn)).max() <= 1


def test_a_model_folder_beside_the_bundled_ones_comes_last_by_its_own_name(tmp_path):
    (tmp_path / "index.json").write_text('{"one": "First"}')
    for name in ("mine", "one", ".cache"):
        Generator(10, 5, 4).save_pretrained(tmp_path / name)
    (tmp_path / "notes").mkdir()
    assert [*read_index(tmp_path).items()] == [("one", "First"), ("mine", "mine")]


@pytest.mark.parametrize("command", ["gan", "autoencoder"])
def test_a_notebooks_own_arguments_are_not_those_of_a_training(command, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    trained = []
    monkeypatch.setattr("train.loop.train", lambda *arguments: trained.extend(arguments))
    importlib.import_module(f"train.{command}").main()
    (settings,) = [argument for argument in trained if isinstance(argument, Settings)]
    assert settings == type(settings)()


TYPES = """
from typing import assert_type

import torch

assert_type(older, torch.Tensor)
assert_type(gan(gan.sample_latent(1)), torch.Tensor)
assert_type(reconstruction, torch.Tensor)
assert_type(ae.with_encoding_steps(8).with_prior_variance(1)(reconstruction), torch.Tensor)
"""


@pytest.mark.slow
@pytest.mark.parametrize("editable", [[], ["--editable"]])
def test_type_checkers_find_the_package_and_have_nothing_to_say_of_readmes_lines(editable, tmp_path):
    """Nor of the class that a line makes: what a model returns is a tensor."""
    venv.create(tmp_path / "venv", symlinks=True)
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(f"{Path(torch.__file__).parent.parent}\n")
    (tmp_path / "source").mkdir()
    python = tmp_path / "venv/bin/python"
    install(*editable, copy_source(tmp_path / "source"), python=python)
    (tmp_path / "example.py").write_text(readme_code() + TYPES)
    options = ["--strict", "--cache-dir", str(tmp_path.parent / "mypy"), "--python-executable", str(python)]
    subprocess.run([sys.executable, "-m", "mypy", *options, "example.py"], check=True, cwd=tmp_path, timeout=600)


def test_the_package_is_the_library_and_its_models_and_says_so(installed):
    from models import __version__

    (metadata,) = (distribution.metadata for distribution in importlib.metadata.distributions(path=[str(installed)]))
    assert metadata["Version"] == __version__ and metadata["License-Expression"] == "MIT"
    # Its page begins with its name, not with the front matter that a Space needs.
    assert metadata.get_payload().startswith("# Latent Faces\n")
    assert (installed / "latent_faces/py.typed").exists()
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"latent_faces"}
    files = lambda folder: {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files(installed / "latent_faces/weights") == files(WEIGHTS)


# A project that has a package called `models` itself, before and after it asks for ours.
HUB = f"""
import sys
import models
import torch
load = lambda name, folder: torch.hub.load({str(REPOSITORY)!r}, name, folder, source="local")
generator = load("generator", {str(WEIGHTS / "gan")!r})
autoencoder = load("autoencoder", {str(WEIGHTS / "matched-autoencoder")!r})
assert generator.discrete_size == 50 and autoencoder.matching == "mmd"
assert load("model", "attribute-gan").attributes[:2] == ("5_o_Clock_Shadow", "Arched_Eyebrows")
import models
assert models.OWN and sys.modules["models"] is models
"""


def test_torch_hub_serves_the_models_beside_a_package_of_the_same_name(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("OWN = True")
    (tmp_path / "script.py").write_text(HUB)
    (tmp_path / "elsewhere").mkdir()
    subprocess.run([sys.executable, str(tmp_path / "script.py")], check=True, cwd=tmp_path / "elsewhere", timeout=120)
