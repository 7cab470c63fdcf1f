"""The report's verdicts: words chosen by the figures that they stand beside, so that a rerun cannot contradict them.

A figure is a mean with the half width of its 95 % confidence interval, as `scores.mean_and_interval` gives it. Two
figures differ where their difference is larger than its own interval, the root of both squared half widths; without
an interval, as of a single seed, nothing is said to differ. A check is True, False, or None where the figures do not
tell.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from scipy.stats import binomtest, dunnett, f_oneway, fisher_exact

from .scores import SCORES

# Shares of the diversity that faces have at the prior, or that real faces have: below the first they are alike, from
# the second on varied.
ALIKE, VARIED = 0.2, 0.5

# Of what originals show of an attribute beyond chance: kept from this on.
KEPT = 0.5

# Attributes of fewer faces than this, or of all but so few, are rare.
RARE = 0.1

# Means of a latent's numbers lie around 0 where, on average, they are fewer standard deviations off than this.
AROUND_ZERO = 0.5

# Shares of clipped values and of frozen units over which a decoder has collapsed.
COLLAPSED = 0.9

# More generated faces than this nearer to a training face than 99 % of held-out faces are: copies.
COPIES = 0.05

# Chance of so large a difference between kinds of runs that do not differ, below which they are said to.
SIGNIFICANCE = 0.05

# Areas under the ROC curve: an attribute is told apart over the first and works from the second on. Regressions whose
# own area on real faces is less than that cannot judge it.
TOLD_APART, WORKS = 0.9, 0.7

# Kinds of models that the reports have.
REPORTED = ("generator", "autoencoder")

Check = bool | None


class Figure(TypedDict):
    """As `scores.mean_and_interval` makes it."""

    mean: float
    interval: float | None


def compare(one: Figure, other: Figure) -> int:
    """1 where one figure is more than the other, -1 where it is less, 0 where they cannot be told apart."""
    if one["interval"] is None or other["interval"] is None:
        return 0
    difference = one["mean"] - other["mean"]
    if abs(difference) <= math.hypot(one["interval"], other["interval"]):
        return 0
    return 1 if difference > 0 else -1


def exceeds(figure: Figure, level: float) -> Check:
    """Whether a figure is over a level; None where its interval holds it."""
    return {1: True, -1: False, 0: None}[compare(figure, {"mean": level, "interval": 0.0})]


def most(share: float | None, draws: int) -> Check:
    """Whether more than half of all are what a share of so many draws is, by Wilson's interval of that share."""
    if share is None:
        return None
    interval = binomtest(round(share * draws), draws).proportion_ci(method="wilson")
    return True if interval.low > 0.5 else False if interval.high < 0.5 else None


def collapsed(point: dict[str, float | None]) -> bool:
    """Whether a decoder has, at a point of its out-of-distribution curve."""
    shares = (point["clipped"], point["frozen_units"])
    return all(share is not None and share > COLLAPSED for share in shares)


def negate(check: Check) -> Check:
    return None if check is None else not check


def verdict(*checks: Check) -> str:
    """Of a claim that says all of the checks."""
    if True in checks and False in checks:
        return "partly right"
    if None in checks or not checks:
        return "undecided"
    return "confirmed" if checks[0] else "refuted"


def joined(words: Iterable[str], none: str = "none") -> str:
    """ "a, b and c"."""
    words = list(words)
    if not words:
        return none
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def called(title: str) -> str:
    """A model's title within a sentence: "the plain autoencoder", "the GAN"."""
    return "the " + (title if title[1:2].isupper() else title[:1].lower() + title[1:])


def by_sign(signs: dict[str, int], more: str, same: str, less: str) -> str:
    """Names sorted by what `compare` said of each: "larger for a and b; smaller for c"."""
    words = {1: more, 0: same, -1: less}
    groups = {word: [name for name, sign in signs.items() if sign == key] for key, word in words.items()}
    return "; ".join(f"{word} {joined(names)}" for word, names in groups.items() if names)


def quality(one: dict[str, Figure], other: dict[str, Figure], names: Iterable[str]) -> str:
    """By which of some scores one model's faces are better than another's, in words."""
    signs = {
        SCORES[name].title: compare(one[name], other[name]) * (-1 if SCORES[name].lower_is_better else 1)
        for name in names
    }
    if set(signs.values()) == {1}:
        return "better by every score"
    return by_sign(signs, "better by", "not to be told apart by", "worse by")


def mean_of(figures: Sequence[Figure], independent: bool = True) -> Figure:
    """The mean of several figures; where they come from the same faces, its interval is the mean one, too wide."""
    intervals = [figure["interval"] for figure in figures if figure["interval"] is not None]
    mean = sum(figure["mean"] for figure in figures) / len(figures)
    if len(intervals) < len(figures):
        return {"mean": mean, "interval": None}
    width = math.hypot(*intervals) if independent else sum(intervals)
    return {"mean": mean, "interval": width / len(figures)}


