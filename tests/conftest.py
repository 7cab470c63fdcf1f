"""Small drawn faces instead of CelebA, and no way out of this machine."""

import functools
import io
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

# Before torch is imported, and inherited by every process that a test starts: one thread each, so that as many tests
# run at once as there are cores, and threads that wait leave the core to others.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import datasets
import numpy as np
import pytest
from datasets import Dataset, Features, Value
from PIL import Image, ImageDraw

import models
from tests.loopback_hub import LoopbackHub, point_clients_at
from tests.serving import free_port

WEIGHTS = Path(__file__).parent.parent / "weights"

# Where a page looks for a GAN of the user "tester".
GAN_ID = "tester/latent-faces-gan"


def pytest_configure(config):
    """Keep all temporary files of a run, those of its workers and servers too, in a folder that goes with it.

    Gradio's client alone leaves an empty folder for every file that it fetches.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # It has inherited the folder.
    folder = tempfile.TemporaryDirectory(prefix="latent-faces-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv("TMPDIR", folder.name)
    patch.setattr(tempfile, "tempdir", folder.name)
    patch.delenv("GRADIO_TEMP_DIR", raising=False)


@pytest.fixture(scope="session", autouse=True)
def loopback_only():
    """Names other than this machine's do not resolve, at once, wherever the tests run."""
    resolve = socket.getaddrinfo

    def resolve_loopback(host, *args, **kwargs):
        if host not in (None, "localhost", "127.0.0.1", "0.0.0.0", "::1", b"127.0.0.1"):
            raise socket.gaierror(socket.EAI_NONAME, f"tests may not look up {host}")
        return resolve(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve_loopback)
        yield


def draw_face(number: int, size: tuple[int, int] = (89, 109)) -> Image.Image:
    """A cartoon face whose colours and features depend on its number."""
    random = np.random.default_rng(number)
    colour = lambda low, high: tuple(int(value) for value in random.integers(low, high, 3))
    width, height = size
    face = Image.new("RGB", size, colour(0, 255))
    draw = ImageDraw.Draw(face)
    draw.ellipse((0.15 * width, 0.15 * height, 0.85 * width, 0.95 * height), fill=colour(120, 255))
    for x in (0.35, 0.65):
        draw.ellipse(((x - 0.06) * width, 0.42 * height, (x + 0.06) * width, 0.5 * height), fill=colour(0, 90))
    draw.arc((0.35 * width, 0.6 * height, 0.65 * width, 0.8 * height), 0, 180, fill=colour(0, 120), width=3)
    return face


