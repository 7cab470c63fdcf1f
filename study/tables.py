"""The tables of docs/report.md. Each function takes the results by their files' names and the models' titles by their
folders' names, and returns Markdown. Models that were not measured have no row."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import numpy as np

from . import attributes, scores
from .experiments import REPORTED, edges
from .features import EXTRACTORS
from .protocol import BY_FACE, shown, table
from .scores import SCORES

Results = dict[str, Any]
Titles = dict[str, str]

# Results of `study.sweep`, which need not be there.
SWEEPS = ("sweep-quick", "sweep")

BASELINES = {
    "PCA": "PCA with 100 numbers",
    "other training faces": "other training faces: the floor",
    "one face repeated": "one training face, repeated",
}


def some(head: list[str], rows: list[list[str]]) -> str:
    """A table, or that it has no rows."""
    return table(head, rows) if rows else "*Not measured yet.*"


def by_name(measured: Iterable[str], titles: Titles, columns: dict[str, Callable[[str], str]], *more: list[str]) -> str:
    """A row for each title that was measured, and more rows. A column, by its head, is a function of the name."""
    names = [name for name in titles if name in measured]
    rows = [[titles[name], *(cell(name) for cell in columns.values())] for name in names]
    return some(["", *columns], [*rows, *more])


def score_columns(results: dict[str, Any], part: str, kind: str) -> dict[str, Callable[[str], str]]:
    """A column for each score of generated or reconstructed faces, from a part of what was measured."""

    def column(score: str, digits: int) -> Callable[[str], str]:
        return lambda name: shown(results[name][part].get(score), f".{digits}f")

    return {score.heading: column(key, score.digits) for key, score in scores.of(kind).items()}


def protocol(results: Results, titles: Titles) -> str:
    its = results["scores"]["protocol"]
    networks = {name: its[name] for name in ("features", "face features")}
    of_sweeps = {results[name]["protocol"]["data"]: None for name in SWEEPS if name in results}
    papers: dict[str, list[str]] = {}
    for score in SCORES.values():
        papers.setdefault(score.paper, []).append(score.title)
    rows = {
        "data": its["data"],
        "data of the sweep": "; ".join(of_sweeps),
        "preparation": its["preparation"],
        "generated faces": f"{its['samples']} a seed, {len(its['seeds'])} seeds; {its['draws']} at each mean",
        "compared with training faces": f"the {its['reference']}",
        "and with held-out faces, which are also reconstructed": f"the {its['held out']}",
        "attributes, densities and PCA are learned from": f"{its['training faces']} training faces",
        **{head: f"{network}: {EXTRACTORS[network].DESCRIPTION}" for head, network in networks.items()},
        "scores": "; ".join(f"{', '.join(titles)}: {paper}" for paper, titles in papers.items() if paper),
        "areas under the ROC curve": f"0.5 is chance; an attribute works from {attributes.WORKS} on, and is told apart "
        f"over {attributes.TOLD_APART}",
        "±": its["intervals"],
    }
    return table(("protocol", ""), rows.items())


def generated(part: str, results: Results, titles: Titles) -> str:
    """Scores of generated faces, and the same scores of what no network made."""
    both = results["scores"] | results["baselines"]
    by_face = lambda name: shown(both[name][part + BY_FACE]["frechet_distance"], ".1f")
    columns = score_columns(both, part, "generated") | {"Frechet distance by face features ↓": by_face}
    return by_name([name for name, its in both.items() if part in its], titles | BASELINES, columns)


def reconstructed(results: Results, titles: Titles) -> str:
    its = results["scores"]
    by_face = lambda name: shown(its[name]["reconstructed" + BY_FACE]["feature_distance"], ".1f")
    alone = lambda name: shown(its[name]["reconstructed"].get("psnr_by_encoder_alone"))
    columns = score_columns(its, "reconstructed", "reconstructed")
    columns |= {"by face features ↓": by_face, "PSNR of the encoder alone ↑": alone}
    pca = ["PCA with 100 numbers", shown(results["baselines"]["PCA"]["psnr"]), *[""] * (len(columns) - 1)]
    return by_name([name for name in its if "reconstructed" in its[name]], titles, columns, pca)


def survival(results: Results, titles: Titles) -> str:
    """How well attributes are told from reconstructions. The last column is the mean over the reports' models of the
    share that they keep of what originals show beyond chance."""
    measured = {name: its for name, its in results["attributes"].items() if name != "protocol"}
    models = [name for name in titles if any(name in its for its in measured.values())]
    reported = [name for name in models if results["scores"][name]["model_type"] in REPORTED]
    rows = []
    for attribute, its in measured.items():
        originals = its["originals"]["mean"] - 0.5
        kept = [(its[name]["mean"] - 0.5) / originals for name in reported if originals]
        areas = [shown(its["originals"]), *(shown(its[name]["mean"]) for name in models)]
        share = shown(float(np.mean(kept)) if kept else None, ".0%")
        rows.append([attributes.name_of(attribute), f"{its['share']:.0%}", *areas, share])
    head = ["attribute", "of all faces", "originals", *(titles[name] for name in models)]
    return some([*head, "kept by the reports' models"], rows)


def at(results: Results, name: str, mean: float | None = None) -> dict[str, Any]:
    """What was measured of a model at a mean, by default at its prior's."""
    mean = results["scores"][name]["prior"]["mean"] if mean is None else mean
    return next(point for point in results["out-of-distribution"][name] if point["mean"] == mean)


