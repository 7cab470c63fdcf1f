"""Train many small runs, each with one setting changed, and score them all: python -m study.sweep --help

Every run is an ordinary run of train.gan or train.autoencoder, in a folder of its own under --output. A sweep that was
stopped goes on where it was, within a run too; one whose runs are all there only scores them. Scored is every run that
is there, of all kinds and seeds, so that a sweep may be done in parts, and --no-train scores a half-finished one. The
report (python -m study.report --no-measure) says which kinds are missing. The reports' own budget, the GAN's:

python -m study.sweep --dataset path/to/celeba --budget full --limit 8000 --seeds 1
    --only gan-50+50 gan-10+90 gan-20+80 gan-40+60 gan-100+100

and then a second seed of the defaults and of a rival, without the defaults' 100 epochs:

python -m study.sweep --dataset path/to/celeba --budget full --limit 8000 --seeds 2 --most-epochs 50
    --only gan-50+50 gan-40+60
"""

import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro

from models.base import FaceModel
from models.images import normalise
from train import autoencoder, gan
from train.errors import TrainingError, run_command
from train.losses import latent_moments, psnr
from train.record import Record, write_whole
from train.settings import DataSettings

from . import experiments, scores
from .evaluate import EvaluationSettings, compare, decode, encode, load_model
from .features import FACE_FEATURES, FeatureNetwork, extract


