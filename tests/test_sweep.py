"""A sweep trains what is missing, keeps what is there, and scores it."""

import json

import pytest

from study import sweep
from study.sweep import Row

SMALL = ("--batch-size", "8", "--latent-size", "10", "--precision", "fp32")
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
    assert plain["runs"][0]["psnr"] > 5 and plain["runs"][0]["kernel_distance"] > 0
    assert "fitted mixture" in plain["runs"][0]["densities"]["sampled"]

    monkeypatch.setattr(sweep, "MAINS", {})
    sweep.main([*arguments, "--no-train"])  # Everything is there already.


def test_the_rows_are_the_reports():
    bits = {row.name for row in sweep.GAN_ROWS}
    assert {"gan-0+100", "gan-10+90", "gan-20+80", "gan-40+60", "gan-50+50", "gan-100+0"} <= bits
    assert sweep.GAN_ROWS[0].epochs == (20, 50, 100)
    assert len({row.name for row in sweep.ROWS}) == len(sweep.ROWS)
