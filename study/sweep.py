"""Train many runs, each with one setting changed, and score them all: python -m study.sweep --help

Each is an ordinary run of train.gan or train.autoencoder, in a folder of its own under --output. A sweep that was
stopped goes on where it was, within a run too; a run that is done is not trained again. Every model that is there is
scored, of all kinds and seeds, so that a sweep may be done in parts. All of the reports', and then a second seed of the
default and of a rival:

python -m study.sweep --dataset path/to/celeba --limit 8000
python -m study.sweep --dataset path/to/celeba --limit 8000 --seeds 2 --only gan-50+50 gan-40+60
"""

import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from models.base import FaceModel
from train import autoencoder, gan
from train.losses import latent_moments
from train.record import Record, write_whole
from train.settings import Range, TrainingError, run_command

from . import experiments, scores
from .evaluate import BY_FACE, EvaluationSettings, RealFaces, compare, decode, encode, load_model
from .features import extract


@dataclass(frozen=True)
class SweepSettings(EvaluationSettings):
    samples: int = 1000
    """Faces of each model to score."""

    limit: Annotated[int | None, Range(1, 10_000_000)] = None
    """Train on the first so many faces only."""

    data_note: str | None = None
    """What the data is, in a sentence for the results; by default the data set's name."""

    quick: bool = False
    """Train a tenth of the reports' epochs, into runs/sweep-quick and docs/results/sweep-quick.json: for a look."""

    output: Path | None = None
    """Folder of the runs; by default runs/sweep."""

    seeds: int = 1
    """Runs of each kind, with seeds from 0. Those after the first end at the reports' epochs: 50 for the GAN, 63 for
    an autoencoder."""

    only: tuple[str, ...] = ()
    """Train these kinds only: plain, gan-10+90, ... (bits + continuous numbers)."""

    train: bool = True
    """Whether to train the runs that are missing, or only to score those that are there."""

    results: Path | None = None
    """Where the scores go; by default docs/results/sweep.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [kind.name for kind in KINDS]
        if unknown := [name for name in self.only if name not in names]:
            raise TrainingError(f"--only {unknown[0]}: that is no kind of run; they are {', '.join(names)}")

    # A run of a tenth of the epochs cannot go on to all: an autoencoder's learning rate falls to 0 over its epochs.
    @property
    def name(self) -> str:
        return "sweep-quick" if self.quick else "sweep"

    @property
    def folder(self) -> Path:
        return self.output or Path("runs", self.name)

    def epochs(self, kind: "Kind", seed: int) -> list[int]:
        """After which a kind's model is scored; the last one ends the run."""
        full = kind.epochs if seed == 0 else [epochs for epochs in kind.epochs if epochs <= EPOCHS[kind.command]]
        return [max(1, round(epochs / 10)) if self.quick else epochs for epochs in full]


@dataclass(frozen=True)
class Kind:
    """One kind of run.

    Attributes:
        name: of its folder, after which comes its seed.
        command: that trains it.
        epochs: at which it is scored.
        arguments: what differs from the command's defaults.
    """

    name: str
    command: Literal["gan", "autoencoder"]
    epochs: tuple[int, ...]
    arguments: tuple[str, ...] = ()


# The reports' own.
EPOCHS = {"gan": 50, "autoencoder": 63}

MATCHED = ("--prior-mean", "0", "--prior-variance", "2")


def _gan(bits: int, size: int = 100, epochs: tuple[int, ...] = (50,)) -> Kind:
    sizes = ("--latent-size", str(size), "--discrete-size", str(bits))
    return Kind(f"gan-{bits}+{size - bits}", "gan", epochs, sizes)


def _autoencoder(name: str, *arguments: str) -> Kind:
    return Kind(name, "autoencoder", (63,), arguments)


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

MAINS = {"gan": gan.main, "autoencoder": autoencoder.main}

# Those whose latents the densities of plain autoencoders are fitted to.
TRAINING_FACES = 8000


def epochs_done(run: Path) -> int:
    """After how many epochs the training of a run ended; 0 where it did not. Its record says so before its model is
    written, so this command keeps it."""
    path = run / "epochs-done"
    return int(path.read_text()) if path.is_file() else 0


