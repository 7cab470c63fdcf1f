"""What the page shows when the Hub is there, away or slow, and whatever a stranger's files on it hold."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from huggingface_hub import constants

from page import catalog, networks
from page import hub as page_hub
from page.catalog import ShownModel, describe
from tests.conftest import GAN_ID, small_generator
from tests.loopback_hub import Fault


@pytest.fixture
def shown(hub, small_models):
    """A function that tells which GAN the page shows."""

    def show(name: str = "gan", of: str = "tester") -> ShownModel:
        return page_hub.from_hub({name: describe(small_models / "bundled" / name, "bundled")}, of)[name]

    return show


@pytest.fixture
def refused(shown):
    """A function that tells why the page shows the bundled GAN."""

    def refuse(name: str = "gan") -> str:
        loaded = shown(name)
        assert loaded.latent_size == 12
        assert loaded.origin.startswith("bundled (") and len(loaded.origin) < 300 and "\n" not in loaded.origin
        return loaded.origin

    return refuse


def epochs_shown(loaded: ShownModel) -> int:
    assert len(loaded.history.faces_after(loaded.history.epochs)) == 16
    return loaded.history.epochs


# A Hub that is there.


def test_a_model_comes_from_the_hub_with_its_own_history_and_scores(hub, published, shown):
    (published / "attributes.json").write_text('{"Smiling": {"area": 0.75}}')
    hub.add_folder("model", GAN_ID, published)
    first = hub.repository("model", GAN_ID).commits[0].sha
    loaded = shown()
    assert loaded.origin == f"{GAN_ID} at {first[:7]}" and loaded.latent_size == 10 and epochs_shown(loaded) == 3
    assert loaded.areas == {"Smiling": 0.75}
    before = len(hub.requests)
    assert epochs_shown(shown()) == 3
    assert not any("epochs.webp" in path for _, path in hub.requests[before:]), "it is cached"
    assert (
        "bundled (nobody/latent-faces-gan: there is no nobody/latent-faces-gan on the Hub" in shown(of="nobody").origin
    )
    # What was pushed since is shown, unless a commit is asked for.
    small_generator(latent_size=11).push_to_hub(GAN_ID)
    assert shown().latent_size == 11 and shown(of=f"tester@{first}").latent_size == 10
    assert "has no revision v9" in shown(of="tester@v9").origin
    hub.fault = "refuse"
    away = shown(of=f"tester@{first}")
    assert away.latent_size == 10 and epochs_shown(away) == 3


@pytest.mark.parametrize(
    "name, how",
    [
        ("training.json", "damaged"),
        ("epochs.webp", "none"),
        ("epochs.webp", "403"),
        ("epochs.webp", "damaged"),
    ],
)
def test_a_model_is_shown_without_its_history_if_need_be(hub, published, shown, name, how):
    """And with no other: the bundled model's would show faces that the pulled one never made."""
    if how == "none":
        (published / name).unlink()
    elif how == "damaged":
        (published / name).write_bytes(b"damaged")
    else:
        hub.fault = Fault(how, name)
    hub.add_folder("model", GAN_ID, published)
    loaded = shown()
    assert loaded.latent_size == 10 and loaded.origin.startswith(f"{GAN_ID} at ")
    if (name, how) == ("epochs.webp", "damaged"):
        with pytest.raises(ValueError, match="epochs.webp is damaged"):
            loaded.history.faces_after(1)
    else:
        assert loaded.history is None


# A Hub that is away, or sends more than it should.


def take_away(monkeypatch, hub, how: str) -> None:
    """Take the Hub away; whoever waits to ask it again fails."""
    monkeypatch.setattr(page_hub, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=pytest.fail))
    if how == "dns":
        address = "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    elif how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        hub.fault = how


@pytest.mark.parametrize("how", ["refuse", "503", "hang", "close", "dns", "offline"])
def test_a_hub_that_is_away_is_asked_once_and_what_is_cached_is_shown(hub, published, shown, refused, monkeypatch, how):
    with monkeypatch.context() as patch:
        take_away(patch, hub, how)
        assert "the Hub cannot be asked" in refused()
    hub.fault = None
    assert shown().latent_size == 10
    take_away(monkeypatch, hub, how)
    assert shown().latent_size == 10 and shown().history is not None


