"""Refine the faces that a trained model draws: python -m train.refine --help

A network sees drawn and real faces, and the moments of what it sees of the former become those of the latter. An
autoencoder goes on to reconstruct as it does. Only the layers that draw are changed: latents stay what they are.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from models import FaceModel
from models.images import normalise

from . import amend
from .data import Faces, open_split
from .device import keep_freed_memory
from .errors import TrainingError, run_command
from .gan import running_average
from .losses import pixel_loss
from .perceptual import PerceptualDistance
from .run import command_of
from .settings import ComputeSettings, check_range

# Groups of AlexNet's features: of which of its five layers, averaged over how many by how many fields of the picture.
GROUPS = ((0, 1), (1, 1), (2, 1), (4, 1), (1, 4), (2, 4), (4, 4))

# Numbers of a group, at most: of more their principal components over some of the real faces are taken.
GROUP_SIZE, COMPONENT_FACES = 384, 2000

# Drawn faces that moments are first taken of; how slowly these are forgotten, the mean's shift and all else; and steps
# from one transport to the next, which takes the eigenvectors of a matrix for each group.
FIRST_FACES, MEAN_DECAY, DECAY, STEPS_PER_TRANSPORT = 3000, 0.9, 0.97, 8

# Which of the random streams of (seed, step) chooses faces to reconstruct.
_CHOICE_STREAM = 6

REFINEMENT = """\
## Refinement

After its training the layers that draw took {steps:,} more steps, of {batch_size} drawn faces each. They bring the moments of
AlexNet's features (which it learned from ImageNet) over drawn faces to those over real ones: a feature is pulled to
where the optimal transport between the two Gaussians takes it.{further}

```
{command}
```
"""


@dataclass(frozen=True)
class RefineSettings(ComputeSettings):
    model: Path = tyro.MISSING
    """The folder of a model."""

    output: Path = Path("runs/refined")
    """Folder for the refined model."""

    steps: int = 600

    batch_size: int = 64
    """Faces drawn in one step. An autoencoder reconstructs half as many."""

    learning_rate: float = 0.0001
    """Adam's in the first two fifths of the steps; it falls to 0 over the rest along a cosine."""

    pixel_weight: float = 40.0
    """Of an autoencoder's mean squared pixel error."""

    average: float = 0.98
    """The model that is kept is a running average of the refined one's weights over some 1 / (1 - average) steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("steps", self.steps, 1, 1_000_000)
        check_range("learning_rate", self.learning_rate, 0, 1000, above=True)
        check_range("pixel_weight", self.pixel_weight, 0, 1_000_000)
        if not 0 <= self.average < 1:
            raise TrainingError(f"--average is {self.average}: it must be 0 or more and less than 1")


class Sight:
    """What AlexNet, trained on ImageNet, sees of faces: groups of features. It scores no model.

    Args:
        faces: training faces, from some of which principal components are taken.
        settings: of the command.

    Raises:
        TrainingError: AlexNet's weights are not there.
    """

    def __init__(self, faces: Faces, settings: RefineSettings):
        self.settings = settings
        self.network = PerceptualDistance().network.to(settings.torch_device)
        self.components: list[torch.Tensor | None] = [None] * len(GROUPS)
        groups = self.of_all(self._pictures(faces, COMPONENT_FACES), "components")
        for number, group in enumerate(groups):
            if group.shape[1] > GROUP_SIZE:
                vectors = torch.linalg.svd(group - group.mean(0), full_matrices=False).Vh[:GROUP_SIZE].T
                self.components[number] = vectors.to(settings.torch_device)
        self.transports = [Transport(group) for group in self.of_all(self._pictures(faces, len(faces)), "real faces")]

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Groups of features (n, size) of images (n, 3, 64, 64) in [-1, 1]."""
        with self.settings.autocast:
            layers = self.network.net(self.network.scaling_layer(images))
        groups = [F.adaptive_avg_pool2d(layers[layer].float(), fields).flatten(1) for layer, fields in GROUPS]
        return [x if components is None else x @ components for x, components in zip(groups, self.components)]

    @torch.no_grad()
    def of_all(self, batches: Iterable[torch.Tensor], name: str) -> list[torch.Tensor]:
        """The same of many batches together, on the CPU; the progress has a name."""
        seen = [[group.cpu() for group in self(images)] for images in tqdm(batches, name, mininterval=5)]
        return [torch.cat(parts) for parts in zip(*seen)]

    def _pictures(self, faces: Faces, count: int) -> Iterable[torch.Tensor]:
        for first in range(0, min(count, len(faces)), 50):
            part = faces[first : min(first + 50, count, len(faces))].to(self.settings.torch_device)
            yield normalise(part.contiguous(memory_format=torch.channels_last))


