"""A sweep trains what is missing, keeps what is there, and scores it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from study import sweep
from study.sweep import Row
from train.errors import TrainingError

SMALL = ("--passes", "1", "--batch-size", "8", "--latent-size", "10", "--precision", "fp32")
ROWS = (
    Row("plain", "autoencoder", (10,), (*SMALL, "--hidden-size", "16", "--held-out", "8")),
    Row("gan-5+5", "gan", (10, 20), (*SMALL, "--hidden-size", "4", "--discrete-size", "5")),
)


@pytest.fixture
def arguments(celeba, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "ROWS", ROWS)
    folders = ["--cache-dir", str(tmp_path), "--output", str(tmp_path / "sweep"), "--results", str(tmp_path / "s.json")]
    return ["--dataset", str(celeba), *folders, "--seeds", "1", "--samples", "20", "--held-out-split", "valid"]


def test_a_sweep_trains_once_and_scores(arguments, tmp_path, monkeypatch):
    sweep.main([*arguments, "--only", "gan"])
    models = {path.name for path in (tmp_path / "sweep/gan-5+5-seed0").glob("model-*")}
    assert models == {"model-1", "model-2"}
    assert [row["name"] for row in json.loads((tmp_path / "s.json").read_text())["rows"]] == [
        *["gan-5+5, 1 epochs", "gan-5+5, 2 epochs"]
    ]

    trained = []
    for command, main in sweep.MAINS.items():
        monkeypatch.setitem(sweep.MAINS, command, lambda given, main=main: (trained.append(given), main(given)))
    sweep.main(arguments)
    assert len(trained) == 1 and trained[0][trained[0].index("--output") + 1].endswith("plain-seed0")
    result = json.loads((tmp_path / "s.json").read_text())
    plain, *_ = result["rows"]
    assert plain["name"] == "plain" and result["protocol"]["budget"] == "small"
    assert result["protocol"]["data"] == result["protocol"]["dataset"] and result["protocol"]["limit"] is None
    assert plain["runs"][0]["psnr"] > 5 and plain["runs"][0]["kernel_distance"] > 0
    assert "fitted mixture" in plain["runs"][0]["densities"]["sampled"]
    assert plain["runs"][0]["by_face_features"]["frechet_distance"] > 0

    # Every seed that is there is scored, whatever is asked to be trained.
    monkeypatch.setattr(sweep, "MAINS", {})
    (tmp_path / "sweep/gan-5+5-seed7").mkdir()
    (tmp_path / "sweep/gan-5+5-seed0/model-2").rename(tmp_path / "sweep/gan-5+5-seed7/model-2")
    sweep.main([*arguments, "--no-train"])
    *_, short, long = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert [[run["seed"] for run in row["runs"]] for row in (short, long)] == [[0], [7]]

    with pytest.raises(TrainingError, match="plain-seed0 there was trained with --limit None, not with 24"):
        sweep.main([*arguments, "--limit", "24", "--no-train"])
    with pytest.raises(TrainingError, match="is a run of another --budget"):
        sweep.main([*arguments, "--budget", "full", "--only", "plain"])


def test_a_part_of_a_sweep_is_trained(arguments, monkeypatch):
    """The commands that its --help gives, at the reports' own budget."""
    monkeypatch.undo()
    trained = []
    monkeypatch.setattr(sweep, "run_row", lambda row, seed, settings: trained.append((row.name, seed)))
    monkeypatch.setattr(sweep, "score", lambda settings: {})
    full = [*arguments, "--budget", "full", "--limit", "8000"]
    names = ["gan-50+50", "gan-10+90", "gan-20+80", "gan-40+60", "gan-100+100"]
    sweep.main([*full, "--seeds", "1", "--only", *names])
    assert sorted(trained) == sorted((name, 0) for name in names)
    trained.clear()
    sweep.main([*full, "--seeds", "2", "--most-epochs", "50", "--only", "gan-50+50", "gan-40+60"])
    assert sorted(trained) == sorted((name, seed) for name in ("gan-50+50", "gan-40+60") for seed in (0, 1))


def test_lengths_limit_and_seed_reach_the_training(arguments, monkeypatch, tmp_path):
    commands = []

    def train(command: list[str]) -> None:
        commands.append(command)
        folder = Path(command[command.index("--output") + 1])
        (folder / "model").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.pt").touch()

    monkeypatch.setattr(sweep, "MAINS", {"gan": train, "autoencoder": train})
    row = Row("gan-5+5", "gan", (20, 50, 100), ("--discrete-size", "5"))
    settings = sweep.SweepSettings(dataset="faces", output=tmp_path, budget="full", limit=8000, most_epochs=50)
    sweep.run_row(row, 1, settings)
    assert [command[command.index("--epochs") + 1] for command in commands] == ["20", "50"]
    assert all(command[command.index("--limit") + 1] == "8000" for command in commands)
    assert all(command[command.index("--seed") + 1] == "1" for command in commands)
    assert ["--resume" in command for command in commands] == [False, True]
    assert {path.name for path in (tmp_path / "gan-5+5-seed1").glob("model-*")} == {"model-20", "model-50"}
    sweep.run_row(row, 1, replace(settings, most_epochs=None))  # And later the rest.
    assert [command[command.index("--epochs") + 1] for command in commands] == ["20", "50", "100"]


def test_budgets_lie_apart():
    small, full = sweep.SweepSettings(), sweep.SweepSettings(budget="full")
    assert (small.folder, full.folder) == (Path("runs/sweep"), Path("runs/sweep-full"))
    assert full.results_path == Path("docs/results/sweep-full.json") != small.results_path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--only", "gan", "vae"], "--only vae: no kind's name contains that; they are plain, gan-5"),
        (["--seeds", "0"], "--seeds is 0: it must be 1 or more"),
        (["--most-epochs", "0"], "--most-epochs is 0"),
        (["--no-train"], "holds no finished run of the sweep to score"),
    ],
)
def test_what_a_sweep_cannot_do_is_said(arguments, wrong, message):
    with pytest.raises(TrainingError, match=message):
        sweep.main([*arguments, *wrong])


def test_the_rows_are_the_reports():
    bits = {row.name for row in sweep.GAN_ROWS}
    assert {"gan-0+100", "gan-10+90", "gan-20+80", "gan-40+60", "gan-50+50", "gan-100+0"} <= bits
    assert sweep.GAN_ROWS[0].epochs == (20, 50, 100)
    assert len({row.name for row in sweep.ROWS}) == len(sweep.ROWS)
