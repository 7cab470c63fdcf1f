"""How fast training and sampling are, against plain loops on the same machine: python -m train.bench

The plain loops do what tutorials do: decode with PIL in DataLoader workers, keep images in NCHW and float32, and run
the networks as they come. Both sides train the same networks on the same drawn pictures with the same batch size, in
turns, and the ratio is that of the medians: these numbers are only good for comparison within one run.
"""

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import datasets
import numpy as np
import torch
import torch.nn.functional as F
import tyro
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from models import Autoencoder, Discriminator, Generator
from models.base import FaceModel

from .autoencoder import AutoencoderSettings, AutoencoderTrainer
from .data import Faces, find_source
from .errors import run_command
from .gan import GANSettings, GANTrainer
from .loop import STEPS_PER_READ, Trainer, prepare
from .machine import find_device, keep_freed_memory
from .settings import Settings


@dataclass(frozen=True)
class BenchSettings:
    rounds: int = 3
    """How often each side is timed."""

    steps: int = 6
    """Steps of training in one round."""

    faces: int = 2048
    """Pictures to draw for it, JPEGs of 89 x 109 like CelebA's at half size."""

    profile: bool = False
    """Print where the time of our own steps goes instead."""


# The plain side.


class Pictures(Dataset):
    """Encoded pictures, decoded by PIL each time they are asked for."""

    def __init__(self, encoded: list[bytes]):
        self.encoded = encoded
        self.transform = transforms.Compose(
            [
                transforms.Resize(64),
                transforms.CenterCrop(64),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(io.BytesIO(self.encoded[index])).convert("RGB"))


def plain_batches(encoded: list[bytes], batch_size: int) -> Iterator[torch.Tensor]:
    loader = DataLoader(Pictures(encoded), batch_size, shuffle=True, num_workers=2, drop_last=True)
    while True:
        yield from loader


def plain_gan(batches: Iterator[torch.Tensor], device: torch.device) -> Callable[[], None]:
    """A step of the GAN with two labels of ones and zeros, as every tutorial has it."""
    generator, discriminator = Generator().to(device), Discriminator().to(device)
    optimizer_g, optimizer_d = (
        torch.optim.Adam(network.parameters(), lr=0.0002, betas=(0.5, 0.999)) for network in (generator, discriminator)
    )
    criterion = nn.BCEWithLogitsLoss()

    def step() -> None:
        real = next(batches).to(device)
        ones, zeros = torch.ones(len(real), device=device), torch.zeros(len(real), device=device)
        discriminator.zero_grad()
        loss_real = criterion(discriminator(real), ones)
        loss_real.backward()
        bits = torch.randint(0, 2, (len(real), 50), device=device) * 2 - 1
        fake = generator(torch.cat([torch.randn(len(real), 50, device=device), bits], dim=1))
        loss_fake = criterion(discriminator(fake.detach()), zeros)
        loss_fake.backward()
        optimizer_d.step()
        generator.zero_grad()
        loss_g = criterion(discriminator(fake), ones)
        loss_g.backward()
        optimizer_g.step()
        (loss_real + loss_fake).item(), loss_g.item()

    return step


def plain_autoencoder(batches: Iterator[torch.Tensor], device: torch.device) -> Callable[[], None]:
    autoencoder = Autoencoder().to(device)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=0.001)

    def step() -> None:
        images = next(batches).to(device)
        optimizer.zero_grad()
        loss = F.mse_loss(autoencoder(images), images)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


