"""Push, pull, publish and the page's fallbacks, against a Hub that speaks HTTP."""

import json
import time

import httpx
import huggingface_hub
import numpy as np
import pytest
import torch
from gradio_client import Client
from huggingface_hub import HfApi, ModelCard, constants
from PIL import Image
from safetensors.torch import load_file, save_file

from models import Autoencoder, Generator
from models.index import read_index, repository_name
from models.loading import DamagedDownload
from page.zoo import load_models
from tests.conftest import WEIGHTS
from tests.loopback_hub import REVOKED_TOKEN, TOKEN, Fault, break_upload, skip_waits
from tests.serving import serving
from tests.test_history import make_run
from train import gan, publish, push
from train.errors import TrainingError
from train.history import write_history

SMALL = ["--epochs", "1", "--batch-size", "8", "--latent-size", "10", "--hidden-size", "4", "--discrete-size", "5"]
NAMES = ["gan"]
CHECKOUT = WEIGHTS.parent
REPOSITORY = repository_name("tester", "gan")


@pytest.fixture
def run(celeba, tmp_path):
    """A small trained GAN."""
    folders = ["--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    gan.main([*SMALL, *folders])
    return tmp_path / "run"


@pytest.fixture
def published(hub, tmp_path):
    """A small GAN on the Hub, where a page looks for it; the folder it was pushed from."""
    folder = tmp_path / "published"
    torch.manual_seed(1)
    Generator(latent_size=10, discrete_size=5, hidden_size=4).save_pretrained(folder)
    write_history(make_run(tmp_path / "published-run", epochs=3), folder)
    hub.add_folder("model", REPOSITORY, folder)
    return folder


@pytest.fixture
def bundled(tmp_path):
    folder = tmp_path / "bundled"
    Generator(latent_size=12, discrete_size=5, hidden_size=4).save_pretrained(folder / "gan")
    write_history(make_run(tmp_path / "bundled-run", epochs=2), folder / "gan")
    return folder


def test_stream_train_push_pull_and_play(hub, celeba, tmp_path):
    """The whole way of a model, from a data set on the Hub to a page that shows the very faces of the run."""
    hub.add_dataset_folder("flwrlabs/celeba", celeba)
    folders = ["--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    gan.main(["--epochs", "1", "--batch-size", "8", *folders, "--push-to-hub", REPOSITORY])
    assert ("GET", "/datasets/flwrlabs/celeba") in {
        (method, path[: len("/datasets/flwrlabs/celeba")]) for method, path, _ in hub.requests
    }

    commit = hub.repository("model", REPOSITORY).commits[0].sha
    with serving({**hub.environment(tmp_path / "visitor"), "LATENT_FACES_HUB": "tester"}) as page:
        told = {model["name"]: model for model in httpx.get(f"{page.url}page.json").json()["models"]}
        weights = httpx.get(f"{page.url}{told['GAN']['weights']['url']}").content
        gallery, _ = Client(page.url, verbose=False).predict("GAN", 3, 4, 1, "", api_name="/generate")
    assert told["GAN"]["origin"] == f"{REPOSITORY} at {commit[:7]}"
    assert told["Plain autoencoder"]["origin"].startswith("bundled (there is no tester/latent-faces-autoencoder")
    # The browser gets the very weights of the run, and the faces of its training.
    assert weights == (tmp_path / "run/model/model.safetensors").read_bytes()
    assert told["GAN"]["history"]["shown"] == [1]
    local = Generator.from_pretrained(tmp_path / "run/model").generate(4, seed=3)
    for item, face in zip(gallery, local, strict=True):
        assert np.abs(np.asarray(Image.open(item["image"])).astype(int) - np.asarray(face)).max() <= 1


def test_data_sets_and_revisions_that_are_not_there_are_named(hub, celeba, tmp_path):
    hub.add_dataset_folder("flwrlabs/celeba", celeba)
    with pytest.raises(TrainingError, match="nobody/nothing: neither a folder here nor a data set on the Hub"):
        gan.main(["--dataset", "nobody/nothing", "--output", str(tmp_path / "run")])
    with pytest.raises(TrainingError, match="--revision v9"):
        gan.main(["--revision", "v9", "--output", str(tmp_path / "run")])


def test_a_pushed_repository_is_complete_and_its_card_true(hub, run, capsys):
    url = push.push(run, REPOSITORY)
    repository = hub.repository("model", REPOSITORY)
    assert repository.commits[0].sha in url
    assert set(repository.files) == set(push.PUSHED_FILES) and not repository.private
    card = ModelCard(repository.files["README.md"].decode())
    assert card.data.license == "other" and card.data.library_name == "latent-faces"
    for words in (
        "| epochs | 1 |",
        "| images seen | 48 |",
        "| seed | 0 |",
        f'from_pretrained("{REPOSITORY}")',
        "non-commercial",
    ):
        assert words in card.text
    assert "](epochs.webp)" in card.text and repository.files["epochs.webp"].startswith(b"RIFF")
    pushed = b"".join(repository.files.values())
    assert TOKEN.encode() not in pushed
    assert TOKEN not in capsys.readouterr().out
    before = len(repository.commits)
    push.push(run, REPOSITORY)
    assert len(repository.commits) == before  # Nothing new, no commit.


def test_a_run_that_was_killed_or_is_from_before_is_pushed_with_its_history(hub, run):
    for name in ("training.json", "epochs.webp"):
        (run / "model" / name).unlink()
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "epo')
    push.push(run, REPOSITORY)
    files = hub.repository("model", REPOSITORY).files
    assert set(files) == set(push.PUSHED_FILES) and json.loads(files["training.json"])["epochs"] == 1


def test_a_run_whose_pictures_are_gone_is_pushed_without_a_history(hub, run):
    for path in (run / "samples/epoch-0001.png", run / "model/training.json", run / "model/epochs.webp"):
        path.unlink()
    push.push(run, REPOSITORY)
    files = hub.repository("model", REPOSITORY).files
    assert set(files) == set(push.PUSHED_FILES) - {"training.json", "epochs.webp"}
    assert b"epochs.webp" not in files["README.md"]


def test_a_damaged_model_is_not_pushed(hub, run):
    (run / "model/model.safetensors").unlink()
    with pytest.raises(TrainingError, match="holds no model.safetensors"):
        push.push(run, REPOSITORY)


@pytest.mark.parametrize(
    "file, content, told",
    [
        ("run.json", b"[]", "run.json is damaged"),
        ("metrics.jsonl", b"", "tells of no finished epoch"),
        ("model/config.json", b"null", "config.json"),
        ("model/config.json", None, "holds no config.json"),
    ],
)
def test_a_damaged_run_is_not_pushed(hub, run, file, content, told):
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_bytes(content)
    with pytest.raises(TrainingError, match=told) as caught:
        push.push(run, REPOSITORY)
    assert "\n" not in str(caught.value)
    with pytest.raises(KeyError):
        hub.repository("model", REPOSITORY)


def test_where_there_is_no_run_there_is_none_to_push(hub, tmp_path):
    with pytest.raises(TrainingError, match="nowhere holds no run"):
        push.push(tmp_path / "nowhere", REPOSITORY)
    (tmp_path / "begun").mkdir()
    with pytest.raises(TrainingError, match="begun holds no model yet"):
        push.push(tmp_path / "begun", REPOSITORY)


def test_private_and_branch_pushes(hub, run):
    push.main([str(run), REPOSITORY, "--private", "--branch", "trial"])
    repository = hub.repository("model", REPOSITORY)
    assert repository.private
    assert repository.files == {}
    assert set(repository.find("trial").files) == set(push.PUSHED_FILES)
    assert Generator.from_pretrained(REPOSITORY, revision="trial").latent_size == 10


@pytest.mark.parametrize("kind", ["500", "close"])
@pytest.mark.parametrize("first", [1, 2], ids=["weights", "commit"])
def test_a_push_that_is_cut_off_can_be_repeated(hub, run, first, kind, monkeypatch):
    skip_waits(monkeypatch)
    hub.fault = break_upload(first, times=None, kind=kind)
    with pytest.raises(TrainingError, match="can be repeated"):
        push.push(run, REPOSITORY)
    repository = hub.repository("model", REPOSITORY)
    assert repository.files == {}
    hub.fault = None
    push.push(run, REPOSITORY)
    assert len(repository.commits) == 2 and set(repository.files) == set(push.PUSHED_FILES)


def test_who_cannot_push_is_told_before_training(hub, celeba, tmp_path, monkeypatch):
    command = [*SMALL, "--dataset", str(celeba), "--output", str(tmp_path / "run"), "--push-to-hub"]
    with pytest.raises(TrainingError, match="user/name"):
        gan.main([*command, "no-slash"])
    monkeypatch.setenv("HF_TOKEN", REVOKED_TOKEN)
    with pytest.raises(TrainingError, match="cannot push") as caught:
        gan.main([*command, REPOSITORY])
    assert REVOKED_TOKEN not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(TrainingError, match="log in first"):
        gan.main([*command, REPOSITORY])
    assert not (tmp_path / "run").exists()


def test_pulling_pins_a_revision_and_then_needs_no_hub(hub, published, bundled):
    first = hub.repository("model", REPOSITORY).commits[0].sha
    other = Generator(latent_size=11, discrete_size=5, hidden_size=4)
    other.push_to_hub(REPOSITORY)
    assert load_models(NAMES, bundled, "tester")["gan"].latent_size == 11
    pinned = load_models(NAMES, bundled, f"tester@{first}")["gan"]
    assert pinned.latent_size == 10 and pinned.origin == f"{REPOSITORY} at {first[:7]}"
    hub.fault = "refuse"
    again = load_models(NAMES, bundled, f"tester@{first}")["gan"]
    assert again.latent_size == 10 and "cached" in again.origin


def away(monkeypatch, hub, how: str) -> None:
    if how == "dns":
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}"
        )
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(huggingface_hub.utils._http, "_GLOBAL_CLIENT", None)
    elif how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        hub.fault = how


