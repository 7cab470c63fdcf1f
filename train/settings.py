"""What commands share: the settings of the data and of training, and how a command ends.

tyro makes command lines from these dataclasses. PyTorch takes seconds to import, so it is imported where it is used:
`--help` and wrong settings are answered before. A problem that a person can mend is told in one sentence, without a
traceback.
"""

import inspect
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, NoReturn, TypeVar, get_args

import tyro
from docstring_parser.attrdoc import AttributeDocstrings

from models.history import MOST_EPOCHS
from models.hub import ask_this_machine_directly

if TYPE_CHECKING:
    import torch

S = TypeVar("S")

# A run keeps three averages of its weights. Their standard deviations are these shares of the training so far: the two of
# Karras et al. (2024, arXiv:2312.02696), and half of the shorter one.
Average = Literal[0.025, 0.05, 0.1]  # type: ignore[valid-type]
AVERAGES: tuple[float, ...] = get_args(Average)


class TrainingError(Exception):
    """Something is wrong with what was asked for; the message says what, and what to do."""


class Interrupted(Exception):
    """A signal asked the run to stop, and it has saved its state. `exit_code` is 128 + its number, as shells report it."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def command_line(kind: type[S], module: str, description: str | None, arguments: Sequence[str] | None) -> S:
    """Settings from a command's arguments. None means no arguments: in a notebook, sys.argv belongs to its kernel."""
    description = (description or "").replace(f": python -m {module} --help", ".")
    if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("):  # Or a dataclass makes it up.
        description = f"{description} {kind.__doc__}"
    for part in filter(is_dataclass, kind.__mro__):  # tyro keeps the line breaks in docstrings of attributes.
        attributes = AttributeDocstrings().get_attr_docs(part)
        part.__doc__ = "\n".join(f":param {name}: {' '.join(text.split())}" for name, (text, *_) in attributes.items())
    return tyro.cli(kind, args=arguments or (), prog=f"python -m {module}", description=description)


class Range(NamedTuple):
    """The numbers that a setting may be, both ends included, as part of its type: `Annotated[int, Range(1, 100)]`."""

    least: float
    most: float


class Checked:
    """A dataclass of settings that raises TrainingError where a number is outside the range in the type of its field."""

    def __post_init__(self) -> None:
        for kind in type(self).__mro__:  # A subclass that changes a default may repeat the type without the range.
            for name, annotation in inspect.get_annotations(kind).items():
                value = getattr(self, name)
                numbers = () if value is None else value if isinstance(value, tuple) else (value,)
                for limits in getattr(annotation, "__metadata__", ()):
                    if isinstance(limits, Range) and not all(
                        limits.least <= number <= limits.most for number in numbers
                    ):
                        between = f"it must be between {limits.least:,} and {limits.most:,}"
                        raise TrainingError(f"--{name.replace('_', '-')} is {str(value)[:40]}: {between}")


@dataclass(frozen=True, kw_only=True)
class DataSettings(Checked):
    dataset: str = "flwrlabs/celeba"
    """A data set on the Hub, or a local folder. The folder may hold pictures, zip files of pictures, parquet files in the
    Hub's layout, or CelebA as its own site lays it out. Folders called train, valid and test are splits; without them all
    pictures belong to train. Columns of yes and no, of at most 50 classes or of lists of classes are labels. They may stand
    in the parquet files, in metadata.csv or metadata.jsonl as in the Hub's folders of images, or in a file like CelebA's
    list_attr_celeba.csv. Folders of classes inside the folders of splits are labels too."""

    revision: str | None = None
    """Branch, tag or commit of the data set on the Hub."""

    split: str = "train"
    """The split of training faces."""

    crop: Annotated[float | None, Range(0.001, 1)] = None
    """Side of the centre square that is kept of each picture, as a share of the shorter side. By default 1; for CelebA's
    aligned pictures (178 x 218 or 89 x 109), 140 of 178 pixels as in the literature."""

    cache_dir: Path = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "latent-faces"
    """Folder for decoded faces, 12 kB each, and their labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset_folder and self.revision:  # A folder that is not there is told here too.
            raise TrainingError(f"--revision {self.revision}: {self.dataset} is a folder here, and has no revisions")

    @property
    def dataset_folder(self) -> Path | None:
        """The folder of a local data set; None for one on the Hub.

        Raises:
            TrainingError: it is neither.
        """
        folder = os.path.expanduser(self.dataset)  # With os.path, a name that no file can have is no error.
        if os.path.isdir(folder):
            return Path(folder)
        if os.path.exists(folder):
            raise TrainingError(f"--dataset {self.dataset} is a file: give the folder that it lies in")
        if not self.dataset or self.dataset.startswith((".", "/", "~")):
            raise TrainingError(f"--dataset {self.dataset or 'is empty'}: there is no such folder")
        return None

    @property
    def cache_folder(self) -> Path:
        return Path(os.path.expanduser(self.cache_dir))

    def data_arguments(self) -> list[str]:
        """The settings of the data as arguments of another command."""
        changed = [field for field in fields(DataSettings) if getattr(self, field.name) != field.default]
        pairs = [(f"--{field.name.replace('_', '-')}", str(getattr(self, field.name))) for field in changed]
        return [word for pair in pairs for word in pair]


@dataclass(frozen=True, kw_only=True)
class Settings(DataSettings):
    # Batch normalisation and the unbiased matching loss compare the faces of a batch with each other.
    batch_size: Annotated[int, Range(2, 65_536)]
    """Faces in one step."""

    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Seed of the weights, the order of the faces and every draw."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes CUDA, then MPS, then the CPU."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision of the networks' arithmetic; weights stay in float32. auto takes bf16 where the hardware has it."""

    output: Path
    """Folder for the run: checkpoint, metrics, pictures and the model."""

    epochs: Annotated[int, Range(1, MOST_EPOCHS)]
    """Rounds of training. After each one the model is kept, measured and drawn from."""

    learning_rate: Annotated[float, Range(1e-15, 1000)]
    """Adam's learning rate."""

    passes: Annotated[int | None, Range(1, 100_000)] = None
    """Passes over the faces in one epoch. By default 1; with fewer than 5,000 faces, enough passes to see 5,000, but at
    most 50."""

    limit: Annotated[int | None, Range(1, 1_000_000_000)] = None
    """Train on the first so many faces only. By default on all."""

    latent_size: Annotated[int, Range(1, 4096)] = 100
    """Numbers in one latent."""

    flip: bool = True
    """Mirror each face at random, which doubles the data. The reports do not say whether they did."""

    start_from: str | None = None
    """Fine-tune a trained model: a folder, or a name on the Hub. This helps if your data set is too small to learn faces
    from. The model must have the sizes that are set here."""

    keep_epochs: Annotated[int, Range(0, 100_000)] = 0
    """Copy the model to snapshots/ in the run's folder after every so many epochs. 0 keeps no copies."""

    data_note: str | None = None
    """What the data is, in a few words for the model's card."""

    license: str | None = None
    """The license on the model's card, as the Hub writes it, such as cc-by-4.0. By default CelebA's terms if celeba is in
    the data set's name, otherwise none."""

    push_to_hub: str | None = None
    """Push the finished model to this repository on the Hub, "user/name". See train.push for pushing later."""

    resume: bool = False
    """Go on from the checkpoint in the output folder, as if the run had never stopped."""

    # A card's command leaves these out: they concern this machine, the Hub or the card itself.
    UNTOLD = ("output", "cache_dir", "data_note", "device", "keep_epochs", "license", "push_to_hub", "resume")

    # A run may be resumed with other values of these: they do not change what it computes.
    FREE = (*UNTOLD, "average", "epochs")

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


@dataclass(frozen=True, kw_only=True)
class AdversarialSettings(Checked):
    penalty: Annotated[float, Range(0, 1000)] = 0.5
    """Weight of half the squared gradient of the discriminator, at real and at generated faces."""

    warped: Annotated[float, Range(0, 1)] = 0.3
    """Share of the faces, real and generated, that the discriminator sees turned, moved and stretched a little. Otherwise
    it would learn the training faces by heart."""


def run_command(command: Callable[[list[str]], None]) -> NoReturn:
    """Run a command's `main` with the arguments of the command line, and exit; errors are printed as a sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # For names that the terminal's encoding does not have.
    _find_a_home()
    ask_this_machine_directly()
    try:
        command(sys.argv[1:])
    except (TrainingError, ImportError) as error:  # The latter of a library that is not installed.
        sys.exit(f"error: {printable(str(error))}")
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def printable(text: str) -> str:
    """A text with escapes for control characters, and for the bytes of file names that are no UTF-8."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _find_a_home() -> None:
    """Make a temporary folder the home of a user who has none, as in a container: libraries keep caches there."""
    home = os.path.expanduser("~")
    if os.name == "posix" and not (os.access(home, os.W_OK | os.X_OK) or os.path.isdir(os.path.join(home, ".cache"))):
        folder = Path(tempfile.gettempdir(), f"latent-faces-{os.getuid()}")
        folder.mkdir(exist_ok=True)
        os.environ["HOME"] = str(folder)
        print(f"There is no home folder that can be written: what is kept for later runs goes to {folder}.")
