"""Push, pull and the page's fallbacks, against a Hub that speaks HTTP."""

import json
import shutil
from functools import partial
from types import SimpleNamespace

import httpx
import huggingface_hub
import numpy as np
import pytest
import torch
from gradio_client import Client
from huggingface_hub import HfApi, ModelCard, constants
from PIL import Image
from safetensors.torch import load_file, save_file

from models import AttributeGenerator, Autoencoder, Generator, load
from models.index import MODEL_FILES, repository_name
from models.loading import DamagedDownload
from page.catalog import load_models
from tests.conftest import WEIGHTS
from tests.loopback_hub import READ, REVOKED_TOKEN, TOKEN, Fault, break_upload, skip_waits
from tests.serving import serving
from tests.test_history import make_run
from train import gan, push
from train.card import write_history
from train.settings import TrainingError

SMALL = ["--passes", "1", "--epochs", "1", "--batch-size", "8", "--hidden-size", "4"]
SMALL += ["--latent-size", "10", "--discrete-size", "5"]
NAMES = ["gan"]
# Of a run: what its attributes do is measured later, if it has any.
RUN_FILES = set(MODEL_FILES) - {"attributes.json"}
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
    gan.main([*SMALL, *folders, "--push-to-hub", REPOSITORY])
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
    assert set(repository.files) == RUN_FILES and not repository.private
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
    assert set(files) == RUN_FILES and json.loads(files["training.json"])["epochs"] == 1


def test_a_run_whose_pictures_are_gone_is_pushed_without_a_history(hub, run):
    for path in (run / "samples/epoch-0001.png", run / "model/training.json", run / "model/epochs.webp"):
        path.unlink()
    push.push(run, REPOSITORY)
    files = hub.repository("model", REPOSITORY).files
    assert set(files) == RUN_FILES - {"training.json", "epochs.webp"}
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


def test_where_there_is_no_model_there_is_none_to_push(hub, tmp_path):
    with pytest.raises(TrainingError, match="nowhere is no folder"):
        push.push(tmp_path / "nowhere", REPOSITORY)
    (tmp_path / "begun").mkdir()
    with pytest.raises(TrainingError, match="begun holds no model yet"):
        push.push(tmp_path / "begun", REPOSITORY)


def test_a_bundled_model_is_pushed_with_all_that_belongs_to_it_and_nothing_else(hub, tmp_path, bundled):
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / "attribute-gan", folder)
    for name in (".env", "checkpoint.pt", "photograph.png", "reconstructions/epoch-0001.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"a secret")
    repository = repository_name("tester", "attribute-gan")
    push.main([str(folder), repository])
    files = hub.repository("model", repository).files
    assert set(files) == set(MODEL_FILES)
    for name in set(MODEL_FILES) - {"README.md"}:
        assert files[name] == (WEIGHTS / "attribute-gan" / name).read_bytes(), name
    before, card = ModelCard.load(folder / "README.md"), ModelCard(files["README.md"].decode())
    assert card.data.eval_results == before.data.eval_results and len(card.data.eval_results) == 12
    assert f'from_pretrained("{repository}")' in card.text and "weights/attribute-gan" not in card.text

    AttributeGenerator(10, 5, ("Smiling",), (4,) * 5).save_pretrained(bundled / "attribute-gan")
    shown = load_models(["attribute-gan"], bundled, "tester")["attribute-gan"]
    mine, theirs = load(WEIGHTS / "attribute-gan").state_dict(), load(repository).state_dict()
    assert shown.origin.startswith(f"{repository} at ")
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert epochs_shown(shown) == 76
    assert shown.areas["Eyeglasses"] == json.loads(files["attributes.json"])["Eyeglasses"]["area"]


def test_a_push_leaves_nothing_of_the_model_that_was_there(hub, published, tmp_path):
    Generator(latent_size=10, discrete_size=5, hidden_size=4).save_pretrained(tmp_path / "fresh")
    push.push(published, REPOSITORY)
    assert "epochs.webp" in hub.repository("model", REPOSITORY).files
    push.push(tmp_path / "fresh", REPOSITORY)
    assert set(hub.repository("model", REPOSITORY).files) == {"README.md", "config.json", "model.safetensors"}


@pytest.mark.parametrize("name", ["samples.png", "model.safetensors"])
def test_a_link_that_leads_out_of_the_folder_is_not_followed(hub, published, tmp_path, name):
    (tmp_path / "secret").write_bytes(b"a secret")
    (published / name).unlink(missing_ok=True)
    (published / name).symlink_to(tmp_path / "secret")
    hub.reset()
    with pytest.raises(TrainingError, match=f"{name} lies elsewhere"):
        push.push(published, REPOSITORY)
    with pytest.raises(KeyError):
        hub.repository("model", REPOSITORY)


def test_a_model_whose_folder_is_a_link_out_of_its_run_is_not_pushed(hub, run, published):
    shutil.rmtree(run / "model")
    (run / "model").symlink_to(published)
    with pytest.raises(TrainingError, match="lies elsewhere"):
        push.push(run, REPOSITORY)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "training.json", "epochs.webp"])
def test_a_damaged_model_folder_is_not_pushed(hub, published, name):
    (published / name).write_bytes(b"damaged")
    hub.reset()
    with pytest.raises(TrainingError) as error:
        push.push(published, REPOSITORY)
    assert "\n" not in str(error.value) and ("do not fit" in str(error.value) or name in str(error.value))
    with pytest.raises(KeyError):
        hub.repository("model", REPOSITORY)


