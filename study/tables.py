"""The tables and the chart of docs/report.md.

Each function of a table takes the results by their files' names and the models' titles by their folders' names, and
returns Markdown. Models that were not measured have no row.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from . import attributes, scores
from .experiments import REPORTED, edges
from .features import NETWORKS
from .markdown import by_name, score_columns, shown, table
from .protocol import BY_FACE
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


def protocol(results: Results, titles: Titles) -> str:
    its = results["scores"]["protocol"]
    of_sweeps = {results[name]["protocol"]["data"]: None for name in SWEEPS if name in results}
    rows = {
        "data": its["data"],
        "data of the sweep": "; ".join(of_sweeps),
        "preparation": its["preparation"],
        "generated faces": f"{its['samples']} a seed, {len(its['seeds'])} seeds (densities: 3); {its['draws']} at each mean",
        "compared with training faces": f"the {its['reference']}",
        "and with held-out faces, which are also reconstructed": f"the {its['held out']}",
        "attributes, densities and PCA are learned from": f"{its['training faces']} training faces",
        **{head: f"{its[head]}: {NETWORKS[its[head]]}" for head in ("features", "face features")},
        "scores": "; ".join(f"{score.title}: {score.paper}" for score in SCORES.values() if score.paper),
        "areas under the ROC curve": f"0.5 is chance; an attribute works from {attributes.WORKS} on, and is told apart "
        f"over {attributes.TOLD_APART}",
        "±": its["intervals"],
    }
    return table(("protocol", ""), rows.items())


def generated(part: str, results: Results, titles: Titles) -> str:
    """Scores of generated faces, and the same scores of what no network made."""
    both = results["scores"] | results["baselines"]
    columns = score_columns("generated", f"{part}/")
    columns["Frechet distance by face features ↓"] = (f"{part}{BY_FACE}/frechet_distance", ".1f")
    return by_name({name: its for name, its in both.items() if part in its}, titles | BASELINES, columns)


def reconstructed(results: Results, titles: Titles) -> str:
    measured = {name: its for name, its in results["scores"].items() if "reconstructed" in its}
    measured["PCA"] = {"reconstructed": results["baselines"]["PCA"]}
    columns = score_columns("reconstructed", "reconstructed/") | {
        "by face features ↓": (f"reconstructed{BY_FACE}/feature_distance", ".1f"),
        "PSNR of the encoder alone ↑": ("reconstructed/psnr_by_encoder_alone", ".2f"),
    }
    return by_name(measured, titles | {"PCA": BASELINES["PCA"]}, columns)


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
    return table([*head, "kept by the reports' models"], rows)


def at(results: Results, name: str, mean: float | None = None) -> dict[str, Any]:
    """What was measured of a model at a mean, by default at its prior's."""
    mean = results["scores"][name]["prior"]["mean"] if mean is None else mean
    return next(point for point in results["out-of-distribution"][name] if point["mean"] == mean)


def sharpness(results: Results, titles: Titles) -> str:
    its, real = results["scores"], results["baselines"]["other training faces"]
    measured = {name: its[name] | at(results, name) for name in titles if name in its}
    originals = [each["reconstructed"]["sharpness_of_originals"] for each in its.values() if "reconstructed" in each]
    measured["real faces"] = real | {"generated": {"sharpness": originals[0] if originals else None}}
    columns = {
        "sharpness of samples": ("generated/sharpness", ".1f"),
        "of reconstructions": ("reconstructed/sharpness", ".1f"),
        "diversity of samples": ("pixel_diversity", ".0f"),
    }
    return by_name(measured, titles | {"real faces": "real faces"}, columns)


def out_of_distribution(results: Results, titles: Titles) -> str:
    columns = {
        "diversity": ("pixel_diversity", ".1f"),
        "faces found": ("face_share", ".0%"),
        "frozen units": ("frozen_units", ".2f"),
        "clipped values": ("clipped", ".2f"),
    }
    rows = []
    for name in (name for name in titles if name in results["out-of-distribution"]):
        points = [at(results, name, mean) for mean in (-100, None, 100)]
        cells = [", ".join(shown(point[key], form) for point in points) for key, form in columns.values()]
        found = edges(results["out-of-distribution"][name], results["scores"][name]["prior"]["mean"])
        gone = ", ".join("never" if edge is None else f"{edge:.1f}" for edge in found.values())
        rows.append([titles[name], *cells, gone])
    return table(["", *columns, "half of the faces gone, below, above"], rows)


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
    return table(["", "Frechet distance", "by face features", "faces found"], rows)


