"""The library as other code gets it: installed under its own name, compiled, exported, through torch.hub."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import Autoencoder, Generator
from tests.conftest import WEIGHTS

REPOSITORY = Path(__file__).parent.parent

EXAMPLE = f"""
from latent_faces import Autoencoder, Generator, interpolate

gan = Generator.from_pretrained({str(WEIGHTS / "gan")!r})
faces = gan.generate(16, seed=0)
faces[0].save("face.png")
ae = Autoencoder.from_pretrained({str(WEIGHTS / "matched-autoencoder")!r})
a, b = ae.sample_latent(2, seed=0)
path = ae.decode(interpolate(a, b, steps=11))
far = ae.generate(16, seed=0, mean=100)
assert (len(faces), len(path), len(far)) == (16, 11, 16)

from latent_faces.alignment import align  # Without the detector, which is an extra, it takes the middle.
assert align(faces[0].resize((200, 300))).image.size == (64, 64)
"""

# What the library may not need: it is there where the tests run, so that an import of it would go unnoticed.
NOT_NEEDED = [
    "gradio",
    "datasets",
    "torchvision",
    "facenet_pytorch",
    "matplotlib",
    "tyro",
    "jinja2",
    "models",
    "train",
    "study",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    # From a copy, since building leaves its traces in the source.
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "models", source / "models")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder


def test_ten_lines_in_another_project_write_a_face(installed, tmp_path):
    block = f"import sys; sys.modules.update(dict.fromkeys({NOT_NEEDED!r}))"
    script = tmp_path / "example.py"
    script.write_text(f"{block}; sys.path.insert(0, {str(installed)!r})\n{EXAMPLE}")
    subprocess.run([sys.executable, "-P", str(script)], check=True, cwd=tmp_path, timeout=120)
    assert (tmp_path / "face.png").stat().st_size > 1000


def test_the_package_says_what_it_is(installed):
    from models import __version__

    (metadata,) = (distribution.metadata for distribution in importlib.metadata.distributions(path=[str(installed)]))
    assert metadata["Version"] == __version__ and metadata["License-Expression"] == "MIT"
    # Its page begins with its name, not with the front matter that a Space needs.
    assert metadata.get_payload().startswith("# Latent Faces\n")
    assert (installed / "latent_faces/py.typed").exists()


def test_the_package_holds_the_library_alone(installed):
    modules = {path.relative_to(installed).parts[0] for path in installed.rglob("*.py")}
    assert modules == {"latent_faces"}


@pytest.mark.parametrize(
    "build",
    [lambda: Generator(10, 5, 4), lambda: Autoencoder(10, 8, (4, 4, 4))],
    ids=["generator", "autoencoder"],
)
def test_models_export_and_compile(build):
    model = build().eval()
    z = model.sample_latent(3, seed=0) if isinstance(model, Generator) else torch.zeros(3, 3, 64, 64)
    with torch.inference_mode():
        expected = model(z)
        exported = torch.export.export(model, (z,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
        assert torch.allclose(exported.module()(z), expected, atol=1e-5)
        # The compiler's front end, without the C++ compiler that a machine may lack.
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert torch.allclose(compiled(z), expected, atol=1e-5)


def test_torch_hub_serves_the_models():
    load = lambda name, folder: torch.hub.load(str(REPOSITORY), name, str(WEIGHTS / folder), source="local")
    assert load("generator", "gan").generate(1, seed=0)[0].size == (64, 64)
    assert load("autoencoder", "matched-autoencoder").matching == "mmd"
