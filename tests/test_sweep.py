"""A sweep trains what is missing, keeps what is there, and scores it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from models import Generator
from study import sweep
from study.sweep import Kind
from train.settings import Interrupted, TrainingError

SMALL = ("--batch-size", "8", "--latent-size", "10", "--precision", "fp32")
KINDS = (
    Kind("plain", "autoencoder", (10,), (*SMALL, "--hidden-size", "16", "--held-out", "8")),
    Kind("gan-5+5", "gan", (20, 50, 100), (*SMALL, "--hidden-size", "4", "--discrete-size", "5")),
)


@pytest.fixture
def arguments(celeba, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "KINDS", KINDS)
    folders = ["--cache-dir", str(tmp_path), "--output", str(tmp_path / "sweep"), "--results", str(tmp_path / "s.json")]
    return ["--dataset", str(celeba), *folders, "--samples", "20", "--held-out-split", "valid"]


class Trainings:
    """In place of trainers: keeps commands, and leaves what a run leaves. Stopped after some epochs, it says so."""

    def __init__(self, epochs: int = 1000):
        self.commands, self.epochs = [], epochs

    def __call__(self, command: list[str]) -> None:
        self.commands.append(command)
        given = lambda flag: command[command.index(flag) + 1] if flag in command else None
        folder, epochs = Path(given("--output")), int(given("--epochs"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.pt").touch()
        limit = given("--limit")
        settings = {"limit": limit and int(limit)}
        (folder / "run.json").write_text(json.dumps({"kind": "gan", "command": "train", "settings": settings}))
        for epoch in range(1, min(epochs, self.epochs) + 1):
            if given("--keep-epochs") and epoch % int(given("--keep-epochs")) == 0:
                Generator(10, 5, 4).save_pretrained(folder / f"snapshots/epoch-{epoch:04d}")
        Generator(10, 5, 4).save_pretrained(folder / "model")
        if self.epochs < epochs:
            raise Interrupted("stopped, go on with --resume", 130)


def given(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def rows(tmp_path) -> list[tuple]:
    its = json.loads((tmp_path / "s.json").read_text())["rows"]
    return [(row["name"], row["epochs"], [run["seed"] for run in row["runs"]]) for row in its]


def test_runs_are_trained_scored_and_not_trained_again(arguments, tmp_path, monkeypatch):
    """With the trainers themselves, of which the GAN's keeps the model after its first epoch."""
    monkeypatch.setattr(sweep, "KINDS", (KINDS[0], replace(KINDS[1], epochs=(10, 20))))
    sweep.main([*arguments, "--quick"])
    result = json.loads((tmp_path / "s.json").read_text())
    assert rows(tmp_path) == [("plain", 1, [0]), ("gan-5+5", 1, [0]), ("gan-5+5", 2, [0])]
    plain, first, second = (row["runs"][0] for row in result["rows"])
    assert plain["psnr"] > 5 and plain["kernel_distance"] > 0 and plain["by_face_features"]["frechet_distance"] > 0
    assert "fitted mixture" in plain["densities"]["sampled"]
    assert first["kernel_distance"] != second["kernel_distance"] and "psnr" not in first
    assert result["protocol"]["data"] == result["protocol"]["dataset"] and result["protocol"]["limit"] is None
    monkeypatch.setattr(sweep, "MAINS", {})
    sweep.main([*arguments, "--quick"])
    assert json.loads((tmp_path / "s.json").read_text()) == result


def test_all_epochs_come_out_of_one_run_that_may_be_stopped(arguments, tmp_path, monkeypatch):
    stopped, going_on = Trainings(epochs=60), Trainings()
    monkeypatch.setattr(sweep, "MAINS", {"gan": stopped})
    with pytest.raises(Interrupted):
        sweep.main([*arguments, "--only", "gan-5+5", "--limit", "24"])
    (command,) = stopped.commands
    assert given(command, "--epochs") == "100" and given(command, "--keep-epochs") == "10" and "--resume" not in command
    assert given(command, "--limit") == "24" and given(command, "--seed") == "0"
    sweep.main([*arguments, "--no-train", "--limit", "24"])
    assert rows(tmp_path) == [("gan-5+5", 20, [0]), ("gan-5+5", 50, [0])]  # What was not trained is not there.

    monkeypatch.setattr(sweep, "MAINS", {"gan": going_on})
    for _ in range(2):
        sweep.main([*arguments, "--only", "gan-5+5", "--limit", "24"])
    (command,) = going_on.commands  # Once: then it was done.
    assert "--resume" in command and given(command, "--epochs") == "100"
    assert rows(tmp_path) == [("gan-5+5", 20, [0]), ("gan-5+5", 50, [0]), ("gan-5+5", 100, [0])]

    with pytest.raises(TrainingError, match="gan-5[+]5-seed0 there was trained with --limit 24, not with None"):
        sweep.main([*arguments, "--no-train"])


def test_a_second_seed_ends_at_the_reports_epochs(arguments, tmp_path, monkeypatch):
    trainings = Trainings()
    monkeypatch.setattr(sweep, "MAINS", {"gan": trainings})
    sweep.main([*arguments, "--only", "gan-5+5", "--seeds", "2"])
    assert [(given(its, "--seed"), given(its, "--epochs")) for its in trainings.commands] == [("0", "100"), ("1", "50")]
    assert rows(tmp_path) == [("gan-5+5", 20, [0, 1]), ("gan-5+5", 50, [0, 1]), ("gan-5+5", 100, [0])]
    # Every seed that is there is scored, whatever is asked to be trained.
    monkeypatch.setattr(sweep, "MAINS", {})
    shutil.move(tmp_path / "sweep/gan-5+5-seed1", tmp_path / "sweep/gan-5+5-seed7")
    sweep.main([*arguments, "--no-train"])
    assert rows(tmp_path)[0] == ("gan-5+5", 20, [0, 7])


def test_the_kinds_are_the_reports_and_each_matching_loss(monkeypatch):
    kinds = {kind.name: kind for kind in sweep.KINDS}
    assert len(kinds) == len(sweep.KINDS)
    for bits in (0, 10, 20, 40, 50, 100):
        words = kinds[f"gan-{bits}+{100 - bits}"].arguments
        assert given(words, "--latent-size") == "100" and given(words, "--discrete-size") == str(bits)
    assert given(kinds["gan-100+100"].arguments, "--latent-size") == "200"
    assert kinds["gan-50+50"].epochs == (20, 50, 100) and kinds["gan-40+60"].epochs == (50,)
    assert kinds["plain"].arguments == () and given(kinds["shifted"].arguments, "--prior-mean") == "-3"
    for loss in ("mmd", "moments"):
        assert given(kinds[f"{loss}-0.1"].arguments, "--match") == loss
    assert {kind.epochs for kind in sweep.KINDS if kind.command == "autoencoder"} == {(63,)}
    quick = sweep.SweepSettings(quick=True)
    assert quick.epochs(kinds["gan-50+50"], 0) == [2, 5, 10] and quick.epochs(kinds["plain"], 0) == [6]
    assert (quick.folder, sweep.SweepSettings().folder) == (Path("runs/sweep-quick"), Path("runs/sweep"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--only", "plain", "vae"], "--only vae: that is no kind of run; they are plain, gan-5"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--limit", "0"], "--limit is 0"),
        (["--no-train"], "holds no finished run of the sweep to score"),
    ],
)
def test_what_a_sweep_cannot_do_is_said(arguments, wrong, message):
    with pytest.raises(TrainingError, match=message):
        sweep.main([*arguments, *wrong])
