"""Create or update the Space from this checkout: python -m page.publish user/latent-faces

With --static it is a page of files only, which needs no server.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, RepoCard
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import filter_repo_objects

from models.hub import check_can_push, one_line, without_password
from models.index import MODEL_FILES, read_index, repository_name

CHECKOUT = Path(__file__).parent.parent

# A Space gets these files and those that the browser runs, if git tracks them.
SPACE_FILES = (
    *("app.py", "requirements.txt", "README.md", "LICENSE"),
    *("models/*.py", "page/*.py", "page/tabs/*.py", "page/examples/*.png"),
    "weights/index.json",
    *(f"weights/*/{name}" for name in MODEL_FILES),
    *("docs/report.md", "docs/results/out-of-distribution.json"),
)

# Files that an earlier commit may have left, of either kind of Space.
SPACE_PATTERNS = [
    *("*.py", "requirements.txt", "LICENSE", "models/*", "page/*", "docs/*"),
    *("index.html", "page.json", "report.txt", "front/*", "examples/*", "epochs/*", "weights/*"),
]

Files = Mapping[str, Path | bytes]


def publish(space: str, models: str | None = None, private: bool = False, static: bool = False) -> str:
    """Create or update a Space in one commit. Its files are listed before the first is sent.

    Args:
        space: its Hub id, "user/name".
        models: "namespace" or "namespace@revision" on the Hub, to show its models in place of the bundled ones.
        private: if it is created, make it private.
        static: make it a page of files only, without a server.

    Returns:
        Its address.

    Raises:
        ValueError: it cannot be pushed there, or there are no such models.
        Exception: the Hub refuses, or cannot be reached, or git cannot tell which files it tracks.
    """
    check_can_push(space)
    api, found = HfApi(), _find_models(models) if models else []
    files = _static_files(space, models) if static else {name: CHECKOUT / name for name in own_files()}
    files = {**files, "README.md": str(_front_page(found, models, static)).encode()}
    sizes = (len(content) if isinstance(content, bytes) else content.stat().st_size for content in files.values())
    print(f"{space} gets {len(files)} files, {sum(sizes) / 1e6:.1f} MB:", *sorted(files), sep="\n  ")
    sdk = "static" if static else "gradio"
    space = api.create_repo(space, repo_type="space", space_sdk=sdk, private=private or None, exist_ok=True).repo_id
    if models and not static:
        api.add_space_variable(space, "LATENT_FACES_HUB", models)
    elif "LATENT_FACES_HUB" in api.get_space_variables(space):
        api.delete_space_variable(space, "LATENT_FACES_HUB")
    there = filter_repo_objects(api.list_repo_files(space, repo_type="space"), allow_patterns=SPACE_PATTERNS)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(name, content) for name, content in files.items()),
        *(CommitOperationDelete(name) for name in there if name not in files),
    ]
    api.create_commit(space, operations, commit_message="Update the Space", repo_type="space")
    return f"{without_password(api.endpoint)}/spaces/{space}"


def _static_files(space: str, models: str | None) -> Files:
    """The files of the static page, without those of the checkout that may not be published."""
    # On a Space with a process the Hub sets these.
    host = f"{re.sub('[^a-z0-9]+', '-', space.lower())}.static.hf.space"
    os.environ.update(LATENT_FACES_HUB=models or "", SPACE_ID=space, SPACE_HOST=host)
    from .site import static_files

    own = set(own_files())
    is_copy = lambda place: place.startswith(("front/", "examples/"))
    return {place: content for place, content in static_files().items() if f"page/{place}" in own or not is_copy(place)}


def own_files() -> list[str]:
    """The files of the checkout that may be published: those on the list that are no links and that git tracks.

    Outside of git the list alone decides. Files on the list that are left out are printed.
    """
    from .site import is_public, is_within  # Takes seconds to import.

    front = CHECKOUT / "page/front"
    paths = {path for kind in SPACE_FILES for path in CHECKOUT.glob(kind)}
    paths |= {path for path in front.rglob("*") if is_public(path.relative_to(front)) and not path.is_dir()}
    names = {path.relative_to(CHECKOUT).as_posix() for path in paths} - {"page/publish.py"}
    tracked = names
    if (CHECKOUT / ".git").exists():
        listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=CHECKOUT)
        tracked = {*os.fsdecode(listed).split("\0")}
    own = {name for name in names & tracked if (CHECKOUT / name).is_file() and is_within(CHECKOUT, name)}
    if names - own:
        print(f"Left out, because they are links or git does not track them: {', '.join(sorted(names - own))}")
    return sorted(own)


def _find_models(models: str) -> list[ModelInfo]:
    """The models of "namespace" or "namespace@revision" that are on the Hub."""
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
    """The README with the kind of Space and its models, as the Hub reads them. It fetches public ones when it builds."""
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
    except Exception as error:  # Of the Hub, of git, of README's YAML.
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