def model_folder(run: Path, epoch: int) -> Path | None:
    """Where a run's model after an epoch is: among its snapshots, or the run's own where that was the last epoch."""
    if (snapshot := run / f"snapshots/epoch-{epoch:04d}").is_dir():
        return snapshot
    return run / "model" if epochs_done(run) == epoch else None


def train(kind: Kind, seed: int, settings: SweepSettings) -> None:
    """Train what is missing of a run."""
    folder, epochs = settings.folder / f"{kind.name}-seed{seed}", settings.epochs(kind, seed)
    check_same_sweep(folder, settings)
    if epochs_done(folder) >= epochs[-1]:
        return
    words = [*settings.data_arguments(), "--output", str(folder), "--epochs", str(epochs[-1]), "--seed", str(seed)]
    words += ["--passes", "1"]  # An epoch is one pass, as in the reports, however few faces there are.
    if settings.limit is not None:
        words += ["--limit", str(settings.limit)]
    if len(epochs) > 1:
        words += ["--keep-epochs", str(math.gcd(*epochs))]
    resume = ["--resume"] if (folder / "checkpoint.pt").exists() else []
    MAINS[kind.command]([*words, *kind.arguments, *resume])
    write_whole(folder / "epochs-done", str(epochs[-1]))


def check_same_sweep(folder: Path, settings: SweepSettings) -> None:
    """
    Raises:
        TrainingError: the run in a folder is one of another sweep.
    """
    if (folder / "run.json").exists():
        limit = Record(folder).description["settings"].get("limit")
        if limit != settings.limit:
            raise TrainingError(
                f"--output {settings.folder}: {folder.name} there was trained with --limit {limit}, not with "
                f"{settings.limit}: give the same, or another folder"
            )


def score(settings: SweepSettings) -> dict[str, Any]:
    """Scores of every model that is there, by kind and number of epochs, a run for each seed.

    Raises:
        TrainingError: there is none, or one of another sweep.
    """
    there: dict[tuple[Kind, int], dict[int, Path]] = {}
    for kind in KINDS:
        seeds = (path.name.removeprefix(f"{kind.name}-seed") for path in settings.folder.glob(f"{kind.name}-seed*"))
        for seed in sorted(int(seed) for seed in seeds if seed.isdecimal()):
            run = settings.folder / f"{kind.name}-seed{seed}"
            check_same_sweep(run, settings)
            for epoch in settings.epochs(kind, seed):
                if model := model_folder(run, epoch):
                    there.setdefault((kind, epoch), {})[seed] = model
    if not there:
        raise TrainingError(f"--output {settings.folder} holds no finished run of the sweep to score")
    its = replace(settings, seeds=1)
    real = its.real_faces(TRAINING_FACES)
    rows = []
    for (kind, epochs), models in there.items():
        runs = [score_model(load_model(folder), real, its) | {"seed": seed} for seed, folder in models.items()]
        rows.append({"name": kind.name, "epochs": epochs, "arguments": kind.arguments, "runs": runs})
        distances = ", ".join(f"{run['kernel_distance']:.1f}" for run in runs)
        print(f"{kind.name}, {epochs} epochs: kernel distance {distances}", flush=True)
    data = {"limit": settings.limit, "data": settings.data_note or Path(settings.dataset).name}
    return {"protocol": its.protocol(settings.samples, real) | data, "rows": rows}


def score_model(model: FaceModel, real: RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    generated = decode(model, model.sample_latent(settings.samples, seed=0))
    result: dict[str, Any] = {}
    for network in settings.networks:
        its = compare(extract(generated, network), real.train_features(network))
        result |= its if network == settings.features else {BY_FACE.removeprefix("_"): its}
    # Whether far out the faces are alike, and on which side more so.
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
    arguments = sys.argv[1:] if arguments is None else arguments
    settings = tyro.cli(SweepSettings, args=arguments, prog="python -m study.sweep", description=__doc__)
    for seed in range(settings.seeds if settings.train else 0):
        for kind in KINDS:
            if not settings.only or kind.name in settings.only:
                print(f"{kind.name}, seed {seed}", flush=True)
                train(kind, seed, settings)
    path = settings.results or Path(f"docs/results/{settings.name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(score(settings), indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
