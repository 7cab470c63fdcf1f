"""Train the GAN whose bits are the data set's attributes: python -m train.attribute_gan --help"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from models import AttributeDiscriminator, AttributeGenerator
from models.latents import sample_bits, sample_normal

from . import distributed
from .adversary import AdversarySettings, Attributes, judge
from .data import Faces, open_faces
from .errors import TrainingError, run_command
from .gan import GANSettings, GANTrainer
from .loop import train
from .pictures import Grid
from .priors import fit_attributes
from .push import pushed_after
from .run import Run
from .settings import check_range

# Which of the random streams of (seed, step) chooses the attributes that are told; others draw latents and mirror faces.
_TELL_STREAM = 4


@dataclass(frozen=True)
class AttributeGANSettings(AdversarySettings, GANSettings):
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

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("channels", min(self.channels), 1, 4096)
        check_range("channels", max(self.channels), 1, 4096)
        check_range("attribute_weight", self.attribute_weight, 0, 1000)
        check_range("told", self.told, 0, 1)


class AttributeGANTrainer(GANTrainer):
    """Generator against discriminator, both updated from one pass of the faces through the discriminator.

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
        self.prior_is_fitted = False

    def build(self) -> tuple[AttributeGenerator, AttributeDiscriminator]:
        settings, names = self.settings, self.faces.label_names
        generator = AttributeGenerator(settings.latent_size, settings.discrete_size, names, settings.channels)
        return generator, AttributeDiscriminator(len(names), settings.hidden_size)

    def begin_epoch(self, epoch: int) -> None:
        rate = self.learning_rate(epoch, self.settings.epochs)
        self.discriminator_optimizer.param_groups[0]["lr"] = rate
        self.generator_optimizer.param_groups[0]["lr"] = rate * self.settings.generator_rate

    def learning_rate(self, epoch: int, epochs: int) -> float:
        second_half = max(0.0, min(1.0, 2 * (epoch - 1) / epochs - 1))
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * second_half))

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        settings, generator = self.settings, self.generator
        told = self._told(labels, step)
        wanted = torch.where(told, labels, labels.roll(1, 0))  # The batch is in random order.
        with settings.autocast:
            made = generator(self._latents(wanted, step))
        attributes = Attributes(labels, wanted, told, settings.attribute_weight) if labels.shape[1] else None
        losses, seen, gradient = judge(self.discriminator, settings, step, images, made, attributes)
        distributed.average_gradients(self.discriminator)
        self.discriminator_optimizer.step()
        generator.zero_grad(set_to_none=True)
        seen.backward(gradient)
        self.update_generator(step)
        return losses

    def _latents(self, wanted: torch.Tensor, step: int) -> torch.Tensor:
        """Of this process's share of the batch, with the attributes that are wanted (n, k)."""
        settings, seed = self.settings, (self.settings.seed, step)
        # Not by `sample_latent`, which reads the prior of attributes, and so would wait for a GPU.
        numbers = sample_normal(settings.batch_size, self.generator.continuous_size, seed)
        bits = sample_bits(settings.batch_size, settings.discrete_size, seed)[:, wanted.shape[1] :]
        numbers, bits = (distributed.mine(part).to(wanted.device) for part in (numbers, bits))
        return torch.cat([numbers, wanted, bits], dim=1)

    def _told(self, labels: torch.Tensor, step: int) -> torch.Tensor:
        """Which of the labels (n, k) the discriminator is told: of classes, of which each face has one, all or none."""
        shape = (self.settings.batch_size, labels.shape[1])
        told = np.random.default_rng([self.settings.seed, step, _TELL_STREAM]).random(shape) < self.settings.told
        told = torch.from_numpy(distributed.mine(told)).to(labels.device)
        is_class = ((labels > 0).sum(1) == 1).all()
        return torch.where(is_class, told[:, :1], told)

    def end_epoch(self) -> tuple[dict[str, float], dict[str, Grid]]:
        if not self.prior_is_fitted:  # By the first epoch all faces have come.
            fit_attributes(self.generator, self.faces.labels(slice(None)))
            # Of both, or the running average would forget what the generator does not know.
            for name, buffer in self.generator.named_buffers(recurse=False):
                getattr(self.averaged.module, name).copy_(buffer)
            self.prior_is_fitted = True
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
