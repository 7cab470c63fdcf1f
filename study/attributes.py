"""Measure what a model's named attributes do to its faces: python -m study.attributes --help

Logistic regressions learn from the features of labelled real faces to tell each attribute, and judge generated faces
with the attribute on and off. A regression that cannot tell its attribute of real faces judges nothing.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models import FaceModel
from train.distributed import keep_freed_memory
from train.settings import Range, TrainingError, run_command

from . import scores
from .evaluate import (
    ComparisonSettings,
    Interval,
    RealFaces,
    decode,
    load_model,
    shown,
    table,
    tell,
    tell_of_crop,
)
from .features import EXTRACTORS, FACE_FEATURES, extract

# Latents in which each attribute is turned on and off.
LATENTS = 500

# Areas under the ROC curve: an attribute is told apart over the first, and works from the second on. A regression with
# less than the second on real faces cannot judge its attribute.
TOLD_APART, WORKS = 0.9, 0.7


@dataclass(frozen=True)
class AttributeSettings(ComparisonSettings):
    model: Annotated[str, tyro.conf.Positional] = tyro.MISSING
    """A folder, or a model on the Hub, whose bits or directions have names."""

    latents: Annotated[int, Range(2, 100_000)] = LATENTS
    """Faces in which each attribute is turned on and off."""

    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Of the latents."""

    training_faces: Annotated[int, Range(20, 10_000_000)] = 8000
    """Labelled training faces that regressions learn each attribute from, at most."""

    output: Path | None = None
    """A JSON file for the results."""


@dataclass(frozen=True)
class Judges:
    """A regression for each attribute.

    Attributes:
        networks: whose features the regressions see, side by side.
        regressions: by attribute, in the data set's order.
        deviations: of each regression's logits over held-out real faces.
        shares: of the training faces that have each attribute.
        areas: under the ROC curve of each attribute on held-out real faces, with intervals over faces.
    """

    networks: tuple[str, ...]
    regressions: dict[str, Pipeline]
    deviations: dict[str, float]
    shares: dict[str, float]
    areas: dict[str, Interval]

    @classmethod
    def learn(
        cls, labels: dict[str, tuple[np.ndarray, np.ndarray]], networks: tuple[str, ...], real: RealFaces
    ) -> Self:
        """Regressions from real faces.

        Args:
            labels: by attribute, whether each training face and each held-out one has it, as `labels_of` returns them.
        """
        train = torch.cat([real.train_features(network) for network in networks], dim=1).numpy()
        held_out = torch.cat([real.held_out_features(network) for network in networks], dim=1)
        judges = cls(networks, {}, {}, {}, {})
        for name, (on, on_held_out) in labels.items():
            # With more features than some attributes have faces, strong regularisation; rare attributes count as much.
            logistic = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
            judges.regressions[name] = make_pipeline(StandardScaler(), logistic).fit(train, on)
            judges.deviations[name] = float(judges.regressions[name].decision_function(held_out.numpy()).std())
            judges.shares[name] = float(on.mean())
            judges.areas[name] = judges.area(name, held_out, on_held_out)
        return judges

    def see(self, images: torch.Tensor) -> torch.Tensor:
        """Features (n, size) of images (n, 3, 64, 64) uint8."""
        return torch.cat([extract(images, network) for network in self.networks], dim=1)

    def logits(self, name: str, seen: torch.Tensor) -> np.ndarray:
        """Of an attribute, from features (n, size), in deviations over real faces: (n,). 0 is undecided."""
        return self.regressions[name].decision_function(seen.numpy()) / self.deviations[name]

    def area(self, name: str, seen: torch.Tensor, on: np.ndarray) -> Interval:
        """Under the ROC curve of an attribute that some of the faces have, (n,) bool, with its interval over faces."""
        logits = self.logits(name, seen)
        return scores.area_and_interval(scores.area(logits[on], logits[~on]), int(on.sum()), int((~on).sum()))

    def can_judge(self, name: str) -> bool:
        return name in self.areas and works(self.areas[name])

    def described(self) -> dict[str, dict[str, Any]]:
        """By attribute, the share of training faces that have it and how well it is told of real faces."""
        return {name: {"share": self.shares[name], "area": area} for name, area in self.areas.items()}


