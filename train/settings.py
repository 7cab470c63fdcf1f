"""The settings that commands share: of the data all of them, of training both that train.

Command lines are made from these dataclasses by tyro. PyTorch takes seconds to import, and is imported where it is used:
`--help` and a wrong setting are answered before.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import tyro

from .errors import TrainingError

if TYPE_CHECKING:
    import torch


S = TypeVar("S")

# Standard deviations of the averages of weights that a run keeps, in shares of its training so far: the two of Karras et
# al. (2024, arXiv:2312.02696), and half of the shorter.
AVERAGES = (0.025, 0.05, 0.1)


def command_line(kind: type[S], module: str, description: str | None, arguments: Sequence[str] | None) -> S:
    """The settings that a command is given, None standing for those that the process was started with."""
    return tyro.cli(kind, args=arguments, prog=f"python -m {module}", description=description)


def check_average(average: float) -> None:
    """Raise TrainingError, in a sentence, unless a run keeps this average."""
    if average not in AVERAGES:
        raise TrainingError(f"--average is {average}: it must be one of {', '.join(map(str, AVERAGES))}")


def check_range(name: str, value: float, least: float, most: float, above: bool = False) -> None:
    """Raise TrainingError, in a sentence, unless a setting is between the two, and with `above` over the first."""
    if not (least < value if above else least <= value) or value > most:  # Neither holds for what is no number.
        limits = f"more than {least:,} and at most {most:,}" if above else f"between {least:,} and {most:,}"
        raise TrainingError(f"--{name.replace('_', '-')} is {str(value)[:40]}: it must be {limits}")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    dataset: str = "flwrlabs/celeba"
    """A data set on the Hub, or a local folder: parquet files in the Hub's layout, CelebA as its own site lays it out,
    or any pictures, in zip files too. Folders called train, valid and test are splits; otherwise all is train. Columns
    of bits or classes, CelebA's own attributes and folders of classes in those of splits are labels."""

    revision: str | None = None
    """Branch, tag or commit of the data set on the Hub."""

    config: str | None = None
    """Which configuration of a data set that has several."""

    split: str = "train"
    """The split of training faces."""

    image_column: str = "image"
    """The data set's column of images. If there is none of that name and only one of images, that one is taken."""

    crop: float | None = None
    """Keep the centre square of each picture whose side is this share of the shorter side. By itself the literature's
    140 of 178 pixels for CelebA's aligned pictures (178 x 218 or 89 x 109), otherwise 1, the whole square."""

    strict: bool = False
    """Stop at the first damaged picture. Otherwise up to 1 % of them, or five, are named and left out."""

    cache_dir: Path = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "latent-faces"
    """Where decoded faces are kept, 12 kB each, and their labels."""

    def __post_init__(self) -> None:
        if self.crop is not None:
            check_range("crop", self.crop, 0, 1, above=True)

    @property
    def cache_folder(self) -> Path:
        return self.cache_dir.expanduser()

    def data_arguments(self) -> list[str]:
        """These settings as another command takes them."""
        words = []
        for field in fields(DataSettings):
            value, flag = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if value is True:
                words.append(flag)
            elif value != field.default:
                words += [flag, str(value)]
        return words


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(DataSettings):
    """Of commands whose networks see batches of faces."""

    batch_size: int
    """Faces in one step."""

    seed: int = 0
    """Of the weights, the order of the faces and every draw."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes CUDA, then MPS, then the CPU."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the networks' arithmetic; weights stay in float32. auto takes bf16 where the hardware has it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Batch normalisation and the unbiased matching loss compare the faces of a batch with each other.
        check_range("batch_size", self.batch_size, 2, 65_536)
        check_range("seed", self.seed, 0, 2**63 - 1)

    @property
    def torch_device(self) -> "torch.device":
        from .device import find_device

        return find_device(self.device)

    @property
    def uses_bf16(self) -> bool:
        from .device import has_fast_bf16

        return self.precision == "bf16" or (self.precision == "auto" and has_fast_bf16(self.torch_device))

    @property
    def autocast(self) -> "torch.autocast":
        """The context in which the networks run."""
        import torch

        return torch.autocast(self.torch_device.type, dtype=torch.bfloat16, enabled=self.uses_bf16)


@dataclass(frozen=True)
class Settings(ComputeSettings):
    output: Path
    """Folder for the run: checkpoint, metrics, pictures and the model."""

    epochs: int
    """Rounds of training, after each of which the model is kept, measured and drawn from."""

    learning_rate: float
    """Adam's."""

    passes: int | None = None
    """Over the faces, in one epoch. By itself 1, and of fewer than 5,000 faces as many as see 5,000, at most 50."""

    limit: int | None = None
    """Train on the first so many faces only."""

    latent_size: int = 100
    """Numbers in one latent."""

    flip: bool = True
    """Mirror each face at random, which doubles the data. The reports do not say whether they did."""

    start_from: str | None = None
    """Fine-tune a trained model, a folder or its name on the Hub: for a set of your own that is too small to learn faces
    from. The model must be of the sizes that are set here."""

    keep_epochs: int = 0
    """Keep the model of every so many epochs in the folder's snapshots/ too, so that one run shows models trained for
    less and for more. 0 keeps none."""

    data_note: str | None = None
    """What the data is, in a few words for the model's card."""

    license: str | None = None
    """Of the model's card, as the Hub writes it, such as cc-by-4.0. Without it a data set whose name speaks of CelebA
    brings CelebA's terms, and any other none."""

    push_to_hub: str | None = None
    """Push the finished model to this repository on the Hub, "user/name". See train.push for pushing later."""

    resume: bool = False
    """Go on from the checkpoint in the output folder, as if never stopped."""

    # Settings that may differ between a run and its resumption without changing what it computes.
    FREE = (
        "output",
        "average",
        "epochs",
        "keep_epochs",
        "cache_dir",
        "data_note",
        "device",
        "license",
        "push_to_hub",
        "resume",
        "strict",
    )

    # Those that a card's command leaves out: of this machine, of the Hub and of the card itself.
    UNTOLD = ("output", "cache_dir", "data_note", "keep_epochs", "license", "push_to_hub", "resume")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("epochs", self.epochs, 1, 100_000)
        if self.passes is not None:
            check_range("passes", self.passes, 1, 100_000)
        check_range("latent_size", self.latent_size, 1, 4096)
        check_range("learning_rate", self.learning_rate, 0, 1000, above=True)
        check_range("keep_epochs", self.keep_epochs, 0, 100_000)
        if self.limit is not None and self.limit < self.batch_size:
            raise TrainingError(f"--limit is {self.limit}: it must be at least --batch-size ({self.batch_size})")
