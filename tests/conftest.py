"""Small drawn faces instead of CelebA, and no way out of this machine."""

import functools
import io
import os
import shutil
import socket
import tempfile
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

from tests.loopback_hub import LoopbackHub, point_clients_at

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


def write_parquet(path: Path, numbers: range, format: str = "PNG", column: str = "image") -> None:
    """Faces in the columns of flwrlabs/celeba: the image, the person, and attributes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        column: [
            {"bytes": encode(draw_face(number), format), "path": f"{number:06d}.{format.lower()}"} for number in numbers
        ],
        "celeb_id": list(numbers),
        "Smiling": [number % 2 == 0 for number in numbers],
    }
    features = Features({column: datasets.Image(), "celeb_id": Value("int64"), "Smiling": Value("bool")})
    Dataset.from_dict(columns, features).to_parquet(path)


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


def small_generator(**changes):
    import torch

    from models import Generator

    torch.manual_seed(1)
    return Generator(**{"latent_size": 10, "discrete_size": 5, "hidden_size": 4} | changes)


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> Path:
    """A GAN to publish, with a history of 3 epochs, and bundled models with latents of 12 numbers."""
    from models import Autoencoder
    from tests.test_history import make_run
    from train.card import write_history

    folder = tmp_path_factory.mktemp("models")
    small_generator().save_pretrained(folder / "published")
    write_history(make_run(folder / "run", epochs=3), folder / "published")
    small_generator(latent_size=12).save_pretrained(folder / "bundled/gan")
    Autoencoder(latent_size=12, hidden_size=4).save_pretrained(folder / "bundled/autoencoder")
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
    _, url, _ = app.launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
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
    from playwright.sync_api import sync_playwright

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