class Transport:
    """Where features of drawn faces are to go: the optimal transport between two Gaussians, theirs and the real ones'.

    The squared Frechet distance between the two has at a feature x the gradient x - T(x), up to a factor, T being that
    transport: x -> m' + A (x - m), A = R (R C R)^(-1/2) R, R the root of the real covariance.

    Args:
        real: (n, size) features of real faces.
    """

    def __init__(self, real: torch.Tensor):
        mean, covariance = real.double().mean(0), real.double().T.cov()
        variance = covariance.trace()
        self.scale = variance.rsqrt()  # Groups weigh the same, however large their numbers.
        # A ridge, so that directions of no variance are not blown up.
        self.ridge = 1e-3 / len(mean) * torch.eye(len(mean), dtype=mean.dtype)
        self.real_mean = mean * self.scale
        self.real_covariance = covariance / variance + self.ridge
        values, vectors = torch.linalg.eigh(self.real_covariance)
        self.root = (vectors * values.sqrt()) @ vectors.T
        self.matrix = torch.eye(len(mean))
        self.distance = math.nan
        self.mean = self.second = self.recent_mean = torch.empty(0)

    def begin(self, features: torch.Tensor) -> None:
        """Take the moments of many faces' features (n, size)."""
        features = features.cpu().double() * self.scale
        self.mean, self.second = features.mean(0), features.T @ features / len(features)
        self.recent_mean = self.mean.clone()
        self.solve()

    def solve(self) -> None:
        covariance = self.second - self.mean.outer(self.mean) + self.ridge
        values, vectors = torch.linalg.eigh(self.root @ covariance @ self.root)
        roots = values.clamp(min=1e-12).sqrt()
        self.matrix = (self.root @ (vectors / roots) @ vectors.T @ self.root).float()
        shift = (self.mean - self.real_mean).square().sum()
        spread = covariance.trace() + self.real_covariance.trace() - 2 * roots.sum()
        self.distance = (shift + spread).item()

    def loss(self, features: torch.Tensor) -> torch.Tensor:
        """Count in the features (n, size) of one more batch; returns their mean squared distance from where they go."""
        features = features * self.scale.float()
        seen = features.detach().cpu()
        mean, second = seen.double().mean(0), seen.double().T @ seen.double() / len(seen)
        self.mean.lerp_(mean, 1 - DECAY)
        self.second.lerp_(second, 1 - DECAY)
        self.recent_mean.lerp_(mean, 1 - MEAN_DECAY)
        deviation = seen - self.mean.float()
        target = seen - (self.recent_mean - self.real_mean).float() - (deviation - deviation @ self.matrix)
        return (features - target.to(features.device)).square().sum(1).mean()


