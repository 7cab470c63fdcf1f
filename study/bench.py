"""How fast training, decoding and reading are on this machine: python -m study.bench --help"""

import contextlib
import io
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from timeit import repeat, timeit
from typing import Annotated

import datasets
import numpy as np
import torch
from PIL import Image

from models import FaceModel
from models.images import crop
from train import autoencoder, gan
from train.data import open_split
from train.record import Record
from train.settings import Checked, DataSettings, Range, command_line, run_command

from .markdown import table
from .protocol import load_model, read_titles

# CelebA's own size on the Hub.
PICTURE_SIZE = (178, 218)

# Faces decoded at once: one, as for a visitor who looks at one, and many.
AT_ONCE = (1, 32)


@dataclass(frozen=True)
class BenchSettings(Checked):
    rounds: Annotated[int, Range(1, 1000)] = 5
    """Epochs that each training is timed for. Decoders are timed four times as often. Medians are printed."""

    faces: Annotated[int, Range(128, 1_000_000)] = 2048
    """Pictures to read, drawn as JPEGs of CelebA's size. Training sees the first 512."""

    weights: Path = Path("weights")
    """The folder of the models that decode."""


def training_speed(main: Callable[[list[str]], None], pictures: Path, output: Path, rounds: int) -> float:
    """Images a second of a training command with its defaults, after the first epoch."""
    words = ["--dataset", str(pictures), "--cache-dir", str(pictures.parent), "--output", str(output)]
    with contextlib.redirect_stdout(sys.stderr):
        main([*words, "--limit", "512", "--epochs", str(rounds + 1), "--passes", "1"])
    epochs = Record(output).epochs()
    return statistics.median(
        (after["images_seen"] - before["images_seen"]) / (after["seconds"] - before["seconds"])
        for before, after in itertools.pairwise(epochs)
    )


@torch.inference_mode()
def decoding_time(model: FaceModel, count: int, rounds: int) -> float:
    """Milliseconds that a model's decoder takes for a face of `count` at once."""
    z, calls = model.sample_latent(count, seed=0), 40 // count + 1
    times = repeat(lambda: model.decoder_layers(z), number=calls, repeat=4 * rounds + 1)
    return 1000 * statistics.median(times[1:]) / calls / count  # The first call warms up.


def data_speeds(folder: Path, encoded: list[bytes]) -> list[float]:
    """Faces a second: decoded by one thread that does nothing else, streamed into a new cache, and read from it."""
    decoding = timeit(lambda: [crop(Image.open(io.BytesIO(picture))) for picture in encoded], number=1)
    start = perf_counter()
    with open_split(DataSettings(dataset=str(folder), cache_dir=folder.parent / "read"), "train") as faces:
        count = len(faces)  # It waits for the last one.
        streaming = perf_counter() - start
        reading = timeit(lambda: [None for _ in faces.batches(2, 128, 0)], number=1)
        return [count / decoding, count / streaming, count / reading]


def draw_pictures(folder: Path, count: int) -> list[bytes]:
    """Write a data set of smooth random pictures in the Hub's layout. Returns them as JPEGs."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        picture = Image.fromarray(random.integers(0, 256, (8, 7, 3), dtype=np.uint8)).resize(PICTURE_SIZE)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    datasets.disable_progress_bars()
    rows = {"image": [{"bytes": picture, "path": None} for picture in pictures]}
    path = folder / "data/train-00000-of-00001.parquet"
    datasets.Dataset.from_dict(rows, datasets.Features({"image": datasets.Image()})).to_parquet(path)
    return pictures


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(BenchSettings, "study.bench", __doc__, arguments)
    models = {name: load_model(settings.weights / name) for name in read_titles(settings.weights)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "pictures")
        encoded = draw_pictures(folder, settings.faces)
        row = [f"{settings.faces:,}", *(f"{speed:,.0f}/s" for speed in data_speeds(folder, encoded))]
        print(table(("faces", "decoded only", "first epoch: streamed", "later epochs: read"), [row]))
        trainings = {"GAN": gan.main, "autoencoder": autoencoder.main}
        rows = [
            (title, f"{training_speed(main, folder, Path(name, title), settings.rounds):,.0f}")
            for title, main in trainings.items()
        ]
    print("\n" + table(("training", "images a second"), rows) + "\n")
    head = [f"{count} at once: ms a face" for count in AT_ONCE]
    times = lambda model: [f"{decoding_time(model, count, settings.rounds):.3f}" for count in AT_ONCE]
    print(table(("model", *head), [[name, *times(model)] for name, model in models.items()]))


if __name__ == "__main__":
    run_command(main)