def epochs_shown(loaded) -> int:
    assert len(loaded.history.faces_after(loaded.history.epochs)) == 16
    return loaded.history.epochs


def test_a_model_comes_with_its_own_history(hub, published, bundled):
    assert epochs_shown(load_models(NAMES, bundled)["gan"]) == 2
    assert epochs_shown(load_models(NAMES, bundled, "tester")["gan"]) == 3
    assert epochs_shown(load_models(NAMES, bundled, "nobody")["gan"]) == 2
    before = len(hub.requests)
    assert epochs_shown(load_models(NAMES, bundled, "tester")["gan"]) == 3
    assert not any("epochs.webp" in path for _, path, _ in hub.requests[before:])  # It is cached.
    hub.fault = "refuse"
    away = load_models(NAMES, bundled, "tester")["gan"]
    assert "cached" in away.origin and epochs_shown(away) == 3


@pytest.mark.parametrize("how", ["none", "damaged", "hang", "close", "503"])
@pytest.mark.parametrize("name", ["training.json", "epochs.webp"])
def test_a_model_is_shown_without_its_history_if_need_be(hub, published, bundled, monkeypatch, name, how):
    """And with no other: the bundled model's would show faces that the pulled one never made."""
    skip_waits(monkeypatch, timeout=1.0)
    monkeypatch.setattr("page.hub.EXTRAS_DEADLINE", 0.5)
    if how == "none":
        (published / name).unlink()
    elif how == "damaged":
        (published / name).write_bytes(b"damaged")
    else:
        hub.fault = Fault(how, name)
    hub.add_folder("model", REPOSITORY, published)
    start = time.monotonic()
    loaded = load_models(NAMES, bundled, "tester")["gan"]
    assert time.monotonic() - start < 2.5
    assert loaded.latent_size == 10 and loaded.origin.startswith(f"{REPOSITORY} at ")
    if (name, how) == ("epochs.webp", "damaged"):
        with pytest.raises(ValueError, match="epochs.webp is damaged"):
            loaded.history.faces_after(1)
    else:
        assert loaded.history is None


