"""Push the model of a run to the Hub: python -m train.push runs/gan user/latent-faces-gan"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx2
import tyro
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from models.history import EPOCHS_FILE, TRAINING_FILE
from models.loading import one_line

from . import distributed
from .errors import TrainingError, run_command
from .history import document
from .record import Record
from .settings import Settings

# All that is ever pushed of a run. Reconstructions and interpolations show the data set's pixels and stay.
PUSHED_FILES = (
    "config.json",
    "model.safetensors",
    "README.md",
    "loss.png",
    "samples.png",
    TRAINING_FILE,
    EPOCHS_FILE,
)


@dataclass(frozen=True)
class PushSettings:
    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""

    repository: Annotated[str, tyro.conf.Positional]
    """Hub id to push to, "user/name"; it is created if need be."""

    private: bool = False
    """Make it private if it is created."""

    branch: str | None = None
    """Branch to push to instead of main; it is created if need be."""


@contextmanager
def pushed_after(settings: Settings) -> Iterator[None]:
    """Push the run of a training command once the context ends well, if its settings say so.

    Raises:
        TrainingError: at once, where pushing could not work.
    """
    repository = settings.push_to_hub if distributed.is_main() else None
    if repository is not None:
        check_can_push(repository)
    yield
    if repository is not None:
        print(push(settings.output.expanduser(), repository))


def check_can_push(repository: str) -> None:
    """Find out before hours of training whether their result could be pushed.

    Raises:
        TrainingError: no repository's name, no token, or one that the Hub does not take.
    """
    try:
        validate_repo_id(repository)
        if repository.count("/") != 1:
            raise HFValidationError
    except HFValidationError:
        raise TrainingError(f"{repository!r} is no name of a repository: it is user/name") from None
    try:
        HfApi().whoami()
    except LocalTokenNotFoundError:
        raise TrainingError(f"to push to {repository} log in first: hf auth login, or set HF_TOKEN") from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise TrainingError(f"cannot push to {repository}: {one_line(error)}") from error


def push(run: Path, repository: str, private: bool = False, branch: str | None = None) -> str:
    """Push a run's model in one commit, its card rewritten to name the repository and its history up to date.

    Everything arrives in that commit or nothing does, so a push that was cut off is simply repeated.

    Returns:
        The commit's address.

    Raises:
        TrainingError: the run has no model yet, or the Hub refuses.
    """
    record, model_folder = Record(run.expanduser()), run.expanduser() / "model"
    if not model_folder.is_dir():
        what = "model yet: it is there after the first epoch" if run.expanduser().is_dir() else "run"
        raise TrainingError(f"{run} holds no {what}")
    check_can_push(repository)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for path in model_folder.iterdir():
                if path.name in PUSHED_FILES and path.is_file():
                    shutil.copy(path, folder)
        except OSError as error:
            raise TrainingError(f"{model_folder} cannot be read: {error.strerror}") from error
        # The history is there only once a run has ended, and not at all in those from before it was written.
        document(record, Path(folder), location=repository)
        api = HfApi()
        try:
            repository = api.create_repo(repository, private=private or None, exist_ok=True).repo_id
            if branch is not None:
                api.create_branch(repository, branch=branch, exist_ok=True)
            return api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                revision=branch,
                allow_patterns=list(PUSHED_FILES),
                commit_message=f"Model after {record.epochs()[-1]['epoch']} epochs",
            ).commit_url
        except (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
            raise TrainingError(f"the push to {repository} failed and can be repeated: {one_line(error)}") from error


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(PushSettings, args=arguments, prog="python -m train.push", description=__doc__)
    print(push(settings.run, settings.repository, settings.private, settings.branch))


if __name__ == "__main__":
    run_command(main)
