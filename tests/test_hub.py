"""A model's way to the Hub and back, against a Hub that speaks HTTP."""

import json
import shutil

import pytest
import torch
from huggingface_hub import ModelCard

from models import Generator, load
from models.history import load_history
from models.index import MODEL_FILES, repository_name
from tests.conftest import GAN_ID, WEIGHTS, small_generator
from tests.loopback_hub import READ, REVOKED_TOKEN, TOKEN, WRITE, Fault
from tests.test_train import SMALL_GAN
from train import gan, push
from train.settings import TrainingError

# Of a run: what its attributes do is measured later, if it has any.
RUN_FILES = set(MODEL_FILES) - {"attributes.json"}

# In place of a file, a link to it outside its folder.
LINK = object()


@pytest.fixture
def run(finished):
    """A small trained GAN."""
    return finished("gan")


def files_on(hub, id: str = GAN_ID) -> dict[str, bytes]:
    return hub.repository("model", id).files


def test_a_model_is_streamed_trained_pushed_and_pulled(hub, celeba, tmp_path):
    hub.add_folder("dataset", "flwrlabs/celeba", celeba)
    folders = ["--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    gan.main([*SMALL_GAN, "--epochs", "1", *folders, "--push-to-hub", GAN_ID])
    assert any(path.startswith("/datasets/flwrlabs/celeba/resolve/") for _, path in hub.requests)
    pulled, local = load(GAN_ID), load(tmp_path / "run/model")
    assert torch.equal(pulled(pulled.sample_latent(2, seed=3)), local(local.sample_latent(2, seed=3)))
    assert files_on(hub)["epochs.webp"] == (tmp_path / "run/model/epochs.webp").read_bytes()
    for arguments, words in {
        ("--dataset", "nobody/nothing"): "nobody/nothing: neither a folder here nor a data set on the Hub",
        ("--revision", "v9"): "--revision v9",
    }.items():
        with pytest.raises(TrainingError, match=words):
            gan.main([*arguments, "--output", str(tmp_path / "another")])


def test_a_pushed_repository_is_complete_and_its_card_true(hub, run, capsys):
    url = push.push(run, GAN_ID)
    repository = hub.repository("model", GAN_ID)
    assert repository.commits[0].sha in url
    assert set(repository.files) == RUN_FILES and not repository.private
    card = ModelCard(repository.files["README.md"].decode())
    assert card.data.library_name == "latent-faces" and f'from_pretrained("{GAN_ID}")' in card.text
    assert TOKEN.encode() not in b"".join(repository.files.values()) and TOKEN not in capsys.readouterr().out
    before = len(repository.commits)
    push.push(run, GAN_ID)
    assert len(repository.commits) == before, "nothing new, no commit"


def test_a_run_that_was_killed_is_pushed_with_its_history_as_far_as_its_pictures_are_there(hub, run):
    history = {"training.json", "epochs.webp"}
    for name in history:
        (run / "model" / name).unlink()
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 13, "epo')
    push.push(run, GAN_ID)
    assert set(files_on(hub)) == RUN_FILES and json.loads(files_on(hub)["training.json"])["epochs"] == 2
    (run / "samples/epoch-0001.png").unlink()
    push.push(run, GAN_ID)
    assert set(files_on(hub)) == RUN_FILES - history and b"epochs.webp" not in files_on(hub)["README.md"]


@pytest.mark.parametrize(
    "file, content, words",
    [
        ("run.json", b"[]", "run.json is damaged"),
        ("metrics.jsonl", b"", "tells of no finished epoch"),
        ("model/config.json", None, "holds no config.json"),
        ("model/model.safetensors", LINK, "is a link out of the folder"),
        ("model", LINK, "is a link out of the folder"),
        ("model", None, "holds no model yet"),
        ("", None, "run is no folder"),
        ("../published/model.safetensors", b"damaged", "do not fit"),
        ("../published/training.json", b"damaged", "training.json is damaged"),
        ("../published/epochs.webp", b"damaged", "epochs.webp is damaged"),
    ],
)
def test_what_is_damaged_is_not_pushed(hub, run, published, tmp_path, file, content, words):
    """Nor what a link out of its folder leads to, nor a run without a model; told in a line, before anything is sent."""
    hub.reset()
    (run / file).rename(tmp_path / "elsewhere")
    if content is LINK:
        (run / file).symlink_to(tmp_path / "elsewhere")
    elif content is not None:
        (run / file).write_bytes(content)
    with pytest.raises(TrainingError, match=words) as told:
        push.push(published if "published" in file else run, GAN_ID)
    assert "\n" not in str(told.value)
    with pytest.raises(KeyError):
        hub.repository("model", GAN_ID)


def test_a_bundled_model_is_pushed_with_all_that_belongs_to_it_and_nothing_else(hub, tmp_path):
    folder = shutil.copytree(WEIGHTS / "attribute-gan", tmp_path / "model")
    for name in (".env", "checkpoint.pt", "photograph.png", "reconstructions/epoch-0001.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"a secret")
    repository = repository_name("tester", "attribute-gan")
    push.main([str(folder), repository])
    files = files_on(hub, repository)
    assert set(files) == set(MODEL_FILES)
    for name in set(MODEL_FILES) - {"README.md"}:
        assert files[name] == (WEIGHTS / "attribute-gan" / name).read_bytes(), name
    before, card = ModelCard.load(folder / "README.md"), ModelCard(files["README.md"].decode())
    assert card.data.eval_results == before.data.eval_results and card.data.eval_results
    assert f'from_pretrained("{repository}")' in card.text and "weights/attribute-gan" not in card.text


@pytest.mark.parametrize("card", [None, b'\xff from_pretrained("mine")'])
def test_a_push_leaves_nothing_of_the_model_that_was_there(card, hub, published, tmp_path):
    """The card may be missing, or of another encoding."""
    assert "epochs.webp" in files_on(hub) and load_history(published)
    small_generator().save_pretrained(tmp_path / "fresh")
    (tmp_path / "fresh/README.md").unlink() if card is None else (tmp_path / "fresh/README.md").write_bytes(card)
    push.push(tmp_path / "fresh", GAN_ID)
    assert set(files_on(hub)) == {"README.md", "config.json", "model.safetensors"}
    own = f'\N{REPLACEMENT CHARACTER} from_pretrained("{GAN_ID}")'
    assert card is None or files_on(hub)["README.md"].decode() == own


def test_private_and_branch_pushes(hub, run):
    push.main([str(run), GAN_ID, "--private", "--branch", "trial"])
    repository = hub.repository("model", GAN_ID)
    assert repository.private and repository.files == {}
    assert set(repository.revisions["trial"].files) == RUN_FILES
    assert load(GAN_ID, revision="trial").latent_size == 10


@pytest.mark.parametrize("kind", ["500", "412", "close"])
def test_a_push_that_is_cut_off_or_beside_another_can_be_repeated(hub, run, kind):
    hub.fault = Fault(kind, "POST .*/commit/")
    with pytest.raises(TrainingError, match="can be repeated"):
        push.push(run, GAN_ID)
    assert files_on(hub) == {}
    hub.fault = None
    push.push(run, GAN_ID)
    assert set(files_on(hub)) == RUN_FILES


def limited_to(place: str, *permissions: str) -> dict:
    """What a token may do that is for one user, organisation or repository."""
    scope = {"entity": {"name": place}, "permissions": [*permissions]}
    return {"role": "fineGrained", "fineGrained": {"global": [], "scoped": [scope]}}


def test_who_cannot_push_is_told_before_training(hub, celeba, tmp_path, monkeypatch):
    def told(repository: str) -> str:
        folders = ["--dataset", str(celeba), "--output", str(tmp_path / "run")]
        with pytest.raises(TrainingError) as error:
            gan.main([*SMALL_GAN, *folders, "--push-to-hub", repository])
        assert not (tmp_path / "run").exists()
        return str(error.value)

    assert "it is user/name" in told("no-slash")
    for name in ("somebody", "readers"):
        assert "to the names of tester and writers only" in told(f"{name}/faces")
    for hub.access in (
        READ,
        limited_to("tester", "repo.content.read", "discussion.write", "inference.serverless.write"),
        limited_to("tester/others", "repo.write"),
    ):
        assert "this token may only read there" in told(GAN_ID)
    for token in (REVOKED_TOKEN, "hf_…"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert "the token for the Hub is invalid or has expired" in (said := told(GAN_ID)) and token not in said
    monkeypatch.delenv("HF_TOKEN")
    assert "log in first" in told(GAN_ID)


def test_a_token_that_may_write_pushes(hub, published):
    for hub.access in (WRITE, limited_to("Tester", "repo.write"), limited_to(GAN_ID, "repo.write")):
        assert "/commit/" in push.push(published, GAN_ID)


def test_wrong_bytes_of_the_right_size_are_noticed(hub, published):
    for name in ("model.safetensors", "config.json"):
        hub.fault = Fault("corrupt", name)
        with pytest.raises(ValueError, match=f"{name} is damaged: load it again with force_download=True"):
            load(GAN_ID, force_download=True)
        hub.fault = None
        assert load(GAN_ID, force_download=True).latent_size == 10


def test_the_usual_arguments_of_from_pretrained(hub, published, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    first, cache = hub.repository("model", GAN_ID).commits[0], "~/elsewhere"
    hub.repository("model", GAN_ID).commit({})
    model = Generator.from_pretrained(GAN_ID, revision=first.sha, token=TOKEN, cache_dir=cache)
    assert any((tmp_path / "elsewhere").rglob("model.safetensors"))
    hub.fault = "refuse"
    again = Generator.from_pretrained(GAN_ID, revision=first.sha, cache_dir=cache, local_files_only=True)
    assert torch.equal(model(model.sample_latent(2, seed=0)), again(again.sample_latent(2, seed=0)))