@torch.no_grad()
def plain_generate(model: FaceModel, z: torch.Tensor) -> list[Image.Image]:
    pixels = ((model.decode(z) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(face.permute(1, 2, 0).numpy()) for face in pixels]


# Our side, as the commands run it.


def our_batches(faces: Faces, settings: Settings) -> Iterator[torch.Tensor]:
    epoch = 1
    while True:
        yield from faces.batches(epoch, settings.batch_size, settings.seed)
        epoch += 1


def our_step(trainer: Trainer, batches: Iterator[torch.Tensor], settings: Settings) -> Callable[[], None]:
    losses: list[torch.Tensor] = []
    number = 0

    def step() -> None:
        nonlocal number
        losses.append(torch.stack(list(trainer.step(prepare(next(batches), settings, number), number).values())))
        number += 1
        if len(losses) == STEPS_PER_READ:
            torch.stack(losses).tolist()
            losses.clear()

    return step


# Timing.


def seconds(work: Callable[[], object], times: int) -> float:
    """Of one call, waiting for what the device still does."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / times


def compare(plain: Callable[[], object], ours: Callable[[], object], rounds: int, steps: int) -> tuple[float, float]:
    """Median seconds of one call of each, timed in turns after a call to warm up."""
    timings: list[tuple[float, float]] = []
    plain(), ours()
    for _ in range(rounds):
        timings.append((seconds(plain, steps), seconds(ours, steps)))
    plain_seconds, our_seconds = zip(*timings)
    return statistics.median(plain_seconds), statistics.median(our_seconds)


def breakdown(step: Callable[[], None], steps: int) -> dict[str, float]:
    """Seconds of our steps by what they were spent on; CPU only, since a GPU works behind the clock's back."""
    spent = dict.fromkeys(("data", "backward", "optimiser"), 0.0)

    def timed(part: str, function: Callable) -> Callable:
        def wrapper(*arguments, **options):
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[part] += time.perf_counter() - began

        return wrapper

    with (
        mock.patch.object(torch.Tensor, "backward", timed("backward", torch.Tensor.backward)),
        mock.patch.object(torch.optim.Adam, "step", timed("optimiser", torch.optim.Adam.step)),
        mock.patch.object(torch.optim.Muon, "step", timed("optimiser", torch.optim.Muon.step)),
        mock.patch.object(Faces, "__getitem__", timed("data", Faces.__getitem__)),
        mock.patch(f"{__name__}.prepare", timed("data", prepare)),
    ):
        total = seconds(step, steps) * steps
    # The optimiser's own zero_grad and the reading of losses are too short to tell apart from the forward pass.
    return {**spent, "forward and the rest": total - sum(spent.values())}


def draw_pictures(folder: Path, count: int) -> list[bytes]:
    """Smooth random pictures as JPEGs, in a parquet file of the Hub's layout; returns them encoded."""
    random = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        picture = Image.fromarray(random.integers(0, 256, (8, 7, 3), dtype=np.uint8)).resize((89, 109))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    rows = {"image": [{"bytes": data, "path": None} for data in encoded]}
    features = datasets.Features({"image": datasets.Image()})
    (folder / "data").mkdir(parents=True)
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features).to_parquet(folder / "data/train-00000-of-00001.parquet")
    return encoded


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(BenchSettings, args=arguments, prog="python -m train.bench", description=__doc__)
    keep_freed_memory()
    device = find_device("auto")
    with tempfile.TemporaryDirectory() as name:
        pictures, cache = Path(name, "pictures"), Path(name, "cache")
        encoded = draw_pictures(pictures, settings.faces)
        with Faces(find_source(str(pictures), "train", "image", None, cache), cache) as faces:
            began = time.perf_counter()
            count = len(faces)
            decoding = count / (time.perf_counter() - began)
            _report(settings, device, encoded, faces, decoding)


def _report(settings: BenchSettings, device: torch.device, encoded: list[bytes], faces: Faces, decoding: float) -> None:
    run = SimpleNamespace(folder=Path())  # Trainers draw pictures there at the end of an epoch, which never comes.
    gan, autoencoder = GANSettings(), AutoencoderSettings()
    ours = {
        "GAN training": our_step(GANTrainer(gan, run), our_batches(faces, gan), gan),
        "autoencoder training": our_step(
            AutoencoderTrainer(autoencoder, run, faces[:64], faces[:64]), our_batches(faces, autoencoder), autoencoder
        ),
    }
    if settings.profile:
        print("| | " + " | ".join(ours) + " |\n|---|" + "---|" * len(ours))
        for step in ours.values():
            seconds(step, 2)
        shares = [breakdown(step, settings.rounds * settings.steps) for step in ours.values()]
        for part in shares[0]:
            print(f"| {part} | " + " | ".join(f"{share[part] / sum(share.values()):.1%}" for share in shares) + " |")
        return

    plain = {
        "GAN training": plain_gan(plain_batches(encoded, gan.batch_size), device),
        "autoencoder training": plain_autoencoder(plain_batches(encoded, autoencoder.batch_size), device),
    }
    print(f"On {os.cpu_count()} cores and {device}, torch {torch.__version__}; images a second.\n")
    print("| what | plain | ours | ratio |\n|---|---|---|---|")

    def row(what: str, images: int, plain: Callable, ours: Callable, steps: int) -> None:
        slow, fast = compare(plain, ours, settings.rounds, steps)
        print(f"| {what} | {images / slow:.0f} | {images / fast:.0f} | {slow / fast:.2f} |", flush=True)

    for what, side in (("GAN training", gan), ("autoencoder training", autoencoder)):
        row(f"{what}, batch {side.batch_size}", side.batch_size, plain[what], ours[what], settings.steps)
    for what, model in (("GAN sampling", Generator().eval()), ("autoencoder sampling", Autoencoder().eval())):
        z = model.sample_latent(64, seed=0)
        row(f"{what}, batch 64", 64, partial(plain_generate, model, z), partial(model.generate, 64, seed=0), 10)
    print(f"\nThe cache fills at {decoding:.0f} images/s, decoding included.")


if __name__ == "__main__":
    run_command(main)
