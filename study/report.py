"""Measure the reports' claims with the bundled models, and write docs/report.md: python -m study.report --help"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
import tyro
from huggingface_hub import EvalResult, ModelCard

from models import FaceModel
from models.index import read_index
from train.data import HeldOut
from train.device import keep_freed_memory
from train.errors import run_command
from train.record import write_whole

from . import experiments, figures
from .evaluate import EvaluationSettings, evaluate, load_model
from .features import extract, face_detector

# Some that most reconstructions should keep, and some rare ones.
ATTRIBUTES = ("Male", "Smiling", "Blond_Hair", "Bangs", "No_Beard", "Eyeglasses", "Wearing_Hat", "Wearing_Necktie")

# What a card carries, and its name there.
SCORE_NAMES = {
    "frechet_distance": "Frechet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "feature_distance": "feature distance",
}


@dataclass(frozen=True)
class ReportSettings(EvaluationSettings):
    weights: Path = Path("weights")
    """Folder of the models, listed by its index.json."""

    output: Path = Path("docs")
    """Folder for report.md, its figures and results/*.json."""

    draws: int = 100
    """Faces at each mean of the out-of-distribution curves, and of each latent whose numbers are moved one by one."""

    training_faces: int = 8000
    """Training faces that densities are fitted to, PCA and attributes learned from, and copies looked for among."""

    measure: bool = True
    """Whether to measure, or only to write the page anew from results/*.json, as after a sweep."""

    cards: bool = False
    """Write the scores into the models' cards too, those just measured or those there are."""

    quick: bool = False
    """A tenth of the faces and two seeds: for a look, not for the record."""


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    settings = tyro.cli(ReportSettings, args=arguments, prog="python -m study.report", description=__doc__)
    if settings.quick:
        samples = settings.samples // 10
        settings = replace(settings, samples=samples, training_faces=4 * samples, seeds=2, held_out=100, draws=20)
    if settings.measure:
        _measure(settings)
    write_report(settings.output)
    if settings.cards:
        result = json.loads((settings.output / "results/scores.json").read_text())
        for model in read_index(settings.weights):
            write_scores(settings.weights / model / "README.md", result[model], result["protocol"])


def _measure(settings: ReportSettings) -> None:
    keep_freed_memory()
    models = {name: load_model(settings.weights / name) for name in read_index(settings.weights)}
    real = settings.real_faces(max(settings.training_faces, settings.samples))
    all_features = extract(real.train, settings.features)
    faces = experiments.RealFaces(real.train, real.held_out.faces, all_features[: settings.samples].clone())
    protocol = settings.protocol(len(faces.train_features), real) | {"training faces": len(real.train)}

    for name, result in _experiments(models, faces, real.held_out, all_features, settings):
        text = json.dumps({"protocol": protocol, "command": _command(settings), **result}, indent=1)
        (settings.output / "results").mkdir(parents=True, exist_ok=True)
        write_whole(settings.output / "results" / f"{name}.json", text + "\n")


def write_scores(path: Path, result: dict[str, Any], protocol: dict[str, Any]) -> None:
    """Put a model's scores into its card: a section of its own before the one on training, and the model index."""
    card = ModelCard.load(path)
    split = f"CelebA, {protocol['reference']}"
    lines, entries = [], []
    for part, task in (("generated", "unconditional-image-generation"), ("reconstructed", "image-to-image")):
        for name, value in result.get(part, {}).items():
            if name not in SCORE_NAMES:
                continue
            label = f"{SCORE_NAMES[name]}, {part} faces"
            lines.append(f"| {label} | {_with_interval(value, 3 if name == 'ssim' else 2)} |")
            entries.append(
                EvalResult(
                    task_type=task,
                    dataset_type="celeba",
                    dataset_name=split if part == "generated" else f"CelebA, {protocol['held out']}",
                    metric_type=name,
                    metric_name=label + ("" if name in ("psnr", "ssim") else f" ({protocol['features']} features)"),
                    metric_value=round(value["mean"], 3),
                )
            )
    card.data.model_name, card.data.eval_results = path.parent.name, entries
    section = f"""## Scores

{protocol["samples"]} generated faces against the {protocol["reference"]}, {len(protocol["seeds"])} seeds; reconstructions of the
{protocol["held out"]}. Distances are between features of {protocol["features"]}, and are no FID or KID of the
literature; ± 95 % confidence. The protocol and all other measurements are in the repository's docs/report.md.

| | |
|---|---|
"""
    before, training, after = card.text.partition("## Training")
    before = before.partition("## Scores")[0]
    card.text = before + section + "\n".join(lines) + "\n\n" + training + after
    card.save(path)


def _command(settings: ReportSettings) -> str:
    return "python -m study.report --dataset path/to/celeba" + (" --quick" if settings.quick else "")


def _experiments(
    models: dict[str, FaceModel],
    faces: experiments.RealFaces,
    held_out: HeldOut,
    all_features: torch.Tensor,
    settings: ReportSettings,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run one after the other; yields names and results."""
    detect = face_detector()
    if detect is None:
        print("facenet-pytorch is not installed: the share of pictures with a face is left out.")
    autoencoders = {name: model for name, model in models.items() if model.encodes}
    features, draws = settings.features, settings.draws

    def labels() -> dict[str, tuple[np.ndarray, np.ndarray]]:
        train = settings.attributes(settings.split, ATTRIBUTES, len(all_features), held_out.skip)
        test = settings.attributes(held_out.split, ATTRIBUTES, len(faces.test))
        both = {name: (train[name], test[name]) for name in train.keys() & test.keys()}
        # One that all faces have, or none, teaches nothing.
        return {name: both[name] for name in ATTRIBUTES if name in both and all(0 < x.mean() < 1 for x in both[name])}

    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "scores": lambda: {
            name: evaluate(model, faces.train_features, faces.test, settings) for name, model in models.items()
        },
        "out-of-distribution": lambda: (
            {"draws": draws}
            | {
                name: experiments.out_of_distribution(model, faces, draws, features, detect)
                for name, model in models.items()
            }
        ),
        "densities": lambda: {
            name: experiments.densities(model, faces, replace(settings, seeds=min(settings.seeds, 3)))
            for name, model in autoencoders.items()
        },
        "bits": lambda: experiments.bits(models["gan"], draws, features),
        "attributes": lambda: experiments.survivals(autoencoders, faces, all_features, labels(), features),
        "memorisation": lambda: experiments.memorisation(models, faces, settings.held_out, features, all_features),
        "baselines": lambda: experiments.baselines(faces, settings),
    }
    for experiment, run in runs.items():
        began = time.monotonic()
        result = run()
        print(f"{experiment}: {time.monotonic() - began:.0f} s", flush=True)
        yield experiment, result
    figures.draw_faces(models, settings.output)


def write_report(folder: Path) -> None:
    """Fill report.md and draw its figures from the results in a folder; those of study.sweep are optional."""
    results = {
        path.stem.replace("-", "_"): json.loads(path.read_text()) for path in (folder / "results").glob("*.json")
    }
    figures.draw_curves(results, folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"pm": _with_interval, "percent": lambda share: f"{share:.0%}"}
    environment.globals |= {"edges": experiments.edges, "mean": lambda values: sum(values) / len(values)}
    if "sweep" in results:
        results["sweep_epochs"] = next(row["epochs"] for row in results["sweep"]["rows"] if row["name"] == "mmd-0.1")
    write_whole(folder / "report.md", environment.get_template("report.md").render(results))


def _with_interval(value: dict[str, float | None], digits: int = 2) -> str:
    interval = "" if value["interval"] is None else f" ± {value['interval']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{interval}"


if __name__ == "__main__":
    run_command(main)
