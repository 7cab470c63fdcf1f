"""What all measurements share: settings, models, the real faces that these are compared with, and how results are kept."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from models import FaceModel, load
from models.images import denormalise, normalise
from models.index import read_index
from train.data import describe_crop, open_held_out, open_split
from train.record import write_whole
from train.settings import DataSettings, Range, TrainingError

from .features import FACE_FEATURES

# The suffix of what is measured by the second network's features.
BY_FACE = "_by_face_features"

# A face and its five nearest neighbours, for density and coverage.
LEAST_HELD_OUT = 6


@dataclass(frozen=True)
class EvaluationSettings(DataSettings):
    samples: Annotated[int, Range(20, 1_000_000)] = 2000
    """Faces to generate for each seed, and training faces to compare them with."""

    seeds: Annotated[int, Range(1, 1000)] = 5
    """How often faces are generated. Intervals are over seeds."""

    held_out_split: str = "test"
    """The split of faces that no model has seen. If there is no such split, valid is taken; if there is no valid either,
    the first faces of the training split, at most a tenth of it. GANs are trained on those too."""

    held_out: Annotated[int, Range(LEAST_HELD_OUT, 10_000_000)] = 500
    """The most held-out faces to use."""

    features: Literal["efficientnet-lite0", "inception"] = "efficientnet-lite0"
    """The network whose features of faces are compared. efficientnet-lite0 needs no internet; inception, the literature's,
    is downloaded. Distances by different networks cannot be compared. All scores are also measured by age-resnet, which
    was trained on faces."""

    training_faces: Annotated[int, Range(20, 10_000_000)] = 8000
    """The most training faces from which attributes, PCA and densities are learned."""

    @property
    def networks(self) -> dict[str, str]:
        """The networks that give features, each with the suffix of its parts in a result."""
        return {self.features: "", FACE_FEATURES: BY_FACE}

    def real_faces(self, count: int) -> "RealFaces":
        """At most `count` faces of the training split, and those held out.

        Raises:
            TrainingError: there are too few.
        """
        held_out = open_held_out(self, self.held_out_split, self.held_out)
        if len(held_out.faces) < LEAST_HELD_OUT:
            raise TrainingError(
                f"{self.dataset}: {len(held_out.faces)} faces are held out, and scores need {LEAST_HELD_OUT} or more"
            )
        train, of_train = self.read(self.split, count, held_out.skip)
        _, of_held_out = self.read(held_out.split, len(held_out.faces))
        labels = {name: (of_train[name], of_held_out[name]) for name in of_train if name in of_held_out}
        square = "" if held_out.crop == 1 else f"{describe_crop(held_out.crop)}; "
        after = f" after the first {held_out.skip}" if held_out.skip else ""
        seen = ", on which GANs are trained" if held_out.skip else ""
        protocol = {
            "dataset": folder.resolve().name if (folder := self.dataset_folder) else self.dataset,
            "preparation": f"{square}shorter side to 64 pixels (bilinear, antialiased), centre 64 x 64",
            "reference": f"first {min(self.samples, len(train))} faces of split {self.split}{after}",
            "held out": f"first {len(held_out.faces)} faces of split {held_out.split}{seen}",
            **dict(zip(("features", "face features"), self.networks)),
            "training losses": "none of a network that scores",
            "intervals": "half widths, 95 %",
            "samples": self.samples,
            "seeds": list(range(self.seeds)),
            "training faces": len(train),
        }
        return RealFaces(train, held_out.faces, labels, held_out.crop, protocol)

    def read(self, split: str, count: int, skip: int = 0) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """The first faces of a split, `skip` left out, and whether they have each of the data set's labels, (n,) bool."""
        with open_split(self, split, count, skip) as faces:
            pixels, labels = faces[: faces.wait_for(count)]
            return pixels, dict(zip(faces.label_names, labels.numpy().T > 0))


@dataclass(frozen=True)
class RealFaces:
    """What models are compared with.

    Attributes:
        train, held_out: (n, 3, 64, 64) uint8 faces of the training split, and faces that no model has seen.
        labels: name -> whether each training face and each held-out one has it, (n,) bool each.
        crop: the share of the shorter side of each picture that is kept.
        protocol: how results are measured. Only results of one protocol can be compared.
    """

    train: torch.Tensor
    held_out: torch.Tensor
    labels: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    crop: float = 1.0
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def compared(self) -> dict[str, torch.Tensor]:
        """The faces that generated ones are compared with, by the part of a result."""
        return {"generated": self.train, "held_out": self.held_out}


def load_model(location: str | Path) -> FaceModel:
    """The model in a folder or on the Hub, or TrainingError."""
    try:
        return load(location)
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error


def read_titles(weights: Path) -> dict[str, str]:
    """The titles of the models in a folder, by their folders' names, or TrainingError."""
    try:
        return read_index(weights)
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"--weights {weights}: its index.json, the list of models, cannot be read") from error


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON, in a folder that is made if need be, or raise TrainingError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror}") from error


@torch.inference_mode()
def decode(model: FaceModel, z: torch.Tensor) -> torch.Tensor:
    """Latents to images (n, 3, 64, 64) uint8 on the CPU."""
    return torch.cat([denormalise(model.decode(part)).cpu() for part in z.split(100)])


@torch.inference_mode()
def encode(model: FaceModel, images: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, 64, 64) uint8 to latents on the CPU."""
    return torch.cat([model.encode(normalise(part.to(model.device))).cpu() for part in images.split(100)])
