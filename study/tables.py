"""The tables of docs/report.md. Each is made from results by name, and the models' titles by name, in their order."""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import attributes, scores
from .evaluate import BY_FACE, table, with_interval
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


def generated(part: str) -> Callable[[Results, Titles], str]:
    """Scores of generated faces: of models, and what they are of no network at all."""

    def made(results: Results, titles: Titles) -> str:
        measured = {title: results["scores"].get(name, {}) for name, title in titles.items()}
        measured |= {title: results["baselines"][name] for name, title in BASELINES.items()}
        columns = scores.of("generated")
        rows = []
        for title, its in measured.items():
            if part in its:
                cells = [with_interval(its[part][name], score.digits) for name, score in columns.items()]
                by_face = its.get(part + BY_FACE)
                rows.append([title, *cells, with_interval(by_face["frechet_distance"], 1) if by_face else ""])
        return some(["", *(score.title for score in columns.values()), "Frechet distance by face features"], rows)

    return made


def some(head: list[str], rows: list[list[str]]) -> str:
    """A table, or that it has no rows."""
    return table(head, rows) if rows else "*Not measured yet.*"


def reconstructed(results: Results, titles: Titles) -> str:
    columns = scores.of("reconstructed")
    rows = []
    for name, title in titles.items():
        its = results["scores"].get(name, {})
        if "reconstructed" not in its:
            continue
        by_face = its.get("reconstructed" + BY_FACE, {}).get("feature_distance")
        rows.append([title, *(with_interval(its["reconstructed"][score], SCORES[score].digits) for score in columns)])
        rows[-1].append("" if by_face is None else with_interval(by_face, 1))
        if "psnr_by_encoder_alone" in its["reconstructed"]:
            alone = with_interval(its["reconstructed"]["psnr_by_encoder_alone"])
            rows.append(["its encoder alone", alone] + [""] * len(columns))
    rows.append(["PCA with 100 numbers", with_interval(results["baselines"]["PCA"]["psnr"])] + [""] * len(columns))
    return table(["", *(score.title for score in columns.values()), "by face features"], rows)


def survival(results: Results, titles: Titles) -> str:
    """How well attributes are told from reconstructions, and the share that the reports' models keep on average of what
    originals show beyond chance."""
    measured = {name: its for name, its in results["attributes"].items() if name not in ("protocol", "command")}
    shown = [name for name in titles if any(name in its for its in measured.values())]
    reported = [name for name in shown if results["scores"][name]["model_type"] in REPORTED]
    rows = []
    for attribute, its in measured.items():
        kept = [(its[name]["mean"] - 0.5) / (its["originals"]["mean"] - 0.5) for name in reported]
        areas = [with_interval(its[name]) for name in ("originals", *shown)]
        rows.append(
            [attributes.name_of(attribute), f"{its['share']:.0%}", *areas, f"{np.mean(kept):.0%}" if kept else ""]
        )
    head = ["attribute", "of all faces", "originals", *(titles[name] for name in shown)]
    return some([*head, "kept by the reports' models"], rows)


def sharpness(results: Results, titles: Titles) -> str:
    rows, real = [], ""
    for name, title in titles.items():
        if its := results["scores"].get(name):
            again = its.get("reconstructed")
            curve = results["out-of-distribution"][name]
            diversity = at(curve, its["prior"]["mean"])["pixel_diversity"]
            cells = [
                with_interval(its["generated"]["sharpness"], 1),
                with_interval(again["sharpness"], 1) if again else "",
            ]
            rows.append([title, *cells, f"{diversity:.0f}"])
            real = with_interval(again["sharpness_of_originals"], 1) if again else real
    others = results["baselines"]["other training faces"]["pixel_diversity"]
    rows.append(["real faces", real, "", f"{others:.0f}"])
    return table(["", "sharpness of samples", "of reconstructions", "diversity of samples"], rows)


def at(curve: list[dict[str, Any]], mean: float) -> dict[str, Any]:
    """The point of a curve at a mean."""
    return next(point for point in curve if point["mean"] == mean)


def out_of_distribution(results: Results, titles: Titles) -> str:
    rows = []
    for name, title in titles.items():
        if name not in results["out-of-distribution"]:
            continue
        curve, prior = results["out-of-distribution"][name], results["scores"][name]["prior"]["mean"]
        points = [at(curve, mean) for mean in (-100, prior, 100)]
        cells = []
        for key, form in (
            ("pixel_diversity", ".1f"),
            ("face_share", ".0%"),
            ("frozen_units", ".2f"),
            ("clipped", ".2f"),
        ):
            values = [point[key] for point in points]
            cells.append("" if None in values else ", ".join(f"{value:{form}}" for value in values))
        gone = edges(curve, prior)
        cells.append(", ".join("never" if value is None else f"{value:.1f}" for value in gone.values()))
        rows.append([title, *cells])
    head = ["at mean -100, the prior's, 100", "diversity", "faces found", "frozen units", "clipped values"]
    return some([*head, "half of the faces gone, below, above"], rows)


