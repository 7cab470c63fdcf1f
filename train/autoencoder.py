"""Train an autoencoder, plain or with its latents matched to a prior: python -m train.autoencoder --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from models import Autoencoder

from . import distributed
from .errors import run_command
from .losses import mmd, moments, pixel_loss
from .reconstruction import ReconstructionSettings, ReconstructionTrainer, train_autoencoder
from .settings import check_range

# The report's prior.
PRIOR_MEAN, PRIOR_VARIANCE = 0.0, 2.0

# For a covariance of 100 numbers: twenty faces a number.
REFERENCE_FACES = 2000


@dataclass(frozen=True)
class AutoencoderSettings(ReconstructionSettings):
    """Give a prior's mean or variance to match the latents to it; with neither it is the plain autoencoder."""

    output: Path | None = None  # type: ignore[assignment]
    """Folder for the run; by default runs/autoencoder, runs/matched-autoencoder, or runs/shifted-autoencoder for a
    prior mean other than 0."""

    epochs: int = 63
    batch_size: int = 128

    prior_mean: float | None = None
    """Mean of the normal distribution that latents are matched to. The reports use 0, and -3 for the shifted one."""

    prior_variance: float | None = None
    """Its variance. The reports use 2."""

    match: Literal["mmd", "moments"] = "mmd"
    """How latents are matched: by a kernel distance, or by their first four moments."""

    match_weight: float = 0.1
    """Of the matching loss, beside a mean squared pixel error of weight 1."""

    whiten: bool = True
    """Whether the plain autoencoder is kept with its latents whitened, so that draws from the prior are faces, or as
    it was trained."""

    hidden_size: int = 512
    """Units of the fully connected layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("hidden_size", self.hidden_size, 1, 8192)
        check_range("match_weight", self.match_weight, 0, 1_000_000, above=True)
        if self.prior_variance is not None:
            check_range("prior_variance", self.prior_variance, 1e-6, 10_000)
        if self.prior_mean is not None:
            check_range("prior_mean", self.prior_mean, -10_000, 10_000)
        if self.output is None:
            name = "shifted-" if self.prior_mean else "matched-" if self.is_matched else ""
            object.__setattr__(self, "output", Path("runs", f"{name}autoencoder"))

    @property
    def is_matched(self) -> bool:
        return self.prior_mean is not None or self.prior_variance is not None


class AutoencoderTrainer(ReconstructionTrainer):
    """Pixel error, plus for a matched autoencoder the distance of its latents from the prior.

    The first training faces whiten the plain autoencoder's latents. Args as of `ReconstructionTrainer`.
    """

    def build(self) -> Autoencoder:
        settings = self.settings
        return Autoencoder(
            settings.latent_size,
            settings.hidden_size,
            matching=settings.match if settings.is_matched else None,
            prior_mean=PRIOR_MEAN if settings.prior_mean is None else settings.prior_mean,
            prior_variance=PRIOR_VARIANCE if settings.prior_variance is None else settings.prior_variance,
        )

    def losses(
        self, images: torch.Tensor, z: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        model, settings = self.autoencoder, self.settings
        losses = {"pixel_loss": pixel_loss(reconstruction, images)}
        if not settings.is_matched:
            return losses, losses["pixel_loss"]
        if model.matching == "mmd":
            prior = model.sample_latent(settings.batch_size, seed=(settings.seed, step))
            losses["matching_loss"] = mmd(distributed.gather(z), prior, model.prior_variance)
        else:
            losses["matching_loss"] = moments(distributed.gather(z), model.prior_mean, model.prior_variance)
        return losses, losses["pixel_loss"] + settings.match_weight * losses["matching_loss"]

    @property
    def places(self) -> bool:
        return self.settings.whiten and not self.settings.is_matched

    def place(self, model: Autoencoder) -> None:
        model.whiten(self.latents(model, REFERENCE_FACES))


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(AutoencoderSettings, args=arguments, prog="python -m train.autoencoder", description=__doc__)
    train_autoencoder(settings, "autoencoder", AutoencoderTrainer)


if __name__ == "__main__":
    run_command(main)
