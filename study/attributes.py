"""What the named attributes of a model do to its faces, as logistic regressions see it that learned from real faces."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models import FaceModel

from . import scores
from .features import FACE_FEATURES_SIZE, extract, features_of
from .markdown import shown, table
from .protocol import RealFaces, decode
from .scores import Interval

# Latents in which each attribute is turned on and off, at most.
LATENTS = 500

# Areas under the ROC curve: an attribute is told apart over the first, and works from the second on. A classifier that
# reaches less than the second on real faces says nothing.
TOLD_APART, WORKS = 0.9, 0.7


@dataclass(frozen=True)
class Classifier:
    """A logistic regression that tells one attribute from features.

    Attributes:
        regression: on standardised features.
        deviation: of its logits over held-out real faces.
        share: of the training faces that have the attribute.
        area: under the ROC curve on held-out real faces, with its interval.
    """

    regression: Pipeline
    deviation: float
    share: float
    area: Interval

    def logits(self, seen: torch.Tensor) -> np.ndarray:
        """The regression's logits of features (n, size), divided by their deviation over real faces: (n,). 0 is
        undecided."""
        return self.regression.decision_function(seen.numpy()) / self.deviation

    @property
    def works(self) -> bool:
        return self.area["mean"] >= WORKS


def fit_classifiers(
    labels: dict[str, tuple[np.ndarray, np.ndarray]], networks: Collection[str], real: RealFaces
) -> dict[str, Classifier]:
    """A classifier for each label, fitted to the features of networks, side by side, of real faces. A label is left out if
    all or none of the training faces have it, or all or none of the held-out faces."""
    train, held_out = (
        torch.cat([features_of(faces, network) for network in networks], dim=1) for faces in (real.train, real.held_out)
    )
    classifiers = {}
    for name, (on, on_held_out) in labels.items():
        if not all(has.any() and not has.all() for has in (on, on_held_out)):
            continue
        # Strong regularisation, since some attributes have fewer faces than there are features.
        logistic = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
        regression = make_pipeline(StandardScaler(), logistic).fit(train.numpy(), on)
        logits = regression.decision_function(held_out.numpy())
        area = scores.area(logits[on_held_out], logits[~on_held_out])
        classifiers[name] = Classifier(regression, float(logits.std()), float(on.mean()), area)
    return classifiers


def measure(
    model: FaceModel, classifiers: dict[str, Classifier], networks: Collection[str], latents: int, seed: int = 0
) -> dict[str, dict[str, Any] | None]:
    """What each of a model's attributes does, turned on (True of `with_attributes`) and off (False) in the same latents.

    Returns by attribute, None where there is no classifier for it:
        area: under the ROC curve of the classifier's logits, on against off, with its interval; 0.5 is no difference.
        shift: the mean difference of these logits, in deviations over real faces.
        others: the mean size of the shifts of the other attributes that have a working classifier.
        most_moved, most: the other attribute that shifts most, and its shift; None where there is no other.
        identity: the distance by face features from a face with the attribute to the same face without it, divided by
            the mean distance of two different generated faces; None where these are all alike.
    """
    see = lambda images: torch.cat([extract(images, network) for network in networks], dim=1)
    z = model.sample_latent(latents, seed=seed)
    drawn = see(decode(model, z))

    def with_attribute(name: str, value: bool) -> torch.Tensor:
        changed = model.with_attributes(z, {name: value})
        moved = (changed != z).any(1)  # Half of the faces have a bit as it is.
        seen = drawn.clone()
        if moved.any():
            seen[moved.cpu()] = see(decode(model, changed[moved]))
        return seen

    faces = lambda seen: seen[:, -FACE_FEATURES_SIZE:]  # They come last.
    apart = scores.mean_distance(faces(drawn))
    result: dict[str, dict[str, Any] | None] = dict.fromkeys(model.attributes)
    for name in classifiers.keys() & set(model.attributes):
        on, off = (with_attribute(name, value) for value in (True, False))
        logits = {
            other: (its.logits(on), its.logits(off)) for other, its in classifiers.items() if other == name or its.works
        }
        shifts = {other: float((high - low).mean()) for other, (high, low) in logits.items()}
        shift = shifts.pop(name)
        most = max(shifts, key=lambda other: abs(shifts[other]), default=None)
        result[name] = {
            "area": scores.area(*logits[name]),
            "shift": shift,
            "others": float(np.abs(list(shifts.values())).mean()) if shifts else None,
            "most_moved": most,
            "most": None if most is None else shifts[most],
            "identity": (faces(on) - faces(off)).norm(dim=1).mean().item() / apart if apart else None,
        }
    return result


def kind_of(model: FaceModel) -> str:
    """What a model's attributes are."""
    return "bits" if model.discrete_size else "directions"


def name_of(attribute: str) -> str:
    """An attribute's name in a text: "wearing hat"."""
    return attribute.replace("_", " ").lower()


def graded(attributes: dict[str, Any], classifiers: dict[str, Any]) -> dict[str, list[str]]:
    """The attributes that `measure` returned, by grade, the largest areas first; "unknown" if the classifier fails on real
    faces too. Attributes without a classifier are left out."""
    result: dict[str, list[str]] = {"told apart": [], "works": [], "does not work": [], "unknown": []}
    area_of = lambda name: attributes[name]["area"]["mean"]
    for name in sorted((name for name, its in attributes.items() if its), key=area_of, reverse=True):
        if classifiers[name]["area"]["mean"] < WORKS:
            result["unknown"].append(name)
        elif area_of(name) < WORKS:
            result["does not work"].append(name)
        else:
            result["told apart" if area_of(name) > TOLD_APART else "works"].append(name)
    return result


def describe(attributes: dict[str, Any], classifiers: dict[str, Any], kind: str) -> str:
    """A table of what `measure` returned, the best first, and how many of the attributes, "bits" or "directions", work."""
    grades = graded(attributes, classifiers)
    rows = []
    for grade, names in grades.items():
        for name in names:
            its = attributes[name]
            most = "" if its["most"] is None else f"{its['most_moved']} {its['most']:+.1f}"
            areas = [shown(its["area"], ".3f"), shown(classifiers[name]["area"]["mean"], ".3f")]
            rows.append(
                [name, *areas, f"{its['shift']:+.2f}", shown(its["others"]), most, shown(its["identity"], ".0%"), grade]
            )
    head = (kind, "area", "of real faces", "itself", "the others", "most of them", "identity", "")
    counts = f"{len(grades['told apart'])} of {len(attributes)} {kind} are told apart, with an area over {TOLD_APART}"
    return f"{table(head, rows)}\n\n{counts}; {len(grades['works'])} more work, with {WORKS} or more."
