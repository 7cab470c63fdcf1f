"""Train the GAN whose latent is half discrete: python -m train.gan --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .settings import Average, Range, Settings, TrainingError, command_line, run_command


@dataclass(frozen=True)
class GANSettings(Settings):
    """The defaults are the report's."""

    output: Path = Path("runs/gan")
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 0.0002

    discrete_size: int = 50
    """How many of the latent's numbers are bits, -1 or +1. The others are drawn from a normal distribution."""

    hidden_size: Annotated[int, Range(1, 512)] = 64
    """Channels of the generator at 32 x 32 pixels, and of the discriminator's first layer."""

    average: Average = 0.05
    """The kept model is an average of the generator's weights over about this share of the training, up to its end. The
    checkpoint holds all three averages; --resume with another one writes the model anew."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.discrete_size <= self.latent_size:
            raise TrainingError(
                f"--discrete-size is {self.discrete_size}: it must be between 0 and --latent-size ({self.latent_size})"
            )


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(GANSettings, "train.gan", __doc__, arguments)
    from .generators import GANTrainer
    from .loop import train

    train("gan", settings, GANTrainer)


if __name__ == "__main__":
    run_command(main)
