"""How fast training, sampling and data are, on this machine: python -m study.bench --help

Ours and the plain loops of study.baseline use the same networks, batch sizes and drawn pictures. Each side runs in a
process of its own, in turns with the other, and what is compared is the median: on a noisy machine only the ratios of
one run mean something.
"""

import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import torch
import tyro
from PIL import Image

from models import Autoencoder, Generator
from models.images import crop
from models.index import read_index
from train.autoencoder import AutoencoderSettings
from train.autoencoders import AutoencoderTrainer
from train.data import Faces, find_source
from train.distributed import find_device, keep_freed_memory
from train.gan import GANSettings
from train.generators import GANTrainer
from train.loop import STEPS_PER_READ, Trainer, prepare
from train.settings import DataSettings, Settings, run_command
from train.source import Source

from . import baseline
from .evaluate import load_model

GAN, AUTOENCODER = GANSettings(), AutoencoderSettings()

# CelebA's own size on the Hub.
PICTURE_SIZE = (178, 218)


@dataclass(frozen=True)
class BenchSettings:
    rounds: int = 5
    """How often each side is timed."""

    steps: int = 8
    """Steps of training in one round."""

    faces: int = 2048
    """Pictures to draw, JPEGs of CelebA's size."""

    data: bool = False
    """Print the speed and memory of streaming and reading this many faces instead; the drawn ones repeat from
    2,048 on."""

    weights: Path | None = None
    """Print how long each model of this folder takes for a face instead, beside the first of them."""


# What is timed: name -> function of no arguments, images in one call.

Work = dict[str, tuple[Callable[[], object], int]]


def plain_work(folder: Path, device: torch.device) -> Work:
    def faces(batch_size: int) -> Iterator[torch.Tensor]:
        return baseline.batches(folder / "pictures", batch_size)

    torch.manual_seed(0)
    generator, decoder = baseline.with_stock_layers(Generator().eval()).layers, Autoencoder().eval().decoder
    return {
        "GAN training": (baseline.gan_step(faces(GAN.batch_size), device), GAN.batch_size),
        "autoencoder training": (
            baseline.autoencoder_step(faces(AUTOENCODER.batch_size), device),
            AUTOENCODER.batch_size,
        ),
        "GAN sampling": (lambda: baseline.generate(generator, torch.randn(64, 100, 1, 1)), 64),
        "autoencoder sampling": (lambda: baseline.generate(decoder, torch.randn(64, 100)), 64),
    }


def our_work(folder: Path, device: torch.device) -> Work:
    faces = Faces(source_in(folder))
    gan, autoencoder = trainers(faces)
    generator, decoder = Generator().eval(), Autoencoder().eval()
    return {
        "GAN training": (training_step(gan, faces, GAN), GAN.batch_size),
        "autoencoder training": (training_step(autoencoder, faces, AUTOENCODER), AUTOENCODER.batch_size),
        "GAN sampling": (lambda: generator.generate(64, seed=0), 64),
        "autoencoder sampling": (lambda: decoder.generate(64, seed=0), 64),
    }


def trainers(faces: Faces) -> tuple[GANTrainer, AutoencoderTrainer]:
    return GANTrainer(GAN), AutoencoderTrainer(AUTOENCODER, faces[:64], faces)


def training_step(trainer: Trainer, faces: Faces, settings: Settings) -> Callable[[], None]:
    """A step as `train.loop` runs it."""
    trainer.begin_epoch(1)
    batches = (
        batch for epoch in range(2, sys.maxsize) for batch in faces.batches(epoch, settings.batch_size, settings.seed)
    )
    losses: list[torch.Tensor] = []
    count = 0

    def step() -> None:
        nonlocal count
        pixels, labels = next(batches)
        images = prepare(pixels, settings, count)
        losses.append(torch.stack(list(trainer.step(images, count, labels.to(images.device, images.dtype)).values())))
        count += 1
        if len(losses) == STEPS_PER_READ:
            torch.stack(losses).tolist()
            losses.clear()

    return step


# Timing.

Speed = Callable[[str, int], float]
_work: Work = {}