def kept(attribute: dict[str, Any], models: Iterable[str]) -> Figure:
    """How much of what originals show of an attribute beyond chance its reconstructions keep, over the models."""
    shown = attribute["originals"]["mean"] - 0.5
    shares: list[Figure] = [
        {
            "mean": (attribute[name]["mean"] - 0.5) / shown,
            "interval": None if attribute[name]["interval"] is None else attribute[name]["interval"] / shown,
        }
        for name in models
    ]
    return mean_of(shares, independent=False)


def survival(attributes: dict[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """What is kept of each attribute that originals show, the least first, and on average of common and of rare ones
    (None where there are none)."""
    shown = {name: its for name, its in attributes.items() if exceeds(its["originals"], 0.5) and models}
    each = {name: kept(its, models) for name, its in shown.items()}
    rare = [figure for name, figure in each.items() if is_rare(shown[name])]
    common = [figure for name, figure in each.items() if not is_rare(shown[name])]
    return {
        "each": dict(sorted(each.items(), key=lambda item: item[1]["mean"])),
        "common": mean_of(common, independent=False) if common else None,
        "rare": mean_of(rare, independent=False) if rare else None,
    }


def is_rare(attribute: dict[str, Any]) -> bool:
    return min(attribute["share"], 1 - attribute["share"]) < RARE


# Of attributes with names.


def works(area: Any) -> bool:
    """Whether an attribute is told with such an area under the ROC curve."""
    return area["mean"] >= WORKS


def best_first(attributes: dict[str, Any], judges: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What `study.attributes` measured, the best first, those that do not work or cannot be judged at the end.

    Args:
        attributes: as its `measure` returns them; those without a regression, None, are left out.
        judges: as its `Judges.described` does.

    Returns:
        By attribute, with the area of its regression "of_real_faces", whether that can judge ("judged"), and whether
        the attribute "works".
    """
    table = {}
    for name, its in attributes.items():
        if its is None:
            continue
        judged = works(judges[name]["area"])
        own = {"of_real_faces": judges[name]["area"]["mean"], "judged": judged, "works": judged and works(its["area"])}
        table[name] = its | own
    order = lambda item: (item[1]["works"], item[1]["judged"], item[1]["area"]["mean"])
    return dict(sorted(table.items(), key=order, reverse=True))


def count_told_apart(table: dict[str, dict[str, Any]]) -> int:
    """How many of the attributes that `best_first` returns are told apart."""
    return sum(its["works"] and its["area"]["mean"] > TOLD_APART for its in table.values())


def told_apart(attributes: dict[str, Any], judges: dict[str, Any], kind: str) -> str:
    """A sentence on what `study.attributes` measured, arguments as of `best_first`.

    Args:
        kind: what the attributes are, "bits" or "directions".
    """
    table = best_first(attributes, judges)
    clear, working = count_told_apart(table), sum(its["works"] for its in table.values())
    failing = [name_of(name) for name, its in table.items() if its["judged"] and not its["works"]]
    unjudged = [name_of(name) for name in attributes if name not in table or not table[name]["judged"]]
    sentence = f"{clear} of {len(attributes)} {kind} are told apart with an area over {TOLD_APART}, "
    sentence += f"{working - clear} more with {WORKS} or more. Not working: {joined(failing)}."
    if unjudged:
        sentence += f" Not to be judged, since regressions do not tell them of real faces: {joined(unjudged)}."
    return sentence


def name_of(attribute: str) -> str:
    """An attribute's name in a sentence: "wearing hat"."""
    return attribute.replace("_", " ").lower()


# Of models beyond the reports.


@dataclass(frozen=True)
class Bar:
    """What was asked of a model before it was trained, by the best of the reports' models of its kind.

    Attributes:
        part, score: of the results.
        least, aim: each a factor of the best one's, and what is added to it.
        encoders: whether it is asked of those that encode: True of them only, False of the others only.
    """

    part: str
    score: str
    least: tuple[float, float]
    aim: tuple[float, float]
    encoders: Check = None


HALF, QUARTER = (0.5, 0.0), (0.25, 0.0)

BARS = (
    Bar("generated", "kernel_distance", HALF, QUARTER),
    # Less that of other real faces, which no model can be under.
    Bar("generated_by_face_features", "frechet_distance", HALF, QUARTER),
    Bar("generated", "recall", (0, 0.15), (0, 0.4), encoders=False),
    Bar("generated", "coverage", (0, 0.5), (0, 0.7), encoders=False),
    Bar("reconstructed", "psnr", (1, 0.7), (1, 1.5), encoders=True),
)

# How many bits with names are to be told apart.
LEAST_BITS, AIM_BITS = 12, 25


def against_bars(results: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """How the models beyond the reports do by each bar.

    Args:
        results: of the report, by their names with underscores.
        names: of the models that were measured.

    Returns:
        A line each: the "model", "what" is measured, "its" value, the "rival" and "theirs" (None where there is none),
        the value that is asked at "least", the "aim", "reached" (True or False) and "aimed" (whether the aim is), and
        the "digits" to show.
    """
    scores, lines = results["scores"], []

    def add(lower: bool, its: float, least: float, aim: float, **line: Any) -> None:
        reached, aimed = (its <= bound if lower else its >= bound for bound in (least, aim))
        lines.append(line | {"its": its, "least": least, "aim": aim, "reached": reached, "aimed": aimed})

    for model in (name for name in names if not is_reported(scores[name])):
        encodes = "reconstructed" in scores[model]
        rivals = [name for name in names if is_reported(scores[name]) and ("reconstructed" in scores[name]) == encodes]
        for bar in BARS:
            floor: float | None = 0.0
            what, score = SCORES[bar.score].title, SCORES[bar.score]
            if bar.part.endswith("_by_face_features"):
                others = results["baselines"]["other training faces"].get("by_face_features")
                floor, what = others[bar.score] if others else None, f"{what} by face features, less the floor"
            lacking = floor is None or any(bar.part not in scores[name] for name in (model, *rivals))
            if not rivals or lacking or bar.encoders not in (None, encodes):
                continue
            values = {name: scores[name][bar.part][bar.score]["mean"] - floor for name in (model, *rivals)}
            rival = (min if score.lower_is_better else max)(rivals, key=values.__getitem__)
            add(
                score.lower_is_better,
                values[model],
                *(factor * values[rival] + more for factor, more in (bar.least, bar.aim)),
                model=model,
                what=what,
                rival=rival,
                theirs=values[rival],
                digits=max(score.digits, 2),
            )
        named = results.get("named_attributes", {})
        if not encodes and named.get("models", {}).get(model):
            told = count_told_apart(best_first(named["models"][model], named["judges"]))
            line = {"model": model, "what": "bits told apart", "rival": None, "theirs": None, "digits": 0}
            add(False, told, LEAST_BITS, AIM_BITS, **line)
    return lines


def is_reported(result: dict[str, Any]) -> bool:
    """Whether a model is of a kind that the reports have, by its scores."""
    return result.get("model_type", REPORTED[0]) in REPORTED


# Of a sweep, whose rows hold a run for each seed.


def improvements(rows: Sequence[dict[str, Any]], key: str = "kernel_distance") -> tuple[int, int]:
    """How often a run is better at one row's number of epochs than at the row's before, and out of how many."""
    better = total = 0
    for shorter, longer in itertools.pairwise(rows):
        before = {run["seed"]: run[key] for run in shorter["runs"]}
        for run in longer["runs"]:
            if run["seed"] in before:
                total += 1
                better += run[key] < before[run["seed"]]
    return better, total


def chance(rows: Sequence[dict[str, Any]], key: str = "kernel_distance") -> float | None:
    """How likely kinds of runs that do not differ are to differ as much as these, by an analysis of variance over
    their seeds; None where no kind has two, or there is one kind only."""
    groups = [[run[key] for run in row["runs"]] for row in rows]
    if len(groups) < 2 or max(map(len, groups)) < 2:
        return None
    return float(f_oneway(*groups).pvalue)


def best(rows: Sequence[dict[str, Any]], key: str = "kernel_distance") -> dict[str, Any]:
    """The row whose runs have the lowest mean."""
    return min(rows, key=lambda row: average(row, key))


def collapses_above(rows: Sequence[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    """By seed, how many runs are less diverse at mean +100 than at -100, and out of how many."""
    runs = [run for row in rows for run in row["runs"]]
    sides: dict[int, list[bool]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        sides.setdefault(run["seed"], []).append(run["diversity_above"] < run["diversity_below"])
    return {seed: (sum(above), len(above)) for seed, above in sides.items()}


def goes_with_seed(counts: dict[int, tuple[int, int]]) -> Check:
    """Whether the two seeds with the most runs collapse on different sides more often than chance has it (Fisher's
    exact test); None where it cannot be told."""
    pairs = sorted(counts.values(), key=lambda count: count[1], reverse=True)[:2]
    if len(pairs) < 2:
        return None
    table = [[above, total - above] for above, total in pairs]
    return True if fisher_exact(table).pvalue < SIGNIFICANCE else None


def average(row: dict[str, Any], key: str) -> float:
    return sum(run[key] for run in row["runs"]) / len(row["runs"])


def looks_best(row: dict[str, Any], rows: Sequence[dict[str, Any]], key: str = "kernel_distance") -> Check:
    """Whether each of several other kinds of run is worse than this one, or one of them better, beyond their seeds (by
    Dunnett's test of many against one)."""
    its, *groups = ([run[key] for run in line["runs"]] for line in (row, *(line for line in rows if line is not row)))
    if not groups or len(its) + sum(map(len, groups)) <= 1 + len(groups):
        return None
    chances = dunnett(*groups, control=its, rng=0).pvalue
    worse = [sum(group) / len(group) > sum(its) / len(its) for group in groups]
    if any(p < SIGNIFICANCE and not w for p, w in zip(chances, worse)):
        return False
    return True if all(p < SIGNIFICANCE and w for p, w in zip(chances, worse)) else None
