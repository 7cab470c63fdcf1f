"""Runs that are killed, and disks that are full: nothing is lost, and what follows is what would have been."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from models import load
from models.history import load_history
from tests.test_train import SMALL_GAN, assert_same_run, losses
from train import gan, loop, record
from train.card import document
from train.generators import GANTrainer
from train.record import Record
from train.settings import TrainingError, run_command

# CUDA does not survive a fork.
LINUX = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="forks, looks into /proc and limits the sizes of files"
)


def in_a_process(function, *arguments) -> int:
    """The exit status of a process that calls a function. It is forked, since importing PyTorch takes long."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join(timeout=200)
    return process.exitcode


def run_until_killed(moment: str | int, words: list[str]) -> None:
    """Train a GAN, and kill this process at one moment, with no chance to tidy up.

    Args:
        moment: "fsync" or "replace" of the second checkpoint, half of which is on disk then, or the number of a step; in
            that case every step before it has left a checkpoint.
    """
    patch = pytest.MonkeyPatch()
    die = lambda: os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(moment, int):
        step = GANTrainer.step
        last = lambda self, images, number, labels: die() if number == moment else step(self, images, number, labels)
        patch.setattr(GANTrainer, "step", last)
        patch.setattr(loop, "SECONDS_PER_CHECKPOINT", 0)
    else:
        real, calls = getattr(os, moment), []

        def doomed(*arguments):
            about = arguments[0] if moment == "replace" else os.readlink(f"/proc/self/fd/{arguments[0]}")
            calls.extend([about] * ("checkpoint" in str(about)))
            if len(calls) == 2:
                if moment == "fsync":
                    os.ftruncate(arguments[0], 1000)
                die()
            return real(*arguments)

        patch.setattr(record.os, moment, doomed)
    gan.main(words)


@LINUX
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(arguments, tmp_path):
    gan.main(arguments(SMALL_GAN, "straight", 3))
    words = arguments(SMALL_GAN, "killed", 3)
    for moment in ("fsync", "replace", 15):
        resumed = [*words, *["--resume"] * (moment != "fsync")]
        assert in_a_process(run_until_killed, moment, resumed) == -signal.SIGKILL
    assert torch.load(tmp_path / "killed/checkpoint.pt")["position"]["step"] == 15
    gan.main([*words, "--resume"])
    assert_same_run(tmp_path / "straight", tmp_path / "killed")


def run_as_a_command(words: list[str], told: Path, size_limit: int | None = None, terminated_at: int = -1) -> None:
    """As `python -m train.gan` would, with standard error in a file, and a limit on files' sizes or SIGTERM in a step."""
    import resource

    step = GANTrainer.step

    def terminated(self, images, number, labels):
        if number == terminated_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, images, number, labels)

    pytest.MonkeyPatch().setattr(GANTrainer, "step", terminated)
    sys.argv[1:] = words
    os.dup2(os.open(told, os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
    if size_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_limit, size_limit))
    run_command(gan.main)


@LINUX
def test_sigterm_saves_and_says_how_to_go_on(arguments, tmp_path):
    assert in_a_process(run_as_a_command, arguments(SMALL_GAN, epochs=2), tmp_path / "told", None, 3) == 128 + 15
    told = (tmp_path / "told").read_text()
    assert "stopped at step 4" in told and "--resume" in told and "Traceback" not in told
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 4


@pytest.fixture
def run(finished) -> Path:
    return finished("gan")