def test_a_damaged_bundled_history_is_left_out(published, bundled):
    (bundled / "gan/training.json").write_text("{")
    assert load_models(NAMES, bundled)["gan"].history is None


AWAY = ["refuse", "503", "hang", "close", "dns", "offline"]


@pytest.mark.parametrize("how", AWAY)
def test_a_hub_that_is_away_costs_seconds_and_the_bundled_model_is_shown(hub, published, bundled, monkeypatch, how):
    away(monkeypatch, hub, how)
    start = time.monotonic()
    loaded = load_models(NAMES, bundled, "tester")["gan"]
    assert time.monotonic() - start < 5
    assert loaded.latent_size == 12
    assert loaded.origin.startswith("bundled (") and "away" in loaded.origin


@pytest.mark.parametrize("how", AWAY)
def test_a_hub_that_is_away_does_not_matter_to_what_is_cached(hub, published, bundled, monkeypatch, how):
    assert load_models(NAMES, bundled, "tester")["gan"].latent_size == 10
    away(monkeypatch, hub, how)
    start = time.monotonic()
    loaded = load_models(NAMES, bundled, "tester")["gan"]
    assert time.monotonic() - start < 5
    assert loaded.latent_size == 10 and "cached" in loaded.origin


def refused(hub, published, bundled) -> str:
    hub.add_folder("model", REPOSITORY, published)
    loaded = load_models(NAMES, bundled, "tester")["gan"]
    assert loaded.latent_size == 12
    return loaded.origin


