"""Measure the reports' claims with the bundled models, and write docs/report.md: python -m study.report --help"""

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jinja2
import torch
import tyro
from huggingface_hub import EvalResult, ModelCard

from models import FaceModel
from models.index import read_index
from models.loading import WEIGHTS_FILE
from train.device import keep_freed_memory
from train.errors import TrainingError, run_command
from train.record import write_whole

from . import attributes, experiments, figures, sweep, verdicts
from .evaluate import PARTS, EvaluationSettings, RealFaces, evaluate, load_model
from .features import EXTRACTORS, extract, face_detector
from .scores import SCORES, mean_and_interval

# Some that most reconstructions should keep, and some rare ones.
ATTRIBUTES = ("Male", "Smiling", "Blond_Hair", "Bangs", "No_Beard", "Eyeglasses", "Wearing_Hat", "Wearing_Necktie")

# What the report is made from, beside the sweeps: a JSON file each.
MEASUREMENTS = ("scores", "out-of-distribution", "densities", "bits", "attributes", "memorisation", "baselines")

# Beside a model, for the page.
ATTRIBUTES_FILE = "attributes.json"

# And, where there are models beyond the reports', what their attributes with names do.
NAMED_ATTRIBUTES = "named-attributes"


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

    only: tuple[str, ...] = ()
    """Measure these models, by their folders' names, and keep the figures of the others: they must be of the same
    weights, faces and settings. After a model is added or trained anew."""

    cards: bool = False
    """Write the scores into the models' cards too, those just measured or those there are."""

    quick: bool = False
    """A tenth of the faces and two seeds: for a look, not for the record."""

    data_note: str | None = None
    """What the data is, in a sentence for the report; by default the data set's name."""

    # Settings that change no figure.
    FREE = ("weights", "output", "cache_dir", "measure", "only", "cards", "data_note")

    @property
    def command(self) -> str:
        """What makes the same figures again; a local data set's folder is written as path/to/..."""
        folder = Path(self.dataset).expanduser()
        words = ["python", "-m", "study.report"]
        words += ["--dataset", f"path/to/{folder.resolve().name}" if folder.is_dir() else self.dataset]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in (*self.FREE, "dataset") and value != field.default:
                words += [f"--{field.name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        return shlex.join(words)


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    settings = tyro.cli(ReportSettings, args=arguments, prog="python -m study.report", description=__doc__)
    titles, command = _read_titles(settings.weights), settings.command
    if settings.quick:
        samples = settings.samples // 10
        settings = replace(settings, samples=samples, training_faces=4 * samples, seeds=2, held_out=100, draws=20)
    if settings.measure:
        _measure(list(titles), settings, command)
    write_report(settings.output, titles)
    if settings.cards:
        results = _read_results(settings.output)
        scored, named = results["scores"], results.get(_key(NAMED_ATTRIBUTES), {}).get("models", {})
        for model in titles:
            if model in scored:
                write_scores(settings.weights / model / "README.md", scored[model], scored["protocol"])
            if named.get(model):
                write_areas(settings.weights / model / ATTRIBUTES_FILE, named[model])


def _read_titles(weights: Path) -> dict[str, str]:
    try:
        return read_index(weights)
    except (OSError, ValueError) as error:
        raise TrainingError(f"--weights {weights}: its index.json, the list of models, cannot be read") from error


def _measure(names: list[str], settings: ReportSettings, command: str) -> None:
    if unknown := sorted(set(settings.only) - set(names)):
        raise TrainingError(f"--only {' '.join(unknown)}: --weights {settings.weights} has {verdicts.joined(names)}")
    keep_freed_memory()
    models = {name: load_model(settings.weights / name) for name in names}
    real = settings.real_faces(max(settings.training_faces, settings.samples))
    # Other training faces than the first are compared with them.
    if len(real.train) < settings.samples + 20:
        raise TrainingError(
            f"--samples is {settings.samples}: with {len(real.train)} training faces it must be "
            f"{len(real.train) - 20} or less"
        )
    all_features = extract(real.train, settings.features)
    faces = experiments.References(
        real.train,
        real.held_out.faces,
        all_features[: settings.samples].clone(),
        settings.extract_face_features(real.train[: settings.samples]),
    )
    protocol = settings.protocol(len(faces.train_features), real) | {"training faces": len(real.train)}
    protocol["data"] = settings.data_note or protocol["dataset"]
    # So that figures of a run that was stopped are not mistaken for those of the models before.
    protocol["weights"] = {
        name: hashlib.sha256((settings.weights / name / WEIGHTS_FILE).read_bytes()).hexdigest()[:12] for name in names
    }

    measured = {name: models[name] for name in settings.only or names}
    # As it will be read again: JSON has no tuples.
    head = json.loads(json.dumps({"protocol": protocol, "command": command}))
    kept = _results_to_keep(settings, head) if settings.only else {}
    for name, result in _experiments(measured, faces, real, all_features, settings):
        text = json.dumps(_merged(kept.get(_key(name), {}), head | result, measured), indent=1)
        (settings.output / "results").mkdir(parents=True, exist_ok=True)
        write_whole(settings.output / "results" / f"{name}.json", text + "\n")
    figures.draw_faces(models, settings.output)


def _results_to_keep(settings: ReportSettings, head: dict[str, Any]) -> dict[str, Any]:
    """The results there are, by their names with underscores, of models that are not measured anew.

    Args:
        head: protocol and command of what is about to be measured.

    Raises:
        TrainingError: they were measured in another way, or of other weights.
    """

    def without_measured(head: dict[str, Any]) -> tuple[Any, ...]:
        weights = head["protocol"].get("weights", {})
        others = {name: digest for name, digest in weights.items() if name not in settings.only}
        return head["command"], head["protocol"] | {"weights": others}

    results = _read_results(settings.output)
    for name in (*MEASUREMENTS, NAMED_ATTRIBUTES):
        result = results.get(_key(name))
        if result is not None and without_measured(result) != without_measured(head):
            raise TrainingError(
                f"--only: {name}.json in --output {settings.output} was measured in another way, or of other weights of "
                "the other models: measure all, without --only"
            )
    return results


def _merged(before: dict[str, Any], result: dict[str, Any], models: Collection[str]) -> dict[str, Any]:
    """A new result with what there was before of others than these models, which are keys at any depth."""
    return {
        key: _merged(before[key], value, models)
        if isinstance(value, dict) and isinstance(before.get(key), dict) and key not in models
        else value
        for key, value in (before | result).items()
        if key in result or key not in models
    }


def write_scores(path: Path, result: dict[str, Any], protocol: dict[str, Any]) -> None:
    """Put a model's scores into its card: a section of its own before the one on training, and the model index."""
    card = ModelCard.load(path)
    split = {"generated": protocol["reference"], "reconstructed": protocol["held out"]}
    lines, entries = [], []
    tasks = {"generated": "unconditional-image-generation", "reconstructed": "image-to-image"}
    by_face = protocol.get("face features")
    for key in PARTS:
        part, by_other, _ = key.partition("_by_face_features")
        for name, value in result.get(key, {}).items():
            if name not in SCORES:
                continue
            score = SCORES[name]
            label = f"{score.title}, {part} faces" + (", by face features" if by_other else "")
            network = by_face if by_other else protocol["features"]
            lines.append(f"| {label} | {with_interval(value, max(2, score.digits))} |")
            entries.append(
                EvalResult(
                    task_type=tasks[part],
                    dataset_type=protocol["dataset"],
                    dataset_name=f"{protocol['data']}, {split[part]}",
                    metric_type=name + by_other,
                    metric_name=label + (f" ({network} features)" if score.of_features else ""),
                    metric_value=round(value["mean"], 3),
                )
            )
    card.data.model_name, card.data.eval_results = path.parent.name, entries
    second = f"\nThose by face features are of {by_face} ({EXTRACTORS[by_face].description})." if by_face else ""
    caution = "" if EXTRACTORS[protocol["features"]].literature else ", and are no FID or KID of the literature"
    section = f"""## Scores

{protocol["samples"]} generated faces against the {protocol["reference"]}, {len(protocol["seeds"])} seeds;
reconstructions of the {protocol["held out"]}. The data: {protocol["data"]}. Distances are between
features of {protocol["features"]}{caution}; ± 95 % confidence.{second}
No network that scores was part of a training loss.
The protocol and all other measurements are in the repository's docs/report.md.

| | |
|---|---|
"""
    before, training, after = card.text.partition("## Training")
    before = before.partition("## Scores")[0]
    card.text = before + section + "\n".join(lines) + "\n\n" + training + after
    card.save(path)


def write_areas(path: Path, measured: dict[str, dict[str, Any] | None]) -> None:
    """Tell beside a model how well each of its attributes works, where that could be measured: the page shows the best
    first."""
    areas = {name: {"area": round(its["area"]["mean"], 3)} for name, its in measured.items() if its}
    write_whole(path, json.dumps(areas, indent=1) + "\n")


def _experiments(
    models: dict[str, FaceModel],
    faces: experiments.References,
    real: RealFaces,
    all_features: torch.Tensor,
    settings: ReportSettings,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run one after the other; yields names and results."""
    detect = face_detector()
    if detect is None:
        print("facenet-pytorch is not installed: the share of pictures with a face is left out.")
    autoencoders = {name: model for name, model in models.items() if model.encodes}
    features, draws = settings.features, settings.draws
    labels = settings.labels_of(real)
    some_labels = {name: labels[name] for name in ATTRIBUTES if name in labels}

    def named_attributes() -> dict[str, Any]:
        named = {name: model for name, model in models.items() if model.attributes}
        result: dict[str, Any] = {
            "networks": settings.networks,
            "latents": min(attributes.LATENTS, settings.samples),
            "kinds": {name: attributes.kind_of(model) for name, model in named.items()},
        }
        if not named or not labels:
            return result | {"judges": {}, "models": {}}
        train = attributes.see(faces.train, settings.networks[1:], all_features)
        test = attributes.see(faces.test, settings.networks)
        judges = attributes.Judges.learn(labels, settings.networks, train, test)
        measured = {name: attributes.measure(model, judges, result["latents"]) for name, model in named.items()}
        return result | {"judges": judges.described(), "models": measured}

    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "scores": lambda: {
            name: {
                "model_type": model.model_type,
                "prior": {"mean": model.prior_mean, "variance": model.prior_variance},
                **evaluate(model, faces.train_features, faces.test, settings, faces.train_face_features),
            }
            for name, model in models.items()
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
            if model.model_type in verdicts.REPORTED
        },
        "bits": lambda: {
            name: experiments.bits(model, draws, features) for name, model in models.items() if model.discrete_size
        },
        "attributes": lambda: experiments.survivals(autoencoders, faces, all_features, some_labels, features),
        "memorisation": lambda: experiments.memorisation(models, faces, settings.held_out, features, all_features),
        "baselines": lambda: experiments.baselines(faces, settings),
        NAMED_ATTRIBUTES: named_attributes,
    }
    for experiment, run in runs.items():
        began = time.monotonic()
        result = run()
        print(f"{experiment}: {time.monotonic() - began:.0f} s", flush=True)
        yield experiment, result


def write_report(folder: Path, titles: dict[str, str]) -> None:
    """Fill report.md and draw its figures from the results in a folder; those of study.sweep are optional.

    Args:
        titles: of the models by name, in their order; those without results are named as not measured.

    Raises:
        TrainingError: results are missing or damaged.
    """
    results = _read_results(folder)
    page = fill_in(results, titles)
    figures.draw_curves(results, {name: titles[name] for name in titles if _is_measured(name, results)}, folder)
    write_whole(folder / "report.md", page)


def fill_in(results: dict[str, Any], titles: dict[str, str]) -> str:
    """The report, from the results by their names with underscores."""
    models = {name: title for name, title in titles.items() if _is_measured(name, results)}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "attribute": verdicts.name_of,
        "pm": with_interval,
        "called": lambda name: verdicts.called(models[name]),
        "percent": lambda share: f"{share:.0%}",
        "digits": lambda value, digits: "not measured" if value is None else f"{value:.{digits}f}",
        "each": lambda values, digits: ", ".join(f"{value:.{digits}f}" for value in values),
        "range": lambda values, digits: " to ".join(dict.fromkeys(f"{f(values):.{digits}f}" for f in (min, max))),
    }
    environment.globals |= {
        "edges": experiments.edges,
        "mean_and_interval": mean_and_interval,
        "SCORES": SCORES,
        "EXTRACTORS": EXTRACTORS,
        "sweeps": sweep,
        "v": verdicts,
    }
    protocol = results["scores"]["protocol"]
    encoding = [name for name in models if "reconstructed" in results["scores"][name]]
    optional = [NAMED_ATTRIBUTES] if _key(NAMED_ATTRIBUTES) in results else []
    context = {
        "models": models,
        "encoding": encoding,
        # The reports' claims are about these.
        "claimed": [name for name in encoding if verdicts.is_reported(results["scores"][name])],
        "beyond": [name for name in models if not verdicts.is_reported(results["scores"][name])],
        "bars": verdicts.against_bars(results, list(models)),
        "unmeasured": [title for name, title in titles.items() if name not in models],
        "other_runs": [name for name in (*MEASUREMENTS, *optional) if results[_key(name)]["protocol"] != protocol],
        "measured": {
            _key(name): {key: value for key, value in results[_key(name)].items() if key not in ("protocol", "command")}
            for name in MEASUREMENTS
        },
    }
    return environment.get_template("report.md").render(results | context)


def _is_measured(name: str, results: dict[str, Any]) -> bool:
    """Whether a model has results of every kind, as the models of a run that was not stopped have."""
    everywhere = ["scores", "out_of_distribution", "memorisation"]
    scores = results["scores"].get(name, {})
    if "reconstructed" in scores and verdicts.is_reported(scores):
        everywhere.append("densities")
    survived = [its for its in results["attributes"].values() if isinstance(its, dict) and "originals" in its]
    return all(name in results[key] for key in everywhere) and (
        "reconstructed" not in scores or all(name in its for its in survived)
    )


def _read_results(folder: Path) -> dict[str, Any]:
    """The results in a folder by their names, with underscores."""
    results = {}
    for path in sorted((folder / "results").glob("*.json")):
        try:
            results[_key(path.stem)] = json.loads(path.read_text())
        except ValueError as error:
            raise TrainingError(f"{path} is damaged: remove it and measure again, without --no-measure") from error
    lacking = [f"{name}.json" for name in MEASUREMENTS if _key(name) not in results]
    if lacking:
        raise TrainingError(
            f"--output {folder}: results/ lacks {verdicts.joined(lacking)}: measure first, without --no-measure"
        )
    return results


def _key(name: str) -> str:
    return name.replace("-", "_")


def with_interval(value: dict[str, float | None] | float, digits: int = 2) -> str:
    """A mean and what its interval is, or a single number."""
    if not isinstance(value, dict):
        return f"{value:.{digits}f}"
    interval = "" if value["interval"] is None else f" ± {value['interval']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{interval}"


if __name__ == "__main__":
    run_command(main)
