"""The fake Hub behaves as the real clients expect, and fails as it is told to."""

import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import httpx2
import pytest
import torch
from huggingface_hub import HfApi, hf_hub_download, list_repo_tree, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from PIL import Image

from models import Autoencoder
from models.loading import DamagedDownload
from tests.loopback_hub import (
    REVOKED_TOKEN,
    TOKEN,
    Fault,
    LoopbackHub,
    break_upload,
    point_clients_at,
    skip_waits,
)


def tiny(seed: int = 0) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Autoencoder(latent_size=4, hidden_size=8, channels=(4, 4, 4))


def same(one: Autoencoder, other: Autoencoder) -> bool:
    weights = other.state_dict()
    return all(torch.equal(value, weights[key]) for key, value in one.state_dict().items())


def test_push_and_pull_by_branch_tag_and_sha(hub):
    first, second, third = tiny(1), tiny(2), tiny(3)
    api = HfApi()
    pinned = first.push_to_hub("tester/pinned", private=True).oid
    api.create_tag("tester/pinned", tag="v1/final")
    second.push_to_hub("tester/pinned", commit_message="Better")
    api.create_branch("tester/pinned", branch="next/try")
    third.push_to_hub("tester/pinned", branch="next/try")

    for revision, pushed in [(None, second), ("v1/final", first), (pinned, first), ("next/try", third)]:
        assert same(Autoencoder.from_pretrained("tester/pinned", revision=revision), pushed)
    repository = hub.repository("model", "tester/pinned")
    assert repository.private
    assert [commit.message for commit in repository.commits][:1] == ["Better"]
    assert set(repository.files) == {"README.md", "config.json", "model.safetensors"}
    assert ("POST", "/tester/pinned.git/info/lfs/objects/batch", f"Bearer {TOKEN}") in hub.requests
    refs = api.list_repo_refs("tester/pinned")
    assert {branch.name for branch in refs.branches} == {"main", "next/try"}
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1/final", pinned)]


def test_what_is_unchanged_makes_no_commit(hub):
    commits = {tiny().push_to_hub("tester/unchanged").oid for _ in range(2)}
    assert len(commits) == 1
    assert len(hub.repository("model", "tester/unchanged").commits) == 2


def test_without_large_files(monkeypatch, tmp_path):
    with LoopbackHub(large_from=None) as hub:
        point_clients_at(hub, monkeypatch, tmp_path)
        model = tiny()
        model.push_to_hub("tester/small")
        assert same(Autoencoder.from_pretrained("tester/small"), model)
        assert not any("lfs" in request.path for request in hub.requests)


def test_a_commit_adds_and_deletes(hub, tmp_path):
    api = HfApi()
    api.create_repo("tester/files", repo_type="dataset")
    folder = tmp_path / "files"
    for path in ("kept", "deleted", "folder/deleted", "folder+1/ü b"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    api.upload_folder(repo_id="tester/files", repo_type="dataset", folder_path=folder)
    api.delete_file("deleted", "tester/files", repo_type="dataset")
    api.delete_folder("folder", "tester/files", repo_type="dataset")
    pull_request = api.upload_file(
        path_or_fileobj=b"new",
        path_in_repo="new",
        repo_id="tester/files",
        repo_type="dataset",
        create_pr=True,
    )

    repository = hub.repository("dataset", "tester/files")
    assert repository.files == {"kept": b"kept", "folder+1/ü b": "folder+1/ü b".encode()}
    assert api.file_exists("tester/files", "new", repo_type="dataset", revision=pull_request.pr_revision)
    tree = list_repo_tree("tester/files", repo_type="dataset", recursive=True)
    assert sorted(entry.path for entry in tree) == ["folder+1", "folder+1/ü b", "kept"]
    assert {entry.path for entry in list_repo_tree("tester/files", repo_type="dataset")} == {"folder+1", "kept"}
    inside = list_repo_tree("tester/files", "folder+1", repo_type="dataset")
    assert [entry.path for entry in inside] == ["folder+1/ü b"]
    known = api.get_paths_info("tester/files", ["kept", "folder+1", "deleted"], repo_type="dataset")
    assert [entry.path for entry in known] == ["kept", "folder+1"]
    snapshot = snapshot_download("tester/files", repo_type="dataset")
    assert sorted(os.listdir(snapshot)) == ["folder+1", "kept"]


def test_spaces_and_users(hub):
    api = HfApi()
    api.create_repo("tester/page", repo_type="space", space_sdk="gradio", private=True)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("tester/page", repo_type="space", space_sdk="gradio")
    assert api.create_repo("page", repo_type="space", space_sdk="gradio", exist_ok=True).repo_id == "tester/page"
    api.add_space_variable("tester/page", "WEIGHTS", "tester/pinned", description="What it shows")
    assert api.get_space_variables("tester/page")["WEIGHTS"].value == "tester/pinned"
    assert hub.repository("space", "tester/page").sdk == api.space_info("tester/page").sdk == "gradio"
    assert api.whoami()["name"] == "tester"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token=REVOKED_TOKEN)
    with pytest.raises(HfHubHTTPError, match="401"):
        tiny().push_to_hub("tester/never", token=REVOKED_TOKEN)
    with pytest.raises(HfHubHTTPError, match="401"):
        api.create_repo("tester/never", token=False)
    with pytest.raises(RepositoryNotFoundError):
        api.space_info("tester/page", token=False)


