"""A saved model's files, from a folder or the Hub, checked before anything is built from them.

The files may be a stranger's: none of them may cost more time or memory than a model of this library would, and whatever
is wrong with them is a ValueError of one sentence. PyTorch is imported when a network is built, not before.
"""

import hashlib
import inspect
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import safetensors
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .hub import INVALID_TOKEN, is_repository, one_line, rejects_token
from .index import bundled

if TYPE_CHECKING:
    from torch import nn

CONFIG_FILE, WEIGHTS_FILE = constants.CONFIG_NAME, constants.SAFETENSORS_SINGLE_FILE

# Our configs have some 200 bytes, and the headers of our weights some 3 kB.
MOST_CONFIG_BYTES, MOST_HEADER_BYTES = 100_000, 1_000_000

# "weights/gan" is a folder that is missing, not a model of a user called weights.
_FOLDERS = {"checkpoints", "models", "outputs", "runs", "weights"}

Network = TypeVar("Network", bound="nn.Module")


def find(
    name: str | Path,
    revision: str | None,
    token: str | bool | None,
    offline: bool,
    timeout: float | None = None,
    **options: Any,
) -> Callable[[str], Path]:
    """A function from the name of a model's file to its path, which downloads the file where it is on the Hub.

    The model is the folder of this name, else the bundled one, else the Hub's. All of the Hub's files are taken from one
    commit, whatever is pushed meanwhile. The Hub's own client tries for half a minute. This asks
    once, for `timeout` seconds, and then takes the cache; if `offline`, at once. The `options` are `hf_hub_download`'s:
    `cache_dir`, `force_download` and others.

    Raises:
        ValueError: there is no such model or revision; and by the function: no such file, or it is damaged.
        OSError: the Hub cannot be reached, and the model is not cached.
    """
    shown, folder, own = str(name), Path(os.path.expanduser(name)), bundled()
    revision = revision or None
    token = token.strip() if isinstance(token, str) else token  # It may be read from a file, with the end of its line.
    if folder.is_dir() or shown in own:
        return partial(_existing, folder if folder.is_dir() else own[shown], shown)
    # Whoever asks for a revision means the Hub.
    is_folder = isinstance(name, Path) or (revision is None and shown.partition("/")[0] in _FOLDERS)
    if is_folder or not is_repository(shown):
        names = f", a bundled model ({', '.join(own)})" if own else ""
        raise ValueError(f"there is no model {shown[:300]}: name a folder{names} or one on the Hub, user/name")
    options["cache_dir"] = options["cache_dir"] and os.path.expanduser(options["cache_dir"])
    cached = try_to_load_from_cache(shown, CONFIG_FILE, options["cache_dir"], revision)
    commit = Path(cached).parent.name if isinstance(cached, str) else None
    offline = offline or constants.is_offline_mode()
    with _errors_in_words(shown, CONFIG_FILE, revision):
        if not offline and (commit is None or commit != revision):  # A commit never changes.
            patiently = commit is None and timeout is None
            current, token = _ask_for_commit(shown, revision, token, timeout, patiently)
            commit, offline = current or commit, current is None
        if commit is None or (offline and options["force_download"]):
            raise LocalEntryNotFoundError("not cached")
    options |= {"revision": commit, "token": token, "local_files_only": offline}
    return partial(_download, shown, revision or "main", options)


def _existing(folder: Path, where: str, file: str) -> Path:
    if (folder / file).is_file():
        return folder / file
    if (folder / "model" / file).is_file():
        raise ValueError(f"{where} is a run: its model is {where.rstrip('/')}/model")
    raise ValueError(_lacks(where, file))


def _lacks(where: str, name: str) -> str:
    why = ", the only format of weights that is read" if name == WEIGHTS_FILE else ": it is no saved model"
    return f"{where} holds no {name}{why}"


def _download(name: str, revision: str, options: dict[str, Any], file: str) -> Path:
    with _errors_in_words(name, file, revision):
        path = Path(hf_hub_download(name, file, **options))
    _check_hash(path)
    # The revision's commit, for when the Hub cannot be reached. The Hub's client notes it only when it is asked for a
    # branch, and before all files are there; the weights come last.
    if file == WEIGHTS_FILE and options["revision"] != revision:
        reference = path.parents[2] / "refs" / revision
        with suppress(OSError):  # A cache that may only be read.
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(options["revision"])
    return path


def _ask_for_commit(
    name: str, revision: str | None, token: str | bool | None, timeout: float | None, patiently: bool
) -> tuple[str | None, str | bool | None]:
    """The commit of a revision, None where the Hub cannot be reached; and the token, False if the Hub rejects it."""
    url = hf_hub_url(name, CONFIG_FILE, revision=revision)
    ask = partial(get_hf_file_metadata, url, timeout=timeout or constants.HF_HUB_ETAG_TIMEOUT)
    try:
        # There is no commit in the login page of a hotel, which answers at any address.
        return ask(token=token).commit_hash, token
    except (httpx2.TransportError, HfHubHTTPError, UnicodeEncodeError) as error:
        if rejects_token(error):
            with suppress(HfHubHTTPError):
                commit = ask(token=False).commit_hash
                # Told to the caller of from_pretrained.
                warnings.warn(f"{INVALID_TOKEN}. {name} is public and is loaded without it.", stacklevel=5)
                return commit, False
        elif isinstance(error, httpx2.TransportError):
            return None, token
        elif error.response.status_code in (429, *range(500, 600)):  # It is busy.
            return ask(token=token, retry_on_errors=True).commit_hash if patiently else None, token
        raise


