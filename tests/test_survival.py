"""Runs that are killed, and disks that are full: nothing is lost, and what follows is what would have been."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from models import load
from models.history import load_history
from tests.test_train import SMALL_GAN
from train import gan
from train.card import document
from train.record import Record
from train.settings import TrainingError

REPOSITORY = Path(__file__).parent.parent

# Run the command in a process that kills itself, with no chance to tidy up, at one moment.
DOOMED = """
import os, signal, sys
from train import gan, generators, record
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
moment = sys.argv.pop(1)
if moment == "step":
    step = generators.GANTrainer.step
    generators.GANTrainer.step = lambda self, images, number, labels: die() if number == 15 else step(self, images, number, labels)
else:
    real = getattr(os, moment)
    calls = []
    def doomed(*arguments):
        # The first checkpoint is let through; only calls about checkpoints count.
        about = arguments[0] if moment == "replace" else os.readlink(f"/proc/self/fd/{arguments[0]}")
        if "checkpoint" in str(about):
            calls.append(about)
            if len(calls) == 2:
                if moment == "fsync":
                    os.ftruncate(arguments[0], 1000)
                die()
        return real(*arguments)
    setattr(record.os, moment, doomed)
gan.main(sys.argv[1:])
"""


def losses(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(celeba, tmp_path):
    """Killed while it writes a checkpoint, before that takes the old one's place, and in the middle of an epoch."""
    common = [*SMALL_GAN, "--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--epochs", "4", "--output"]
    gan.main([*common, str(tmp_path / "straight")])
    killed = [*common, str(tmp_path / "killed")]
    for moment, resume in (("fsync", []), ("replace", ["--resume"]), ("step", ["--resume"])):
        command = [sys.executable, "-c", DOOMED, moment, *killed, *resume]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
        assert done.returncode == -9, done.stderr
    gan.main([*killed, "--resume"])
    assert losses(tmp_path / "killed") == losses(tmp_path / "straight")
    one, two = (torch.load(tmp_path / name / "checkpoint.pt")["state"] for name in ("straight", "killed"))
    for part in ("generator", "discriminator", "averages"):
        assert one[part] and all(torch.equal(value, two[part][key]) for key, value in one[part].items())


