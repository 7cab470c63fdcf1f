"""Train the GAN whose bits are the data set's attributes: python -m train.attribute_gan --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .gan import GANSettings
from .settings import AdversarialSettings, Average, Range, command_line, run_command


@dataclass(frozen=True)
class AttributeGANSettings(AdversarialSettings, GANSettings):
    """Every label of the data set, such as CelebA's 40 attributes, becomes a bit of the latent."""

    output: Path = Path("runs/attribute-gan")
    epochs: int = 110

    batch_size: int = 32
    """Faces in one step. In the same time, many small steps get further than few large ones."""

    learning_rate: float = 0.0002
    """Adam's learning rate in the first half of the epochs. In the second half it falls to 0 along a cosine."""

    channels: Annotated[tuple[int, int, int, int, int], Range(1, 4096)] = (256, 192, 128, 96, 32)
    """The generator's channels at 4, 8, 16, 32 and 64 pixels."""

    hidden_size: int = 64
    """Channels of the discriminator's first layer. They double in each of the next three."""

    average: Average = 0.1

    attribute_weight: Annotated[float, Range(0, 1000)] = 3.0
    """Weight of the attribute losses: the discriminator learns to recognise attributes, the generator to show them."""

    told: Annotated[float, Range(0, 1)] = 0.2
    """Share of the attributes that the discriminator is shown. In these, a generated face gets the values of the real face
    beside it; in all others, the values of another face."""


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(AttributeGANSettings, "train.attribute_gan", __doc__, arguments)
    from .generators import AttributeGANTrainer
    from .loop import train

    train("attribute_gan", settings, AttributeGANTrainer)


if __name__ == "__main__":
    run_command(main)
