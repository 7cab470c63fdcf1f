"""Push a model to the Hub: python -m train.push runs/gan user/latent-faces-gan"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from models.index import MODEL_FILES

from .settings import TrainingError, command_line, run_command


@dataclass(frozen=True)
class PushSettings:
    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of a model such as weights/gan."""

    repository: Annotated[str, tyro.conf.Positional]
    """Where to push to on the Hub, "user/name". It is created if it is not there."""

    private: bool = False
    """Make the repository private if it is created."""

    branch: str | None = None
    """Branch to push to instead of main. It is created if it is not there."""


def check_can_push(repository: str) -> None:
    """Raise TrainingError unless a model can be pushed to a repository."""
    from models import hub

    try:
        hub.check_can_push(repository)
    except ValueError as error:
        raise TrainingError(str(error)) from error


def push(folder: Path, repository: str, private: bool = False, branch: str | None = None) -> str:
    """Push the model of a run, or the model in a folder, in one commit. Its card then names the repository.

    The history of a run is brought up to date first. Either everything arrives or nothing does, so that a push that was cut
    off is simply repeated.

    Returns:
        The commit's address.

    Raises:
        TrainingError: there is no model yet, a file of it is damaged or lies elsewhere, or the Hub refuses.
    """
    import httpx2
    from huggingface_hub import HfApi

    from models.hub import one_line

    from .card import document
    from .record import Record

    folder = folder.expanduser()
    if not folder.is_dir():
        raise TrainingError(f"{folder} is no folder: give the folder of a run or of a model")
    is_model = (folder / "config.json").is_file()
    if not (is_model or (folder / "model").is_dir()):
        raise TrainingError(f"{folder} holds no model yet: a run has one after its first epoch")
    check_can_push(repository)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        try:
            _copy_files(folder if is_model else folder / "model", copy, root=folder)
            if is_model:
                epochs = _check_model(copy, repository)
            else:
                document(Record(folder), copy, location=repository)
                epochs = Record(folder).epochs()[-1]["epoch"]
        except (ValueError, OSError) as error:
            raise TrainingError(str(error).replace(name, "the folder")) from error
        api = HfApi()
        try:
            repository = api.create_repo(repository, private=private or None, exist_ok=True).repo_id
            if branch is not None:
                api.create_branch(repository, branch=branch, exist_ok=True)
            return api.upload_folder(
                repo_id=repository,
                folder_path=copy,
                revision=branch,
                # What an earlier push left, such as another model's history.
                delete_patterns=list(MODEL_FILES),
                commit_message=f"Model after {epochs} epochs" if epochs else "Model",
            ).commit_url
        except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
            raise TrainingError(f"the push to {repository} failed and can be repeated: {one_line(error)}") from error


def _copy_files(source: Path, target: Path, root: Path) -> None:
    """Copy the files of a model and no others: a run's reconstructions, say, show the data set's pixels."""
    for path in [source / name for name in MODEL_FILES]:
        if not path.is_file():
            continue
        if not path.resolve().is_relative_to(root.resolve()):
            raise TrainingError(f"{path} is a link out of the folder, and is not pushed: put the file itself there")
        shutil.copyfile(path, target / path.name)


def _check_model(copy: Path, repository: str) -> int | None:
    """Make sure that a copied model loads, and write the repository into its card; returns its epochs, if known."""
    from models.base import PretrainedModel
    from models.history import load_history

    model = PretrainedModel.from_pretrained(copy)
    history = load_history(copy)
    if history is not None:
        history.faces_after(1)
    card = copy / "README.md"
    if not card.exists():
        model.generate_model_card().save(card)
    text = card.read_text(encoding="utf-8", errors="replace")
    text = re.sub(r'from_pretrained\("[^"\n]*"\)', f'from_pretrained("{repository}")', text)
    card.write_text(text, encoding="utf-8")
    return history.epochs if history else None


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(PushSettings, "train.push", __doc__, arguments)
    print(push(settings.folder, settings.repository, settings.private, settings.branch))


if __name__ == "__main__":
    run_command(main)