def test_what_is_missing(hub):
    hub.add_folder("model", "tester/empty", os.devnull)
    with pytest.raises(RepositoryNotFoundError):
        HfApi().model_info("tester/absent")
    with pytest.raises(RevisionNotFoundError):
        HfApi().model_info("tester/empty", revision="absent")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("tester/empty", "absent")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder laid out as flwrlabs/celeba, with two columns."""
    folder = tmp_path_factory.mktemp("celeba")
    config = "img_align+identity+attr"
    (folder / config).mkdir()
    splits = {"train": 4, "valid": 2, "test": 2}
    for split, count in splits.items():
        for shard in range(2):
            images = [Image.new("RGB", (8, 8), (shard, number, 0)) for number in range(count)]
            rows = datasets.Dataset.from_dict({"image": images, "celeb_id": list(range(count))})
            rows = rows.cast_column("image", datasets.Image())
            rows.to_parquet(folder / config / f"{split}-{shard:05d}-of-00002.parquet")
    paths = "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in splits)
    card = f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{paths}---\n# Faces\n"
    (folder / "README.md").write_text(card)
    return folder


def test_streaming(hub, faces):
    hub.add_dataset_folder("tester/celeba", faces)
    revision = HfApi().dataset_info("tester/celeba").sha
    rows = datasets.load_dataset("tester/celeba", split="train", streaming=True, columns=["image"], revision=revision)
    pixels = [row["image"].getpixel((0, 0)) for row in rows]
    assert pixels == [(shard, number, 0) for shard in range(2) for number in range(4)]
    assert rows.column_names == ["image"]
    assert not any("valid-" in request.path or "test-" in request.path for request in hub.requests)


def test_pushing_a_data_set(hub):
    datasets.Dataset.from_dict({"celeb_id": [3, 1, 2]}).push_to_hub("tester/numbers", split="valid")
    rows = datasets.load_dataset("tester/numbers", split="valid", streaming=True)
    assert [row["celeb_id"] for row in rows] == [3, 1, 2]


def test_no_request_leaves_the_machine(hub, tmp_path):
    hub.add_dataset_folder("tester/outside", tmp_path)
    script = """
import httpx2
from huggingface_hub import HfApi
print(HfApi().dataset_info("tester/outside").id, httpx2.get("http://example.com/page").status_code)
try:
    httpx2.get("https://example.com/page")
except httpx2.ProxyError:
    print("stopped")