def test_what_is_no_fitting_model_is_refused_with_the_reason(hub, published, bundled):
    weights, config = published / "model.safetensors", published / "config.json"
    good_weights, good_config = load_file(weights), config.read_text()

    save_file({**good_weights, "layers.3.bias": torch.tensor([0.0, torch.nan, 0.0])}, weights)
    assert "no numbers, in layers.3.bias" in refused(hub, published, bundled)
    weights.write_bytes(b"not safetensors")
    assert "model.safetensors is missing or damaged" in refused(hub, published, bundled)
    weights.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    assert "model.safetensors is missing or damaged" in refused(hub, published, bundled)
    save_file(good_weights, weights)
    config.write_text(good_config.replace("10", "-10"))
    assert "config.json" in refused(hub, published, bundled)
    config.unlink()
    assert "config.json" in refused(hub, published, bundled)
    config.write_text(good_config)
    weights.unlink()
    torch.save(good_weights, published / "pytorch_model.bin")
    assert "lacks config.json or model.safetensors" in refused(hub, published, bundled)
    with pytest.raises(ValueError, match="only format"):
        Generator.from_pretrained(REPOSITORY)


def test_what_no_browser_could_draw_is_refused(hub, published, tmp_path):
    """Where the bundled model is one that browsers draw: with tensors of the names and sizes of their graph."""
    hub.add_folder("model", REPOSITORY, published)
    loaded = load_models(NAMES, WEIGHTS, "tester")["gan"]
    assert loaded.latent_size == 100 and "other sizes than those that browsers run" in loaded.origin
    Generator().save_pretrained(tmp_path / "whole")
    hub.add_folder("model", REPOSITORY, tmp_path / "whole")
    assert load_models(NAMES, WEIGHTS, "tester")["gan"].origin.startswith(f"{REPOSITORY} at ")


def test_wrong_bytes_of_the_right_size_are_noticed(hub, published, bundled, monkeypatch):
    hub.fault = Fault("corrupt", "safetensors")
    with pytest.raises(DamagedDownload, match="damaged"):
        Generator.from_pretrained(REPOSITORY)
    assert "not what the Hub announced" in load_models(NAMES, bundled, "tester")["gan"].origin
    # What was damaged once is fetched again, though it is cached by now.
    hub.fault = None
    assert load_models(NAMES, bundled, "tester")["gan"].latent_size == 10


def test_a_download_that_breaks_off_goes_on(hub, published, monkeypatch):
    skip_waits(monkeypatch)
    hub.fault = Fault("truncate", "safetensors", times=1)
    assert Generator.from_pretrained(REPOSITORY).latent_size == 10


def test_the_usual_arguments_of_from_pretrained(hub, published, tmp_path):
    HfApi().create_tag(REPOSITORY, tag="v1")
    cache = tmp_path / "elsewhere"
    model = Generator.from_pretrained(REPOSITORY, revision="v1", token=TOKEN, cache_dir=cache)
    assert any(cache.rglob("model.safetensors"))
    hub.fault = "refuse"
    again = Generator.from_pretrained(REPOSITORY, revision="v1", cache_dir=cache, local_files_only=True)
    assert torch.equal(model(model.sample_latent(2, seed=0)), again(again.sample_latent(2, seed=0)))