class Refiner:
    """Changes the layers by which a model draws.

    Args:
        settings: of the command.
        model: that is refined.
        sight: of the training faces.
        faces: these, for a model that encodes.
    """

    def __init__(self, settings: RefineSettings, model: FaceModel, sight: Sight, faces: Faces):
        self.settings, self.faces = settings, faces
        device = settings.torch_device
        # In eval mode batch normalisation is as training left it: what a latent becomes depends on no other.
        self.model: Any = model.to(device).to(memory_format=torch.channels_last).eval()
        self.sight = sight
        self.averaged: Any = AveragedModel(self.model, multi_avg_fn=running_average(settings.average)).eval()
        self.model.decoder_layers.requires_grad_(True)
        self.optimizer = torch.optim.Adam(
            self.model.decoder_layers.parameters(), settings.learning_rate, (0.5, 0.99), fused=True
        )
        z = self.model.sample_latent(FIRST_FACES, seed=(settings.seed, 0))
        with torch.no_grad():
            groups = sight.of_all((self.model.decode(part) for part in z.split(50)), "drawn faces")
        for transport, group in zip(sight.transports, groups):
            transport.begin(group)

    def step(self, step: int) -> dict[str, torch.Tensor]:
        """Take one step, from 1; returns losses."""
        settings, count = self.settings, self.settings.batch_size
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        z = self.model.sample_latent(count, seed=(settings.seed, step))
        images = z.new_empty(0, 3, 64, 64)
        if self.model.encodes:
            random = np.random.default_rng([settings.seed, step, _CHOICE_STREAM])
            chosen = random.choice(len(self.faces), max(1, count // 2))
            images = normalise(self.faces[chosen].to(z.device)).contiguous(memory_format=torch.channels_last)
            with torch.no_grad(), settings.autocast:
                z = torch.cat([z, self.model.encode(images).to(z)])
        with settings.autocast:
            made = self.model.decode(z)
        if step % STEPS_PER_TRANSPORT == 0:
            for transport in self.sight.transports:
                transport.solve()
        groups = zip(self.sight.transports, self.sight(made[:count]))
        losses = {"transport": torch.stack([transport.loss(group) for transport, group in groups]).sum()}
        if self.model.encodes:
            losses["pixels"] = settings.pixel_weight * pixel_loss(made[count:], images)
        loss = torch.stack([*losses.values()]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.averaged.update_parameters(self.model)
        return {name: value.detach() for name, value in losses.items()}

    def learning_rate(self, step: int) -> float:
        progress = step / self.settings.steps
        falling = max(0.0, (progress - 0.4) / 0.6)
        return self.settings.learning_rate * min(1, step / 20) * 0.5 * (1 + math.cos(math.pi * falling))


def refine(settings: RefineSettings, model: FaceModel, faces: Faces) -> FaceModel:
    """Take all steps; returns the refined model.

    Raises:
        TrainingError: a loss is no number, or AlexNet's weights are not there.
    """
    refiner = Refiner(settings, model, Sight(faces, settings), faces)
    with tqdm(range(1, settings.steps + 1), "refining", mininterval=5, unit="step") as bar:
        for step in bar:
            losses = refiner.step(step)
            if step % 10 == 0 or step == settings.steps:
                values = {name: value.item() for name, value in losses.items()}
                if not all(map(math.isfinite, values.values())):
                    raise TrainingError(f"the loss is no number at step {step}: lower --learning-rate")
                distances = " ".join(f"{transport.distance:.4f}" for transport in refiner.sight.transports)
                bar.set_postfix_str(
                    " ".join(f"{name} {value:.3f}" for name, value in values.items()) + f" ({distances})"
                )
    return refiner.averaged.module.requires_grad_(False)


def section(settings: RefineSettings, model: FaceModel) -> str:
    """What a card says of it."""
    held = f"\nReconstructions were held by their mean squared pixel error (weight {settings.pixel_weight:g})."
    return REFINEMENT.format(
        steps=settings.steps,
        batch_size=settings.batch_size,
        further=held if model.encodes else "",
        command=command_of("train.refine", settings),
    )


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(RefineSettings, args=arguments, prog="python -m train.refine", description=__doc__)
    keep_freed_memory()
    model = amend.open_model(settings.model, settings.output)
    note = (
        f"Refined afterwards by {settings.steps:,} steps ({command_of('train.refine', settings)}), which are not shown."
    )
    texts = amend.texts(settings.model, section(settings, model), note)
    with open_split(settings, settings.split) as faces:
        if (count := faces.wait_for(None)) < settings.batch_size:
            raise TrainingError(f"--batch-size is {settings.batch_size}: {settings.dataset} holds {count} faces only")
        amend.save(refine(settings, model, faces), settings.model, settings.output, texts)
    print(f"The refined model is in {settings.output}.")


if __name__ == "__main__":
    run_command(main)
