"""Create or update the Space from this checkout: python -m train.publish user/latent-faces

With --static it is a page of files only, which needs no server and takes no photographs.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx2
import tyro
from huggingface_hub import HfApi, RepoCard
from huggingface_hub.errors import HfHubHTTPError

from models.index import read_index, repository_name
from models.loading import one_line

from .errors import TrainingError, run_command
from .push import check_can_push

CHECKOUT = Path(__file__).parent.parent

# All that the page needs; README.md goes with it, its front matter completed.
SPACE_FILES = (
    "app.py",
    "requirements.txt",
    "models/*.py",
    "page/**/*",
    "weights/index.json",
    "weights/*/*",
    "docs/results/out-of-distribution.json",
)

# What an earlier commit may have left, of either kind.
SPACE_PATTERNS = [
    *("*.py", "requirements.txt", "models/*", "page/*", "docs/results/*"),
    *("index.html", "page.json", "front/*", "epochs/*", "weights/*"),
]


@dataclass(frozen=True)
class PublishSettings:
    space: Annotated[str, tyro.conf.Positional]
    """Hub id of the Space, "user/name"; it is created if need be."""

    models: str | None = None
    """Namespace on the Hub, or namespace@revision, that the Space takes its models from; without it the Space shows
    the bundled ones."""

    private: bool = False
    """Make it private if it is created."""

    static: bool = False
    """Publish files only: the page then draws in the browser alone."""


def publish(space: str, models: str | None = None, private: bool = False, static: bool = False) -> str:
    """Create or update a Space in one commit.

    Returns:
        Its address.

    Raises:
        TrainingError: the Hub refuses, or cannot be reached.
    """
    check_can_push(space)
    api = HfApi()
    try:
        sdk = "static" if static else "gradio"
        space = api.create_repo(space, repo_type="space", space_sdk=sdk, private=private or None, exist_ok=True).repo_id
        if models and not static:
            api.add_space_variable(space, "LATENT_FACES_HUB", models)
        elif "LATENT_FACES_HUB" in api.get_space_variables(space):
            api.delete_space_variable(space, "LATENT_FACES_HUB")
        with tempfile.TemporaryDirectory() as folder:
            (_write_static_page if static else _copy_checkout)(Path(folder), models)
            _front_page(models, static).save(Path(folder, "README.md"))
            api.upload_folder(
                repo_id=space,
                repo_type="space",
                folder_path=folder,
                commit_message="Update the Space",
                delete_patterns=SPACE_PATTERNS,
            )
    except (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise TrainingError(f"{space} could not be published: {one_line(error)}") from error
    return f"{api.endpoint}/spaces/{space}"


def _copy_checkout(folder: Path, _: str | None) -> None:
    for pattern in SPACE_FILES:
        for source in CHECKOUT.glob(pattern):
            if not source.is_file() or "__pycache__" in source.parts:
                continue
            target = folder / source.relative_to(CHECKOUT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())


def _write_static_page(folder: Path, models: str | None) -> None:
    # In a process of its own: it needs what the page needs, and takes its models from where that does.
    command, environment = (
        [sys.executable, "-m", "page.site", str(folder)],
        {**os.environ, "LATENT_FACES_HUB": models or ""},
    )
    written = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if written.returncode:
        reason = (written.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise RuntimeError(f"python -m page.site failed, {reason}")


def _front_page(models: str | None, static: bool) -> RepoCard:
    """The README, with the models that the Space shows: the Hub lists them, and fetches them when it builds."""
    card = RepoCard.load(CHECKOUT / "README.md", repo_type="space")
    if static:
        for key in ("sdk_version", "python_version"):
            card.data.pop(key)
        card.data["sdk"], card.data["app_file"] = "static", "index.html"
    if models:
        namespace, _, revision = models.partition("@")
        names = [repository_name(namespace, name) for name in read_index(CHECKOUT / "weights")]
        card.data["models"] = names
        if not static:
            files = "config.json,model.safetensors"
            card.data["preload_from_hub"] = [f"{name} {files} {revision}".strip() for name in names]
    return card


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(PublishSettings, args=arguments, prog="python -m train.publish", description=__doc__)
    print(publish(settings.space, settings.models, settings.private, settings.static))


if __name__ == "__main__":
    run_command(main)
