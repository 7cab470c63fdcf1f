"""Train the autoencoder of today: python -m train.perceptual_autoencoder --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .autoencoder import ReconstructionSettings
from .settings import Range, TrainingError, check_average, command_line, run_command


@dataclass(frozen=True)
class PerceptualAutoencoderSettings(ReconstructionSettings):
    """The first epochs train on pixels and the perceptual distance, the next ones on pixels alone, and the last ones on
    pixels and a discriminator that tells the model's draws from real faces."""

    output: Path = Path("runs/perceptual-autoencoder")
    epochs: int = 90
    batch_size: int = 64

    learning_rate: float = 0.002
    """Of all optimizers in the first epoch; it falls to 0 along a cosine until the discriminator comes."""

    perceptual_share: Annotated[float, Range(0, 1)] = 0.17
    """Share of the epochs that the perceptual distance counts in."""

    perceptual_weight: Annotated[float, Range(0, 1000)] = 0.03
    """Of the perceptual distance, beside a mean squared pixel error of weight 1."""

    adversarial_share: Annotated[float, Range(0, 1)] = 0.33
    """Share of the epochs that the discriminator counts in."""

    pixel_weight: Annotated[float, Range(0, 1_000_000)] = 100.0
    """Of the mean squared pixel error in those, beside a loss of weight 1 by the discriminator. With more, less is lost of
    reconstructions and gained of draws."""

    prior_variance: Annotated[float, Range(1e-6, 10_000)] = 1.4
    """Variance of the draws; 1 is that of the latents of real faces. Reconstructions that are right on average are paler
    than faces are, and so are draws from where latents lie. Wider ones make up for it, until they fall apart."""

    penalty: Annotated[float, Range(0, 1000)] = 0.5
    """Of the squared gradient of the discriminator, at real and at drawn faces."""

    warped: Annotated[float, Range(0, 1)] = 0.3
    """Share of the faces, real and drawn ones alike, that the discriminator sees turned, moved and stretched a little,
    lest it learn the training faces by heart."""

    average: float = 0.1
    """The kept model is an average of the trained one's weights over the last part of the adversarial epochs: about this
    share of them. The checkpoint holds those of 0.025, 0.05 and 0.1; --resume with another one writes the model anew."""

    encoder_channels: Annotated[tuple[int, int, int, int], Range(1, 4096)] = (48, 96, 192, 256)
    """Of the encoder, at 32, 16, 8 and 4 pixels."""

    channels: Annotated[tuple[int, int, int, int, int], Range(1, 4096)] = (256, 192, 128, 96, 32)
    """Of the decoder, at 4, 8, 16, 32 and 64 pixels."""

    components: Annotated[int, Range(1, 1000)] = 20
    """Gaussians in the mixture that is fitted to the latents, and drawn from."""

    # As the model takes them.
    encoding_steps: Annotated[int, Range(0, 50)] = 4
    """Gauss-Newton steps by which the trained model's encoding comes nearer to a face than the encoder does, which is
    trained without. 0 does without."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.perceptual_share + self.adversarial_share > 1:
            raise TrainingError("--perceptual-share and --adversarial-share are more than 1 together")
        check_average(self.average)

    def phase(self, epoch: int) -> Literal["perceptual", "pixels", "adversarial"]:
        """What an epoch trains on."""
        if epoch > self.reconstruction_epochs():
            return "adversarial"
        return "perceptual" if epoch <= round(self.epochs * self.perceptual_share) else "pixels"

    def reconstruction_epochs(self, epochs: int | None = None) -> int:
        """How many come before the adversarial ones, of all that are set or of another number."""
        epochs = self.epochs if epochs is None else epochs
        return epochs - round(epochs * self.adversarial_share)


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(PerceptualAutoencoderSettings, "train.perceptual_autoencoder", __doc__, arguments)
    from .autoencoders import PerceptualAutoencoderTrainer, train_autoencoder

    train_autoencoder("perceptual_autoencoder", settings, PerceptualAutoencoderTrainer)


if __name__ == "__main__":
    run_command(main)
