"""Train many small runs, each with one setting changed, and score them all: python -m study.sweep --help

Every run is an ordinary run of train.gan or train.autoencoder, in a folder of its own under --output. A sweep that was
stopped goes on where it was, within a run too; one whose runs are all there only scores them.
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
from train.errors import run_command
from train.measure import latent_moments, psnr
from train.record import write_whole
from train.settings import DataSettings

from . import experiments, scores
from .evaluate import EvaluationSettings, compare, decode, encode, load_model
from .features import extract


@dataclass(frozen=True)
class SweepSettings(DataSettings):
    limit: int | None = None
    """Train on the first so many faces only."""

    output: Path = Path("runs/sweep")
    """Folder of the runs."""

    budget: Literal["small", "full"] = "small"
    """full trains the reports' epochs, small a tenth of them."""

    seeds: int = 2
    """Runs of each kind, with seeds from 0."""

    only: str = ""
    """Train the kinds whose name contains this only."""

    train: bool = True
    """Whether to train the runs that are missing, or only to score those that are there."""

    held_out_split: str = "test"
    """As for study.evaluate."""

    samples: int = 1000
    """Faces of each model to score."""

    features: Literal["efficientnet-lite0", "inception"] = "efficientnet-lite0"
    """As for study.evaluate."""

    results: Path = Path("docs/results/sweep.json")
    """Where the scores go."""


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
GAN_ROWS = (
    Row("gan-50+50", "gan", (20, 50, 100)),
    *(Row(f"gan-{bits}+{100 - bits}", "gan", (50,), ("--discrete-size", str(bits))) for bits in (0, 10, 20, 40, 100)),
    Row("gan-100+100", "gan", (50,), ("--latent-size", "200", "--discrete-size", "100")),
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


def model_folder(row: Row, seed: int, full_epochs: int, settings: SweepSettings) -> tuple[Path, int]:
    """Where the model of a run at so many of the reports' epochs lies, and how many epochs that is in this budget."""
    epochs = full_epochs if settings.budget == "full" else max(1, round(full_epochs / 10))
    return settings.output / f"{row.name}-seed{seed}" / f"model-{epochs}", epochs


def run_row(row: Row, seed: int, settings: SweepSettings) -> None:
    """Train what is missing of a run, and keep its model at each of the row's numbers of epochs."""
    for full_epochs in row.epochs:
        model, epochs = model_folder(row, seed, full_epochs, settings)
        if model.is_dir():
            continue
        folder = model.parent
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
    """Scores of every model that is there, by row and number of epochs, a list entry a seed."""
    its = EvaluationSettings(
        **{field.name: getattr(settings, field.name) for field in fields(DataSettings)},
        held_out_split=settings.held_out_split,
        samples=settings.samples,
        seeds=1,
        features=settings.features,
    )
    real = its.real_faces(TRAINING_FACES)
    train, test = real.train, real.held_out.faces
    faces = experiments.RealFaces(train, test, extract(train[: its.samples], its.features))
    rows = []
    for row in ROWS:
        for full_epochs in row.epochs:
            folders = [model_folder(row, seed, full_epochs, settings) for seed in range(settings.seeds)]
            runs = [
                _score_model(load_model(folder), faces, its) | {"seed": seed}
                for seed, (folder, _) in enumerate(folders)
                if folder.is_dir()
            ]
            if runs:
                name = row.name if len(row.epochs) == 1 else f"{row.name}, {folders[0][1]} epochs"
                rows.append({"name": name, "epochs": folders[0][1], "arguments": row.arguments, "runs": runs})
                print(
                    f"{name}: kernel distance " + ", ".join(f"{run['kernel_distance']:.1f}" for run in runs), flush=True
                )
    return {"protocol": its.protocol(len(faces.train_features), real) | {"budget": settings.budget}, "rows": rows}


def _score_model(model: FaceModel, faces: experiments.RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    generated = decode(model, model.sample_latent(settings.samples, seed=0))
    result: dict[str, Any] = compare(extract(generated, settings.features), faces.train_features)
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
            if settings.only in row.name:
                print(f"{row.name}, seed {seed}", flush=True)
                run_row(row, seed, settings)
    result = score(settings)
    settings.results.parent.mkdir(parents=True, exist_ok=True)
    write_whole(settings.results, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