def test_files_that_are_too_large_are_not_received(hub, published, refused, monkeypatch):
    monkeypatch.setattr(page_hub, "MOST_BYTES", 1000)
    assert "bytes in one file are more than the page takes, 1,000" in refused()
    assert not [*Path(constants.HF_HUB_CACHE).rglob("model.safetensors")]


def test_a_file_that_goes_on_after_its_size_is_not_received(hub, published, shown, refused):
    for name in ("config.json", "model.safetensors"):
        hub.fault = Fault("endless", name)
        assert "a file goes on after its" in refused()
    # Of what a model may do without, it is left out.
    hub.fault = Fault("endless", "training.json")
    loaded = shown()
    assert loaded.latent_size == 10 and loaded.history is None


def test_all_that_a_hub_sends_has_one_deadline(hub, published, refused, monkeypatch):
    monkeypatch.setattr(page_hub, "DEADLINE", 0.3)
    hub.fault = Fault("hang", "GET")
    assert "it took too long" in refused()


def test_no_password_of_an_address_is_shown(hub, published, refused, monkeypatch):
    where = hub.url.removeprefix("http://")
    template = f"http://somebody:hunter2%40@{where}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    hub.fault = "403"
    said = refused()
    assert f"http://{where}/" in said and "hunter2" not in said and "somebody" not in said


# Files of strangers.


@pytest.mark.parametrize(
    "content, words",
    [
        (b"{", "config.json in the model is damaged"),
        *((json.dumps({"latent_size": value}).encode(), "latent_size") for value in ("ten", True, -1, 10**9)),
        (b'{"latent_size": NaN}', "latent_size"),
        (b'{"latent_size": 9, "discrete_size": 10}', "discrete_size"),
        (b'{"latent_size": 9, "prior_mean": "0"}', "prior_mean"),
        (b'{"latent_size": 9, "prior_mean": 0, "prior_variance": 1e7}', "prior_variance"),
        (b'{"latent_size": 9, "prior_mean": 0}', "prior_variance"),
        *(
            (json.dumps({"latent_size": 9, "attributes": names}).encode(), "attributes in the model's config.json")
            for names in ("Smiling", ["Smiling", ""], ["x" * 101])
        ),
        (b"not safetensors", "the model's model.safetensors is missing or damaged"),
        ((2**40).to_bytes(8, "little") + b"{}", "the model's model.safetensors is missing or damaged"),
    ],
)
def test_what_no_model_has_is_named(tmp_path, small_models, content, words):
    folder = shutil.copytree(small_models / "published", tmp_path / "model")
    file = "model.safetensors" if "safetensors" in words else "config.json"
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{words}") as told:
        describe(folder, "")
    assert len(str(told.value)) < 200


def test_wrong_bytes_are_fetched_again(hub, published, shown, refused):
    hub.fault = Fault("corrupt", "safetensors")
    assert "model.safetensors is damaged" in refused() and hub.fault.seen == 2
    hub.fault = None
    assert shown().latent_size == 10, "though the damaged file is cached by now"


@pytest.mark.parametrize("error", [BaseException("x" * 1000), SystemExit(3)])  # Libraries in Rust raise such.
def test_whatever_goes_wrong_is_a_reason(published, refused, monkeypatch, error):
    monkeypatch.setattr(page_hub, "describe", Mock(side_effect=error))
    assert GAN_ID in refused()


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"kind": "generator"}, "kind: generator instead of autoencoder"),
        ({"discrete_size": 5}, "bits"),
        ({"attributes": ("Smiling",)}, "attributes"),
        ({"latent_size": 11}, "latent size: 11 instead of 12"),
    ],
)
def test_a_model_that_the_tabs_cannot_show_is_refused(small_models, changes, what):
    like = describe(small_models / "bundled/autoencoder", "")
    page_hub.check_fits(like, like)
    with pytest.raises(ValueError, match=f"differs from the bundled model in {what}"):
        page_hub.check_fits(replace(like, **changes), like)


def test_damaged_weights_are_told_of_to_whoever_asks_for_faces(small_models, tmp_path, monkeypatch, request):
    folder = shutil.copytree(small_models / "bundled/gan", tmp_path / "gan")
    small_generator(hidden_size=2).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other/model.safetensors", folder)
    monkeypatch.setattr(catalog, "load_all", lambda: {"GAN": describe(folder, "")})
    networks.load.cache_clear()
    request.addfinalizer(networks.load.cache_clear)
    with pytest.raises(ValueError, match="^The GAN cannot be used here, since the weights in .* do not fit"):
        networks.load("GAN")