@dataclass(frozen=True)
class SweepSettings(DataSettings):
    limit: int | None = None
    """Train on the first so many faces only."""

    data_note: str | None = None
    """What the data is, in a sentence for the report; by default the data set's name."""

    output: Path | None = None
    """Folder of the runs; by default runs/sweep, or runs/sweep-full for the full budget."""

    budget: Literal["small", "full"] = "small"
    """full trains the reports' epochs, small a tenth of them."""

    seeds: int = 2
    """Runs of each kind, with seeds from 0."""

    only: tuple[str, ...] = ()
    """Train the kinds only whose name contains one of these: plain, gan, gan-10+90, ... (bits + continuous)."""

    most_epochs: int | None = None
    """Train runs of several lengths, gan-50+50 with 20, 50 and 100 epochs, up to so many of the reports' epochs."""

    train: bool = True
    """Whether to train the runs that are missing, or only to score those that are there."""

    held_out_split: str = "test"
    """As for study.evaluate."""

    samples: int = 1000
    """Faces of each model to score."""

    features: FeatureNetwork = "efficientnet-lite0"
    """As for study.evaluate."""

    results: Path | None = None
    """Where the scores go; by default docs/results/sweep.json, or sweep-full.json for the full budget."""

    def __post_init__(self) -> None:
        for setting in ("seeds", "most_epochs", "limit"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise TrainingError(f"--{setting.replace('_', '-')} is {value}: it must be 1 or more")
        for part in self.only:
            if not any(part in row.name for row in ROWS):
                names = ", ".join(row.name for row in ROWS)
                raise TrainingError(f"--only {part}: no kind's name contains that; they are {names}")

    # A run of one budget cannot go on to the other: an autoencoder's learning rate falls to 0 over its epochs.
    @property
    def folder(self) -> Path:
        return self.output or Path("runs", self._name)

    @property
    def results_path(self) -> Path:
        return self.results or Path("docs/results", f"{self._name}.json")

    @property
    def _name(self) -> str:
        return "sweep-full" if self.budget == "full" else "sweep"


@dataclass(frozen=True)
class Row:
    """One kind of run.

    Attributes:
        name: of its folder.
        command: "gan" or "autoencoder".
        epochs: at which the run is scored, at full budget; the last one ends it.
        arguments: what differs from the command's defaults.
    """

    name: str
    command: Literal["gan", "autoencoder"]
    epochs: tuple[int, ...]
    arguments: tuple[str, ...] = ()


# The reports' sweeps of the GAN: length of the latent, epochs, and bits + continuous numbers in a latent of 100.
DEFAULT, LONG_LATENT, EPOCHS = "gan-50+50", "gan-100+100", 50
GAN_ROWS = (
    Row(DEFAULT, "gan", (20, EPOCHS, 100)),
    *(
        Row(f"gan-{bits}+{100 - bits}", "gan", (EPOCHS,), ("--discrete-size", str(bits)))
        for bits in (0, 10, 20, 40, 100)
    ),
    Row(LONG_LATENT, "gan", (EPOCHS,), ("--latent-size", "200", "--discrete-size", "100")),
)

MATCHED = ("--prior-mean", "0", "--prior-variance", "2")
AUTOENCODER_ROWS = (
    Row("plain", "autoencoder", (63,)),
    Row("plain-adam", "autoencoder", (63,), ("--optimizer", "adam", "--learning-rate", "0.001", "--no-whiten")),
    Row("shifted", "autoencoder", (63,), ("--prior-mean", "-3", "--prior-variance", "2")),
    *(
        Row(f"{match}-{weight}", "autoencoder", (63,), (*MATCHED, "--match", match, "--match-weight", weight))
        for match in ("mmd", "moments")
        for weight in ("0.01", "0.1", "1")
    ),
    *(
        Row(f"variance-{variance}", "autoencoder", (63,), ("--prior-mean", "0", "--prior-variance", variance))
        for variance in ("1", "4")
    ),
)
ROWS = (*AUTOENCODER_ROWS, *GAN_ROWS)

# Those whose latents the densities of plain autoencoders are fitted to.
TRAINING_FACES = 8000

MAINS = {"gan": gan.main, "autoencoder": autoencoder.main}


def epochs_in(budget: str, full_epochs: int) -> int:
    """How many epochs so many of the reports' are in a budget."""
    return full_epochs if budget == "full" else max(1, round(full_epochs / 10))


def label(row: Row, full_epochs: int, budget: str) -> str:
    """What the results call a kind of run at so many of the reports' epochs."""
    return row.name if len(row.epochs) == 1 else f"{row.name}, {epochs_in(budget, full_epochs)} epochs"


def labels(command: str, budget: str) -> list[str]:
    """Of all kinds of a command."""
    return [label(row, epochs, budget) for row in ROWS if row.command == command for epochs in row.epochs]


def labels_of(name: str, budget: str) -> list[str]:
    """Of a row, from few epochs to many."""
    return [label(row, epochs, budget) for row in ROWS if row.name == name for epochs in row.epochs]


def default_label(budget: str) -> str:
    """Of the reports' defaults."""
    return next(label(row, EPOCHS, budget) for row in GAN_ROWS if row.name == DEFAULT)


def split_labels(budget: str) -> list[str]:
    """Of the ways to split a latent of 100."""
    return [label(row, EPOCHS, budget) for row in GAN_ROWS if row.name != LONG_LATENT]


def missing(results: dict[str, Any]) -> list[str]:
    """The kinds of run that results lack."""
    there = {row["name"] for row in results["rows"]}
    labels = (label(row, epochs, results["protocol"]["budget"]) for row in ROWS for epochs in row.epochs)
    return [name for name in labels if name not in there]


def run_folder(row: Row, seed: int, settings: SweepSettings) -> Path:
    """The folder of a run.

    Raises:
        TrainingError: what is there is a run of another sweep.
    """
    folder = settings.folder / f"{row.name}-seed{seed}"
    if (folder / "run.json").exists():
        its = Record(folder).description["settings"]
        if its["limit"] != settings.limit:
            raise TrainingError(
                f"--output {settings.folder}: {folder.name} there was trained with --limit {its['limit']}, not with "
                f"{settings.limit}: give the same, or another folder"
            )
        if its["epochs"] not in [epochs_in(settings.budget, epochs) for epochs in row.epochs]:
            raise TrainingError(
                f"--output {settings.folder}: {folder.name} there is a run of another --budget: name another folder"
            )
    return folder


def run_row(row: Row, seed: int, settings: SweepSettings) -> None:
    """Train what is missing of a run, and keep its model at each of the row's numbers of epochs."""
    folder = run_folder(row, seed, settings)
    # From few to many: the run goes on from one to the next.
    for full_epochs in row.epochs:
        epochs = epochs_in(settings.budget, full_epochs)
        model = folder / f"model-{epochs}"
        if model.is_dir() or full_epochs > (settings.most_epochs or full_epochs):
            continue
        # A run that is longer than the last one goes on from it: --epochs may differ between the two.
        arguments = ["--resume"] if (folder / "checkpoint.pt").exists() else []
        shared = [*settings.data_arguments(), "--output", str(folder)]
        if settings.limit is not None:
            shared += ["--limit", str(settings.limit)]
        numbers = ["--epochs", str(epochs), "--seed", str(seed)]
        MAINS[row.command]([*shared, *numbers, *row.arguments, *arguments])
        shutil.copytree(folder / "model", model.with_suffix(".tmp"), dirs_exist_ok=True)
        model.with_suffix(".tmp").rename(model)


def score(settings: SweepSettings) -> dict[str, Any]:
    """Scores of every model that is there, by row and number of epochs, a list entry a seed.

    Raises:
        TrainingError: there is none, or one of another sweep.
    """
    models = {
        (row.name, epochs): _models(row, epochs_in(settings.budget, epochs), settings)
        for row in ROWS
        for epochs in row.epochs
    }
    if not any(models.values()):
        raise TrainingError(f"--output {settings.folder} holds no finished run of the sweep to score")
    its = EvaluationSettings(
        **{field.name: getattr(settings, field.name) for field in fields(DataSettings)},
        held_out_split=settings.held_out_split,
        samples=settings.samples,
        seeds=1,
        features=settings.features,
    )
    real = its.real_faces(TRAINING_FACES)
    train, test = real.train, real.held_out.faces
    references = train[: its.samples]
    faces = experiments.References(
        train, test, extract(references, its.features), its.extract_face_features(references)
    )
    rows = []
    for row in ROWS:
        for full_epochs in row.epochs:
            runs = [
                _score_model(load_model(folder), faces, its) | {"seed": seed}
                for seed, folder in models[row.name, full_epochs].items()
            ]
            if runs:
                name, epochs = label(row, full_epochs, settings.budget), epochs_in(settings.budget, full_epochs)
                rows.append({"name": name, "epochs": epochs, "arguments": row.arguments, "runs": runs})
                print(
                    f"{name}: kernel distance " + ", ".join(f"{run['kernel_distance']:.1f}" for run in runs), flush=True
                )
    protocol = its.protocol(len(faces.train_features), real) | {"budget": settings.budget, "limit": settings.limit}
    protocol["data"] = settings.data_note or protocol["dataset"]
    return {"protocol": protocol, "rows": rows}


def _models(row: Row, epochs: int, settings: SweepSettings) -> dict[int, Path]:
    """The folders of a kind's finished models, by seed."""
    found = {}
    for folder in settings.folder.glob(f"{row.name}-seed*"):
        seed = folder.name.removeprefix(f"{row.name}-seed")
        if seed.isdecimal() and (folder / f"model-{epochs}").is_dir():
            found[int(seed)] = run_folder(row, int(seed), settings) / f"model-{epochs}"
    return dict(sorted(found.items()))


def _score_model(model: FaceModel, faces: experiments.References, settings: EvaluationSettings) -> dict[str, Any]:
    generated = decode(model, model.sample_latent(settings.samples, seed=0))
    result: dict[str, Any] = compare(extract(generated, settings.features), faces.train_features)
    if faces.train_face_features is not None:
        result["by_face_features"] = compare(extract(generated, FACE_FEATURES), faces.train_face_features)
    # Whether far out the faces are alike, and on which side more so.
    for side, mean in (("prior", None), ("below", -100), ("above", 100)):
        images = decode(model, model.sample_latent(100, seed=0, mean=mean))
        result[f"diversity_{side}"] = scores.mean_distance(images) / images[0].numel() ** 0.5
    if model.encodes:
        z = encode(model, faces.test)
        result["psnr"] = psnr(normalise(decode(model, z)), normalise(faces.test)).mean().item()
        result |= latent_moments(z)
        if model.matching is None:
            result["densities"] = experiments.densities(model, faces, settings)
    return result


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(SweepSettings, args=arguments, prog="python -m study.sweep", description=__doc__)
    for seed in range(settings.seeds if settings.train else 0):
        for row in ROWS:
            if not settings.only or any(part in row.name for part in settings.only):
                print(f"{row.name}, seed {seed}", flush=True)
                run_row(row, seed, settings)
    result = score(settings)
    settings.results_path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(settings.results_path, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
