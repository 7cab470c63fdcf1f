"""Train the autoencoder of today: python -m train.perceptual_autoencoder --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from models import AttributeDiscriminator, PerceptualAutoencoder

from . import distributed
from .adversary import AdversarySettings, judge
from .data import Faces
from .errors import run_command
from .losses import pixel_loss
from .perceptual import PerceptualDistance
from .priors import fit_directions, fit_mixture
from .reconstruction import ReconstructionSettings, ReconstructionTrainer, train_autoencoder
from .settings import check_range

# Whose latents the prior is fitted to after each epoch but the last, for which it is all of them.
FITTED_FACES = 10_000


@dataclass(frozen=True)
class PerceptualAutoencoderSettings(AdversarySettings, ReconstructionSettings):
    output: Path = Path("runs/perceptual-autoencoder")
    epochs: int = 40
    batch_size: int = 64

    learning_rate: float = 0.002
    """Of all optimizers in the first epoch; it falls to 0 along a cosine."""

    perceptual_weight: float = 0.03
    """Of the perceptual distance, beside a mean squared pixel error of weight 1. 0 does without."""

    adversarial_weight: float = 0.0
    """Of how much less real than its face a discriminator calls a reconstruction. 0 does without."""

    adversarial_learning_rate: float = 0.0002
    """The discriminator's, in the first epoch."""

    encoder_channels: tuple[int, int, int, int] = (48, 96, 192, 256)
    """Of the encoder, at 32, 16, 8 and 4 pixels."""

    channels: tuple[int, int, int, int, int] = (256, 192, 128, 96, 32)
    """Of the decoder, at 4, 8, 16, 32 and 64 pixels."""

    components: int = 20
    """Gaussians in the mixture that is fitted to the latents, and drawn from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("perceptual_weight", self.perceptual_weight, 0, 1000)
        check_range("adversarial_weight", self.adversarial_weight, 0, 1000)
        check_range("adversarial_learning_rate", self.adversarial_learning_rate, 0, 1000)
        for name in ("encoder_channels", "channels"):
            check_range(name, min(getattr(self, name)), 1, 4096)
            check_range(name, max(getattr(self, name)), 1, 4096)
        check_range("components", self.components, 1, 1000)


class PerceptualAutoencoderTrainer(ReconstructionTrainer):
    """Pixel error and perceptual distance; after each epoch a prior and directions are fitted to the latents.

    Args as of `ReconstructionTrainer`.
    """

    def __init__(self, settings: PerceptualAutoencoderSettings, held_out: torch.Tensor, faces: Faces):
        self.distance = PerceptualDistance().to(settings.torch_device) if settings.perceptual_weight else None
        super().__init__(settings, held_out, faces)
        self.is_last = True
        self.adversary: dict[str, Any] = {}
        if settings.adversarial_weight:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                discriminator = AttributeDiscriminator(0, settings.hidden_size)
            discriminator.to(settings.torch_device).to(memory_format=torch.channels_last)
            optimizer = torch.optim.Adam(
                discriminator.parameters(), settings.adversarial_learning_rate, (0.5, 0.99), fused=True
            )
            self.adversary = {"discriminator": discriminator, "discriminator_optimizer": optimizer}

    def build(self) -> PerceptualAutoencoder:
        settings = self.settings
        return PerceptualAutoencoder(
            settings.latent_size,
            settings.encoder_channels,
            settings.channels,
            settings.components,
            self.faces.label_names,
        )

    def parts(self) -> dict[str, Any]:
        return super().parts() | self.adversary

    def backward(
        self, loss: torch.Tensor, images: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> dict[str, torch.Tensor]:
        """Compute the gradients of the autoencoder, and update the discriminator."""
        if not self.adversary:
            return super().backward(loss, images, reconstruction, step)
        settings, (discriminator, optimizer) = self.settings, self.adversary.values()
        losses, seen, gradient = judge(discriminator, settings, step, images, reconstruction)
        torch.autograd.backward([loss, seen], [None, settings.adversarial_weight * gradient])
        distributed.average_gradients(discriminator)
        optimizer.step()
        return losses

    def losses(
        self, images: torch.Tensor, z: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        losses = {"pixel_loss": pixel_loss(reconstruction, images)}
        if self.distance is None:
            return losses, losses["pixel_loss"]
        # Half of the batch, which is in random order: the same on average, and the distance is the dearest of all.
        some = slice(max(1, len(images) // 2))
        with self.settings.autocast:
            losses["perceptual_loss"] = self.distance(reconstruction[some], images[some])
        return losses, losses["pixel_loss"] + self.settings.perceptual_weight * losses["perceptual_loss"]

    def begin_epoch(self, epoch: int) -> None:
        super().begin_epoch(epoch)
        if self.adversary:
            share = self.learning_rate(epoch, self.settings.epochs) / self.settings.learning_rate
            for group in self.adversary["discriminator_optimizer"].param_groups:
                group["lr"] = share * self.settings.adversarial_learning_rate
        self.is_last = epoch == self.settings.epochs

    def place(self, model: PerceptualAutoencoder) -> None:
        most = len(self.faces) if self.is_last else FITTED_FACES
        z = model.whiten(self.latents(model, most))
        fit_mixture(model, z, self.settings.seed)
        if model.attributes:
            fit_directions(model, z, self.faces.labels(slice(len(z))))

    @property
    def places(self) -> bool:
        return True


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(
        PerceptualAutoencoderSettings,
        args=arguments,
        prog="python -m train.perceptual_autoencoder",
        description=__doc__,
    )
    train_autoencoder(settings, "perceptual_autoencoder", PerceptualAutoencoderTrainer)


if __name__ == "__main__":
    run_command(main)