@contextmanager
def _errors_in_words(name: str, file: str, revision: str | None) -> Iterator[None]:
    """Raise the errors of the Hub's client as a ValueError or OSError of one sentence."""
    try:
        yield
    except (httpx2.HTTPError, LocalEntryNotFoundError, UnicodeEncodeError) as error:
        # Not `from error`: its text may hold the token.
        raise _in_words(error, name, file, revision) from None


def _in_words(error: Exception, name: str, file: str, revision: str | None) -> Exception:
    match error:
        case GatedRepoError():
            return ValueError(f"{name} is gated: ask for access on its page on the Hub, and log in")
        case RevisionNotFoundError():
            return ValueError(f"{name} has no revision {revision}")
        case RemoteEntryNotFoundError():
            return ValueError(_lacks(name, file))
        case LocalEntryNotFoundError():
            cause = f"{file} of {name} is not cached, and the Hub cannot be asked for it"
            return LocalEntryNotFoundError(f"there is no folder {name} here, {cause}")
        case _ if rejects_token(error):
            return ValueError(f"{INVALID_TOKEN}; without it there is no {name} on the Hub")
        case RepositoryNotFoundError():
            why = "or it is private and this token may not read it; nor is there a folder of that name here"
            return ValueError(f"there is no {name} on the Hub, {why}")
        case _:
            return OSError(f"{file} of {name} cannot be downloaded: {one_line(error)}")


def _check_hash(path: Path) -> None:
    """Compare a file in the Hub's cache with its hash, which is its name there: Git's, or of a large file the SHA-256.

    The Hub's client compares sizes only: wrong bytes would load unnoticed.
    """
    name, content = path.resolve().name, path.read_bytes()
    of_git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    expected = {40: of_git, 64: hashlib.sha256(content)}.get(len(name))
    # A cache without links keeps the files' own names.
    if expected is not None and expected.hexdigest() != name:
        raise ValueError(f"{path.name} is damaged: load it again with force_download=True")


def read_config(path: Path, where: str) -> dict[str, Any]:
    """The object in a model's config.json; a ValueError unless it holds one."""
    where = f"{CONFIG_FILE} in {where}"
    if path.stat().st_size > MOST_CONFIG_BYTES:
        raise ValueError(f"{where} has {path.stat().st_size:,} bytes: it belongs to another kind of model")
    try:
        config = json.loads(path.read_bytes().decode("utf-8-sig"))  # Some editors begin a file with a mark.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged: it is no JSON") from error
    if not isinstance(config, dict):
        raise ValueError(f"{where} is damaged: it holds no JSON object")
    return config


def build_empty(build: Callable[..., Network], config: dict[str, Any], where: str) -> Network:
    """The network that a config describes, without memory for its weights, whatever sizes it asks for.

    An argument that is unknown, missing or impossible is a ValueError.
    """
    import torch

    from .blocks import Uninitialised

    parameters = inspect.signature(build).parameters
    if unknown := sorted(config.keys() - parameters.keys()):
        raise ValueError(f"{where} has an unknown {', '.join(unknown)!r:.60}: it takes {', '.join(parameters)}")
    if missing := sorted(parameters.keys() - config.keys()):
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    try:
        with torch.device("meta"), Uninitialised():
            return build(**arguments)
    except (ValueError, RuntimeError, OverflowError, TypeError) as error:
        why = f"{one_line(error):.200}; {arguments!s:.200}"
        raise ValueError(f"{where} describes an impossible network: {why}") from error


def read_header(path: Path) -> dict[str, tuple[list[int], str]]:
    """The shape and the type of each tensor in a file of weights, by its name; a ValueError if the file is damaged."""
    with open(path, "rb") as file:
        start = file.read(40)
    if int.from_bytes(start[:8], "little") > MOST_HEADER_BYTES:
        remedy = ": git lfs pull fetches the file" if b"git-lfs" in start else ""
        raise ValueError(f"a file of weights does not begin with {start!r}{remedy}")
    try:
        with safetensors.safe_open(path, "numpy") as header:
            tensors = {name: header.get_slice(name) for name in header.keys()}  # noqa: SIM118 (it is no dictionary)
            return {name: (tensor.get_shape(), tensor.get_dtype()) for name, tensor in tensors.items()}
    except (safetensors.SafetensorError, OverflowError) as error:
        raise ValueError(one_line(error)) from error


def load_weights(network: "nn.Module", path: Path, where: str) -> None:
    """Give a network without memory the weights in a file, as float32; a ValueError unless they fit it.

    The file's header is compared with the network before any weight is read.
    """
    import safetensors.torch

    wanted = network.state_dict()
    try:
        found = read_header(path)
        if names := sorted(wanted.keys() ^ found.keys()):
            raise ValueError(f"{'missing' if names[0] in wanted else 'unknown'} {names[0]!r:.60}")
        for name, tensor in wanted.items():
            shape, kind = found[name]
            if shape != list(tensor.shape):
                raise ValueError(f"size mismatch of {name}: {shape} instead of {list(tensor.shape)}")
            if kind not in (("F16", "BF16", "F32", "F64") if tensor.is_floating_point() else ("I64",)):
                raise ValueError(f"{name} is of type {kind}")
        tensors = safetensors.torch.load_file(path)
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[name] = tensor = tensor.float()
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds values that are no numbers")
            if name.endswith("running_var") and (tensor < 0).any():
                raise ValueError(f"{name} holds a negative variance")
    except (RuntimeError, ValueError, safetensors.SafetensorError, OverflowError) as error:
        kind = type(network).__name__
        raise ValueError(
            f"the weights in {where} do not fit {kind} and its {CONFIG_FILE}: {one_line(error)}"
        ) from error
    network.load_state_dict(tensors, strict=True, assign=True)
