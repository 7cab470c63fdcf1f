"""Train many runs, each with one setting changed, and score them all: python -m study.sweep --help

Each is an ordinary run of train.gan or train.autoencoder, in a folder of its own under --output. A sweep that was
stopped goes on where it was. Every model that is there is scored, so that a sweep may be done in parts. All runs of the
reports, and then a second seed of the default and of a rival, with scores in docs/results/sweep.json:

python -m study.sweep --dataset path/to/celeba --limit 8000

python -m study.sweep --dataset path/to/celeba --limit 8000 --seeds 2 --only gan-50+50 gan-40+60
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from models.base import FaceModel
from train import autoencoder, gan
from train.losses import latent_moments
from train.settings import Range, TrainingError, command_line, run_command

from . import experiments, scores
from .evaluate import compare
from .features import extract, features_of
from .protocol import EvaluationSettings, RealFaces, decode, encode, load_model, write_result


@dataclass(frozen=True)
class SweepSettings(EvaluationSettings):
    samples: int = 1000
    """Faces of each model to score."""

    limit: Annotated[int | None, Range(1, 10_000_000)] = None
    """Train on the first so many faces only."""

    data_note: str | None = None
    """What the data is, in a sentence for the results; by default the data set's name."""

    quick: bool = False
    """Train a tenth of the reports' epochs, into runs/sweep-quick and docs/results/sweep-quick.json."""

    output: Path | None = None
    """Folder of the runs, in sweep/, and of their scores, in sweep.json; by default runs and docs/results."""

    seeds: int = 1
    """Runs of each kind, with seeds from 0. Those after the first train for 50 epochs (GAN) or 63 (autoencoder)."""

    only: tuple[str, ...] = ()
    """Train these kinds only: plain, gan-10+90, ... (bits + continuous numbers)."""

    train: bool = True
    """Train the runs that are missing. --no-train only scores those that are there."""

    @property
    def name(self) -> str:
        # A quick run cannot go on to all epochs: an autoencoder's learning rate falls to 0 over its epochs.
        return "sweep-quick" if self.quick else "sweep"

    @property
    def folder(self) -> Path:
        return (self.output or Path("runs")) / self.name

    def epochs(self, kind: "Kind", seed: int) -> list[int]:
        """The epochs after which a kind's model is scored. The last one ends the run."""
        # Seeds after the first compare the reports' runs, not longer ones.
        full = [epochs for epochs in kind.epochs if seed == 0 or epochs < 100]
        return [max(1, round(epochs / 10)) if self.quick else epochs for epochs in full]


@dataclass(frozen=True)
class Kind:
    """One kind of run.

    Attributes:
        name: its folder is called name-seedN.
        command: the module that trains it.
        epochs: after which it is scored.
        arguments: what differs from the command's defaults.
    """

    name: str
    command: ModuleType
    epochs: tuple[int, ...]
    arguments: tuple[str, ...] = ()


MATCHED = ("--prior-mean", "0", "--prior-variance", "2")


def _gan(bits: int, size: int = 100, epochs: tuple[int, ...] = (50,)) -> Kind:
    sizes = ("--latent-size", str(size), "--discrete-size", str(bits))
    return Kind(f"gan-{bits}+{size - bits}", gan, epochs, sizes)


def _autoencoder(name: str, *arguments: str) -> Kind:
    return Kind(name, autoencoder, (63,), arguments)


KINDS = (
    _autoencoder("plain"),
    _autoencoder("plain-adam", "--optimizer", "adam", "--learning-rate", "0.001", "--no-whiten"),
    _autoencoder("shifted", "--prior-mean", "-3", "--prior-variance", "2"),
    *(
        _autoencoder(f"{match}-{weight}", *MATCHED, "--match", match, "--match-weight", weight)
        for match in ("mmd", "moments")
        for weight in ("0.01", "0.1", "1")
    ),
    *(_autoencoder(f"variance-{size}", "--prior-mean", "0", "--prior-variance", size) for size in ("1", "4")),
    _gan(50, epochs=(20, 50, 100)),
    *(_gan(bits) for bits in (0, 10, 20, 40, 100)),
    _gan(100, size=200),
)


def train(kind: Kind, seed: int, settings: SweepSettings) -> None:
    """Train what is missing of a run."""
    folder, epochs = settings.folder / f"{kind.name}-seed{seed}", settings.epochs(kind, seed)
    words = [*settings.data_arguments(), "--output", str(folder), "--epochs", str(epochs[-1]), "--seed", str(seed)]
    # An epoch is one pass, as in the reports, however few faces there are.
    words += ["--passes", "1", "--keep-epochs", str(math.gcd(*epochs))]
    if settings.limit is not None:
        words += ["--limit", str(settings.limit)]
    if (folder / "checkpoint.pt").exists():
        words.append("--resume")
    kind.command.main([*words, *kind.arguments])


def score(settings: SweepSettings) -> dict[str, Any]:
    """Scores of every model that is there, by kind and number of epochs, a run for each seed."""
    if not any(settings.folder.glob("*-seed*/snapshots/*")):
        raise TrainingError(f"--output {settings.folder} holds no model of the sweep to score")
    its = replace(settings, seeds=1)
    real = its.real_faces(max(its.training_faces, its.samples))
    rows = []
    kinds = [(kind, epoch) for kind in KINDS for epoch in settings.epochs(kind, 0)]
    for kind, epoch in kinds:
        runs = []
        for model in sorted(settings.folder.glob(f"{kind.name}-seed*/snapshots/epoch-{epoch:04d}")):
            seed = int(model.parts[-3].rpartition("-seed")[2])
            runs.append(score_model(load_model(model), real, its) | {"seed": seed})
            print(f"{model}: kernel distance {runs[-1]['kernel_distance']:.1f}", flush=True)
        if runs:
            rows.append({"name": kind.name, "epochs": epoch, "arguments": kind.arguments, "runs": runs})
    return {"protocol": real.protocol | {"data": settings.data_note or real.protocol["dataset"]}, "rows": rows}


def score_model(model: FaceModel, real: RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    generated = decode(model, model.sample_latent(settings.samples, seed=0))
    result: dict[str, Any] = {}
    for network, by in settings.networks.items():
        its = compare(extract(generated, network), features_of(real.train, network))
        result |= {by.removeprefix("_"): its} if by else its
    # How alike faces are far from the prior, on each side.
    for side, mean in (("prior", None), ("below", -100), ("above", 100)):
        images = decode(model, model.sample_latent(100, seed=0, mean=mean))
        result[f"diversity_{side}"] = scores.diversity(images)
    if model.encodes:
        z = encode(model, real.held_out)
        result["psnr"] = scores.psnr(decode(model, z), real.held_out).mean().item()
        result |= latent_moments(z)
        if model.matching is None:
            result["densities"] = experiments.densities(model, real, settings)
    return result


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(SweepSettings, "study.sweep", __doc__, arguments)
    names = [kind.name for kind in KINDS]
    if unknown := [name for name in settings.only if name not in names]:
        raise TrainingError(f"--only {unknown[0]}: that is no kind of run; they are {', '.join(names)}")
    for seed in range(settings.seeds if settings.train else 0):
        for kind in KINDS:
            if kind.name in (settings.only or names):
                print(f"{kind.name}, seed {seed}", flush=True)
                train(kind, seed, settings)
    write_result((settings.output or Path("docs/results")) / f"{settings.name}.json", score(settings))


if __name__ == "__main__":
    run_command(main)
