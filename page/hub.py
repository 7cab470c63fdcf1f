"""Models for a page: from a namespace on the Hub when it answers, else from a folder that came with the page.

`from_pretrained` waits for a Hub that is away, 23 seconds to over 6 minutes. A page must not: the Hub gets two
seconds to show that it is there, and what it then sends is used only if it is what it claims to be.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, TimeoutError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import httpx2
import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from models import FaceModel, load
from models.history import EPOCHS_FILE, TRAINING_FILE, History, load_history
from models.images import IMAGE_SIZE
from models.index import repository_name
from models.loading import DamagedDownload

from .labels import ATTRIBUTES_FILE, read_areas

# A Hub that is there answers a request for a file's headers in a fraction of a second.
PROBE_SECONDS = 2.0

# For a probe with everything around it, such as a name that does not resolve.
PROBE_DEADLINE = 3.0

# For 9 MB from a Hub that has just answered.
DOWNLOAD_DEADLINE = 60.0

# For the 1.5 MB of a model's history after that.
HISTORY_DEADLINE = 10.0

# Of each file of a model: several times what ours have.
MOST_BYTES = 100_000_000

# Of a reason, which is shown at the foot of the page.
MOST_CHARACTERS = 200

Result = TypeVar("Result")


@dataclass(frozen=True)
class LoadedModel:
    """A model and where it came from.

    Attributes:
        folder: of its files.
        model: in eval mode, on the CPU.
        origin: a phrase for people, such as "user/latent-faces-gan at 0123456"; plain text, in parts a stranger's.
        history: of its training. None where there is none, or none that could be had in time: another model's, such
            as the bundled one's, would show faces that this model never made.
        areas: how well its attributes work, of those of which that was measured.
    """

    folder: Path
    model: FaceModel
    origin: str
    history: History | None
    areas: Mapping[str, float] = field(default_factory=dict)


def load_models(names: Iterable[str], folder: Path, hub: str | None = None) -> dict[str, LoadedModel]:
    """Load models side by side.

    Args:
        names: of their folders.
        folder: holds a bundled model under each name.
        hub: "namespace" or "namespace@revision"; None for the bundled models.

    Returns:
        The models by name, bundled wherever the Hub had none to offer.
    """
    bundled = {name: _load_folder(folder / name, "bundled") for name in names}
    if not hub:
        return bundled
    namespace, _, revision = hub.partition("@")
    pulls = {
        name: _in_thread(_pull_or_none, repository_name(namespace, name), revision or None, own.model)
        for name, own in bundled.items()
    }
    loaded = {}
    for name, pull in pulls.items():
        found = pull.result()
        if isinstance(found, str):
            found = replace(bundled[name], origin=f"{bundled[name].origin} ({found})")
        loaded[name] = found
    return loaded


def _load_folder(folder: Path, origin: str) -> LoadedModel:
    loaded = _with_history(folder, load(folder), origin, lambda: load_history(folder))
    return replace(loaded, areas=read_areas(folder / ATTRIBUTES_FILE))


def _with_history(folder: Path, model: FaceModel, origin: str, load: Callable[[], History | None]) -> LoadedModel:
    """A model is worth showing without its history, whatever keeps that away."""
    try:
        return LoadedModel(folder, model, origin, load())
    except RemoteEntryNotFoundError:  # As with models made before there was any.
        return LoadedModel(folder, model, origin, None)
    except Exception as error:
        return LoadedModel(folder, model, f"{origin}, without its history: {_reason(error)}", None)


def _pull_or_none(repository: str, revision: str | None, like: FaceModel) -> LoadedModel | str:
    """The model, or the reason why there is none.

    What a stranger's files can do to the code that reads them has no end of names, and none of them may keep the page
    from its visitors: whatever goes wrong is a reason.

    Args:
        like: the model in whose place it would be shown.
    """
    try:
        found = _pull(repository, revision)
        _check_fits(found.model, like)
        return found
    except RepositoryNotFoundError:
        return f"there is no {repository} on the Hub"
    except RevisionNotFoundError:
        return f"{repository} has no revision {revision}"
    except RemoteEntryNotFoundError:
        return f"{repository} lacks {constants.CONFIG_NAME} or {constants.SAFETENSORS_SINGLE_FILE}"
    except TimeoutError:
        return f"{repository} took more than {DOWNLOAD_DEADLINE:.0f} s"
    except ValueError as error:
        return _reason(error)
    except BaseException as error:  # Also the panics of libraries that are written in Rust.
        return f"{repository}: {_reason(error)}"


def _check_fits(model: FaceModel, like: FaceModel) -> None:
    """Make sure that every tab can show a model in the place of another one.

    Raises:
        ValueError: it is of another kind, its latents are not those that it would share, or it draws no faces.
    """
    if type(model) is not type(like):
        raise ValueError(f"the model there is of the kind {type(model).__name__}, not {type(like).__name__}")
    if bool(model.discrete_size) != bool(like.discrete_size):
        raise ValueError(
            f"its latents have {model.discrete_size} bits; those of the bundled model {like.discrete_size}"
        )
    if bool(model.attributes) != bool(like.attributes):
        raise ValueError(f"it knows {len(model.attributes)} attributes, the bundled model {len(like.attributes)}")
    # The experiment gives several autoencoders the same latents.
    if model.encodes and model.latent_size != like.latent_size:
        raise ValueError(
            f"its latents have {model.latent_size} numbers; those of other autoencoders {like.latent_size}"
        )
    with torch.inference_mode():
        faces = model.decode(model.sample_latent(2, seed=0))
        if faces.shape != (2, 3, IMAGE_SIZE, IMAGE_SIZE) or not faces.isfinite().all():
            raise ValueError("what it draws are no pictures")
        if model.encodes and not model.encode(faces).isfinite().all():
            raise ValueError("what it makes of pictures are no numbers")
        moved = model.with_attributes(model.sample_latent(1, seed=0), dict.fromkeys(model.attributes, 1.0))
        if not moved.isfinite().all():
            raise ValueError("what it makes of attributes are no numbers")


def _pull(repository: str, revision: str | None) -> LoadedModel:
    try:
        url = hf_hub_url(repository, constants.SAFETENSORS_SINGLE_FILE, revision=revision)
        metadata = _within(PROBE_DEADLINE, lambda: get_hf_file_metadata(url, timeout=PROBE_SECONDS))
        if metadata.commit_hash is None:  # As a hotel's login page does, for any address.
            raise OSError("what answers there is no Hub")
        if (metadata.size or 0) > MOST_BYTES:
            raise ValueError(f"its weights have {metadata.size:,} bytes, and the page takes at most {MOST_BYTES:,}")
    except (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError):
        raise
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError) as error:
        return _from_cache(repository, revision, error)

    def download() -> tuple[Path, FaceModel]:
        # Resolves the revision and remembers it for a start without the Hub. What follows names the commit, so that
        # both files are of one state, and nothing is asked about files that are cached.
        folder = _fetch(repository, constants.CONFIG_NAME, revision).parent
        try:
            model = load(repository, revision=folder.name)
        except DamagedDownload:
            model = load(repository, revision=folder.name, force_download=True)
        return folder, model

    def download_history() -> History | None:
        paths = [_fetch(repository, name, commit) for name in (TRAINING_FILE, EPOCHS_FILE)]
        return load_history(paths[0].parent)

    folder, model = _within(DOWNLOAD_DEADLINE, download)
    commit = folder.name
    # With a deadline of its own: a Hub that breaks off here has the model shown nevertheless.
    origin = f"{repository} at {commit[:7]}"
    loaded = _with_history(folder, model, origin, lambda: _within(HISTORY_DEADLINE, download_history))
    if model.attributes:
        with suppress(Exception):  # Their order is then the model's own.
            path = _within(HISTORY_DEADLINE, lambda: _fetch(repository, ATTRIBUTES_FILE, commit))
            return replace(loaded, areas=read_areas(path))
    return loaded


def _fetch(repository: str, name: str, revision: str | None) -> Path:
    """Download a file unless it is too large, or cached already."""
    cached = try_to_load_from_cache(repository, name, revision=revision)
    # A revision other than a commit may have moved on.
    if isinstance(cached, str) and Path(cached).parent.name == revision:
        return Path(cached)
    size = get_hf_file_metadata(hf_hub_url(repository, name, revision=revision), timeout=PROBE_SECONDS).size
    if (size or 0) > MOST_BYTES:
        raise ValueError(f"{name} has {size:,} bytes, and the page takes at most {MOST_BYTES:,}")
    return Path(hf_hub_download(repository, name, revision=revision))


def _from_cache(repository: str, revision: str | None, absence: Exception) -> LoadedModel:
    path = try_to_load_from_cache(repository, constants.SAFETENSORS_SINGLE_FILE, revision=revision)
    if not isinstance(path, str):
        raise OSError(f"the Hub is away, {_reason(absence)}") from absence
    model = load(repository, revision=revision, local_files_only=True)
    folder = Path(path).parent
    origin = f"{repository} at {folder.name[:7]}, cached (the Hub is away)"
    loaded = _with_history(folder, model, origin, lambda: load_history(folder))
    return replace(loaded, areas=read_areas(folder / ATTRIBUTES_FILE))


def _within(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function that may never return.

    Raises:
        TimeoutError: it has not returned in time; its thread is left behind and does not keep the process alive.
    """
    return _in_thread(function).result(timeout=seconds)


def _in_thread(function: Callable[..., Result], *arguments) -> Future[Result]:
    """Start a function in a daemon thread; an executor's threads would be waited for when the process ends."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # Whatever it is, it belongs to whoever asks for the result.
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:MOST_CHARACTERS] or type(error).__name__