def encode(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def write_table(
    path: Path,
    numbers: range,
    /,
    draw: Callable[[int], Image.Image],
    format: str = "PNG",
    damaged: Sequence[int] = (),
    empty: Sequence[int] = (),
    **columns,
) -> None:
    """Drawn pictures in a parquet file; each other column is its feature and what makes its value of a picture's number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [encode(draw(number), format)[: 30 if number in damaged else None] for number in numbers]
    images = [{"bytes": one, "path": f"{number}.{format.lower()}"} for number, one in zip(numbers, content)]
    rows = {"image": [None if number in empty else image for number, image in zip(numbers, images)]}
    rows |= {name: [value(number) for number in numbers] for name, (_, value) in columns.items()}
    features = Features({"image": datasets.Image(), **{name: feature for name, (feature, _) in columns.items()}})
    Dataset.from_dict(rows, features).to_parquet(path)


def write_parquet(path: Path, numbers: range, format: str = "PNG") -> None:
    """Faces in the columns of flwrlabs/celeba: the image, the person, and attributes."""
    smiling = (Value("bool"), lambda number: number % 2 == 0)
    write_table(path, numbers, draw_face, format, celeb_id=(Value("int64"), int), Smiling=smiling)


@pytest.fixture(scope="session")
def celeba(tmp_path_factory) -> Path:
    """A folder in the layout of the Hub's data set: 48 training faces in two shards, PNG and JPEG, 16 held out."""
    folder = tmp_path_factory.mktemp("celeba")
    write_parquet(folder / "data/train-00000-of-00002.parquet", range(24), "PNG")
    write_parquet(folder / "data/train-00001-of-00002.parquet", range(24, 48), "JPEG")
    write_parquet(folder / "data/valid-00000-of-00001.parquet", range(48, 64))
    return folder


@pytest.fixture(scope="session")
def straight(celeba, tmp_path_factory):
    """The folder of a run that nothing disturbed, by its name in `COMMANDS`; it is where the command puts it by itself."""
    from tests.test_train import BUNDLED, COMMANDS, epochs_of, make_adversary_small

    root, cache = tmp_path_factory.mktemp("straight"), tmp_path_factory.getbasetemp() / "faces"

    @functools.cache
    def run(name: str) -> Path:
        main, _, own = COMMANDS[name]
        with pytest.MonkeyPatch.context() as patch:
            make_adversary_small(patch)
            patch.chdir(root)
            main([*own, "--dataset", str(celeba), "--cache-dir", str(cache), "--epochs", str(epochs_of(name))])
        return root / "runs" / BUNDLED[name][0]

    return run


@pytest.fixture
def finished(straight, tmp_path):
    """A copy of a run that is done, to go on from and to damage."""
    return lambda name="gan", output="run": shutil.copytree(straight(name), tmp_path / output)


@pytest.fixture
def arguments(celeba, tmp_path, tmp_path_factory):
    """Of a small run: a model's own arguments, then data, epochs and folder."""
    cache = tmp_path_factory.getbasetemp() / "faces"

    def build(own: list[str], output: str = "run", epochs: int = 2) -> list[str]:
        folders = ["--dataset", str(celeba), "--cache-dir", str(cache), "--output", str(tmp_path / output)]
        return [*own, *folders, "--epochs", str(epochs)]

    return build


@pytest.fixture(scope="session")
def loopback():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def hub(loopback, monkeypatch, tmp_path):
    """A Hub on loopback, empty, to which this process's clients are pointed."""
    loopback.reset()
    point_clients_at(loopback, monkeypatch, tmp_path / "home")
    return loopback


# A network of each kind, so small that it takes no time. `models` imports PyTorch when it is first asked for a class.
TINY = {
    "generator": lambda: models.Generator(10, discrete_size=4, hidden_size=4, prior_mean=1.0),
    "discriminator": lambda: models.Discriminator(hidden_size=4),
    "autoencoder": lambda: models.Autoencoder(10, 8, (4,) * 3, "moments", prior_mean=-3.0, prior_variance=0.5),
    "attribute-generator": lambda: models.AttributeGenerator(10, 5, ("Smiling", "Hat"), (4,) * 5),
    "attribute-discriminator": lambda: models.AttributeDiscriminator(2, 4, 8),
    "perceptual-autoencoder": lambda: models.PerceptualAutoencoder(
        10, (4,) * 4, (4,) * 5, 3, ("Smiling", "Hat"), prior_mean=1.0
    ),
}


def small_generator(**changes):
    import torch

    torch.manual_seed(1)
    return models.Generator(**{"latent_size": 10, "discrete_size": 5, "hidden_size": 4} | changes)


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> Path:
    """A GAN to publish, with a history of 3 epochs, and bundled models with latents of 12 numbers."""
    from tests.test_history import make_run
    from train.card import write_history

    folder = tmp_path_factory.mktemp("models")
    small_generator().save_pretrained(folder / "published")
    write_history(make_run(folder / "run", epochs=3), folder / "published")
    small_generator(latent_size=12).save_pretrained(folder / "bundled/gan")
    models.Autoencoder(latent_size=12, hidden_size=4).save_pretrained(folder / "bundled/autoencoder")
    return folder


@pytest.fixture
def published(hub, small_models, tmp_path) -> Path:
    """The folder of a small GAN that is on the Hub."""
    folder = shutil.copytree(small_models / "published", tmp_path / "published")
    hub.add_folder("model", GAN_ID, folder)
    return folder


@pytest.fixture(scope="session")
def url():
    """The page's address."""
    import app

    page = app.build()
    # Two workers that look for a port at once may find the same one.
    options = {"server_name": "127.0.0.1", "server_port": free_port(), "quiet": True}
    _, url, _ = app.launch(page, prevent_thread_lock=True, **options)
    yield url
    page.close()


def forget_page() -> None:
    """Have the page of this process made anew, from the models and files of now."""
    from page import site

    for function in (site.tabs, site.page, site.files, site.index):
        function.cache_clear()
    site._sheets.clear()


@pytest.fixture
def forget():
    """`forget_page`, which is called once more after the test."""
    yield forget_page
    forget_page()


@contextmanager
def open_chromium():
    """A browser that opens nothing by itself."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # For machines that have much else to do.
    with sync_playwright() as playwright:
        # Started as root, as in a container, Chromium refuses to run without --no-sandbox.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
        yield playwright.chromium.launch(executable_path=browser_path(), args=arguments)


def browser_path() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium():
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if browser_path() is None:
        pytest.skip("no browser is installed: apt-get install chromium")
    with open_chromium() as browser:
        yield browser