def sharpness(results: Results, titles: Titles) -> str:
    its = results["scores"]
    columns = {
        "sharpness of samples": lambda name: shown(its[name]["generated"]["sharpness"], ".1f"),
        "of reconstructions": lambda name: shown(its[name].get("reconstructed", {}).get("sharpness"), ".1f"),
        "diversity of samples": lambda name: shown(at(results, name)["pixel_diversity"], ".0f"),
    }
    originals = [its[name]["reconstructed"]["sharpness_of_originals"] for name in its if "reconstructed" in its[name]]
    diversity = results["baselines"]["other training faces"]["pixel_diversity"]
    real = ["real faces", shown(originals[0] if originals else None, ".1f"), "", shown(diversity, ".0f")]
    return by_name(its, titles, columns, real)


def out_of_distribution(results: Results, titles: Titles) -> str:
    def column(key: str, form: str) -> Callable[[str], str]:
        return lambda name: ", ".join(shown(at(results, name, mean)[key], form) for mean in (-100, None, 100))

    def gone(name: str) -> str:
        found = edges(results["out-of-distribution"][name], results["scores"][name]["prior"]["mean"])
        return ", ".join("never" if edge is None else f"{edge:.1f}" for edge in found.values())

    columns = {
        "diversity": column("pixel_diversity", ".1f"),
        "faces found": column("face_share", ".0%"),
        "frozen units": column("frozen_units", ".2f"),
        "clipped values": column("clipped", ".2f"),
        "half of the faces gone, below, above": gone,
    }
    return by_name(results["out-of-distribution"], titles, columns)


def densities(results: Results, titles: Titles) -> str:
    rows = []
    for name in (name for name in titles if name in results["densities"]):
        its = results["densities"][name]
        for density, sampled in its["sampled"].items():
            mean = {"N(0, 2)": 0, "N(-3, 2)": -3}.get(density)
            found = None if mean is None else at(results, name, mean)["face_share"]
            by_face = its["sampled" + BY_FACE][density]["frechet_distance"]
            cells = [shown(sampled["frechet_distance"], ".0f"), shown(by_face, ".1f"), shown(found, ".0%")]
            rows.append([f"{titles[name]}: {density}", *cells])
    return some(["", "Frechet distance", "by face features", "faces found"], rows)


def bits(results: Results, titles: Titles) -> str:
    its = results["bits"]
    mean = lambda half: lambda name: shown(scores.mean_and_interval(its[name][half]), ".1f")
    most = lambda half: lambda name: shown(max(its[name][half]), ".1f")
    columns = {
        "a bit flipped (grey levels)": mean("discrete"),
        "at most": most("discrete"),
        "another number from -1 to 1": mean("continuous"),
        "the most of these": most("continuous"),
        "two faces": lambda name: shown(its[name]["two faces"], ".1f"),
        "bits that do half as much as another face": lambda name: str(
            sum(change > its[name]["two faces"] / 2 for change in its[name]["discrete"])
        ),
    }
    return by_name(its, titles, columns)


