"""A sweep trains what is missing, keeps what is there, and scores it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models import load
from study import scores, sweep
from study.protocol import decode
from study.sweep import Kind
from tests.quick_features import see_quickly
from train.settings import TrainingError

SMALL = ("--batch-size", "8", "--latent-size", "10", "--precision", "fp32")
PLAIN = Kind("plain", sweep.autoencoder, (10,), (*SMALL, "--hidden-size", "16", "--held-out", "8"))
GAN = Kind("gan-5+5", sweep.gan, (20, 50, 100), (*SMALL, "--hidden-size", "4", "--discrete-size", "5"))


@pytest.fixture
def arguments(celeba, tmp_path, monkeypatch):
    see_quickly(monkeypatch)
    monkeypatch.setattr(sweep, "KINDS", (PLAIN, GAN))
    monkeypatch.chdir(tmp_path)
    return ["--dataset", str(celeba), "--cache-dir", "cache", "--samples", "20", "--held-out-split", "valid"]


def given(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_runs_are_trained_scored_and_not_trained_again(arguments, monkeypatch):
    """With the trainers themselves, and a GAN that is scored after its first epoch too."""
    monkeypatch.setattr(sweep, "KINDS", (PLAIN, replace(GAN, epochs=(10, 20))))
    sweep.main([*arguments, "--quick"])
    result = json.loads(Path("docs/results/sweep-quick.json").read_text())
    assert [(row["name"], row["epochs"]) for row in result["rows"]] == [("plain", 1), ("gan-5+5", 1), ("gan-5+5", 2)]
    plain, first, second = (row["runs"][0] for row in result["rows"])
    assert plain["seed"] == first["seed"] == second["seed"] == 0
    assert plain["psnr"] > 5 and plain["kernel_distance"] > 0 and plain["by_face_features"]["frechet_distance"] > 0
    assert "fitted mixture" in plain["densities"]["sampled"]
    model = load(Path("runs/sweep-quick/plain-seed0/snapshots/epoch-0001"))
    for side, mean in (("below", -100), ("above", 100)):
        drawn = decode(model, model.sample_latent(100, seed=0, mean=mean))
        assert plain[f"diversity_{side}"] == pytest.approx(scores.diversity(drawn), rel=1e-3)
    assert plain["diversity_below"] != pytest.approx(plain["diversity_above"], rel=1e-2)
    assert first["kernel_distance"] != second["kernel_distance"] and "psnr" not in first
    sweep.main([*arguments, "--quick", "--no-train", "--output", "runs"])
    assert json.loads(Path("runs/sweep-quick.json").read_text()) == result
    written = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("model.safetensors")}
    monkeypatch.setattr(sweep, "score", lambda settings: result)
    sweep.main([*arguments, "--quick"])
    assert written == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("model.safetensors")}


def test_all_epochs_come_out_of_one_run_that_may_be_stopped(arguments, monkeypatch):
    """A second seed ends at the reports' number of epochs."""
    commands = []
    monkeypatch.setattr(sweep.gan, "main", commands.append)
    settings = sweep.SweepSettings(limit=24)
    sweep.train(GAN, 0, settings)
    Path("runs/sweep/gan-5+5-seed0").mkdir(parents=True)
    Path("runs/sweep/gan-5+5-seed0/checkpoint.pt").touch()
    sweep.train(GAN, 0, settings)
    sweep.train(GAN, 1, settings)
    first, going_on, second = commands
    assert given(first, "--epochs") == "100" and given(first, "--keep-epochs") == "10" and "--resume" not in first
    assert given(first, "--limit") == "24" and given(first, "--seed") == "0" and given(first, "--discrete-size") == "5"
    assert going_on == [*first[: -len(GAN.arguments)], "--resume", *GAN.arguments]
    assert given(second, "--epochs") == "50" and given(second, "--seed") == "1" and "--resume" not in second


def test_the_kinds_are_the_reports_and_each_matching_loss():
    kinds = {kind.name: kind for kind in sweep.KINDS}
    splits = ("0+100", "10+90", "20+80", "40+60", "50+50", "100+0", "100+100")
    assert {"plain", "mmd-0.1", "moments-0.1", *(f"gan-{split}" for split in splits)} <= kinds.keys()
    words = kinds["gan-40+60"].arguments
    assert given(words, "--latent-size") == "100" and given(words, "--discrete-size") == "40"
    assert kinds["plain"].arguments == () and given(kinds["shifted"].arguments, "--prior-mean") == "-3"
    assert given(kinds["moments-0.1"].arguments, "--match") == "moments"
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
