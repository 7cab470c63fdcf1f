"""Train the autoencoder with a perceptual loss and a discriminator: python -m train.perceptual_autoencoder --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .autoencoder import ReconstructionSettings
from .settings import AdversarialSettings, Average, Range, TrainingError, command_line, run_command


@dataclass(frozen=True)
class PerceptualAutoencoderSettings(AdversarialSettings, ReconstructionSettings):
    """The first epochs train on pixels and the perceptual distance, the next ones on pixels alone, and the last ones on
    pixels and a discriminator that tells the model's draws from real faces."""

    output: Path = Path("runs/perceptual-autoencoder")
    epochs: int = 90
    batch_size: int = 64

    learning_rate: float = 0.002
    """Learning rate in the first epoch, of all optimizers. It falls to 0 along a cosine until the discriminator comes."""

    perceptual_share: Annotated[float, Range(0, 1)] = 0.17
    """Share of the epochs, at the start, in which the perceptual distance is part of the loss."""

    perceptual_weight: Annotated[float, Range(0, 1000)] = 0.03
    """Weight of the perceptual distance. The mean squared pixel error weighs 1."""

    adversarial_share: Annotated[float, Range(0, 1)] = 0.33
    """Share of the epochs, at the end, in which the discriminator is part of the loss."""

    pixel_weight: Annotated[float, Range(0, 1_000_000)] = 100.0
    """Weight of the mean squared pixel error in these last epochs. The discriminator's loss weighs 1. A larger weight gives
    better reconstructions and worse draws."""

    prior_variance: Annotated[float, Range(1e-6, 10_000)] = 1.8
    """Variance of the draws; the latents of real faces have variance 1 when the discriminator comes. With a smaller one
    draws get smooth, with a much larger one they fall apart."""

    average: Average = 0.1
    """The kept model is an average of the weights over about this share of the adversarial epochs, up to the end. The
    checkpoint holds all three averages; --resume with another one writes the model anew."""

    encoder_channels: Annotated[tuple[int, int, int, int], Range(1, 4096)] = (48, 96, 192, 256)
    """The encoder's channels at 32, 16, 8 and 4 pixels."""

    channels: Annotated[tuple[int, int, int, int, int], Range(1, 4096)] = (256, 192, 128, 96, 32)
    """The decoder's channels at 4, 8, 16, 32 and 64 pixels."""

    components: Annotated[int, Range(1, 1000)] = 20
    """Gaussians in the mixture that is fitted to the latents, and from which faces are drawn."""

    encoding_steps: Annotated[int, Range(0, 50)] = 4
    """Gauss-Newton steps that the finished model makes from the encoder's latent towards a face. Training makes none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.perceptual_share + self.adversarial_share > 1:
            raise TrainingError("--perceptual-share and --adversarial-share are more than 1 together")

    def phase(self, epoch: int) -> Literal["perceptual", "pixels", "adversarial"]:
        """What an epoch trains on."""
        if epoch > self.reconstruction_epochs:
            return "adversarial"
        return "perceptual" if epoch <= round(self.epochs * self.perceptual_share) else "pixels"

    @property
    def reconstruction_epochs(self) -> int:
        """How many epochs come before the adversarial ones."""
        return self.epochs - round(self.epochs * self.adversarial_share)


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(PerceptualAutoencoderSettings, "train.perceptual_autoencoder", __doc__, arguments)
    from .autoencoders import PerceptualAutoencoderTrainer
    from .loop import train

    train("perceptual_autoencoder", settings, PerceptualAutoencoderTrainer)


if __name__ == "__main__":
    run_command(main)