def sides(results: Results, titles: Titles) -> str:
    """Of the sweep's matched autoencoders, by seed, how many are less diverse at mean 100 than at -100."""
    matched = [row for row in swept(results) if row["name"].startswith(("mmd", "moments", "variance"))]
    by_seed: dict[int, list[bool]] = {}
    for run in (run for row in matched for run in row["runs"]):
        by_seed.setdefault(run["seed"], []).append(run["diversity_above"] < run["diversity_below"])
    rows = [[str(seed), f"{sum(less)} of {len(less)}"] for seed, less in sorted(by_seed.items())]
    return some(["seed", "less diverse at mean 100 than at -100"], rows)


def densities(results: Results, titles: Titles) -> str:
    rows = []
    for name, title in titles.items():
        for density, its in results["densities"].get(name, {}).get("sampled", {}).items():
            by_face = results["densities"][name].get("sampled" + BY_FACE, {}).get(density)
            mean = {"N(0, 2)": 0, "N(-3, 2)": -3}.get(density)
            found = None if mean is None else at(results["out-of-distribution"][name], mean)["face_share"]
            cells = [with_interval(its["frechet_distance"], 0)]
            cells.append("" if by_face is None else with_interval(by_face["frechet_distance"], 1))
            rows.append([f"{title}: {density}", *cells, "" if found is None else f"{found:.0%}"])
    return some(["latents from", "Frechet distance", "by face features", "faces found"], rows)


def adam(results: Results, titles: Titles) -> str:
    """Plain autoencoders of the sweep that Adam alone trained."""
    rows = []
    for row in swept(results):
        for run in row["runs"] if row["name"] == "plain-adam" else []:
            its, z = run["densities"]["sampled"], run["densities"]["latents"]
            cells = [f"{z['latent_mean']:.2f}", f"{z['mean_in_deviations']:.1f}"]
            cells += [f"{its[name]['kernel_distance']['mean']:.1f}" for name in ("N(0, 2)", "fitted Gaussian")]
            cells += [f"{its[name]['pixel_diversity']['mean']:.1f}" for name in ("N(0, 2)", "fitted Gaussian")]
            rows.append([f"{row['epochs']}, {run['seed']}", *cells])
    head = ["epochs, seed", "mean", "each number's mean from 0, in deviations", "kernel distance, N(0, 2)"]
    return some([*head, "fitted Gaussian", "diversity, N(0, 2)", "fitted Gaussian"], rows)


def bits(results: Results, titles: Titles) -> str:
    rows = []
    for name, title in titles.items():
        if its := results["bits"].get(name):
            halves = [[move["pixels"] for move in its[half]] for half in ("discrete", "continuous")]
            two = its["two faces"]["pixels"]
            cells = [
                cell
                for half in halves
                for cell in (with_interval(scores.mean_and_interval(half), 1), f"{max(half):.1f}")
            ]
            rows.append([title, *cells, f"{two:.1f}", str(sum(move > two / 2 for move in halves[0]))])
    head = ["grey levels", "a bit flipped", "at most", "another number from -1 to 1", "at most", "two faces"]
    return some([*head, "bits that do half as much as another face"], rows)


def swept(results: Results) -> list[dict[str, Any]]:
    """The rows of all sweeps."""
    return [row for name in SWEEPS if name in results for row in results[name]["rows"]]


def sweep(kind: str, columns: dict[str, str]) -> Callable[[Results, Titles], str]:
    """Kinds of runs, a seed after the other.

    Args:
        kind: "gan" or "autoencoder".
        columns: what is shown, and with how many digits.
    """

    def made(results: Results, titles: Titles) -> str:
        rows = [
            [row["name"], str(row["epochs"])]
            + [", ".join(f"{run[key]:{form}}" for run in row["runs"]) for key, form in columns.items()]
            for row in swept(results)
            if ("psnr" in row["runs"][0]) == (kind == "autoencoder")
        ]
        names = [SCORES[key].title if key in SCORES else key.replace("_", " ") for key in columns]
        return some([kind, "epochs", *names], rows)

    return made


def copies(results: Results, titles: Titles) -> str:
    measured = {title: results["memorisation"].get(name) for name, title in titles.items()}
    measured |= {name: results["memorisation"][name] for name in ("held-out faces", "copies of training faces")}
    rows = [
        [title, f"{its['median']:.1f}", f"{its['nearer_than_1_percent_of_held_out']:.0%}"]
        for title, its in measured.items()
        if its
    ]
    return table(["nearest training face, in features", "median", "nearer than 99% of held-out faces"], rows)


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
