"""Train an autoencoder, plain or with its latents matched to a prior: python -m train.autoencoder --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .settings import Range, Settings, TrainingError, command_line, run_command


@dataclass(frozen=True)
class ReconstructionSettings(Settings):
    learning_rate: float = 0.005
    """Learning rate in the first epoch, of all optimizers. It falls to 0 along a cosine. The reports do not give it."""

    optimizer: Literal["muon", "adam"] = "muon"
    """Optimizer of the matrices of the fully connected layers; Adam updates everything else. With adam, set a learning
    rate of 0.001."""

    held_out_split: str = "valid"
    """Split of the faces that the run reconstructs and measures. If there is no such split, the first faces of the training
    split, at most a tenth of it, are kept out of training."""

    held_out: Annotated[int, Range(2, 10_000_000)] = 500
    """The most faces to hold out."""


@dataclass(frozen=True)
class AutoencoderSettings(ReconstructionSettings):
    """With --prior-mean or --prior-variance, latents are matched to a prior. With neither, it is the plain autoencoder."""

    output: Path | None = None  # type: ignore[assignment]
    """Folder for the run; by default runs/autoencoder, runs/matched-autoencoder, or runs/shifted-autoencoder for a
    prior mean other than 0."""

    epochs: int = 63
    batch_size: int = 128

    prior_mean: Annotated[float | None, Range(-10_000, 10_000)] = None
    """Mean of the normal distribution that latents are matched to. The reports use 0, and -3 for the shifted one."""

    prior_variance: Annotated[float | None, Range(1e-6, 10_000)] = None
    """Variance of that normal distribution. The reports use 2."""

    match: Literal["mmd", "moments"] = "mmd"
    """How latents are matched: by a kernel distance (MMD), or by their first four moments."""

    match_weight: Annotated[float, Range(1e-9, 1_000_000)] = 0.1
    """Weight of the matching loss. The mean squared pixel error weighs 1."""

    whiten: bool = True
    """Whiten the latents of the kept plain autoencoder, so that draws from the prior are faces. --no-whiten keeps it as it
    was trained."""

    hidden_size: Annotated[int, Range(1, 8192)] = 512
    """Units of the fully connected layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.is_matched and (self.match, self.match_weight) != ("mmd", 0.1):
            raise TrainingError("--match and --match-weight need a prior: give --prior-mean or --prior-variance")
        if self.output is None:
            name = "shifted-" if self.prior_mean else "matched-" if self.is_matched else ""
            object.__setattr__(self, "output", Path("runs", f"{name}autoencoder"))

    @property
    def is_matched(self) -> bool:
        return self.prior_mean is not None or self.prior_variance is not None


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(AutoencoderSettings, "train.autoencoder", __doc__, arguments)
    from .autoencoders import AutoencoderTrainer
    from .loop import train

    train("autoencoder", settings, AutoencoderTrainer)


if __name__ == "__main__":
    run_command(main)
