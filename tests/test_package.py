"""The library as other code gets it: installed under its own name, compiled, exported, through torch.hub."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch

from models import AttributeGenerator, Autoencoder, Discriminator, Generator, PerceptualAutoencoder
from models.index import read_index
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


MODELS = {
    "generator": lambda: Generator(10, 5, 4),
    "discriminator": lambda: Discriminator(4),
    "autoencoder": lambda: Autoencoder(10, 8, (4, 4, 4)),
    "attribute-generator": lambda: AttributeGenerator(10, 5, ("Smiling",), (4,) * 5),
    "perceptual-autoencoder": lambda: PerceptualAutoencoder(10, (4,) * 4, (4,) * 5, 2, ("Smiling",)),
    "with encoding steps": lambda: PerceptualAutoencoder(10, (4,) * 4, (4,) * 5, 2).eval().with_encoding_steps(2),
}


def model_and_input(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    return model, torch.randn(3, 10) if "generator" in name else torch.randn(3, 3, 64, 64)


@pytest.mark.parametrize("name", MODELS)
def test_models_export_and_compile(name):
    """What is exported takes other numbers of pictures than it was exported with."""
    model, x = model_and_input(name)
    with torch.inference_mode():
        exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},)).module()
        assert torch.allclose(
            exported(x.repeat(3, *[1] * (x.ndim - 1))), model(x).repeat(3, *[1] * (model(x).ndim - 1)), atol=1e-5
        )
        # The compiler's front end, without the C++ compiler that a machine may lack.
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert torch.allclose(compiled(x), model(x), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # That tracing is old, and that shapes are checked as it goes.
@pytest.mark.parametrize("name", MODELS)
def test_a_traced_model_takes_any_number_of_pictures(name):
    model, x = model_and_input(name)
    traced = torch.jit.trace(model, x)
    for other in (x[:1], torch.cat([x, x, x])):
        assert torch.allclose(traced(other), model(other), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_models_export_to_onnx(name, tmp_path):
    model, x = model_and_input(name)
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamic_shapes=({0: torch.export.Dim("count")},))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (y,) = session.run(None, {session.get_inputs()[0].name: torch.cat([x, x]).numpy()})
    assert torch.allclose(torch.tensor(y), model(torch.cat([x, x])), atol=1e-5)


def test_torch_func_differentiates_the_discriminator():
    """As it does the same network with the library's own layers."""
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    model, stock = (Discriminator(4).double().eval() for _ in range(2))
    torch.nn.init.normal_(model.layers[4][0].weight)
    stock.layers[4][0] = torch.nn.Conv2d(16, 32, 4, 2, 1, bias=False).double()
    stock.load_state_dict(model.state_dict())
    tangent = torch.randn_like(x)

    def results(model: torch.nn.Module) -> list[torch.Tensor]:
        total = lambda x: model(x).sum()
        return [
            torch.func.jvp(model, (x,), (tangent,))[1],
            torch.func.grad(total)(x),
            torch.func.vmap(lambda x: model(x[None])[0])(x),
            torch.func.vmap(torch.func.grad(lambda x: total(x[None])))(x),
            torch.func.hessian(lambda scale: total(scale.exp() * x))(torch.zeros((), dtype=x.dtype)),
        ]

    for ours, theirs in zip(results(model), results(stock), strict=True):
        assert theirs.abs().max() > 0 and (ours - theirs).abs().max() < 1e-9 * theirs.abs().max()


def test_torch_hub_serves_the_models():
    load = lambda name, folder: torch.hub.load(str(REPOSITORY), name, str(WEIGHTS / folder), source="local")
    assert load("generator", "gan").generate(1, seed=0)[0].size == (64, 64)
    assert load("autoencoder", "matched-autoencoder").matching == "mmd"
    assert load("model", "attribute-gan").attributes[:2] == ("5_o_Clock_Shadow", "Arched_Eyebrows")


# A project that has a package called `models` itself, before and after it asks for ours.
HUB = f"""
import models
assert models.OWN
import torch
load = lambda name, folder: torch.hub.load({str(REPOSITORY)!r}, name, folder, source="local")
generator = load("generator", {str(WEIGHTS / "gan")!r})
assert generator.generate(1, seed=0)[0].size == (64, 64)
autoencoder = load("autoencoder", {str(WEIGHTS / "autoencoder")!r})
import sys, copy, pickle
assert type(autoencoder).__mro__[1] is type(generator).__mro__[1]
pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)
import models
assert models.OWN and sys.modules["models"] is models
"""


def test_torch_hub_serves_the_models_beside_a_package_of_the_same_name(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("OWN = True")
    (tmp_path / "script.py").write_text(HUB)
    (tmp_path / "elsewhere").mkdir()
    subprocess.run([sys.executable, str(tmp_path / "script.py")], check=True, cwd=tmp_path / "elsewhere", timeout=120)


def test_an_import_takes_along_no_compiler():
    """It would take seconds."""
    heavy = ["torch._dynamo", "torch._inductor", "sympy", "torchvision", "gradio", "datasets", "matplotlib"]
    code = f"""
import sys
import torch
before = set(sys.modules)
from models import load
for folder in {[str(WEIGHTS / name) for name in read_index(WEIGHTS)]!r}:
    load(folder).generate(1, seed=0)
new = set(sys.modules) - before
assert not new & set({heavy!r}), new & set({heavy!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=120)
