"""What commands share: the settings, of the data and of training, and how a command ends.

Command lines are made from these dataclasses by tyro. PyTorch takes seconds to import, and is imported where it is used:
`--help` and a wrong setting are answered before. Of a problem that a person can mend they read one clear sentence, never
a traceback.
"""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar

import tyro

from models.hub import ask_this_machine_directly

if TYPE_CHECKING:
    import torch


S = TypeVar("S")

# Standard deviations of the averages of weights that a run keeps, in shares of its training so far: the two of Karras et
# al. (2024, arXiv:2312.02696), and half of the shorter.
AVERAGES = (0.025, 0.05, 0.1)


class TrainingError(Exception):
    """Something is wrong with what was asked for; the message says what, and what to do."""


class Interrupted(Exception):
    """A signal asked the run to stop, and it has saved its state.

    Attributes:
        exit_code: 128 + the signal's number, as shells report it.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def command_line(kind: type[S], module: str, description: str | None, arguments: Sequence[str] | None) -> S:
    """The settings that a command is given; None is for no words, as of a notebook, which was started with its own."""
    return tyro.cli(kind, args=arguments or (), prog=f"python -m {module}", description=description)


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
    or any pictures, in zip files too. Folders called train, valid and test are splits; otherwise all is train. Labels
    are columns of yes and no, of at most 50 classes or of lists of them, a file list_attr_celeba.csv like CelebA's, and
    folders of classes in those of splits."""

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
        _ = self.dataset_folder  # Told now, if there is none.

    @property
    def dataset_folder(self) -> Path | None:
        """Where a local data set lies; None for one on the Hub.

        Raises:
            TrainingError: it is neither.
        """
        try:
            folder = Path(self.dataset).expanduser()
            is_folder, exists = folder.is_dir(), folder.exists()
        except (OSError, RuntimeError, ValueError):  # Names that no file can have, closed folders, unknown users.
            is_folder = exists = False
        if self.dataset and is_folder:
            return folder
        if self.dataset and exists:
            raise TrainingError(f"--dataset {self.dataset} is a file: give the folder that it lies in")
        if not self.dataset or self.dataset.startswith((".", "/", "~")):
            raise TrainingError(f"--dataset {self.dataset or 'is empty'}: there is no such folder")
        return None

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
        from .distributed import find_device

        return find_device(self.device)

    @property
    def uses_bf16(self) -> bool:
        from .distributed import has_fast_bf16

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


def run_command(command: Callable[[list[str]], None]) -> NoReturn:
    """Run a command's `main` with the words of the command line, turn what can go wrong into a sentence, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Names that the terminal's encoding does not have.
    _find_a_home()
    ask_this_machine_directly()
    try:
        command(sys.argv[1:])
    except TrainingError as error:
        sys.exit(f"error: {printable(str(error))}")
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def printable(text: str) -> str:
    """A name as any file and terminal takes it: on Linux it may be bytes of any kind, and hold a terminal's commands."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _find_a_home() -> None:
    """A user that the system does not know, as in a container, may have no folder for caches: then it is a temporary one."""
    home = os.path.expanduser("~")
    if os.name == "posix" and not (os.access(home, os.W_OK | os.X_OK) or os.path.isdir(os.path.join(home, ".cache"))):
        folder = Path(tempfile.gettempdir(), f"latent-faces-{os.getuid()}")
        folder.mkdir(exist_ok=True)
        os.environ["HOME"] = str(folder)
        print(f"There is no home folder that can be written: what is kept for later runs goes to {folder}.")