@contextmanager
def side(make_work: Callable[[Path, torch.device], Work], folder: Path, as_command: bool) -> Iterator[Speed]:
    """A process of its own for one side's work: a function from its name and how often to images a second."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _begin, (make_work, folder, as_command)) as process:
        yield lambda name, times: process.submit(_speed, name, times).result()


def _begin(make_work: Callable[[Path, torch.device], Work], folder: Path, as_command: bool) -> None:
    if as_command:  # What `train.loop` does, and neither a tutorial nor a script that samples.
        keep_freed_memory()
    _work.update(make_work(folder, find_device("auto")))


def _speed(name: str, times: int) -> float:
    function, images = _work[name]
    speed = times * images / seconds(function, times)
    time.sleep(0.5)  # Until data loaders have filled their queues, lest they disturb the other side.
    return speed


def seconds(function: Callable[[], object], times: int) -> float:
    """Of so many calls, with all that a GPU still has to do."""
    began = time.perf_counter()
    for _ in range(times):
        function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def compare(folder: Path, settings: BenchSettings) -> None:
    """Print the table of ours against the baseline."""
    device = find_device("auto")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} {device} cores"
    print(f"Images a second on {where}, torch {torch.__version__}; medians of {settings.rounds} rounds.\n")
    print("| what | plain | ours | ratio |\n|---|---|---|---|")
    first_calls: dict[str, float] = {}
    with ExitStack() as stack:
        slow, trained, sampled = (
            stack.enter_context(side(work, folder, as_command))
            for work, as_command in ((plain_work, False), (our_work, True), (our_work, False))
        )
        for name, fast, steps in (
            ("GAN training", trained, settings.steps),
            ("autoencoder training", trained, 2 * settings.steps),
            ("GAN sampling", sampled, 20),
            ("autoencoder sampling", sampled, 20),
        ):
            if fast is sampled:
                first_calls[name] = 64 / sampled(name, 1)
            for speed in (slow, fast):
                speed(name, 2)
            speeds = [(slow(name, steps), fast(name, steps)) for _ in range(settings.rounds)]
            plain_speed, our_speed = map(statistics.median, zip(*speeds))
            batch_size = 64 if "sampling" in name else GAN.batch_size
            # Slow ones with a digit more, lest the ratio seem another's.
            cells = [f"{speed:,.{int(speed < 100)}f}" for speed in (plain_speed, our_speed)]
            print(f"| {name}, batch {batch_size} | {' | '.join(cells)} | {our_speed / plain_speed:.1f} |", flush=True)
    print("\nFirst call, in seconds: " + ", ".join(f"{name} {first:.2f}" for name, first in first_calls.items()))


# Models.

# Faces at once: as a visitor asks who looks at one, and as the page draws many.
AT_ONCE = (1, 32)


@torch.inference_mode()
def decoding(weights: Path, settings: BenchSettings) -> None:
    """Print the milliseconds that each model's decoder takes for a face, all of them in turns."""
    models = {name: load_model(weights / name) for name in read_index(weights)}
    cells: dict[str, list[str]] = {name: [] for name in models}
    for count in AT_ONCE:
        times = 40 // count + 1
        decoders = {
            name: partial(model.decoder_layers, model.sample_latent(count, seed=0)) for name, model in models.items()
        }
        rounds = [
            {name: 1000 * seconds(decode, times) / times / count for name, decode in decoders.items()}
            for _ in range(4 * settings.rounds + 1)
        ][1:]  # The first warms up.
        medians = {name: statistics.median(its[name] for its in rounds) for name in models}
        first = next(iter(medians.values()))
        for name, median in medians.items():
            cells[name] += [f"{median:.3f}", f"{median / first:.2f}"]
    print("| model | " + " | ".join(f"{count} at once: ms a face | ratio" for count in AT_ONCE) + " |")
    print("|---|" + "---|---|" * len(AT_ONCE))
    for name, its in cells.items():
        print(f"| {name} | {' | '.join(its)} |")


# Data.


def source_in(folder: Path) -> Source:
    return find_source(DataSettings(dataset=str(folder / "data"), cache_dir=folder), "train")


def data(folder: Path) -> None:
    """Print how fast faces are decoded, streamed into the cache and read from it, and in how much memory."""
    encoded = [path.read_bytes() for path in sorted((folder / "pictures/faces").iterdir())]
    decoder = len(encoded) / seconds(lambda: [crop(Image.open(io.BytesIO(picture))) for picture in encoded], 1)
    with Faces(source_in(folder)) as faces:
        count = 0
        streamed = seconds(lambda: len(faces), 1)
        count = len(faces)
        before_reading = _own_memory()
        read = seconds(lambda: [None for _ in faces.batches(2, GAN.batch_size, 0)], 1)
    print("| faces | decoder alone | first epoch: stream | ratio | later epochs: cache | memory, streaming | reading |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {count:,} | {decoder:,.0f}/s | {count / streamed:,.0f}/s | {count / streamed / decoder:.2f} "
        f"| {count / read:,.0f}/s | {before_reading:.0f} MB | {_own_memory():.0f} MB |"
    )


def _own_memory() -> float:
    """MB of this process's own; pages of mapped files, which the system takes back at will, left out."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1000


def draw_pictures(folder: Path, count: int) -> None:
    """Write smooth random pictures as files, up to 2,048 of them, and `count` as parquet files in the Hub's layout."""
    random = np.random.default_rng(0)
    (folder / "pictures/faces").mkdir(parents=True)
    (folder / "data/data").mkdir(parents=True)
    distinct = []
    for number in range(min(count, 2048)):
        picture = Image.fromarray(random.integers(0, 256, (8, 7, 3), dtype=np.uint8)).resize(PICTURE_SIZE)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        distinct.append(buffer.getvalue())
        (folder / f"pictures/faces/{number:06}.jpg").write_bytes(distinct[-1])
    datasets.disable_progress_bars()
    shards = -(-count // 10_000)
    for shard in range(shards):
        numbers = range(shard * 10_000, min(count, (shard + 1) * 10_000))
        rows = {"image": [{"bytes": distinct[number % len(distinct)], "path": None} for number in numbers]}
        path = folder / f"data/data/train-{shard:05}-of-{shards:05}.parquet"
        datasets.Dataset.from_dict(rows, datasets.Features({"image": datasets.Image()})).to_parquet(path)


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(BenchSettings, args=arguments, prog="python -m study.bench", description=__doc__)
    if settings.weights:
        decoding(settings.weights, settings)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_pictures(folder, settings.faces)
        if settings.data:
            data(folder)
        else:
            with Faces(source_in(folder)) as faces:
                len(faces)  # Fills the cache, which the process that is timed then reads.
            compare(folder, settings)


if __name__ == "__main__":
    run_command(main)
