"""Refine the faces that a trained model draws: python -m train.refine --help

A discriminator learns to tell drawn faces from real ones, and the layers that draw learn from it. An autoencoder goes on
to reconstruct as it does, as far as its pixels are held, by which its encoder follows. Priors and directions stay what
they are.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from models import AttributeDiscriminator, FaceModel, PerceptualAutoencoder
from models.images import normalise
from models.perceptual import MOST_ENCODING_STEPS

from . import amend
from .adversary import AdversarySettings, judge
from .data import Faces, open_split
from .device import keep_freed_memory
from .errors import TrainingError, run_command
from .losses import pixel_loss
from .run import command_of
from .settings import ComputeSettings, check_range

# Which of the random streams of (seed, step) chooses real faces.
_CHOICE_STREAM = 6

REFINEMENT = """\
## Refinement

After its training the layers that draw took {steps:,} more steps, of {batch_size} drawn faces each, against a discriminator that
told these from real faces, and had learned to in {head_start:,} steps before.{further}

```
{command}
```
"""


@dataclass(frozen=True)
class RefineSettings(AdversarySettings, ComputeSettings):
    model: Path = tyro.MISSING
    """The folder of a model."""

    output: Path = Path("runs/refined")
    """Folder for the refined model."""

    steps: int = 3000

    batch_size: int = 32
    """Faces drawn in one step, and real ones beside them. An autoencoder reconstructs half of these."""

    learning_rate: float = 0.0001
    """Adam's in the first two fifths of the steps; it falls to 0 over the rest along a cosine."""

    adversarial_learning_rate: float = 0.0002
    """The discriminator's, which falls as the other does."""

    head_start: int = 1000
    """Steps before all others, in which the discriminator learns alone."""

    warped: float = 0.3

    pixel_weight: float = 120.0
    """Of an autoencoder's mean squared pixel error, beside a loss of weight 1 by the discriminator. With more, less is
    lost of reconstructions and gained of draws."""

    prior_variance: float | None = None
    """Of the numbers of the refined model's draws, which it is refined by. By default what it was. Reconstructions that
    are right on average are paler than faces are, and so are draws from where latents lie: wider ones make up for it."""

    encoding_steps: int | None = None
    """Of a perceptual autoencoder's encoding, once it is refined. By default as many as before."""

    average: float = 0.9995
    """The model that is kept is a running average of the refined one's weights over some 1 / (1 - average) steps: by
    ImageNet's features faces soon come no nearer, by those of faces they do, and averages do by both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("steps", self.steps, 1, 1_000_000)
        check_range("learning_rate", self.learning_rate, 0, 1000, above=True)
        check_range("adversarial_learning_rate", self.adversarial_learning_rate, 0, 1000, above=True)
        check_range("head_start", self.head_start, 0, 1_000_000)
        check_range("pixel_weight", self.pixel_weight, 0, 1_000_000)
        if self.prior_variance is not None:
            check_range("prior_variance", self.prior_variance, 1e-6, 10_000)
        if self.encoding_steps is not None:
            check_range("encoding_steps", self.encoding_steps, 0, MOST_ENCODING_STEPS)
        if not 0 <= self.average < 1:
            raise TrainingError(f"--average is {self.average}: it must be 0 or more and less than 1")


class Refiner:
    """Changes the layers by which a model draws, and those by which it encodes.

    Args:
        settings: of the command.
        model: that is refined.
        faces: training faces.
    """

    def __init__(self, settings: RefineSettings, model: FaceModel, faces: Faces):
        self.settings, self.faces = settings, faces
        device = settings.torch_device
        # In eval mode batch normalisation is as training left it: what a latent becomes depends on no other.
        self.model: Any = model.to(device).to(memory_format=torch.channels_last).eval()
        # From the model as it was on, which is no worse to begin with than what follows.
        self.averaged: Any = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.average)).eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.discriminator = AttributeDiscriminator(0, settings.hidden_size)
        self.discriminator.to(device).to(memory_format=torch.channels_last)
        networks = [self.model.decoder_layers, *([self.model.encoder] if model.encodes else [])]
        learning = [weight.requires_grad_(True) for network in networks for weight in network.parameters()]
        self.optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(weights, betas=(0.5, 0.99), fused=True)
            for weights in (learning, [*self.discriminator.parameters()])
        )

    def step(self, step: int) -> dict[str, torch.Tensor]:
        """Take one step, from 1; returns losses."""
        settings, count, refining = self.settings, self.settings.batch_size, step - self.settings.head_start
        self._set_rates(refining)
        random = np.random.default_rng([settings.seed, step, _CHOICE_STREAM])
        real = self.faces[random.choice(len(self.faces), count)].to(settings.torch_device)
        real = normalise(real).contiguous(memory_format=torch.channels_last)
        held = real[: count // 2] if self.model.encodes else real[:0]
        z = self.model.sample_latent(count, seed=(settings.seed, step))
        with settings.autocast:
            z = torch.cat([z, self.model.encoder(held).to(z)]) if len(held) else z
            made = self.model.decode(z)
        losses, seen, gradient = judge(self.discriminator, settings, step, real, made[:count])
        self.discriminator_optimizer.step()
        if refining > 0:
            loss = (seen * gradient).sum()  # Whose own gradient at what was seen this is.
            if len(held):
                losses["pixel_loss"] = pixel_loss(made[count:], held)
                loss = loss + settings.pixel_weight * losses["pixel_loss"]
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.averaged.update_parameters(self.model)
        return {name: value.detach() for name, value in losses.items()}

    def _set_rates(self, refining: int) -> None:
        """Those of a step, counted from the head start's end."""
        settings = self.settings
        falling = max(0.0, (refining / settings.steps - 0.4) / 0.6)
        share = 0.5 * (1 + math.cos(math.pi * falling))
        self.optimizer.param_groups[0]["lr"] = settings.learning_rate * max(0, min(1, refining / 20)) * share
        self.discriminator_optimizer.param_groups[0]["lr"] = settings.adversarial_learning_rate * share