def test_private_and_branch_pushes(hub, run):
    push.main([str(run), REPOSITORY, "--private", "--branch", "trial"])
    repository = hub.repository("model", REPOSITORY)
    assert repository.private
    assert repository.files == {}
    assert set(repository.find("trial").files) == RUN_FILES
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
    assert len(repository.commits) == 2 and set(repository.files) == RUN_FILES


def told_before_training(repository: str, celeba, tmp_path) -> str:
    folders = ["--dataset", str(celeba), "--output", str(tmp_path / "run")]
    with pytest.raises(TrainingError) as error:
        gan.main([*SMALL, *folders, "--push-to-hub", repository])
    assert not (tmp_path / "run").exists()
    return str(error.value)


def test_who_cannot_push_is_told_before_training(hub, celeba, tmp_path, monkeypatch):
    told = partial(told_before_training, celeba=celeba, tmp_path=tmp_path)
    assert "it is user/name" in told("no-slash")
    for name in ("somebody", "readers"):
        assert "to the names of tester and writers only" in told(f"{name}/faces")
    hub.access = READ
    assert "this token may only read" in told(REPOSITORY)
    scope = {"entity": {"type": "user", "name": "tester"}, "permissions": ["repo.content.read", "discussion.read"]}
    hub.access = {"role": "fineGrained", "fineGrained": {"global": [], "scoped": [scope]}}
    assert "this token may only read" in told(REPOSITORY)
    monkeypatch.setenv("HF_TOKEN", REVOKED_TOKEN)
    assert "the token for the Hub is invalid or has expired" in (said := told(REPOSITORY)) and REVOKED_TOKEN not in said
    monkeypatch.delenv("HF_TOKEN")
    assert "log in first" in told(REPOSITORY)


def test_a_fine_grained_token_that_may_write_pushes(hub, published):
    scope = {"entity": {"type": "user", "name": "tester"}, "permissions": ["repo.content.read", "repo.write"]}
    hub.access = {"role": "fineGrained", "fineGrained": {"global": [], "scoped": [scope]}}
    assert "/commit/" in push.push(published, REPOSITORY)


def test_the_page_says_that_a_token_has_expired(hub, published, bundled, monkeypatch):
    push.push(published, REPOSITORY)
    monkeypatch.setenv("HF_TOKEN", REVOKED_TOKEN)
    assert "the token for the Hub is invalid or has expired" in load_models(NAMES, bundled, "tester")["gan"].origin
    monkeypatch.setenv("HF_TOKEN", "a-token-that-is-valid")
    assert load_models(NAMES, bundled, "tester")["gan"].origin.startswith(f"{REPOSITORY} at ")
    monkeypatch.setenv("HF_TOKEN", REVOKED_TOKEN)
    assert load_models(NAMES, bundled, "tester")["gan"].origin.endswith(", cached (the token is invalid)")


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
    """Take the Hub away; whoever waits to ask it again fails."""
    monkeypatch.setattr("page.hub.PROBE_SECONDS", 0.5)
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=pytest.fail))
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
    loaded = load_models(NAMES, bundled, "tester")["gan"]
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
def test_a_hub_that_is_away_is_asked_once_and_the_bundled_model_is_shown(hub, published, bundled, monkeypatch, how):
    away(monkeypatch, hub, how)
    loaded = load_models(NAMES, bundled, "tester")["gan"]
    assert loaded.latent_size == 12
    assert loaded.origin.startswith("bundled (") and "away" in loaded.origin


@pytest.mark.parametrize("how", AWAY)
def test_a_hub_that_is_away_does_not_matter_to_what_is_cached(hub, published, bundled, monkeypatch, how):
    assert load_models(NAMES, bundled, "tester")["gan"].latent_size == 10
    away(monkeypatch, hub, how)
    loaded = load_models(NAMES, bundled, "tester")["gan"]
    assert loaded.latent_size == 10 and "cached" in loaded.origin


def refused(hub, published, bundled) -> str:
    hub.add_folder("model", REPOSITORY, published)
    loaded = load_models(NAMES, bundled, "tester")["gan"]
    assert loaded.latent_size == 12
    return loaded.origin


def test_what_is_no_fitting_model_is_refused_with_the_reason(hub, published, bundled):
    weights, config = published / "model.safetensors", published / "config.json"
    good_weights, good_config = load_file(weights), config.read_text()

    save_file({name.replace("layers", "blocks"): value for name, value in good_weights.items()}, weights)
    assert "its weights lack layers.0.0.weight" in refused(hub, published, bundled)
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


def test_autoencoders_push_their_score(hub, celeba, tmp_path):
    from train import autoencoder

    folders = ["--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    small = ["--epochs", "1", "--batch-size", "8", "--hidden-size", "8", "--held-out", "16", "--prior-mean", "0"]
    autoencoder.main([*small, *folders, "--push-to-hub", repository_name("tester", "matched-autoencoder")])
    repository = hub.repository("model", repository_name("tester", "matched-autoencoder"))
    assert set(repository.files) == RUN_FILES  # No reconstruction of anybody.
    (result,) = ModelCard(repository.files["README.md"].decode()).data.eval_results
    assert result.metric_type == "psnr" and 0 < result.metric_value < 60
    assert Autoencoder.from_pretrained(repository.id).matching == "mmd"