def test_sigterm_saves_and_says_how_to_go_on(celeba, tmp_path):
    stop = "import os, signal; step = generators.GANTrainer.step\n"
    stop += "def terminated(self, images, number, labels):\n"
    stop += "    if number == 3: os.kill(os.getpid(), signal.SIGTERM)\n"
    stop += "    return step(self, images, number, labels)\n"
    stop += "generators.GANTrainer.step = terminated"
    script = f"import sys\nfrom train import gan, generators\nfrom train.settings import run_command\n{stop}\nrun_command(gan.main)"
    arguments = ["--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    command = [sys.executable, "-c", script, *SMALL_GAN, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 128 + 15
    assert "stopped at step 4" in done.stderr and "--resume" in done.stderr and "Traceback" not in done.stderr
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 4


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit on file sizes")
def test_a_disk_that_takes_no_more_ends_in_a_sentence_and_keeps_the_checkpoint(celeba, tmp_path):
    arguments = [
        *SMALL_GAN,
        "--dataset",
        str(celeba),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--output",
        str(tmp_path / "run"),
    ]
    gan.main([*arguments, "--epochs", "1"])
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2},) * 2)"
    script = (
        f"import sys\nfrom train import gan\nfrom train.settings import run_command\n{limit}\nrun_command(gan.main)"
    )
    command = [sys.executable, "-c", script, *arguments, "--epochs", "2", "--resume"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: cannot write" in done.stderr and "File too large" in done.stderr
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before
    gan.main([*arguments, "--epochs", "2", "--resume"])


def test_an_output_that_cannot_be_made_is_named(celeba, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = [*SMALL_GAN, "--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache")]
    with pytest.raises(gan.TrainingError, match="--output"):
        gan.main([*arguments, "--output", str(tmp_path / "file/run")])


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit on file sizes")
def test_a_disk_that_is_full_when_the_weights_are_written_costs_nothing(celeba, tmp_path, monkeypatch):
    """The library of the weights' format has an error of its own for it."""
    import resource

    real = safetensors.torch.save_file

    def save_file(*arguments, **options):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            real(*arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    arguments = [*SMALL_GAN, "--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output"]
    run = tmp_path / "run"
    gan.main([*arguments, str(run), "--epochs", "1"])
    kept = {path: path.read_bytes() for path in (run / "checkpoint.pt", *(run / "model").iterdir())}
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", save_file)
        with pytest.raises(TrainingError, match="cannot write to .*File too large.* checkpoint is kept.* --resume"):
            gan.main([*arguments, str(run), "--epochs", "2", "--resume"])
        with pytest.raises(TrainingError, match="cannot write to .*File too large.* nothing is saved as yet"):
            gan.main([*arguments, str(tmp_path / "other"), "--epochs", "1"])
    assert {path: path.read_bytes() for path in kept} == kept and not (run / "model.tmp").exists()
    gan.main([*arguments, str(run), "--epochs", "2", "--resume"])
    gan.main([*arguments, str(tmp_path / "other"), "--epochs", "1"])


@pytest.fixture(scope="module")
def done(celeba, tmp_path_factory) -> Path:
    """The folder of a run that is done, to copy and to damage."""
    folder = tmp_path_factory.mktemp("done")
    gan.main([*SMALL_GAN, *folders(celeba, folder), "--epochs", "2"])
    return folder


def folders(celeba: Path, folder: Path) -> list[str]:
    return ["--dataset", str(celeba), "--cache-dir", str(folder / "cache"), "--output", str(folder / "run")]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_flipped_bit_of_a_checkpoint_is_noticed(rank, done, celeba, tmp_path):
    """In the middle of one of its largest tensors; what lies between them is padding."""
    folder = shutil.copytree(done, tmp_path / "copy")
    path = folder / "run/checkpoint.pt"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        tensor = sorted(archive.infolist(), key=lambda member: member.file_size)[-rank]
        value = archive.read(tensor)
    content[content.index(value, tensor.header_offset) + len(value) // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="checkpoint.pt is damaged.* checksum"):
        gan.main([*SMALL_GAN, *folders(celeba, folder), "--epochs", "3", "--resume"])


def test_a_checkpoint_from_before_resumes(done, celeba, tmp_path):
    """It knew its kind and held no description."""
    folder = shutil.copytree(done, tmp_path / "copy")
    path = folder / "run/checkpoint.pt"
    checkpoint = torch.load(path)
    torch.save({"kind": "gan", "position": checkpoint["position"], "state": checkpoint["state"]}, path)
    run = json.loads((folder / "run/run.json").read_text())
    old = ("kind", "command", "settings", "precision", "machine", "torch", "commit")
    (folder / "run/run.json").write_text(json.dumps({name: run[name] for name in old}))
    gan.main([*SMALL_GAN, *folders(celeba, folder), "--epochs", "3", "--resume"])
    assert losses(folder / "run")[-1]["epoch"] == 3


DAMAGE = {
    "gone": None,
    "empty": b"",
    "cut": lambda content: content[: len(content) // 2],
    "binary": b"\x89PNG\x00\xff\xfe\n\xc3(",
    "list": b"[]\n",
    "null": b"null\n",
    "number": b"3\n",
    "deep": b"[" * 100_000,
    "object": b"{}\n",
    "strings": b'{"kind": "gan", "command": "x", "settings": {"epochs": "2"}, "step": "1", "seconds": "a"}\n',
    "types": b'{"kind": [], "command": 3, "settings": [1], "step": 1.5, "epoch": null, "seconds": {}}\n',
    "nan": b'{"step": 6, "epoch": 1, "images_seen": 48, "seconds": NaN}\n{"step": 1, "a_loss": NaN}\n',
    "huge": b'{"step": 1e999, "epoch": 1, "seconds": 1}\n{"step": 9' + b"9" * 400 + b', "a_loss": 1e308}\n',
}


SERIES = ("samples/epoch-0001.png", "samples/epoch-0002.png")
OTHERS = ("config.json", "model.safetensors", "README.md", "training.json", "epochs.webp")


@pytest.mark.parametrize(
    "file, damage",
    [
        *((file, damage) for file in ("run.json", "metrics.jsonl") for damage in DAMAGE),
        *((file, damage) for file in (*SERIES, "loss.png", "checkpoint.pt") for damage in [*DAMAGE][:4]),
        *((f"model/{name}", damage) for name in OTHERS for damage in [*DAMAGE][:4]),
    ],
)
def test_a_damaged_file_of_a_run_is_rebuilt_or_told_in_a_sentence(file, damage, done, celeba, tmp_path):
    """On resuming what is done, on pushing it and on going on."""
    folder = shutil.copytree(done, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    (folder / "cache").symlink_to(done / "cache")
    run, content = folder / "run", DAMAGE[damage]
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_bytes(content((run / file).read_bytes()) if callable(content) else content)
    arguments = [*SMALL_GAN, *folders(celeba, folder), "--resume", "--epochs"]

    def told(command, *its) -> str | None:
        try:
            command(*its)
        except TrainingError as error:
            assert 0 < len(str(error)) < 600 and "\n" not in str(error)
            return str(error)
        return None

    model = shutil.copytree(run / "model", tmp_path / "pushed")
    refused = told(document, Record(run), model, "user/name")
    if file in ("run.json", "metrics.jsonl", "model/config.json", "model/model.safetensors"):
        # A log without its last lines is a log still, with the epochs that it tells of.
        assert refused or (file == "metrics.jsonl" and damage in ("cut", "nan"))
    elif file != "checkpoint.pt":
        assert refused is None
    for epochs in ("2", "3") if file.startswith("model/") else ("3",):
        refused = told(gan.main, [*arguments, epochs])
        assert (refused is not None) == (file == "checkpoint.pt"), refused
    if file != "checkpoint.pt":
        assert load(run / "model").latent_size == 10 and len(losses(run)) > 0
        assert json.loads((run / "run.json").read_text())["kind"] == "gan"
        # What a page would show of it is there and sound, or it is not there.
        if history := load_history(run / "model"):
            assert history.epochs == 3 and len(history.faces_after(3)) == 16
        assert (history is None) == (file in ("metrics.jsonl", "samples/epoch-0001.png", "samples/epoch-0002.png"))
