"""Train the GAN whose bits are the data set's attributes: python -m train.attribute_gan --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .gan import GANSettings
from .settings import Range, command_line, run_command


@dataclass(frozen=True)
class AttributeGANSettings(GANSettings):
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
    """Channels of the discriminator's first layer. Each of the next three layers has twice as many."""

    attribute_weight: Annotated[float, Range(0, 1000)] = 3.0
    """Weight of the attribute losses: the discriminator learns to recognise attributes, the generator to show them."""

    told: Annotated[float, Range(0, 1)] = 0.2
    """Share of the attributes that the discriminator is shown for each pair of a real and a generated face. The generated
    face is asked for the real face's values of these, and for another face's values of the rest."""

    penalty: Annotated[float, Range(0, 1000)] = 0.5
    """Weight of the squared gradient of the discriminator, at real and at generated faces."""

    warped: Annotated[float, Range(0, 1)] = 0.3
    """Share of the faces, real and generated, that the discriminator sees turned, moved and stretched a little. Otherwise
    it would learn the training faces by heart."""


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(AttributeGANSettings, "train.attribute_gan", __doc__, arguments)
    from .generators import AttributeGANTrainer
    from .loop import train

    train("attribute_gan", settings, AttributeGANTrainer)


if __name__ == "__main__":
    run_command(main)