def refine(settings: RefineSettings, model: FaceModel, faces: Faces) -> FaceModel:
    """Take all steps; returns the refined model.

    Raises:
        TrainingError: a loss is no number.
    """
    refiner = Refiner(settings, model, faces)
    last = settings.head_start + settings.steps
    with tqdm(range(1, last + 1), "refining", mininterval=5, unit="step") as bar:
        for step in bar:
            losses = refiner.step(step)
            if step % 10 == 0 or step == last:
                values = {name: value.item() for name, value in losses.items()}
                if not all(map(math.isfinite, values.values())):
                    raise TrainingError(f"the loss is no number at step {step}: lower --learning-rate")
                bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
    refined = refiner.averaged.module.requires_grad_(False)
    if getattr(refined, "encoding_steps", 0):
        refined.fit_preconditioner()
    return refined


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(RefineSettings, args=arguments, prog="python -m train.refine", description=__doc__)
    keep_freed_memory()
    model = amend.open_model(settings.model, settings.output)
    if settings.prior_variance is not None:
        model = model.with_prior_variance(settings.prior_variance)
    if settings.encoding_steps is not None:
        if not isinstance(model, PerceptualAutoencoder):
            raise TrainingError(f"--encoding-steps are a perceptual autoencoder's: {settings.model} holds none")
        model = model.with_encoding_steps(settings.encoding_steps)
    command = command_of("train.refine", settings)
    further = ""
    if settings.prior_variance is not None:
        stretched = "draws and directions are" if model.encodes and model.attributes else "draws are"
        further = f" Since then\n{stretched} stretched to a variance of {settings.prior_variance:g}."
    if model.encodes:
        further += (
            f"\nReconstructions were held by their mean squared pixel error (weight {settings.pixel_weight:g}), from which "
            "the\nencoder learned too: latents lie a little elsewhere since."
        )
    if settings.encoding_steps is not None:
        further += f" Encoding takes {settings.encoding_steps} Gauss-Newton steps since."
    section = REFINEMENT.format(
        steps=settings.steps,
        batch_size=settings.batch_size,
        head_start=settings.head_start,
        further=further,
        command=command,
    )
    note = f"Refined afterwards by {settings.steps:,} steps ({command}), which are not shown."
    texts = amend.texts(settings.model, section, note)
    with open_split(settings, settings.split) as faces:
        if (count := faces.wait_for(None)) < settings.batch_size:
            raise TrainingError(f"--batch-size is {settings.batch_size}: {settings.dataset} holds {count} faces only")
        amend.save(refine(settings, model, faces), settings.model, settings.output, texts)
    print(f"The refined model is in {settings.output}.")


if __name__ == "__main__":
    run_command(main)
