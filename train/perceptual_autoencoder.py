"""Train the autoencoder of today: python -m train.perceptual_autoencoder --help"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from models import PerceptualAutoencoder
from models.perceptual import MOST_ENCODING_STEPS

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
class PerceptualAutoencoderSettings(ReconstructionSettings):
    output: Path = Path("runs/perceptual-autoencoder")
    epochs: int = 40
    batch_size: int = 64

    learning_rate: float = 0.002
    """Of all optimizers in the first epoch; it falls to 0 along a cosine."""

    perceptual_weight: float = 0.03
    """Of the perceptual distance, beside a mean squared pixel error of weight 1. 0 does without."""

    encoder_channels: tuple[int, int, int, int] = (48, 96, 192, 256)
    """Of the encoder, at 32, 16, 8 and 4 pixels."""

    channels: tuple[int, int, int, int, int] = (256, 192, 128, 96, 32)
    """Of the decoder, at 4, 8, 16, 32 and 64 pixels."""

    components: int = 20
    """Gaussians in the mixture that is fitted to the latents, and drawn from."""

    encoding_steps: int = 4
    """Gauss-Newton steps by which the trained model's encoding comes nearer to a face than the encoder does, which is
    trained without. 0 does without."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("perceptual_weight", self.perceptual_weight, 0, 1000)
        for name in ("encoder_channels", "channels"):
            check_range(name, min(getattr(self, name)), 1, 4096)
            check_range(name, max(getattr(self, name)), 1, 4096)
        check_range("components", self.components, 1, 1000)
        check_range("encoding_steps", self.encoding_steps, 0, MOST_ENCODING_STEPS)


class PerceptualAutoencoderTrainer(ReconstructionTrainer):
    """Pixel error and perceptual distance; after each epoch a prior and directions are fitted to the latents.

    Args as of `ReconstructionTrainer`.
    """

    def __init__(self, settings: PerceptualAutoencoderSettings, held_out: torch.Tensor, faces: Faces):
        self.distance = PerceptualDistance().to(settings.torch_device) if settings.perceptual_weight else None
        super().__init__(settings, held_out, faces)
        self.is_last = True

    def build(self) -> PerceptualAutoencoder:
        settings = self.settings
        return PerceptualAutoencoder(
            settings.latent_size,
            settings.encoder_channels,
            settings.channels,
            settings.components,
            self.faces.label_names,
            encoding_steps=settings.encoding_steps,
        )

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
        self.is_last = epoch == self.settings.epochs

    def place(self, model: PerceptualAutoencoder) -> None:
        most = len(self.faces) if self.is_last else FITTED_FACES
        z = model.whiten(self.latents(model, most))
        fit_mixture(model, z, self.settings.seed)
        if model.attributes:
            fit_directions(model, z, self.faces.labels(slice(len(z))))
        if model.encoding_steps:
            model.fit_preconditioner()

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