def test_the_space_gets_what_it_needs_and_no_more(hub, tmp_path):
    url = publish.publish("tester/latent-faces", models="tester")
    assert url == f"{hub.url}/spaces/tester/latent-faces"
    space = hub.repository("space", "tester/latent-faces")
    assert space.sdk == "gradio"
    assert {"app.py", "requirements.txt", "README.md"} <= set(space.files)
    assert {f"weights/{path.relative_to(WEIGHTS)}" for path in WEIGHTS.glob("*/*")} <= set(space.files)
    assert "weights/index.json" in space.files
    page = {path for path in CHECKOUT.glob("page/**/*") if path.is_file() and "__pycache__" not in path.parts}
    assert {str(path.relative_to(CHECKOUT)) for path in page} <= set(space.files)
    assert not any(path.startswith(("train", "tests", ".")) or "__pycache__" in path for path in space.files)
    assert space.variables["LATENT_FACES_HUB"]["value"] == "tester"
    for path, content in space.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with serving(folder=tmp_path) as page:
        assert "Latent Faces" in httpx.get(page.url).text
    front = huggingface_hub.RepoCard(space.files["README.md"].decode()).data
    assert front["sdk_version"] in space.files["requirements.txt"].decode()
    assert len(front["short_description"]) <= 60
    names = [repository_name("tester", name) for name in read_index(WEIGHTS)]
    assert front["models"] == names
    assert [line.split()[0] for line in front["preload_from_hub"]] == names

    publish.main(["tester/latent-faces"])
    assert "LATENT_FACES_HUB" not in hub.repository("space", "tester/latent-faces").variables


def test_a_static_space_gets_files_only(hub, tmp_path):
    publish.publish("tester/latent-faces", models="tester")
    publish.main(["tester/latent-faces", "--static"])
    files = hub.repository("space", "tester/latent-faces").files
    told = json.loads(files["page.json"])
    assert told["api"] is False
    for model in told["models"]:
        content = (WEIGHTS / model["folder"] / "model.safetensors").read_bytes()
        assert files[model["weights"]["url"].partition("?")[0]] == content
        assert files[model["history"]["sheet"].partition("?")[0]].startswith(b"RIFF")
    assert b"front/main.js" in files["index.html"]
    # Nothing is left of the Space that it was, and nothing large comes beside what the page names.
    assert not [path for path in files if path.endswith(".py") or path.startswith(("models/", "page/", "docs/"))]
    assert {path.partition("/")[0] for path in files} <= {
        *("index.html", "page.json", "README.md", ".gitattributes"),
        *("front", "weights", "epochs", "examples", "written-by-page-site.txt"),
    }
    front = huggingface_hub.RepoCard(files["README.md"].decode()).data
    assert (front["sdk"], front["app_file"], front["title"]) == ("static", "index.html", "Latent Faces")
    assert "sdk_version" not in front and "python_version" not in front
    fresh = publish.publish("tester/static-faces", static=True)
    assert fresh.endswith("/spaces/tester/static-faces")
    assert hub.repository("space", "tester/static-faces").sdk == "static"


def test_a_static_space_shows_the_models_of_a_namespace(hub, tmp_path):
    Generator().save_pretrained(tmp_path / "model")
    hub.add_folder("model", REPOSITORY, tmp_path / "model")
    publish.publish("tester/static-faces", models="tester", static=True)
    told = json.loads(hub.repository("space", "tester/static-faces").files["page.json"])
    assert told["models"][0]["origin"].startswith(REPOSITORY)


def test_autoencoders_push_their_score(hub, celeba, tmp_path):
    from train import autoencoder

    folders = ["--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    small = ["--epochs", "1", "--batch-size", "8", "--hidden-size", "8", "--held-out", "16", "--prior-mean", "0"]
    autoencoder.main([*small, *folders, "--push-to-hub", repository_name("tester", "matched-autoencoder")])
    repository = hub.repository("model", repository_name("tester", "matched-autoencoder"))
    assert set(repository.files) == set(push.PUSHED_FILES)  # No reconstruction of anybody.
    (result,) = ModelCard(repository.files["README.md"].decode()).data.eval_results
    assert result.metric_type == "psnr" and 0 < result.metric_value < 60
    assert Autoencoder.from_pretrained(repository.id).matching == "mmd"
