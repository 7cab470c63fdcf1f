"""The benchmark prints its tables. What they say is for quiet machines."""

import json
import re

import pytest

from models import Generator
from study import bench

QUICK = ["--rounds", "1", "--steps", "1", "--faces", "300"]


def rows(printed: str) -> list[list[str]]:
    """The cells of the table's rows, its head left out."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.slow
def test_ours_is_compared_with_plain(capsys):
    bench.main(QUICK)
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
