"""Measure the reports' claims with the bundled models, and fill the tables of docs/report.md: python -m study.report --help

The page is written by hand around tables, each between <!-- table: NAME --> and <!-- end -->, which this command fills
from docs/results. Every figure in the text of a section must stand in one of the section's tables; the command names
those that do not, as after a model was trained anew.
"""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from huggingface_hub import EvalResult, ModelCard

from models.index import read_index
from models.loading import WEIGHTS_FILE
from train.distributed import keep_freed_memory
from train.record import write_whole
from train.settings import Range, TrainingError, run_command

from . import experiments, figures, tables
from .evaluate import BY_FACE, PARTS, EvaluationSettings, describe, load_model
from .experiments import MEASUREMENTS, NAMED_ATTRIBUTES
from .features import EXTRACTORS
from .scores import SCORES

# Beside a model, for the page.
ATTRIBUTES_FILE = "attributes.json"

TABLE = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)

# What the text of a section quotes no figures in: tables, headings, pictures and links' addresses, code.
NO_TEXT = re.compile(r"<!--.*?-->|`[^`\n]*`|^[|#!].*$|\]\(.*?\)", re.MULTILINE)

# A number, with its interval if it has one.
FIGURE = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?: ± \d+(?:\.\d+)?)?%?")


@dataclass(frozen=True)
class ReportSettings(EvaluationSettings):
    weights: Path = Path("weights")
    """Folder of the models, listed by its index.json."""

    output: Path = Path("docs")
    """Folder of report.md, its figures and results/*.json."""

    draws: Annotated[int, Range(2, 100_000)] = 100
    """Faces at each mean of the out-of-distribution curves, and of each latent whose numbers are moved one by one."""

    training_faces: Annotated[int, Range(40, 10_000_000)] = 8000
    """Training faces that densities are fitted to, PCA and attributes learned from, and copies looked for among."""

    measure: bool = True
    """Whether to measure, or only to fill the tables anew from results/*.json, as after a sweep."""

    only: tuple[str, ...] = ()
    """Measure these models, by their folders' names, and keep the figures of the others: they must be of the same
    weights, faces and settings. After a model is added or trained anew."""

    cards: bool = False
    """Write the scores into the models' cards too, those just measured or those there are."""

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
    try:
        titles = read_index(settings.weights)
    except (OSError, ValueError) as error:
        message = f"--weights {settings.weights}: its index.json, the list of models, cannot be read"
        raise TrainingError(message) from error
    page = settings.output / "report.md"
    if not page.is_file():
        raise TrainingError(
            f"--output {settings.output} holds no report.md, whose tables are filled in: copy docs/report.md"
        )
    if settings.measure:
        measure(list(titles), settings)
    results = read_results(settings.output)
    if settings.cards:
        for name in titles.keys() & results["scores"].keys():
            write_scores(settings.weights / name / "README.md", results["scores"][name], results["scores"]["protocol"])
        named = results[NAMED_ATTRIBUTES]["models"]
        for name in titles.keys() & named.keys():
            write_areas(settings.weights / name / ATTRIBUTES_FILE, named[name])
    figures.draw_curves(results, titles, settings.output)
    text = fill_in(page.read_text(encoding="utf-8"), results, titles)
    write_whole(page, text)
    if wrong := [*stale(results, settings.weights), *unsupported(text)]:
        raise TrainingError(f"{page} is filled in, but " + "; ".join(wrong))


def measure(names: list[str], settings: ReportSettings) -> None:
    """Run the experiments and write a file of each into the folder of results."""
    if unknown := sorted(set(settings.only) - set(names)):
        raise TrainingError(f"--only {' '.join(unknown)}: --weights {settings.weights} has {', '.join(names)}")
    keep_freed_memory()
    models = {name: load_model(settings.weights / name) for name in names}
    real = settings.real_faces(max(settings.training_faces, settings.samples))
    # Other training faces than the first are compared with them.
    if len(real.train) < settings.samples + 20:
        raise TrainingError(
            f"--samples is {settings.samples}: with {len(real.train)} training faces it must be "
            f"{len(real.train) - 20} or less"
        )
    protocol = settings.protocol(settings.samples, real) | {"training faces": len(real.train)}
    protocol["data"] = settings.data_note or protocol["dataset"]
    measured = {name: models[name] for name in settings.only or names}
    protocol["weights"] = {name: digest(settings.weights, name) for name in measured}
    head = {"protocol": protocol, "command": settings.command}
    kept = read_results(settings.output) if settings.only else {}
    for name in kept.keys() & {*MEASUREMENTS, NAMED_ATTRIBUTES}:
        if _way(kept[name]) != _way(head):
            raise TrainingError(
                f"--only: {name}.json in --output {settings.output} was measured in another way: measure all, without --only"
            )
    for name, result in experiments.run(measured, real, settings, settings.draws):
        print(f"measured: {name}", flush=True)
        whole = _merged(kept.get(name, {}), head | result, measured)
        (settings.output / "results").mkdir(parents=True, exist_ok=True)
        write_whole(settings.output / f"results/{name}.json", json.dumps(whole, indent=1) + "\n")
    figures.draw_faces(models, settings.output)


def digest(weights: Path, name: str) -> str:
    """What tells a model's weights from others."""
    return hashlib.sha256((weights / name / WEIGHTS_FILE).read_bytes()).hexdigest()[:12]