def bits(results: Results, titles: Titles) -> str:
    rows = []
    for name in (name for name in titles if name in results["bits"]):
        its = results["bits"][name]
        changes = [f(its[half]) for half in ("discrete", "continuous") for f in (scores.mean_and_interval, max)]
        strong = sum(change > its["two faces"] / 2 for change in its["discrete"])
        rows.append([titles[name], *(shown(change, ".1f") for change in (*changes, its["two faces"])), str(strong)])
    head = ["", "a bit flipped (grey levels)", "at most", "another number from -1 to 1", "the most of these"]
    return table([*head, "two faces", "bits that do half as much as another face"], rows)


def copies(results: Results, titles: Titles) -> str:
    columns = {
        "median distance of the nearest training face": ("median", ".1f"),
        "nearer than 99% of held-out faces": ("nearer_than_1_percent_of_held_out", ".0%"),
    }
    real = {name: name for name in ("held-out faces", "copies of training faces")}
    return by_name(results["memorisation"], titles | real, columns)


def named_attributes(results: Results, titles: Titles) -> str:
    """The areas of every bit and direction, the best first."""
    its = results["named-attributes"]
    measured = {name: its["models"][name] for name in titles if name in its["models"]}
    grades = {name: attributes.graded(areas, its["classifiers"]) for name, areas in measured.items()}
    rows = []
    for grade in next(iter(grades.values()), {}):
        cells = []
        for model, by_grade in grades.items():
            areas = measured[model]
            listed = [f"{attributes.name_of(name)} {areas[name]['area']['mean']:.2f}" for name in by_grade[grade]]
            cells.append(f"{len(listed)}: {', '.join(listed)}" if listed else "0")
        rows.append([grade, *cells])
    head = [f"{its['kinds'][name]} of {titles[name]}" for name in grades]
    return table(["area under the ROC curve", *head], rows)


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
    return table([command, "epochs", *(SCORES[key].heading for key in columns)], rows)


def sides(results: Results, titles: Titles) -> str:
    """By seed, how many of the matched autoencoders are less diverse at mean 100 than at -100."""
    by_seed: dict[int, list[bool]] = {}
    for row in swept(results):
        for run in row["runs"] if row["name"].startswith(("mmd", "moments", "variance")) else []:
            by_seed.setdefault(run["seed"], []).append(run["diversity_above"] < run["diversity_below"])
    rows = [[str(seed), f"{sum(less)} of {len(less)}"] for seed, less in sorted(by_seed.items())]
    return table(["seed", "less diverse at mean 100 than at -100"], rows)


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
    return table([*head, "fitted Gaussian", "diversity, N(0, 2)", "fitted Gaussian"], rows)


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


# The chart.

CHARTS = {
    "face_share": "share with a face",
    "pixel_diversity": "diversity (grey levels)",
    "kernel_distance": "distance to real faces",
    "frozen_units": "frozen hidden units",
    "clipped": "clipped values",
}


def out_of_distribution_curves(result: dict[str, Any], titles: dict[str, str]) -> Figure:
    """One of CHARTS below the other, with a line for each model."""
    figure = Figure(figsize=(8, 2.1 * len(CHARTS)), layout="constrained")
    axes = figure.subplots(len(CHARTS), 1, sharex=True)
    for axis, (key, label) in zip(axes, CHARTS.items()):
        for number, (name, title) in enumerate(titles.items()):
            if name in result:
                points = [(point["mean"], point[key]) for point in result[name]]
                axis.plot(*zip(*points), ".-", label=title, lw=1, color=f"C{number}")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    # Most happens near the prior, and the ends are far away.
    axes[-1].set_xscale("symlog", linthresh=5)
    ticks = [-100, -30, -10, -5, -3, 0, 3, 5, 10, 30, 100]
    axes[-1].set_xticks(ticks, [str(tick) for tick in ticks])
    axes[-1].minorticks_off()
    axes[-1].set_xlabel("mean that latents are drawn with")
    axes[0].legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure
