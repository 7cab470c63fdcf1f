"""The tables of docs/report.md. Each is made from results by name, and the models' titles by name, in their order."""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import attributes, scores
from .evaluate import BY_FACE, shown, table
from .experiments import REPORTED, edges
from .features import EXTRACTORS
from .scores import SCORES

Results = dict[str, Any]
Titles = dict[str, str]

# Files of results of `study.sweep`, which need not be there.
SWEEPS = ("sweep-quick", "sweep")

BASELINES = {
    "PCA": "PCA with 100 numbers",
    "other training faces": "other training faces: the floor",
    "one face repeated": "one training face, repeated",
}


def protocol(results: Results, titles: Titles) -> str:
    its = results["scores"]["protocol"]
    networks = [its[name] for name in ("features", "face features") if name in its]
    of_sweeps = {results[name]["protocol"]["data"]: None for name in SWEEPS if name in results}
    rows = {
        "data": its["data"],
        "data of the sweep": "; ".join(of_sweeps),
        "preparation": its["preparation"],
        "generated faces": f"{its['samples']} a seed, {len(its['seeds'])} seeds",
        "compared with training faces": f"the {its['reference']}",
        "and with held-out faces, which are also reconstructed": f"the {its['held out']}",
        "attributes, densities and PCA are learned from": f"{its['training faces']} training faces",
        **dict(zip(("features", "face features"), (f"{name}: {EXTRACTORS[name].description}" for name in networks))),
        "faces at each mean": str(results["out-of-distribution"]["draws"]),
        "latents in which each attribute is turned on and off": str(results["named-attributes"]["latents"]),
        "areas under the ROC curve": f"0.5 is chance; an attribute works from {attributes.WORKS} on, and is told apart "
        f"over {attributes.TOLD_APART}",
        "±": its["intervals"],
        "command": f"`{results['scores']['command']}`",
    }
    return table(("protocol", ""), rows.items())


def some(head: list[str], rows: list[list[str]]) -> str:
    """A table, or that it has no rows."""
    return table(head, rows) if rows else "*Not measured yet.*"


def by_model(
    measured: dict[str, Any], titles: Titles, columns: dict[str, Callable[[Any], str]], *more: list[str]
) -> str:
    """A row for each model that was measured, and more rows. By its head, a column is made from what was measured."""
    rows = [
        [title, *(column(measured[name]) for column in columns.values())]
        for name, title in titles.items()
        if name in measured
    ]
    return some(["", *columns], [*rows, *more])


def score_columns(part: str) -> dict[str, Callable[[Any], str]]:
    """A column for each score of a part of what `study.evaluate` measured."""

    def column(name: str, digits: int) -> Callable[[Any], str]:
        return lambda its: shown(its[part].get(name), f".{digits}f")

    kind = "reconstructed" if part == "reconstructed" else "generated"
    return {score.title: column(name, score.digits) for name, score in scores.of(kind).items()}


def generated(part: str) -> Callable[[Results, Titles], str]:
    """Scores of generated faces: of models, and what they are of no network at all."""

    def made(results: Results, titles: Titles) -> str:
        both = results["scores"] | results["baselines"]
        measured = {name: its for name, its in both.items() if part in its}
        by_face = lambda its: shown(its.get(part + BY_FACE, {}).get("frechet_distance"), ".1f")
        columns = score_columns(part) | {"Frechet distance by face features": by_face}
        return by_model(measured, titles | BASELINES, columns)

    return made


def reconstructed(results: Results, titles: Titles) -> str:
    measured = {name: its for name, its in results["scores"].items() if "reconstructed" in its}
    alone = lambda its: shown(its["reconstructed"].get("psnr_by_encoder_alone"))
    by_face = lambda its: shown(its.get("reconstructed" + BY_FACE, {}).get("feature_distance"), ".1f")
    columns = score_columns("reconstructed") | {"by face features": by_face, "PSNR of the encoder alone": alone}
    pca = ["PCA with 100 numbers", shown(results["baselines"]["PCA"]["psnr"]), *[""] * (len(columns) - 1)]
    return by_model(measured, titles, columns, pca)


def survival(results: Results, titles: Titles) -> str:
    """How well attributes are told from reconstructions, and the share that the reports' models keep on average of what
    originals show beyond chance."""
    measured = {name: its for name, its in results["attributes"].items() if name not in ("protocol", "command")}
    models = [name for name in titles if any(name in its for its in measured.values())]
    reported = [name for name in models if results["scores"][name]["model_type"] in REPORTED]
    rows = []
    for attribute, its in measured.items():
        kept = [(its[name]["mean"] - 0.5) / (its["originals"]["mean"] - 0.5) for name in reported]
        areas = [shown(its["originals"]), *(shown(its[name]["mean"]) for name in models)]
        share = shown(float(np.mean(kept)) if kept else None, ".0%")
        rows.append([attributes.name_of(attribute), f"{its['share']:.0%}", *areas, share])
    head = ["attribute", "of all faces", "originals", *(titles[name] for name in models)]
    return some([*head, "kept by the reports' models"], rows)


def at(curve: list[dict[str, Any]], mean: float) -> dict[str, Any]:
    """The point of a curve at a mean."""
    return next(point for point in curve if point["mean"] == mean)


def curves(results: Results) -> dict[str, Any]:
    """By model its scores, and its curve with the points at mean -100, at the prior's mean and at 100."""
    measured = {}
    for name, curve in results["out-of-distribution"].items():
        if isinstance(curve, list):
            prior = results["scores"][name]["prior"]["mean"]
            gone = edges(curve, prior)
            points = [at(curve, mean) for mean in (-100, prior, 100)]
            measured[name] = results["scores"][name] | {"points": points, "gone": gone}
    return measured


def sharpness(results: Results, titles: Titles) -> str:
    measured = curves(results)
    columns = {
        "sharpness of samples": lambda its: shown(its["generated"]["sharpness"], ".1f"),
        "of reconstructions": lambda its: shown(its.get("reconstructed", {}).get("sharpness"), ".1f"),
        "diversity of samples": lambda its: shown(its["points"][1]["pixel_diversity"], ".0f"),
    }
    originals = [its["reconstructed"]["sharpness_of_originals"] for its in measured.values() if "reconstructed" in its]
    diversity = results["baselines"]["other training faces"]["pixel_diversity"]
    real = ["real faces", shown(originals[0] if originals else None, ".1f"), "", shown(diversity, ".0f")]
    return by_model(measured, titles, columns, real)


def out_of_distribution(results: Results, titles: Titles) -> str:
    def column(key: str, form: str) -> Callable[[Any], str]:
        return lambda its: ", ".join(shown(point[key], form) for point in its["points"])

    gone = lambda its: ", ".join("never" if edge is None else f"{edge:.1f}" for edge in its["gone"].values())
    columns = {
        "diversity": column("pixel_diversity", ".1f"),
        "faces found": column("face_share", ".0%"),
        "frozen units": column("frozen_units", ".2f"),
        "clipped values": column("clipped", ".2f"),
        "half of the faces gone, below, above": gone,
    }
    return by_model(curves(results), titles, columns)


def sides(results: Results, titles: Titles) -> str:
    """Of the sweep's matched autoencoders, by seed, how many are less diverse at mean 100 than at -100."""
    matched = [row for row in swept(results) if row["name"].startswith(("mmd", "moments", "variance"))]
    by_seed: dict[int, list[bool]] = {}
    for run in (run for row in matched for run in row["runs"]):
        by_seed.setdefault(run["seed"], []).append(run["diversity_above"] < run["diversity_below"])
    rows = [[str(seed), f"{sum(less)} of {len(less)}"] for seed, less in sorted(by_seed.items())]
    return some(["seed", "less diverse at mean 100 than at -100"], rows)


def densities(results: Results, titles: Titles) -> str:
    measured, named = {}, {}
    for name, title in titles.items():
        its = results["densities"].get(name, {"sampled": {}})
        for density, sampled in its["sampled"].items():
            mean = {"N(0, 2)": 0, "N(-3, 2)": -3}.get(density)
            found = None if mean is None else at(results["out-of-distribution"][name], mean)["face_share"]
            by_face = its.get("sampled" + BY_FACE, {}).get(density, {})
            key = f"{title}: {density}"
            measured[key], named[key] = (sampled, by_face, found), key
    columns = {
        "Frechet distance": lambda its: shown(its[0]["frechet_distance"], ".0f"),
        "by face features": lambda its: shown(its[1].get("frechet_distance"), ".1f"),
        "faces found": lambda its: shown(its[2], ".0%"),
    }
    return by_model(measured, named, columns)


def adam(results: Results, titles: Titles) -> str:
    """Plain autoencoders of the sweep that Adam alone trained."""
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


def bits(results: Results, titles: Titles) -> str:
    moves = lambda its, half: [move["pixels"] for move in its[half]]
    mean = lambda half: lambda its: shown(scores.mean_and_interval(moves(its, half)), ".1f")
    most = lambda half: lambda its: shown(max(moves(its, half)), ".1f")
    columns = {
        "a bit flipped (grey levels)": mean("discrete"),
        "at most": most("discrete"),
        "another number from -1 to 1": mean("continuous"),
        "the most of these": most("continuous"),
        "two faces": lambda its: shown(its["two faces"]["pixels"], ".1f"),
        "bits that do half as much as another face": lambda its: str(
            sum(move > its["two faces"]["pixels"] / 2 for move in moves(its, "discrete"))
        ),
    }
    return by_model(results["bits"], titles, columns)


def swept(results: Results) -> list[dict[str, Any]]:
    """The rows of all sweeps."""
    return [row for name in SWEEPS if name in results for row in results[name]["rows"]]


def sweep(kind: str, columns: dict[str, str]) -> Callable[[Results, Titles], str]:
    """Kinds of runs, a seed after the other.

    Args:
        kind: "gan" or "autoencoder".
        columns: what is shown, and how.
    """

    def made(results: Results, titles: Titles) -> str:
        rows = [
            [row["name"], str(row["epochs"])]
            + [", ".join(shown(run[key], form) for run in row["runs"]) for key, form in columns.items()]
            for row in swept(results)
            if ("psnr" in row["runs"][0]) == (kind == "autoencoder")
        ]
        return some([kind, "epochs", *(SCORES[key].title for key in columns)], rows)

    return made


def copies(results: Results, titles: Titles) -> str:
    columns = {
        "median distance of the nearest training face": lambda its: shown(its["median"], ".1f"),
        "nearer than 99% of held-out faces": lambda its: shown(its["nearer_than_1_percent_of_held_out"], ".0%"),
    }
    real = {name: name for name in ("held-out faces", "copies of training faces")}
    return by_model(results["memorisation"], titles | real, columns)


def named_attributes(results: Results, titles: Titles) -> str:
    """The areas of every bit and direction, the best first."""
    its = results["named-attributes"]
    groups: dict[str, dict[str, list[str]]] = {
        f"told apart, over {attributes.TOLD_APART}": {},
        f"work, {attributes.WORKS} or more": {},
        "do not work": {},
        "cannot be judged": {},
    }
    told_apart, work, fail, unjudged = groups.values()
    for model, measured in its["models"].items():
        for name, one in attributes.best_first(measured, its["judges"]).items():
            clear = one["area"]["mean"] > attributes.TOLD_APART
            group = (told_apart if clear else work) if one["works"] else fail if one["judged"] else unjudged
            group.setdefault(model, []).append(f"{attributes.name_of(name)} {one['area']['mean']:.2f}")
    rows = []
    for words, group in groups.items():
        cells = [group.get(model, []) for model in its["models"]]
        rows.append([words, *(f"{len(names)}: {', '.join(names)}" if names else "0" for names in cells)])
    return some(
        ["area under the ROC curve", *(f"{its['kinds'][model]} of {titles[model]}" for model in its["models"])], rows
    )


# By the name in the page's mark.
TABLES: dict[str, Callable[[Results, Titles], str]] = {
    "protocol": protocol,
    "generated": generated("generated"),
    "held-out": generated("held_out"),
    "reconstructed": reconstructed,
    "survival": survival,
    "sharpness": sharpness,
    "out-of-distribution": out_of_distribution,
    "sides": sides,
    "densities": densities,
    "adam": adam,
    "bits": bits,
    "sweep-gan": sweep("gan", {"kernel_distance": ".1f"}),
    "sweep-autoencoder": sweep("autoencoder", {"kernel_distance": ".1f", "psnr": ".2f"}),
    "copies": copies,
    "named-attributes": named_attributes,
}