def _way(result: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """How a result was measured: only those of one way can be compared."""
    return result["command"], {name: value for name, value in result["protocol"].items() if name != "weights"}


def _merged(before: dict[str, Any], result: dict[str, Any], models: Collection[str]) -> dict[str, Any]:
    """A new result with what there was before of others than these models, which are keys at any depth."""
    return {
        key: _merged(before[key], value, models)
        if isinstance(value, dict) and isinstance(before.get(key), dict) and key not in models
        else value
        for key, value in (before | result).items()
        if key in result or key not in models
    }


def read_results(folder: Path) -> dict[str, Any]:
    """What results/*.json hold, by name.

    Raises:
        TrainingError: one is missing or damaged.
    """
    results = {}
    for path in sorted((folder / "results").glob("*.json")):
        try:
            results[path.stem] = json.loads(path.read_text())
        except ValueError as error:
            raise TrainingError(f"{path} is damaged: remove it and measure again, without --no-measure") from error
    if lacking := [f"{name}.json" for name in (*MEASUREMENTS, NAMED_ATTRIBUTES) if name not in results]:
        raise TrainingError(
            f"--output {folder}: results/ lacks {', '.join(lacking)}: measure first, without --no-measure"
        )
    return results


def fill_in(text: str, results: dict[str, Any], titles: dict[str, str]) -> str:
    """The page with its tables made from results.

    Raises:
        TrainingError: it names a table that there is not.
    """

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in tables.TABLES:
            raise TrainingError(f"report.md: there is no table {name!r}; there are {', '.join(tables.TABLES)}")
        return f"<!-- table: {name} -->\n{tables.TABLES[name](results, titles)}\n<!-- end -->"

    return TABLE.sub(made, text)


def stale(results: dict[str, Any], weights: Path) -> Iterator[str]:
    """Which results are not of the weights that there are, or not of one protocol."""
    protocol = results["scores"]["protocol"]
    for name in (*MEASUREMENTS, NAMED_ATTRIBUTES):
        if results[name]["protocol"] != protocol:
            yield f"results/{name}.json is of another protocol than results/scores.json: measure all"
    for name, its in protocol["weights"].items():
        if (weights / name).is_dir() and digest(weights, name) != its:
            yield f"the figures of {name} are of other weights: measure it, with --only {name}"


def unsupported(text: str) -> Iterator[str]:
    """The figures in a page's text that stand in no table of their section, nor of the first one, the protocol's."""
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    common = _figures_of_tables("".join(sections[:2]))
    line = 1
    for section in sections:
        known = common | _figures_of_tables(section)
        # Lines stay where they are.
        prose = NO_TEXT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), section)
        for found in FIGURE.finditer(prose):
            if _plain(found[0]) not in known:
                yield f"line {line + prose.count(chr(10), 0, found.start())} quotes {found[0]}, which no table there has"
        line += section.count("\n")


def _figures_of_tables(text: str) -> set[str]:
    rows = "\n".join(row for row in text.splitlines() if row.startswith("|"))
    whole = {_plain(found[0]) for found in FIGURE.finditer(rows)}
    return whole | {figure.partition(" ±")[0] for figure in whole}


def _plain(figure: str) -> str:
    return figure.replace(",", "").removeprefix("+")


def write_scores(path: Path, result: dict[str, Any], protocol: dict[str, Any]) -> None:
    """Put a model's scores into its card: a section of its own before the one on training, and the model index."""
    card = ModelCard.load(path)
    tasks = {"generated": "unconditional-image-generation", "reconstructed": "image-to-image"}
    entries = []
    for part, words in PARTS.items():
        for by in ("", BY_FACE):
            for name, score in SCORES.items():
                if name not in result.get(part + by, {}):
                    continue
                network = protocol["face features" if by else "features"]
                faces = protocol["reference" if part == "generated" else "held out"]
                seen = f" ({network} features)" if score.by == "features" else ""
                entries.append(
                    EvalResult(
                        task_type=tasks[score.of],
                        dataset_type=protocol["dataset"],
                        dataset_name=f"{protocol['data']}, {faces}",
                        metric_type=("held_out_" if part == "held_out" else "") + name + by,
                        metric_name=f"{score.title}, {words}{seen}",
                        metric_value=round(result[part + by][name]["mean"], 3),
                    )
                )
    card.data.model_name, card.data.eval_results = path.parent.name, entries
    caution = "" if EXTRACTORS[protocol["features"]].literature else ", and are no FID or KID of the literature"
    by_face = protocol.get("face features")
    second = f"\nThose by face features are of {by_face} ({EXTRACTORS[by_face].description})." if by_face else ""
    section = f"""## Scores

{protocol["samples"]} generated faces, {len(protocol["seeds"])} seeds, against training faces, the {protocol["reference"]}, and
held-out ones, the {protocol["held out"]}, which are also reconstructed. The data: {protocol["data"]}. Distances are
between features of {protocol["features"]}{caution}; ± 95 % confidence.{second}
No network that scores was part of a training loss. The repository's docs/report.md has all measurements.

{describe(result)}

"""
    before, training, after = card.text.partition("## Training")
    card.text = before.partition("## Scores")[0] + section + training + after
    card.save(path)


def write_areas(path: Path, measured: dict[str, dict[str, Any] | None]) -> None:
    """Tell beside a model how well each of its attributes works, where that could be measured: the page shows the best
    first."""
    areas = {name: {"area": round(its["area"]["mean"], 3)} for name, its in measured.items() if its}
    write_whole(path, json.dumps(areas, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
