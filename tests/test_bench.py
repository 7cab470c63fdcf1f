"""A smoke test: the benchmark prints its tables. What they say is for quiet machines."""

import json

import pytest

from models import Generator
from study import bench

TIMED = ("GAN", "autoencoder", "small", "large")


@pytest.mark.slow
def test_training_reading_and_decoding_are_timed(tmp_path, capsys, monkeypatch):
    for name, width in (("small", 4), ("large", 16)):
        Generator(10, 5, width).save_pretrained(tmp_path / name)
    (tmp_path / "index.json").write_text(json.dumps({"small": "Small", "large": "Large"}))
    for kind, size in ((bench.gan, "4"), (bench.autoencoder, "16")):
        small = ["--batch-size", "8", "--hidden-size", size]
        monkeypatch.setattr(kind, "main", lambda words, main=kind.main, small=small: main([*words, *small]))
    bench.main(["--rounds", "1", "--faces", "128", "--weights", str(tmp_path)])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    ((_, *reading),) = [row for row in rows if row[0] == "128"]
    assert all(float(cell.removesuffix("/s").replace(",", "")) > 0 for cell in reading) and len(reading) == 3
    figures = {row[0]: [float(cell) for cell in row[1:]] for row in rows if row[0] in TIMED}
    assert tuple(figures) == TIMED and all(value > 0 for values in figures.values() for value in values)