@LINUX
def test_a_disk_that_takes_no_more_ends_in_a_sentence_and_keeps_the_checkpoint(run, arguments, tmp_path):
    before, resumed = (run / "checkpoint.pt").read_bytes(), [*arguments(SMALL_GAN, epochs=3), "--resume"]
    assert in_a_process(run_as_a_command, resumed, tmp_path / "told", len(before) // 2) == 1
    told = (tmp_path / "told").read_text()
    assert "error: cannot write" in told and "File too large" in told and "Traceback" not in told
    assert (run / "checkpoint.pt").read_bytes() == before
    gan.main(resumed)


def test_a_disk_that_is_full_when_the_weights_are_written_costs_nothing(run, arguments, monkeypatch):
    """The library of the weights' format has an error of its own for it."""

    def save_file(*arguments, **options):
        raise safetensors.SafetensorError("I/O error: File too large")

    kept = {path: path.read_bytes() for path in (run / "checkpoint.pt", *(run / "model").iterdir())}
    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    with pytest.raises(TrainingError, match="cannot write to .*File too large.* checkpoint is kept.* --resume"):
        gan.main([*arguments(SMALL_GAN, epochs=3), "--resume"])
    assert {path: path.read_bytes() for path in kept} == kept and not (run / "model.tmp").exists()


def test_an_output_that_cannot_be_made_is_named(arguments, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="--output"):
        gan.main(arguments(SMALL_GAN, "file/run", 1))


@pytest.mark.parametrize("rank", [1, 3])
def test_a_flipped_bit_of_a_checkpoint_is_noticed(rank, run, arguments):
    """In the middle of one of its largest tensors; what lies between them is padding."""
    path = run / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        tensor = sorted(archive.infolist(), key=lambda member: member.file_size)[-rank]
        value = archive.read(tensor)
    content[content.index(value, tensor.header_offset) + len(value) // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="checkpoint.pt is damaged.* checksum"):
        gan.main([*arguments(SMALL_GAN, epochs=3), "--resume"])


DAMAGE = {
    "gone": None,
    "cut": lambda content: content[: len(content) // 2],
    "binary": b"\x89PNG\x00\xff\xfe\n\xc3(",
    "null": b"null\n",
    "deep": b"[" * 100_000,
    "strings": b'{"kind": "gan", "command": "x", "settings": {"epochs": "2"}, "step": "1", "seconds": "a"}\n',
    "types": b'{"kind": [], "command": 3, "settings": [1], "step": 1.5, "epoch": null, "seconds": {}}\n',
    "nan": b'{"step": 6, "epoch": 1, "images_seen": 48, "seconds": NaN}\n{"step": 1, "a_loss": NaN}\n',
    "huge": b'{"step": 1e999, "epoch": 1, "seconds": 1}\n{"step": 9' + b"9" * 400 + b', "a_loss": 1e308}\n',
}

SERIES = ("samples/epoch-0001.png", "samples/epoch-0002.png")
MODEL = ("config.json", "model.safetensors", "README.md", "training.json", "epochs.webp")

DAMAGED = [(file, damage) for file in ("run.json", "metrics.jsonl") for damage in DAMAGE]
DAMAGED += [
    (file, damage)
    for file in (*SERIES, "loss.png", "checkpoint.pt", *(f"model/{name}" for name in MODEL))
    for damage in ("gone", "cut", "binary")
]


@pytest.mark.parametrize(
    "file, damage", [pytest.param(*case, marks=[] if case[1] == "cut" else pytest.mark.slow) for case in DAMAGED]
)
def test_a_damaged_file_of_a_run_is_rebuilt_or_told_in_a_sentence(file, damage, run, arguments, tmp_path):
    """On resuming what is done, on pushing it and on going on."""
    content = DAMAGE[damage]
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_bytes(content((run / file).read_bytes()) if callable(content) else content)

    def told(command, *its) -> str | None:
        try:
            command(*its)
        except (TrainingError, ValueError) as error:
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
    for epochs in (2, 3) if file.startswith("model/") else (3,):
        refused = told(gan.main, [*arguments(SMALL_GAN, epochs=epochs), "--resume"])
        assert (refused is not None) == (file == "checkpoint.pt"), refused
    if file != "checkpoint.pt":
        assert load(run / "model").latent_size == 10 and len(losses(run)) > 0
        assert json.loads((run / "run.json").read_text())["kind"] == "gan"
        # What a page would show of it is there and sound, or it is not there.
        if history := load_history(run / "model"):
            assert history.epochs == 3 and len(history.faces_after(3)) == 16
        assert (history is None) == (file in ("metrics.jsonl", "samples/epoch-0001.png", "samples/epoch-0002.png"))
