"""The page starts whatever a stranger's files on the Hub hold."""

import json
from pathlib import Path

import pytest
import torch

from models import Autoencoder, Generator
from models.index import repository_name
from page import catalog, networks
from page import hub as page_hub
from page.catalog import load_models
from tests.loopback_hub import Fault
from tests.test_history import make_run
from train.card import write_history

REPOSITORY = repository_name("tester", "gan")


def small_generator(**changes) -> Generator:
    torch.manual_seed(1)
    return Generator(**{"latent_size": 10, "discrete_size": 5, "hidden_size": 4} | changes)


@pytest.fixture
def published(hub, tmp_path):
    """Small models on the Hub; the folder they were pushed from."""
    folder = tmp_path / "published"
    small_generator().save_pretrained(folder)
    write_history(make_run(tmp_path / "run", epochs=2), folder)
    hub.add_folder("model", REPOSITORY, folder)
    return folder


@pytest.fixture
def bundled(tmp_path):
    folder = tmp_path / "bundled"
    small_generator(latent_size=12).save_pretrained(folder / "gan")
    Autoencoder(latent_size=12, hidden_size=4).save_pretrained(folder / "autoencoder")
    return folder


def origin(bundled: Path) -> str:
    """Of the bundled GAN, after the Hub's was refused."""
    loaded = load_models(["gan"], bundled, "tester")["gan"]
    assert loaded.latent_size == 12
    assert loaded.origin.startswith("bundled (") and len(loaded.origin) < 300 and "\n" not in loaded.origin
    return loaded.origin


CONFIGS = {
    "nothing": b"",
    "no JSON": b"{",
    "null": b"null",
    "a list": b"[]",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 50_000,
    "huge numbers": b'{"latent_size": 1' + b"0" * 5000 + b"}",
    "not a number": b'{"latent_size": NaN, "discrete_size": 5, "hidden_size": 4}',
    "infinite": b'{"latent_size": 1e999, "discrete_size": 5, "hidden_size": 4}',
    "a word": b'{"latent_size": "ten", "discrete_size": 5, "hidden_size": 4}',
    "true": b'{"latent_size": true, "discrete_size": 5, "hidden_size": 4}',
    "larger than memory": b'{"latent_size": 1000000000, "discrete_size": 5, "hidden_size": 1000000000}',
    "negative": b'{"latent_size": -10, "discrete_size": 5, "hidden_size": 4}',
    "many keys": json.dumps({f"![](http://elsewhere/{number})": number for number in range(2000)}).encode(),
    "long": b"{" + b" " * 200_000 + b"}",
}


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_a_damaged_config_is_a_reason(hub, published, bundled, content):
    (published / "config.json").write_bytes(content)
    hub.add_folder("model", REPOSITORY, published)
    origin(bundled)


class Panic(BaseException):
    """As libraries that are written in Rust raise."""


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), Panic("x" * 1000), SystemExit(3), KeyError("y")])
def test_whatever_goes_wrong_is_a_reason(hub, published, bundled, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(page_hub, "describe", fail)
    assert REPOSITORY in origin(bundled)


def test_two_may_be_damaged_at_once(hub, published, bundled):
    for name in ("gan", "autoencoder"):
        (published / "config.json").write_bytes(b"{")
        hub.add_folder("model", repository_name("tester", name), published)
    loaded = load_models(["gan", "autoencoder"], bundled, "tester")
    assert [model.origin.startswith("bundled (") for model in loaded.values()] == [True, True]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lambda: Autoencoder(latent_size=12, hidden_size=4), "of the kind autoencoder, not generator"),
        (lambda: small_generator(discrete_size=0), "have 0 bits"),
    ],
    ids=["another kind", "no bits"],
)
def test_a_model_that_the_tabs_cannot_show_is_refused(hub, bundled, tmp_path, other, reason):
    other().save_pretrained(tmp_path / "other")
    hub.add_folder("model", REPOSITORY, tmp_path / "other")
    assert reason in origin(bundled)


def test_autoencoders_must_share_their_latents(hub, bundled, tmp_path):
    for size in (11, 12):
        Autoencoder(latent_size=size, hidden_size=4).save_pretrained(tmp_path / "other")
        hub.add_folder("model", repository_name("tester", "autoencoder"), tmp_path / "other")
        loaded = load_models(["autoencoder"], bundled, "tester")["autoencoder"]
        assert loaded.latent_size == 12
        assert ("11 numbers" in loaded.origin) == (size == 11)


def test_weights_that_draw_nothing_are_told_of_to_whoever_asks_for_faces(tmp_path, monkeypatch):
    """Finite each, and too large for what follows."""
    model = small_generator()
    for parameter in model.parameters():
        parameter.data = 1e37 * parameter.data.sign()
    model.save_pretrained(tmp_path / "gan")
    shown = load_models(["gan"], tmp_path)["gan"]
    monkeypatch.setattr(catalog, "load_all", lambda: {"GAN": shown})
    networks.load.cache_clear()
    with pytest.raises(ValueError, match="^The GAN cannot be used here, since what it draws are no pictures.$"):
        networks.load("GAN")


def test_the_reason_for_a_missing_history_is_known(hub, published, bundled):
    (published / "training.json").write_text("{")
    hub.add_folder("model", REPOSITORY, published)
    loaded = load_models(["gan"], bundled, "tester")["gan"]
    assert loaded.latent_size == 10 and loaded.history is None
    assert "without its history: training.json is damaged" in loaded.origin


def test_files_that_are_too_large_are_not_downloaded(hub, published, bundled, monkeypatch):
    monkeypatch.setitem(page_hub.NEEDED, "model.safetensors", 1000)
    assert "at most 1,000" in origin(bundled)
    assert not any(method == "GET" and "safetensors" in path for method, path, _ in hub.requests)


def test_a_file_that_goes_on_after_its_size_is_not_received(hub, published, bundled):
    for name in ("config.json", "model.safetensors"):
        hub.fault = Fault("endless", name)
        assert f"its {name} goes on after" in origin(bundled)
        assert hub.sent_in_vain < 200_000_000
    # Of what a model may do without, it is left out.
    hub.fault = Fault("endless", "training.json")
    loaded = load_models(["gan"], bundled, "tester")["gan"]
    assert loaded.latent_size == 10 and loaded.history is None and "training.json goes on after" in loaded.origin


def test_all_that_a_hub_sends_has_one_deadline(hub, published, bundled, monkeypatch):
    monkeypatch.setattr(page_hub, "DEADLINE", 0.5)
    hub.fault = Fault("hang", "GET")
    assert "took more than" in origin(bundled)


@pytest.mark.parametrize("fault", [None, "503", "close"])
def test_no_password_of_an_address_is_shown(hub, published, bundled, monkeypatch, fault):
    where = hub.url.removeprefix("http://") if fault else "127.0.0.1:1"
    template = f"http://somebody:hunter2%40@{where}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    hub.fault = fault
    said = origin(bundled)
    assert "hunter2" not in said and "somebody" not in said


def test_a_reason_is_told_without_passwords():
    said = page_hub._reason(OSError("503 for url https://me:p@ss@hub.example/a/b, then\nhttp://you@c.example:80/x@y"))
    assert said == "503 for url https://hub.example/a/b, then http://c.example:80/x@y"