def copies(results: Results, titles: Titles) -> str:
    its = results["memorisation"]
    columns = {
        "median distance of the nearest training face": lambda name: shown(its[name]["median"], ".1f"),
        "nearer than 99% of held-out faces": lambda name: shown(its[name]["nearer_than_1_percent_of_held_out"], ".0%"),
    }
    real = {name: name for name in ("held-out faces", "copies of training faces")}
    return by_name(its, titles | real, columns)


def named_attributes(results: Results, titles: Titles) -> str:
    """The areas of every bit and direction, the best first."""
    its = results["named-attributes"]
    grades = {name: attributes.graded(measured, its["classifiers"]) for name, measured in its["models"].items()}
    rows = []
    for grade in next(iter(grades.values()), {}):
        cells = []
        for model, by_grade in grades.items():
            areas = its["models"][model]
            listed = [f"{attributes.name_of(name)} {areas[name]['area']['mean']:.2f}" for name in by_grade[grade]]
            cells.append(f"{len(listed)}: {', '.join(listed)}" if listed else "0")
        rows.append([grade, *cells])
    head = [f"{its['kinds'][name]} of {titles[name]}" for name in grades]
    return some(["area under the ROC curve", *head], rows)


# Of the sweep.


def swept(results: Results) -> list[dict[str, Any]]:
    """The rows of all sweeps."""
    return [row for name in SWEEPS if name in results for row in results[name]["rows"]]


def sweep(command: Literal["gan", "autoencoder"], results: Results, titles: Titles) -> str:
    """A row for each kind of run, with a value for each seed."""
    columns = {"kernel_distance": ".1f"} | ({"psnr": ".2f"} if command == "autoencoder" else {})
    rows = [
        [row["name"], str(row["epochs"])]
        + [", ".join(shown(run[key], form) for run in row["runs"]) for key, form in columns.items()]
        for row in swept(results)
        if ("psnr" in row["runs"][0]) == (command == "autoencoder")
    ]
    return some([command, "epochs", *(SCORES[key].heading for key in columns)], rows)


def sides(results: Results, titles: Titles) -> str:
    """By seed, how many of the matched autoencoders are less diverse at mean 100 than at -100."""
    by_seed: dict[int, list[bool]] = {}
    for row in swept(results):
        for run in row["runs"] if row["name"].startswith(("mmd", "moments", "variance")) else []:
            by_seed.setdefault(run["seed"], []).append(run["diversity_above"] < run["diversity_below"])
    rows = [[str(seed), f"{sum(less)} of {len(less)}"] for seed, less in sorted(by_seed.items())]
    return some(["seed", "less diverse at mean 100 than at -100"], rows)


def adam(results: Results, titles: Titles) -> str:
    """Plain autoencoders that Adam alone trained."""
    rows = []
    for row in swept(results):
        for run in row["runs"] if row["name"] == "plain-adam" else []:
            its, z = run["densities"]["sampled"], run["densities"]["latents"]
            cells = [shown(z["latent_mean"]), shown(z["mean_in_deviations"], ".1f")]
            for key in ("kernel_distance", "pixel_diversity"):
                cells += [shown(its[name][key]["mean"], ".1f") for name in ("N(0, 2)", "fitted Gaussian")]
            rows.append([f"{row['epochs']}, {run['seed']}", *cells])
    head = ["epochs, seed", "mean", "each number's mean from 0, in deviations", "kernel distance, N(0, 2)"]
    return some([*head, "fitted Gaussian", "diversity, N(0, 2)", "fitted Gaussian"], rows)


# By the name in the page's mark.
TABLES: dict[str, Callable[[Results, Titles], str]] = {
    "protocol": protocol,
    "generated": partial(generated, "generated"),
    "held-out": partial(generated, "held_out"),
    "reconstructed": reconstructed,
    "survival": survival,
    "sharpness": sharpness,
    "out-of-distribution": out_of_distribution,
    "sides": sides,
    "densities": densities,
    "adam": adam,
    "bits": bits,
    "sweep-gan": partial(sweep, "gan"),
    "sweep-autoencoder": partial(sweep, "autoencoder"),
    "copies": copies,
    "named-attributes": named_attributes,
}
