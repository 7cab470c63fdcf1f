"""Measure the reports' claims with the bundled models, and fill the tables of docs/report.md: python -m study.report --help

The page is written by hand around tables, each between <!-- table: NAME --> and <!-- end -->. This command measures, keeps
the results in docs/results, and fills in the tables. It ends with an error that names each figure in the text of a section
that is in none of the section's tables, as after a model was trained anew.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from huggingface_hub import EvalResult, ModelCard

from models.loading import WEIGHTS_FILE
from train.record import write_whole
from train.settings import TrainingError, command_line, run_command

from . import tables
from .evaluate import PARTS, describe
from .experiments import EXPERIMENTS, draws, run
from .features import NETWORKS
from .protocol import BY_FACE, EvaluationSettings, load_model, read_titles, write_result
from .scores import SCORES

# How well each of a model's attributes works, beside the model. The page shows the best first.
ATTRIBUTES_FILE = "attributes.json"

TABLE = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)

# What is no text: tables, headings, pictures, addresses of links, code.
NO_TEXT = re.compile(r"<!--.*?-->|`[^`]*`|^[|#!].*|\]\(.*?\)")

# A number, with its interval if it has one.
FIGURE = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?: ± \d+(?:\.\d+)?)?%?")


@dataclass(frozen=True)
class ReportSettings(EvaluationSettings):
    weights: Path = Path("weights")
    """Folder of the models, listed by its index.json."""

    output: Path = Path("docs")
    """Folder of report.md, its chart and results/*.json."""

    measure: bool = True
    """Measure. --no-measure only fills in the tables from results/*.json, as after a sweep."""

    only: tuple[str, ...] = ()
    """Measure these models only, named by their folders, as after one was trained anew. The figures of the others stay;
    they must have been measured with the same settings."""

    cards: bool = False
    """Write the scores into the models' cards too."""

    data_note: str | None = None
    """What the data is, in a few words for the report; by default the data set's name, and with --only what the report
    says already."""


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(ReportSettings, "study.report", __doc__, arguments)
    titles = read_titles(settings.weights)
    page = settings.output / "report.md"
    if not page.is_file():
        raise TrainingError(
            f"--output {settings.output} holds no report.md with tables to fill in: copy docs/report.md"
        )
    if settings.measure:
        measure(list(titles), settings)
    results = read_results(settings.output)
    if settings.cards:
        for name in titles.keys() & results["scores"].keys():
            write_scores(settings.weights / name / "README.md", results["scores"][name], results["scores"]["protocol"])
        named = results["named-attributes"]["models"]
        for name in titles.keys() & named.keys():
            areas = {
                attribute: {"area": round(its["area"]["mean"], 3)} for attribute, its in named[name].items() if its
            }
            write_result(settings.weights / name / ATTRIBUTES_FILE, areas)
    curves = tables.out_of_distribution_curves(results["out-of-distribution"], titles)
    # Without the date and random names equal results make equal files.
    with matplotlib.rc_context({"svg.hashsalt": "out-of-distribution-curves"}):
        curves.savefig(settings.output / "out-of-distribution-curves.svg", metadata={"Date": None})
    text = fill_in(page.read_text(encoding="utf-8"), results, titles)
    write_whole(page, text)
    if wrong := [*stale(results, settings.weights), *unsupported(text)]:
        raise TrainingError(f"{page} is filled in, but " + "; ".join(wrong))


def measure(names: list[str], settings: ReportSettings) -> None:
    """Run the experiments with the models of these names, or those of --only, and write a file of each result."""
    if unknown := sorted(set(settings.only) - set(names)):
        raise TrainingError(f"--only {' '.join(unknown)}: --weights {settings.weights} has {', '.join(names)}")
    measured = {name: load_model(settings.weights / name) for name in settings.only or names}
    # Other training faces than the first are compared with them.
    real = settings.real_faces(max(settings.training_faces, 2 * settings.samples))
    if len(real.train) < settings.samples + 20:
        raise TrainingError(
            f"--samples is {settings.samples}: with {len(real.train)} training faces it must be "
            f"{len(real.train) - 20} or less"
        )
    protocol = real.protocol | {"draws": draws(settings)}
    protocol["weights"] = {name: digest(settings.weights, name) for name in measured}
    kept = read_results(settings.output) if settings.only else {}
    before = kept["scores"]["protocol"] if kept else {}
    protocol["data"] = settings.data_note or before.get("data", protocol["dataset"])
    if other := [key for key in before.keys() - {"weights"} if before[key] != protocol.get(key)]:
        raise TrainingError(
            f"--only: the results in --output {settings.output} were measured with another {', '.join(sorted(other))}: "
            "measure all, without --only"
        )
    for name, result in run(measured, real, settings):
        print(f"measured: {name}", flush=True)
        whole = merge(kept.get(name, {}), {"protocol": protocol, **result}, measured)
        write_result(settings.output / f"results/{name}.json", whole)


def digest(weights: Path, name: str) -> str:
    """The start of the hash of a model's weights."""
    return hashlib.sha256((weights / name / WEIGHTS_FILE).read_bytes()).hexdigest()[:12]


def merge(before: dict[str, Any], result: dict[str, Any], models: Collection[str]) -> dict[str, Any]:
    """A new result of some models, with what an older one says of other models. Models are keys at any depth."""
    kept = {key: value for key, value in before.items() if key not in models}
    both = {key for key in kept.keys() & result.keys() if isinstance(kept[key], dict)}
    return kept | result | {key: merge(kept[key], result[key], models) for key in both}


def read_results(folder: Path) -> dict[str, Any]:
    """What results/*.json hold, by name, or TrainingError if one is missing or damaged."""
    results = {}
    for path in sorted((folder / "results").glob("*.json")):
        try:
            results[path.stem] = json.loads(path.read_text())
        except ValueError as error:
            raise TrainingError(f"{path} is damaged: remove it and measure again, without --no-measure") from error
    if lacking := [f"{name}.json" for name in EXPERIMENTS if name not in results]:
        raise TrainingError(
            f"--output {folder}: results/ lacks {', '.join(lacking)}: measure all first, without --only and --no-measure"
        )
    return results


def fill_in(text: str, results: dict[str, Any], titles: dict[str, str]) -> str:
    """A page with its tables made from results, or TrainingError if it has a mark of a table that there is not."""

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in tables.TABLES:
            raise TrainingError(f"report.md: there is no table {name!r}; there are {', '.join(tables.TABLES)}")
        return f"<!-- table: {name} -->\n{tables.TABLES[name](results, titles)}\n<!-- end -->"

    return TABLE.sub(made, text)


def stale(results: dict[str, Any], weights: Path) -> Iterator[str]:
    """What is wrong with results: they are not of one protocol, or not of the weights that there are."""
    protocol = results["scores"]["protocol"]
    for name in EXPERIMENTS:
        if results[name]["protocol"] != protocol:
            yield f"results/{name}.json is of another protocol than results/scores.json: measure all"
    for name, its in protocol["weights"].items():
        if (weights / name).is_dir() and digest(weights, name) != its:
            yield f"the figures of {name} are of other weights: measure it, with --only {name}"


def unsupported(text: str) -> Iterator[str]:
    """The figures in a page's text that are in no table of their section, nor of the first section, the protocol."""
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    common = _figures_of_tables("".join(sections[:2]))
    numbers = itertools.count(1)
    for section in sections:
        known = common | _figures_of_tables(section)
        for line, number in zip(section.splitlines(), numbers):
            for figure in FIGURE.findall(NO_TEXT.sub(" ", line)):
                if _plain(figure) not in known:
                    yield f"line {number} quotes {figure}, which no table there has"


def _figures_of_tables(text: str) -> set[str]:
    rows = "\n".join(row for row in text.splitlines() if row.startswith("|"))
    whole = {_plain(found[0]) for found in FIGURE.finditer(rows)}
    return whole | {figure.partition(" ±")[0] for figure in whole}


def _plain(figure: str) -> str:
    return figure.replace(",", "").removeprefix("+")


def write_scores(path: Path, result: dict[str, Any], protocol: dict[str, Any]) -> None:
    """Put a model's scores into its card: as a section before the one on training, and for the Hub as its model index."""
    card = ModelCard.load(path)
    tasks = {"generated": "unconditional-image-generation", "reconstructed": "image-to-image"}
    entries = []
    for part, by in ((part, by) for part in PARTS for by in ("", BY_FACE)):
        faces = protocol["reference" if part == "generated" else "held out"]
        for name, score in SCORES.items():
            if name not in result.get(part + by, {}):
                continue
            seen = f" ({protocol['face features' if by else 'features']} features)" if score.by == "features" else ""
            entries.append(
                EvalResult(
                    task_type=tasks[score.of],
                    dataset_type=protocol["dataset"],
                    dataset_name=f"{protocol['data']}, {faces}",
                    dataset_split=faces,  # The Hub keeps one name for all that has the same split.
                    metric_type=("held_out_" if part == "held_out" else "") + name + by,
                    metric_name=f"{score.title}, {PARTS[part]}{seen}",
                    metric_value=round(result[part + by][name]["mean"], 3),
                )
            )
    card.data.model_name, card.data.eval_results = path.parent.name, entries
    caution = "" if protocol["features"] == "inception" else "; they are no FID or KID of the literature"
    second = protocol["face features"]
    section = f"""## Scores

{protocol["samples"]} generated faces, {len(protocol["seeds"])} seeds, against training faces, the {protocol["reference"]}, and
held-out faces, the {protocol["held out"]}, which are also reconstructed. The data: {protocol["data"]}. Distances are
between features of {protocol["features"]}{caution}. ± is a 95 % confidence interval.
Face features are those of {second}: {NETWORKS[second]}.
No network that scores was part of a training loss. All measurements are in docs/report.md of the repository.

{describe(result)}

"""
    before, training, after = card.text.partition("## Training")
    card.text = before.partition("## Scores")[0] + section + training + after
    card.save(path)


if __name__ == "__main__":
    run_command(main)
