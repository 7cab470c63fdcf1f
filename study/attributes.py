"""Measure what a model's named attributes do to its faces: python -m study.attributes --help

Nobody looks at the faces. Logistic regressions learn from the features of labelled real faces to tell each attribute,
and say of generated faces, with the attribute on and off, what they see. One that cannot tell an attribute of real
faces says nothing of generated ones.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models import FaceModel
from train.device import keep_freed_memory
from train.errors import TrainingError, run_command
from train.settings import check_range

from . import scores, verdicts
from .evaluate import ComparisonSettings, Interval, decode, load_model, tell, tell_of_crop
from .features import EXTRACTORS, FACE_FEATURES, extract

# Latents whose attributes are turned on and off.
LATENTS = 500


@dataclass(frozen=True)
class AttributeSettings(ComparisonSettings):
    model: Annotated[str, tyro.conf.Positional] = tyro.MISSING
    """A folder, or a model on the Hub, whose bits or directions have names."""

    latents: int = LATENTS
    """Faces that each attribute is turned on and off in."""

    seed: int = 0
    """Of the latents."""

    training_faces: int = 8000
    """Labelled training faces that regressions learn each attribute from, at most."""

    output: Path | None = None
    """A JSON file for the results."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("latents", self.latents, 2, 100_000)
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_range("training_faces", self.training_faces, 20, 10_000_000)


@dataclass(frozen=True)
class Judges:
    """A regression for each attribute.

    Attributes:
        names: of the attributes, in the data set's order.
        networks: that faces are seen by, their features side by side.
        weight, bias: (size, n) and (n,), from features to the logit of each attribute.
        deviation: (n,) of the logits of real faces, held out.
        shares: of the training faces that have each attribute.
        areas: under the ROC curve of each attribute of held-out real faces, with intervals over faces.
    """

    names: tuple[str, ...]
    networks: tuple[str, ...]
    weight: torch.Tensor
    bias: torch.Tensor
    deviation: torch.Tensor
    shares: tuple[float, ...]
    areas: tuple[Interval, ...]

    @classmethod
    def learn(
        cls,
        labels: dict[str, tuple[np.ndarray, np.ndarray]],
        networks: tuple[str, ...],
        train: torch.Tensor,
        held_out: torch.Tensor,
    ) -> Self:
        """Regressions from real faces.

        Args:
            labels: by attribute, whether each training face and each held-out one has it, as `labels_of` gives them.
            train, held_out: features (n, size) of these by the networks.
        """
        weights, biases, areas = [], [], []
        for on, on_held_out in labels.values():
            # The strength is that of the regressions on reconstructions.
            regression = make_pipeline(
                StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
            ).fit(train.numpy(), on)
            scaler, logistic = regression[0], regression[1]
            weight = logistic.coef_[0] / scaler.scale_
            weights.append(weight)
            biases.append(logistic.intercept_[0] - weight @ scaler.mean_)
            area = float(roc_auc_score(on_held_out, regression.decision_function(held_out.numpy())))
            areas.append(scores.area_and_interval(area, int(on_held_out.sum()), int((~on_held_out).sum())))
        weight = torch.from_numpy(np.array(weights).reshape(-1, train.shape[1])).float().T
        bias = torch.tensor(biases, dtype=torch.float32)
        deviation = torch.from_numpy((held_out @ weight + bias).numpy().std(0))
        shares = tuple(float(on.mean()) for on, _ in labels.values())
        return cls(tuple(labels), networks, weight, bias, deviation, shares, tuple(areas))

    def see(self, images: torch.Tensor) -> torch.Tensor:
        """Features (n, size) of images (n, 3, 64, 64) uint8."""
        return see(images, self.networks)

    def logits(self, seen: torch.Tensor) -> torch.Tensor:
        """Of each attribute (n, len(names)), in deviations over real faces, from features (n, size)."""
        return (seen @ self.weight + self.bias) / self.deviation

    def described(self) -> dict[str, dict[str, Any]]:
        """By attribute, the share of training faces that have it and how well it is told of real faces."""
        return {name: {"share": share, "area": area} for name, share, area in zip(self.names, self.shares, self.areas)}


def see(images: torch.Tensor, networks: tuple[str, ...], *seen: torch.Tensor) -> torch.Tensor:
    """Features (n, size) of images (n, 3, 64, 64) uint8, those of several networks side by side, after those that were
    `seen` before."""
    return torch.cat([*seen, *(extract(images, network) for network in networks)], dim=1)


