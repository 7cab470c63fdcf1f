"""Create or update the Space from this checkout: python -m page.publish user/latent-faces

With --static it is a page of files only, which needs no server.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, ModelInfo, RepoCard
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from models.hub import check_can_push, one_line, without_password
from models.index import MODEL_FILES, read_index, repository_name

CHECKOUT = Path(__file__).parent.parent

# All that a page can need; of these a Space gets those that git tracks.
SPACE_FILES = (
    *("app.py", "requirements.txt", "README.md", "LICENSE"),
    *("models/*.py", "page/*.py", "page/tabs/*.py", "page/examples/*.png"),
    *(f"page/front/**/*.{kind}" for kind in ("html", "css", "js", "json", "onnx", "gz", "wasm")),
    *(f"page/front/**/*.{kind}" for kind in ("webp", "png", "svg", "ico", "txt", "md")),
    "page/front/vendor/LICENSE.*",
    "weights/index.json",
    *(f"weights/*/{name}" for name in MODEL_FILES),
    "docs/results/out-of-distribution.json",
)

# Tools of the checkout.
NOT_IN_A_SPACE = {"page/graphs.py", "page/publish.py"}

# What `page.site` writes beside copies of files of page/.
WRITTEN_FILES = ("index.html", "page.json", "weights/*/model.safetensors", "epochs/*.webp")

# What an earlier commit may have left, of either kind.
SPACE_PATTERNS = [
    *("*.py", "requirements.txt", "LICENSE", "models/*", "page/*", "docs/results/*"),
    *("index.html", "page.json", "front/*", "examples/*", "epochs/*", "weights/*"),
]


def publish(space: str, models: str | None = None, private: bool = False, static: bool = False) -> str:
    """Create or update a Space in one commit, once it has said which files it is made of.

    Args:
        space: its Hub id, "user/name".
        models: namespace on the Hub, or namespace@revision, that it takes its models from, in place of the bundled ones.
        private: whether it is to be private if it is created.
        static: whether it is files only.

    Returns:
        Its address.

    Raises:
        ValueError: it cannot be pushed there, or there are no such models.
        OSError, RuntimeError, httpx2.HTTPError: the Hub refuses, or cannot be reached.
    """
    check_can_push(space)
    api, found = HfApi(), _find_models(models) if models else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (_copy_page if static else _copy_checkout)(folder, models)
        _front_page(found, models, static).save(folder / "README.md")
        _tell(space, folder)
        sdk = "static" if static else "gradio"
        space = api.create_repo(space, repo_type="space", space_sdk=sdk, private=private or None, exist_ok=True).repo_id
        if models and not static:
            api.add_space_variable(space, "LATENT_FACES_HUB", models)
        elif "LATENT_FACES_HUB" in api.get_space_variables(space):
            api.delete_space_variable(space, "LATENT_FACES_HUB")
        api.upload_folder(
            repo_id=space,
            repo_type="space",
            folder_path=folder,
            commit_message="Update the Space",
            delete_patterns=SPACE_PATTERNS,
        )
    return f"{without_password(api.endpoint)}/spaces/{space}"


def _copy_checkout(folder: Path, _: str | None) -> None:
    _copy(CHECKOUT, [name for name in own_files() if name not in NOT_IN_A_SPACE], folder)


def _copy_page(folder: Path, models: str | None) -> None:
    os.environ["LATENT_FACES_HUB"] = models or ""
    from . import site  # Only now, since it needs what the page needs.

    own = set(own_files())
    with tempfile.TemporaryDirectory() as name:
        written = Path(name)
        site.write(written)
        names = [path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()]
        belongs = lambda name: f"page/{name}" in own or any(fnmatch(name, pattern) for pattern in WRITTEN_FILES)
        _copy(written, filter(belongs, names), folder)


def _copy(source: Path, names: Iterable[str], target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def own_files() -> list[str]:
    """The files of the checkout that may be published: on the list, no links, and tracked by git, where there is a git.

    It says which of those on the list are left out.
    """
    tracked = _tracked_files()
    own, left_out = [], []
    for name in sorted({path.relative_to(CHECKOUT).as_posix() for kind in SPACE_FILES for path in CHECKOUT.glob(kind)}):
        path = CHECKOUT / name
        if any(part.startswith(".") or part == "node_modules" for part in PurePosixPath(name).parts) or path.is_dir():
            continue
        is_link = path.resolve() != CHECKOUT.resolve() / name
        (left_out if is_link or not path.is_file() or (tracked is not None and name not in tracked) else own).append(
            name
        )
    if left_out:
        print(f"Left out, as links or files that git does not track: {', '.join(left_out)}")
    return own


def _tracked_files() -> set[str] | None:
    """What git tracks of the checkout; None where it is in no git.

    Raises:
        ValueError: git cannot tell.
    """
    if not any((folder / ".git").exists() for folder in (CHECKOUT, *CHECKOUT.parents)):
        return None
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=False)
    except OSError as error:
        raise ValueError(f"git is needed to tell which files are the checkout's: {error}") from error
    if listed.returncode:
        raise ValueError(f"git cannot tell which files are the checkout's: {os.fsdecode(listed.stderr).strip()}")
    names = {*os.fsdecode(listed.stdout).split("\0")}
    return names if "app.py" in names else None  # Else it is another project's, around a copy of this one.


def _tell(space: str, folder: Path) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    print(f"{space} gets {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB:")
    for path in files:
        print(f"  {path.relative_to(folder).as_posix()}")


def _find_models(models: str) -> list[ModelInfo]:
    """Those of a namespace, or namespace@revision, that are on the Hub."""
    namespace, _, revision = models.partition("@")
    found = []
    for name in read_index(CHECKOUT / "weights"):
        try:
            info = HfApi().model_info(repository_name(namespace, name), revision=revision or None)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            continue
        if {"config.json", "model.safetensors"} <= {file.rfilename for file in info.siblings or []}:
            found.append(info)
    if not found:
        example = repository_name(namespace, "gan")
        raise ValueError(f"--models {models}: there is no model to show; push one first, as {example} or the like")
    return found


def _front_page(models: list[ModelInfo], where: str | None, static: bool) -> RepoCard:
    """The README, with the models that the Space shows: the Hub lists them, and fetches public ones when it builds."""
    card = RepoCard.load(CHECKOUT / "README.md", repo_type="space")
    if static:
        for key in ("sdk_version", "python_version"):
            card.data.pop(key)
        card.data["sdk"], card.data["app_file"] = "static", "index.html"
    if models:
        card.data["models"] = [model.id for model in models]
        public = [model.id for model in models if not model.private]
        if public and not static:
            files, revision = "config.json,model.safetensors", (where or "").partition("@")[2]
            card.data["preload_from_hub"] = [f"{name} {files} {revision}".strip() for name in public]
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m page.publish", description=__doc__.partition("\n")[0])
    parser.add_argument("space", help='Hub id of the Space, "user/name"; it is created if need be')
    parser.add_argument("--models", help="namespace on the Hub, or namespace@revision, to take the models from")
    parser.add_argument("--private", action="store_true", help="make it private if it is created")
    parser.add_argument("--static", action="store_true", help="files only: a page that needs no server")
    try:
        print(publish(**vars(parser.parse_args(arguments))))
    except (ValueError, OSError, RuntimeError, httpx2.HTTPError) as error:
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
