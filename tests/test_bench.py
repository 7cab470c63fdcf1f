"""The benchmark prints its tables. What they say is for quiet machines."""

import json
import re
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch

from models import Generator
from study import bench
from train.distributed import find_device

QUICK = ["--rounds", "1", "--steps", "1", "--faces", "300"]


def rows(printed: str) -> list[list[str]]:
    """The cells of the table's rows, its head left out."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@contextmanager
def in_this_process(make_work, folder, as_command):
    work = make_work(folder, torch.device("cpu"))

    def speed(name: str, times: int) -> float:
        function, images = work[name]
        return times * images / bench.seconds(function, times)

    yield speed


def test_ours_is_compared_with_plain(capsys, monkeypatch):
    for settings in ("GAN", "AUTOENCODER"):
        monkeypatch.setattr(bench, settings, replace(getattr(bench, settings), batch_size=4))
    monkeypatch.setattr(bench, "side", in_this_process)
    bench.main(["--rounds", "1", "--steps", "1", "--faces", "80"])
    printed = capsys.readouterr().out
    table = rows(printed)
    assert [what.partition(",")[0] for what, *_ in table] == [
        *["GAN training", "autoencoder training"],
        *["GAN sampling", "autoencoder sampling"],
    ]
    for _, plain, ours, ratio in table:
        speeds = [float(cell.replace(",", "")) for cell in (plain, ours)]
        # The ratio's own rounding is the most there is where it is about 1.
        assert min(speeds) > 1 and float(ratio) == pytest.approx(speeds[1] / speeds[0], rel=0.05, abs=0.051)
    assert re.search(r"First call, in seconds: GAN sampling \d", printed)


def work_that_waits(folder, device) -> bench.Work:
    return {f"{folder.name} {device}": (partial(time.sleep, 0.1), 5)}


@pytest.mark.slow
def test_a_side_is_timed_in_a_process_of_its_own(tmp_path):
    with bench.side(work_that_waits, tmp_path, False) as speed:
        # Five images in a tenth of a second or, on a busy machine, more.
        assert 0 < speed(f"{tmp_path.name} {find_device('auto')}", 2) <= 50
    assert not bench._work


def test_data_is_timed(capsys):
    bench.main([*QUICK, "--data"])
    ((faces, decoder, stream, ratio, *_),) = rows(capsys.readouterr().out)
    decoder, stream = (float(cell.removesuffix("/s").replace(",", "")) for cell in (decoder, stream))
    assert faces == "300" and float(ratio) == pytest.approx(stream / decoder, abs=0.02)


def test_each_model_is_timed_beside_the_first(tmp_path, capsys):
    for name, wide in (("small", 4), ("large", 64)):
        Generator(10, 5, wide).save_pretrained(tmp_path / name)
    (tmp_path / "index.json").write_text(json.dumps({"small": "Small", "large": "Large"}))
    bench.main([*QUICK, "--weights", str(tmp_path)])
    _, _, small, large = capsys.readouterr().out.strip().splitlines()
    figures = [[float(cell) for cell in line.split("|")[2:6]] for line in (small, large)]
    assert figures[0][1] == figures[0][3] == 1 and min(figures[1]) > 0
    assert figures[1][3] == pytest.approx(figures[1][2] / figures[0][2], rel=0.1)
    assert figures[1][3] > 1.5