def measure(
    model: FaceModel, judges: Judges, latents: int = LATENTS, seed: int = 0
) -> dict[str, dict[str, Any] | None]:
    """What each of a model's attributes does, on (by `with_attributes`, True) against off (False) in the same latents.

    Returns by attribute, None where there is no judge for it:
        area: under the ROC curve of the attribute's logit, on against off, with its interval; 0.5 is no difference.
        shift: how much that logit grows on average, in deviations over real faces.
        others: how much those of the other attributes move, of which regressions can tell real faces: the mean over
            them of their mean shift's size.
        most_moved, most: which of them moves most, and its shift; None where there is no other.
        identity: the distance by face features from a face with it to the same without, over that of two different
            generated faces; None without such features.
    """
    z = model.sample_latent(latents, seed=seed)
    drawn = judges.see(decode(model, z))

    def with_attribute(name: str, value: bool) -> torch.Tensor:
        changed = model.with_attributes(z, {name: value})
        # Of a bit's faces half have it as it is.
        moved = (changed != z).any(1)
        seen = drawn.clone()
        if moved.any():
            seen[moved.cpu()] = judges.see(decode(model, changed[moved]))
        return seen

    # The face features come last.
    face = slice(-int(EXTRACTORS[FACE_FEATURES].layer), None) if judges.networks[-1] == FACE_FEATURES else None
    apart = None if face is None else scores.mean_distance(drawn[:, face])
    told = [number for number, area in enumerate(judges.areas) if verdicts.works(area)]
    result: dict[str, dict[str, Any] | None] = dict.fromkeys(model.attributes)
    for name in model.attributes:
        if name not in judges.names:
            continue
        on, off = (with_attribute(name, value) for value in (True, False))
        logits_on, logits_off = judges.logits(on), judges.logits(off)
        own = judges.names.index(name)
        area = scores.area(logits_on[:, own], logits_off[:, own])
        shifts = (logits_on - logits_off).mean(0)
        others = [number for number in told if number != own]
        most = max(others, key=lambda number: shifts[number].abs().item(), default=None)
        result[name] = {
            "area": scores.area_and_interval(area, latents, latents),
            "shift": shifts[own].item(),
            "others": shifts[others].abs().mean().item() if others else None,
            "most_moved": None if most is None else judges.names[most],
            "most": None if most is None else shifts[most].item(),
            "identity": (on[:, face] - off[:, face]).norm(dim=1).mean().item() / apart if apart else None,
        }
    return result


def kind_of(model: FaceModel) -> str:
    """What a model's attributes are."""
    return "bits" if model.discrete_size else "directions"


def describe(result: dict[str, Any], kind: str) -> str:
    """The attributes as lines of text, best first, those that do not work last and named as such.

    Args:
        kind: what they are, "bits" or "directions".
    """
    lines = [f"{'':<24} area          of real faces  itself  others  most of them              identity"]
    table = verdicts.best_first(result["attributes"], result["judges"])
    for name, its in table.items():
        area = f"{its['area']['mean']:.3f} +- {its['area']['interval']:.3f}"
        others = "" if its["others"] is None else f"{its['others']:.2f}"
        most = "" if its["most"] is None else f"{its['most_moved']} {its['most']:+.1f}"
        identity = "" if its["identity"] is None else f"{its['identity']:.0%}"
        note = "" if its["works"] else "  does not work" if its["judged"] else "  cannot be judged"
        lines.append(
            f"{name:<24} {area}  {its['of_real_faces']:<13.3f}  {its['shift']:+6.2f}  {others:>6}  {most:<25} {identity:>8}{note}"
        )
    return "\n".join([*lines, verdicts.told_apart(result["attributes"], result["judges"], kind)])


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    settings = tyro.cli(AttributeSettings, args=arguments, prog="python -m study.attributes", description=__doc__)
    keep_freed_memory()
    model = load_model(settings.model)
    if not model.attributes:
        raise TrainingError(f"{settings.model} has no attributes with names: give a model whose config.json has some")
    faces = settings.real_faces(settings.training_faces)
    tell_of_crop(model, faces)
    labels = settings.labels_of(faces)
    if not set(labels) & set(model.attributes):
        known = (
            f"those it has are {', '.join(labels)[:200]}" if labels else "it has none that some have and some do not"
        )
        raise TrainingError(
            f"--dataset {settings.dataset}: its faces have no labels of {settings.model}'s attributes ({known}); they "
            "are judged by regressions on labelled faces"
        )
    networks = settings.networks
    judges = Judges.learn(labels, networks, see(faces.train, networks), see(faces.held_out.faces, networks))
    result: dict[str, Any] = {
        "judges": judges.described(),
        "attributes": measure(model, judges, settings.latents, settings.seed),
        "protocol": settings.protocol(len(faces.train), faces) | {"latents": settings.latents, "seed": settings.seed},
    }
    tell(describe(result, kind_of(model)), result, settings.output)


if __name__ == "__main__":
    run_command(main)
