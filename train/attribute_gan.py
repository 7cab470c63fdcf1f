"""Train the GAN whose bits are the data set's attributes: python -m train.attribute_gan --help"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro

from models import AttributeDiscriminator, AttributeGenerator

from . import distributed
from .data import Faces, open_faces
from .errors import TrainingError, run_command
from .gan import GANSettings, GANTrainer
from .loop import train
from .losses import gradient_penalty, relativistic_loss
from .pictures import Grid
from .priors import fit_attributes
from .push import pushed_after
from .run import Run
from .settings import check_range

# Which of the random streams of (seed, step) chooses the attributes that are told; others draw latents and mirror faces.
_TELL_STREAM = 4


@dataclass(frozen=True)
class AttributeGANSettings(GANSettings):
    """Every label of the data set, such as CelebA's 40 attributes, becomes a bit of the latent."""

    output: Path = Path("runs/attribute-gan")
    epochs: int = 40

    batch_size: int = 32
    """Faces in one step. At equal time many small steps get further than few large ones."""

    learning_rate: float = 0.0002
    """Adam's in the first half of the epochs; it falls to 0 over the second along a cosine."""

    channels: tuple[int, int, int, int, int] = (256, 192, 128, 96, 32)
    """Of the generator, at 4, 8, 16, 32 and 64 pixels."""

    adam_betas: tuple[float, float] = (0.5, 0.99)
    """Adam's decay rates."""

    average: float = 0.999
    """The generator that is kept is a running average of the trained one's weights over some 1 / (1 - average) steps."""

    attribute_weight: float = 1.0
    """Of the losses by which the discriminator learns to tell attributes, and the generator to show those asked for."""

    told: float = 0.2
    """Share of the attributes that the discriminator is told of two faces that it compares. They are the real one's,
    and asked of the generated one; its others are those of another face. Attributes occur together, makeup with
    lipstick and without a beard: a bit that was never alone in training does little alone."""

    penalty: float = 0.5
    """Of the squared gradient of the discriminator, at real and at generated faces."""

    penalty_every: int = 16
    """Steps from one penalty, which costs as much as a step, to the next; it weighs as many times more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("channels", min(self.channels), 1, 4096)
        check_range("channels", max(self.channels), 1, 4096)
        check_range("attribute_weight", self.attribute_weight, 0, 1000)
        check_range("told", self.told, 0, 1)
        check_range("penalty", self.penalty, 0, 1000)
        check_range("penalty_every", self.penalty_every, 1, 100_000)


class AttributeGANTrainer(GANTrainer):
    """Generator against discriminator, both updated from one pass of the faces through the discriminator.

    Each real face is compared with a generated one, and neither judged by itself (Jolicoeur-Martineau 2019,
    arXiv:1807.00734); with penalties on the gradients at both that has a place to settle, and leaves out no faces
    (Huang et al. 2024, arXiv:2501.05441).

    Args:
        settings: of the run.
        faces: the training faces, whose labels become bits.
    """

    def __init__(self, settings: AttributeGANSettings, faces: Faces):
        self.faces = faces
        names = faces.label_names
        if len(names) > settings.discrete_size:
            raise TrainingError(
                f"--discrete-size is {settings.discrete_size}: {settings.dataset} has {len(names)} labels, a bit each"
            )
        super().__init__(settings)

    def build(self) -> tuple[AttributeGenerator, AttributeDiscriminator]:
        settings, names = self.settings, self.faces.label_names
        generator = AttributeGenerator(settings.latent_size, settings.discrete_size, names, settings.channels)
        return generator, AttributeDiscriminator(len(names), settings.hidden_size)

    def begin_epoch(self, epoch: int) -> None:
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(epoch, self.settings.epochs)

    def learning_rate(self, epoch: int, epochs: int) -> float:
        second_half = max(0.0, min(1.0, 2 * (epoch - 1) / epochs - 1))
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * second_half))

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        settings, discriminator = self.settings, self.discriminator
        z = self.generator.sample_latent(settings.batch_size, seed=(settings.seed, step))
        z = distributed.mine(z).to(images.device)
        told = self._told(labels, step)
        wanted = torch.where(told, labels, labels.roll(1, 0))  # The batch is in random order.
        first = self.generator.continuous_size
        z[:, first : first + labels.shape[1]] = wanted
        with settings.autocast:
            fake = self.generator(z)
        # A leaf, so that the generator's gradient is taken at its pictures, by a loss of its own.
        shown = fake.detach().float().requires_grad_(True)
        # The same of both faces, so that they are told apart by how they look alone.
        known = labels * told
        with settings.autocast:
            real_logits, real_attributes = discriminator(images, known)
            fake_logits, fake_attributes = discriminator(shown, known)
        losses = {
            "generator_loss": relativistic_loss(fake_logits, real_logits),
            "discriminator_loss": relativistic_loss(real_logits, fake_logits),
        }
        generator_loss, discriminator_loss = losses.values()
        if labels.shape[1]:
            asked = F.binary_cross_entropy_with_logits(fake_attributes, (wanted + 1) / 2, reduction="none")
            losses["attribute_loss"] = F.binary_cross_entropy_with_logits(real_attributes, (labels + 1) / 2)
            losses["shown_attribute_loss"] = (asked * told).sum() / told.sum().clamp(min=1)
            discriminator_loss = discriminator_loss + settings.attribute_weight * losses["attribute_loss"]
            generator_loss = generator_loss + settings.attribute_weight * losses["shown_attribute_loss"]

        (gradient,) = torch.autograd.grad(generator_loss, shown, retain_graph=True)
        discriminator.zero_grad(set_to_none=True)
        discriminator_loss.backward()
        if step % settings.penalty_every == 0 and settings.penalty:
            weight = settings.penalty / 2 * settings.penalty_every
            for pictures in (images, shown):
                with settings.autocast:
                    penalty = gradient_penalty(lambda x: discriminator(x, known)[0], pictures)
                (weight * penalty).backward()
        distributed.average_gradients(discriminator)
        self.discriminator_optimizer.step()

        self.generator.zero_grad(set_to_none=True)
        fake.backward(gradient.to(fake.dtype))
        distributed.average_gradients(self.generator)
        self.generator_optimizer.step()
        self.averaged.update_parameters(self.generator)
        return {name: value.detach() for name, value in losses.items()}

    def _told(self, labels: torch.Tensor, step: int) -> torch.Tensor:
        """Which of the labels (n, k) the discriminator is told: of classes, of which each face has one, all or none."""
        shape = (self.settings.batch_size, labels.shape[1])
        told = np.random.default_rng([self.settings.seed, step, _TELL_STREAM]).random(shape) < self.settings.told
        told = torch.from_numpy(distributed.mine(told)).to(labels.device)
        is_class = bool(((labels > 0).sum(1) == 1).all())
        return told[:, :1].expand_as(told) if is_class else told

    def end_epoch(self) -> tuple[dict[str, float], dict[str, Grid]]:
        fit_attributes(self.averaged.module, self.faces.labels(slice(None)))
        return super().end_epoch()


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(AttributeGANSettings, args=arguments, prog="python -m train.attribute_gan", description=__doc__)
    with (
        distributed.joined(settings.torch_device, settings.batch_size),
        pushed_after(settings),
        open_faces(settings) as faces,
        Run("attribute_gan", settings) as run,
    ):
        train(AttributeGANTrainer(settings, faces), faces, run)


if __name__ == "__main__":
    run_command(main)
