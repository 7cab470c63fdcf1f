"""A sweep trains what is missing, keeps what is there, and scores it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models import Generator
from study import sweep
from study.sweep import Kind
from tests.quick_features import see_quickly
from train.settings import Interrupted, TrainingError

SMALL = ("--batch-size", "8", "--latent-size", "10", "--precision", "fp32")
PLAIN = Kind("plain", "autoencoder", (10,), (*SMALL, "--hidden-size", "16", "--held-out", "8"))
GAN = Kind("gan-5+5", "gan", (20, 50, 100), (*SMALL, "--hidden-size", "4", "--discrete-size", "5"))


@pytest.fixture
def arguments(celeba, tmp_path, monkeypatch):
    see_quickly(monkeypatch)
    monkeypatch.setattr(sweep, "KINDS", (PLAIN, GAN))
    monkeypatch.chdir(tmp_path)
    return ["--dataset", str(celeba), "--cache-dir", "cache", "--samples", "20", "--held-out-split", "valid"]


class Trainings:
    """In place of a trainer: keeps commands, and leaves what a run leaves. It is stopped after some epochs."""

    def __init__(self, epochs: int = 1000):
        self.commands, self.epochs = [], epochs

    def __call__(self, command: list[str]) -> None:
        self.commands.append(command)
        folder, epochs, every = (given(command, flag) for flag in ("--output", "--epochs", "--keep-epochs"))
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, "checkpoint.pt").touch()
        for epoch in range(int(every), min(int(epochs), self.epochs) + 1, int(every)):
            Generator(10, 5, 4).save_pretrained(Path(folder, f"snapshots/epoch-{epoch:04d}"))
        if self.epochs < int(epochs):
            raise Interrupted("stopped, go on with --resume", 130)


def given(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def rows(name: str = "sweep") -> list[tuple]:
    its = json.loads(Path(f"docs/results/{name}.json").read_text())["rows"]
    return [(row["name"], row["epochs"], [run["seed"] for run in row["runs"]]) for row in its]


def test_runs_are_trained_scored_and_not_trained_again(arguments, monkeypatch):
    """With the trainers themselves, and a GAN that is scored after its first epoch too."""
    monkeypatch.setattr(sweep, "KINDS", (PLAIN, replace(GAN, epochs=(10, 20))))
    sweep.main([*arguments, "--quick"])
    assert rows("sweep-quick") == [("plain", 1, [0]), ("gan-5+5", 1, [0]), ("gan-5+5", 2, [0])]
    text = Path("docs/results/sweep-quick.json").read_text()
    plain, first, second = (row["runs"][0] for row in json.loads(text)["rows"])
    assert plain["psnr"] > 5 and plain["kernel_distance"] > 0 and plain["by_face_features"]["frechet_distance"] > 0
    assert "fitted mixture" in plain["densities"]["sampled"]
    assert first["kernel_distance"] != second["kernel_distance"] and "psnr" not in first
    written = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("model.safetensors")}
    monkeypatch.setattr(sweep, "score", lambda settings: json.loads(text))
    sweep.main([*arguments, "--quick"])
    assert written == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("model.safetensors")}


def test_all_epochs_come_out_of_one_run_that_may_be_stopped(arguments, monkeypatch):
    """A second seed ends at the reports' number of epochs."""
    stopped, going_on = Trainings(epochs=60), Trainings()
    monkeypatch.setattr(sweep, "MAINS", {"gan": stopped})
    with pytest.raises(Interrupted):
        sweep.main([*arguments, "--only", "gan-5+5", "--limit", "24"])
    (command,) = stopped.commands
    assert given(command, "--epochs") == "100" and given(command, "--keep-epochs") == "10" and "--resume" not in command
    assert given(command, "--limit") == "24" and given(command, "--seed") == "0"
    sweep.main([*arguments, "--no-train"])
    assert rows() == [("gan-5+5", 20, [0]), ("gan-5+5", 50, [0])]  # What was not trained is not there.

    monkeypatch.setattr(sweep, "MAINS", {"gan": going_on})
    sweep.main([*arguments, "--only", "gan-5+5", "--seeds", "2"])
    first, second = going_on.commands
    assert "--resume" in first and given(first, "--epochs") == "100"
    assert "--resume" not in second and given(second, "--epochs") == "50" and given(second, "--seed") == "1"
    assert rows() == [("gan-5+5", 20, [0, 1]), ("gan-5+5", 50, [0, 1]), ("gan-5+5", 100, [0])]


def test_the_kinds_are_the_reports_and_each_matching_loss():
    kinds = {kind.name: kind for kind in sweep.KINDS}
    for size, bits in ((100, 0), (100, 10), (100, 20), (100, 40), (100, 50), (100, 100), (200, 100)):
        words = kinds[f"gan-{bits}+{size - bits}"].arguments
        assert given(words, "--latent-size") == str(size) and given(words, "--discrete-size") == str(bits)
    assert kinds["plain"].arguments == () and given(kinds["shifted"].arguments, "--prior-mean") == "-3"
    for loss in ("mmd", "moments"):
        assert given(kinds[f"{loss}-0.1"].arguments, "--match") == loss
    quick = sweep.SweepSettings(quick=True)
    assert quick.epochs(kinds["gan-50+50"], 0) == [2, 5, 10] and quick.epochs(kinds["plain"], 0) == [6]
    assert sweep.SweepSettings().epochs(kinds["plain"], 0) == [63] and kinds["gan-40+60"].epochs == (50,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--only", "plain", "vae"], "--only vae: that is no kind of run; they are plain, gan-5"),
        (["--no-train"], "holds no model of the sweep to score"),
    ],
)
def test_what_a_sweep_cannot_do_is_said(arguments, wrong, message):
    with pytest.raises(TrainingError, match=message):
        sweep.main([*arguments, *wrong])