"""
    environment = {**os.environ, **hub.environment(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["tester/outside", "404", "stopped"]
    assert [request[:2] for request in hub.requests if not request.path.startswith("/")] == [
        ("GET", "http://example.com/page"),
        ("CONNECT", "example.com:443"),
    ]


@pytest.fixture
def pushed(hub):
    model = tiny()
    model.push_to_hub("tester/faulty")
    return model


def test_refuse(hub, pushed):
    hub.fault = "refuse"
    with pytest.raises(httpx2.ConnectError):
        HfApi().model_info("tester/faulty")
    hub.fault = None
    assert same(Autoencoder.from_pretrained("tester/faulty"), pushed)


def test_hang(hub, pushed):
    hub.fault = Fault("hang", "faulty")
    with pytest.raises(httpx2.ReadTimeout):
        HfApi().model_info("tester/faulty", timeout=0.2)
    assert HfApi().whoami()


def test_a_download_that_hangs(hub, pushed, monkeypatch):
    skip_waits(monkeypatch, timeout=0.05)
    hub.fault = Fault("hang", "/resolve/")
    with pytest.raises(LocalEntryNotFoundError):
        Autoencoder.from_pretrained("tester/faulty")


def test_the_end_of_the_hub_ends_what_hangs(monkeypatch, tmp_path):
    with ThreadPoolExecutor() as threads:
        with LoopbackHub() as hub:
            point_clients_at(hub, monkeypatch, tmp_path)
            hub.fault = "hang"
            answer = threads.submit(HfApi().whoami)
            while not hub.requests:
                time.sleep(0.01)
        assert isinstance(answer.exception(timeout=5), HfHubHTTPError)


def test_a_status_on_some_requests(hub, pushed, monkeypatch):
    skip_waits(monkeypatch)
    hub.fault = Fault("503", "HEAD .*/model.safetensors", first=1, times=2)
    assert same(Autoencoder.from_pretrained("tester/faulty"), pushed)
    heads = [path for method, path, _ in hub.requests if method == "HEAD" and path.endswith("safetensors")]
    assert len(heads) == 3
    hub.fault = "503"
    with pytest.raises(HfHubHTTPError, match="503"):
        HfApi().model_info("tester/faulty")


def test_truncate(hub, pushed, monkeypatch):
    skip_waits(monkeypatch)
    hub.fault = Fault("truncate", "safetensors", times=1)
    assert same(Autoencoder.from_pretrained("tester/faulty"), pushed)
    downloads = [request for request in hub.requests if request.method == "GET" and "safetensors" in request.path]
    assert len(downloads) == 2
    hub.fault = Fault("truncate", "safetensors")
    with pytest.raises(OSError, match="model.safetensors of tester/faulty cannot be downloaded"):
        Autoencoder.from_pretrained("tester/faulty", force_download=True)


def test_corrupt(hub, pushed):
    hub.fault = Fault("corrupt", "safetensors")
    path = hf_hub_download("tester/faulty", "model.safetensors")
    original = hub.repository("model", "tester/faulty").files["model.safetensors"]
    downloaded = Path(path).read_bytes()
    assert len(downloaded) == len(original)
    assert hashlib.sha256(downloaded).digest() != hashlib.sha256(original).digest()
    with pytest.raises(DamagedDownload):
        Autoencoder.from_pretrained("tester/faulty")


def test_a_large_file_is_sent_again(hub, pushed, monkeypatch):
    skip_waits(monkeypatch)
    for kind in ("500", "close"):
        hub.fault = break_upload(times=2, kind=kind)
        other = tiny(seed=sum(kind.encode()))
        other.push_to_hub("tester/faulty")
        assert same(Autoencoder.from_pretrained("tester/faulty"), other)
        assert hub.fault.seen == 4


def test_a_commit_is_not_sent_again(hub, pushed):
    before = hub.repository("model", "tester/faulty").files
    for kind, failure in [("500", HfHubHTTPError), ("close", httpx2.RemoteProtocolError)]:
        hub.fault = break_upload(first=2, kind=kind)
        with pytest.raises(failure):
            tiny(seed=sum(kind.encode()) + 1).push_to_hub("tester/faulty")
        assert hub.repository("model", "tester/faulty").files == before
    tiny(seed=9).push_to_hub("tester/faulty")
    assert hub.repository("model", "tester/faulty").files != before
