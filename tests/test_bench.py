"""The benchmark prints its tables. What they say is for quiet machines."""

import re

import pytest

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
        assert min(speeds) > 1 and float(ratio) == pytest.approx(speeds[1] / speeds[0], rel=0.05)
    assert re.search(r"First call, in seconds: GAN sampling \d", printed)


@pytest.mark.slow
def test_the_profile_adds_up(capsys):
    bench.main([*QUICK, "--profile"])
    *parts, whole, milliseconds = rows(capsys.readouterr().out)
    for column in (1, 2):
        shares = [float(row[column].strip("%")) for row in parts]
        assert sum(shares) == pytest.approx(100, abs=0.5) and whole[column] == "100.0%"
        assert float(milliseconds[column]) > 1


def test_data_is_timed(capsys):
    bench.main([*QUICK, "--data"])
    ((faces, decoder, stream, ratio, *_),) = rows(capsys.readouterr().out)
    decoder, stream = (float(cell.removesuffix("/s").replace(",", "")) for cell in (decoder, stream))
    assert faces == "300" and float(ratio) == pytest.approx(stream / decoder, abs=0.02)