def measure(
    model: FaceModel, judges: Judges, latents: int = LATENTS, seed: int = 0
) -> dict[str, dict[str, Any] | None]:
    """What each of a model's attributes does, on (by `with_attributes`, True) against off (False) in the same latents.

    Returns by attribute, None where there is no judge for it:
        area: under the ROC curve of the attribute's logit, on against off, with its interval; 0.5 is no difference.
        shift: how much that logit grows on average, in deviations over real faces.
        others: the mean size of the other attributes' shifts, of those that regressions can tell of real faces.
        most_moved, most: which of them moves most, and its shift; None where there is no other.
        identity: the distance by face features from a face with it to the same without, over that of two different
            generated faces; None without such features.
    """
    z = model.sample_latent(latents, seed=seed)
    drawn = judges.see(decode(model, z))

    def with_attribute(name: str, value: bool) -> torch.Tensor:
        changed = model.with_attributes(z, {name: value})
        moved = (changed != z).any(1)  # Half of the faces have a bit as it is.
        seen = drawn.clone()
        if moved.any():
            seen[moved.cpu()] = judges.see(decode(model, changed[moved]))
        return seen

    # The face features come last.
    face = slice(-EXTRACTORS[FACE_FEATURES].size, None) if judges.networks[-1] == FACE_FEATURES else None
    apart = None if face is None else scores.mean_distance(drawn[:, face])
    result: dict[str, dict[str, Any] | None] = dict.fromkeys(model.attributes)
    for name in model.attributes:
        if name not in judges.regressions:
            continue
        on, off = (with_attribute(name, value) for value in (True, False))
        shifts = {
            other: float((judges.logits(other, on) - judges.logits(other, off)).mean())
            for other in judges.regressions
            if other == name or judges.can_judge(other)
        }
        shift = shifts.pop(name)
        most = max(shifts, key=lambda other: abs(shifts[other]), default=None)
        area = scores.area(judges.logits(name, on), judges.logits(name, off))
        result[name] = {
            "area": scores.area_and_interval(area, latents, latents),
            "shift": shift,
            "others": float(np.abs(list(shifts.values())).mean()) if shifts else None,
            "most_moved": most,
            "most": None if most is None else shifts[most],
            "identity": (on[:, face] - off[:, face]).norm(dim=1).mean().item() / apart if apart else None,
        }
    return result


def kind_of(model: FaceModel) -> str:
    """What a model's attributes are."""
    return "bits" if model.discrete_size else "directions"


def name_of(attribute: str) -> str:
    """An attribute's name in a text: "wearing hat"."""
    return attribute.replace("_", " ").lower()


def works(area: Interval) -> bool:
    """Whether an attribute is told with such an area under the ROC curve."""
    return area["mean"] >= WORKS


def best_first(attributes: dict[str, Any], judges: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What `measure` returned, the best first, those that do not work or cannot be judged last.

    Args:
        attributes: as `measure` returns them. Those without a regression, None, are left out.
        judges: as `Judges.described` returns them.

    Returns:
        By attribute also the area of its regression "of_real_faces", whether that can judge ("judged"), and whether
        the attribute "works".
    """
    result = {}
    for name, its in attributes.items():
        if its is not None:
            judged = works(judges[name]["area"])
            own = {"of_real_faces": judges[name]["area"]["mean"], "judged": judged}
            result[name] = its | own | {"works": judged and works(its["area"])}
    order = lambda item: (item[1]["works"], item[1]["judged"], item[1]["area"]["mean"])
    return dict(sorted(result.items(), key=order, reverse=True))


def count_told_apart(attributes: dict[str, Any], judges: dict[str, Any]) -> tuple[int, int]:
    """How many of the attributes are told apart, and how many work; arguments as of `best_first`."""
    working = [its for its in best_first(attributes, judges).values() if its["works"]]
    return sum(its["area"]["mean"] > TOLD_APART for its in working), len(working)


def describe(result: dict[str, Any], kind: str) -> str:
    """A table of the attributes, the best first, and how many of them work.

    Args:
        kind: what they are, "bits" or "directions".
    """
    rows = []
    for name, its in best_first(result["attributes"], result["judges"]).items():
        most = "" if its["most"] is None else f"{its['most_moved']} {its['most']:+.1f}"
        verdict = "works" if its["works"] else "does not work" if its["judged"] else "cannot be judged"
        numbers = [shown(its["area"], ".3f"), shown(its["of_real_faces"], ".3f"), f"{its['shift']:+.2f}"]
        rows.append([name, *numbers, shown(its["others"]), most, shown(its["identity"], ".0%"), verdict])
    head = ("", "area", "of real faces", "itself", "the others", "most of them", "identity", "")
    clear, working = count_told_apart(result["attributes"], result["judges"])
    count = f"{clear} of {len(result['attributes'])} {kind} are told apart with an area over {TOLD_APART}"
    return f"{table(head, rows)}\n\n{count}, {working} work with {WORKS} or more."


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    settings = tyro.cli(AttributeSettings, args=arguments, prog="python -m study.attributes", description=__doc__)
    keep_freed_memory()
    model = load_model(settings.model)
    if not model.attributes:
        raise TrainingError(f"{settings.model} has no attributes with names: give a model whose config.json has some")
    real = settings.real_faces(settings.training_faces)
    tell_of_crop(model, real)
    labels = settings.labels_of(real)
    if not set(labels) & set(model.attributes):
        known = f"those it has are {', '.join(labels)[:200]}" if labels else "it has none that can be learned"
        raise TrainingError(
            f"--dataset {settings.dataset}: its faces have no labels of {settings.model}'s attributes ({known}); the "
            "regressions that judge attributes learn from labelled faces"
        )
    judges = Judges.learn(labels, settings.networks, real)
    result: dict[str, Any] = {
        "judges": judges.described(),
        "attributes": measure(model, judges, settings.latents, settings.seed),
        "protocol": settings.protocol(len(real.train), real) | {"latents": settings.latents, "seed": settings.seed},
    }
    tell(describe(result, kind_of(model)), result, settings.output)


if __name__ == "__main__":
    run_command(main)
