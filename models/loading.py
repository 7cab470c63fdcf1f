"""A saved model's files, from a folder or the Hub, checked before anything is built from them.

Whoever loads a model by name loads a stranger's files: nothing in them may take more time or memory than a model of
theirs would, and whatever is wrong with them is a ValueError of one sentence.
"""

import hashlib
import inspect
import json
import math
import os
import re
import types
import typing
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import safetensors
import safetensors.torch
import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from torch import nn
from torch.overrides import TorchFunctionMode

from .hub import INVALID_TOKEN, one_line, rejects_token
from .index import bundled

CONFIG_FILE, WEIGHTS_FILE = constants.CONFIG_NAME, constants.SAFETENSORS_SINGLE_FILE

# Ours take some 200 bytes, and the headers of our weights some 3 kB.
MOST_CONFIG_BYTES, MOST_HEADER_BYTES = 100_000, 1_000_000

# What is named "weights/gan" is a folder that is not here, not the model of somebody called weights.
_FOLDERS = {"checkpoints", "models", "outputs", "runs", "weights"}

Network = typing.TypeVar("Network", bound=nn.Module)

# In the words of a config.json.
_JSON_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", type(None): "null"}


class DamagedDownload(ValueError):
    """A file whose contents are not those that the Hub announced."""


@dataclass(frozen=True)
class Location:
    """Where a model's files are, as `locate` finds it: a folder, or a commit of a repository on the Hub.

    Attributes:
        name: what it was asked for by.
        commit: of the repository, which the revision is now.
        revision: this and what follows are `from_pretrained`'s arguments.
    """

    name: str
    folder: Path | None = None
    commit: str | None = None
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False

    def file(self, name: str) -> Path:
        """The path of one of the model's files, downloaded where it is on the Hub.

        Raises:
            ValueError: there is no such file.
            OSError: the Hub cannot be reached, and the file is not cached.
        """
        if self.folder is not None:
            if not (self.folder / name).is_file():
                if (self.folder / "model" / name).is_file():
                    raise ValueError(f"{self.name} is a run: its model is {self.name.rstrip('/')}/model")
                raise ValueError(_lacks(self.name, name))
            return self.folder / name
        try:
            path = hf_hub_download(
                self.name,
                name,
                revision=self.commit,
                token=self.token,
                cache_dir=self.cache_dir,
                local_files_only=self.local_files_only,
                force_download=self.force_download,
            )
        except (HfHubHTTPError, httpx2.HTTPError, LocalEntryNotFoundError) as error:
            raise _in_words(error, self, name) from error
        return Path(path)

    def remember(self, path: Path) -> None:
        """Have the cache, of which this is a file, tell the revision's commit when the Hub is away.

        The Hub's client does so itself where it is asked for a branch, but before all files are there.
        """
        revision = self.revision or "main"
        if self.commit not in (None, revision):
            reference = path.parents[2] / "refs" / revision
            with suppress(OSError):  # A cache that may only be read.
                reference.parent.mkdir(parents=True, exist_ok=True)
                reference.write_text(self.commit)


def locate(name: str | Path, **options: Any) -> Location:
    """The folder of this name, else the bundled model, else the one on the Hub, at the commit of its revision.

    Args:
        options: `from_pretrained`'s, by their names.

    Raises:
        ValueError: there is no such model or revision.
        OSError: the Hub cannot be reached, and the model is not cached.
    """
    shown, folder, own = str(name), os.path.expanduser(name), bundled()
    if os.path.isdir(folder):
        return Location(shown, Path(folder))
    if shown in own:
        return Location(shown, own[shown])
    location = Location(shown, **options)
    if isinstance(name, Path) or not _may_be_on_the_hub(location):
        names = f", nor of a bundled one ({', '.join(own)})" if own else ""
        raise ValueError(f"{shown[:300]} is neither a folder here nor the name of a model on the Hub, user/name{names}")
    try:
        return _at_its_commit(location)
    except (HfHubHTTPError, httpx2.HTTPError, LocalEntryNotFoundError) as error:
        raise _in_words(error, location, CONFIG_FILE) from error


def _may_be_on_the_hub(location: Location) -> bool:
    try:
        validate_repo_id(location.name)
    except HFValidationError:
        return False
    owner, slash, _ = location.name.partition("/")
    # Whoever asks for a revision means the Hub.
    return bool(slash) and (owner not in _FOLDERS or location.revision is not None)


def _at_its_commit(location: Location) -> Location:
    """The same with its revision's commit, so that all files are of one, whatever is pushed meanwhile.

    The Hub's own client goes on asking a Hub that is away for half a minute; here what is cached is taken at once.
    """
    path = try_to_load_from_cache(location.name, CONFIG_FILE, location.cache_dir, location.revision)
    cached = Path(path).parent.name if isinstance(path, str) else None
    if location.local_files_only or constants.is_offline_mode():
        if cached is None:
            raise LocalEntryNotFoundError("offline")
        return replace(location, commit=cached)
    if cached and cached == location.revision:  # A commit does not move on.
        return replace(location, commit=cached)
    try:
        commit, token = _ask_for_commit(location, patiently=cached is None)
    except (HfHubHTTPError, httpx2.TransportError) as error:
        if isinstance(error, HfHubHTTPError) and not _is_busy(error):
            raise
        commit = None
    if commit is not None:  # There is none where a hotel's login page answers for any address.
        return replace(location, commit=commit, token=token)
    if cached is None or location.force_download:
        raise LocalEntryNotFoundError("away")
    return replace(location, commit=cached, local_files_only=True)


def _ask_for_commit(location: Location, patiently: bool) -> tuple[str | None, str | bool | None]:
    """The commit that a revision stands for, and the token that the Hub takes, False where it rejects the one given."""
    url = hf_hub_url(location.name, CONFIG_FILE, revision=location.revision)
    ask = partial(get_hf_file_metadata, url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    try:
        return ask(token=location.token).commit_hash, location.token
    except HfHubHTTPError as error:
        if patiently and _is_busy(error):
            return ask(token=location.token, retry_on_errors=True).commit_hash, location.token
        if not rejects_token(error):
            raise
        try:
            commit = ask(token=False).commit_hash
        except HfHubHTTPError:
            raise error from None
        # Told to the caller of from_pretrained.
        warnings.warn(f"{INVALID_TOKEN}. {location.name} is public and is loaded without it.", stacklevel=5)
        return commit, False


def _is_busy(error: HfHubHTTPError) -> bool:
    return error.response.status_code == 429 or error.response.status_code >= 500


def _in_words(error: Exception, location: Location, file: str) -> Exception:
    """What to raise in place of an error of the Hub's client."""
    name = location.name
    if isinstance(error, GatedRepoError):
        return ValueError(f"{name} is gated: ask for access on its page on the Hub, and log in")
    if isinstance(error, RevisionNotFoundError):
        return ValueError(f"{name} has no revision {location.revision}")
    if isinstance(error, RemoteEntryNotFoundError):
        return ValueError(_lacks(name, file))
    if isinstance(error, LocalEntryNotFoundError):
        why = "may not be asked" if location.local_files_only else "cannot be reached"
        return LocalEntryNotFoundError(
            f"there is no folder {name} here, {file} of {name} is not cached, and the Hub {why}"
        )
    if isinstance(error, HfHubHTTPError):
        if rejects_token(error):
            return ValueError(f"{INVALID_TOKEN}; without it there is no {name} on the Hub")
        if isinstance(error, RepositoryNotFoundError) or error.response.status_code == 401:
            return ValueError(
                f"there is no {name} on the Hub, or it is private and this token may not read it; nor is there a folder of "
                "that name here"
            )
        return OSError(f"the Hub does not serve {name}: {one_line(error)}")
    return OSError(f"{file} of {name} cannot be downloaded: {one_line(error)}")


def read_config(location: Location) -> dict[str, Any]:
    """The object in a model's config.json.

    Raises:
        ValueError, OSError: as `Location.file`, or it is no JSON object.
    """
    path = location.file(CONFIG_FILE)
    if path.stat().st_size > MOST_CONFIG_BYTES:
        raise ValueError(
            f"{CONFIG_FILE} in {location.name} has {path.stat().st_size:,} bytes: it is none of these models'"
        )
    try:
        config = json.loads(path.read_bytes().decode("utf-8-sig"))  # Some editors begin a file with a mark.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{CONFIG_FILE} in {location.name} is damaged: it is no JSON") from error
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG_FILE} in {location.name} is damaged: it holds no JSON object")
    return config


def check_arguments(build: Callable[..., Any], arguments: dict[str, Any], where: str) -> None:
    """Compare a config's values with what a constructor takes.

    Raises:
        ValueError: one is unknown, missing, or of another type. (Whether it makes sense is the constructor's to say.)
    """
    parameters = dict(inspect.signature(build).parameters)
    kinds = typing.get_type_hints(build.__init__ if isinstance(build, type) else build)  # type: ignore[misc]
    if unknown := sorted(map(_shown, arguments.keys() - parameters.keys())):
        names = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        raise ValueError(f"{where} is of another model, since this one knows no {names}")
    if missing := sorted(parameters.keys() - arguments.keys()):
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    for name, value in arguments.items():
        if not _fits(value, kinds[name]):
            raise ValueError(f"{where} has {name} {_shown(value)}: it must be {_described(kinds[name])}")


def build_empty(build: Callable[..., Network], arguments: dict[str, Any], where: str) -> Network:
    """The network without memory for its weights, however large a config wants them.

    Raises:
        ValueError: no such network can be.
    """
    try:
        with torch.device("meta"), _Uninitialised():
            return build(**arguments)
    except (RuntimeError, OverflowError, TypeError) as error:  # Sizes past 64 bits, of which PyTorch says little.
        sizes = [f"{name} {_shown(value)}" for name, value in arguments.items() if type(value) in (int, list, tuple)]
        raise ValueError(f"{where} describes no network that can be, with {', '.join(sizes)}") from error


class _Uninitialised(TorchFunctionMode):
    """New weights stay as they are made, since those of a file take their place. (On the meta device, drawing them
    would import PyTorch's compiler, which takes a second.)"""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def load_weights(network: nn.Module, path: Path, where: str, wanted_by: str) -> None:
    """Give a network without memory the weights in a file, as float32, once they are known to be its own.

    Raises:
        ValueError: they do not fit to the last name and shape, are no numbers, or the file is damaged.
    """
    wanted = network.state_dict()
    try:
        with open(path, "rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > MOST_HEADER_BYTES:
            raise ValueError(f"the header alone has {header_bytes:,} bytes")
        with safetensors.safe_open(path, "pt") as header:
            found = {name: header.get_slice(name) for name in header.keys()}  # noqa: SIM118 (it is no dictionary)
            problems = []
            for word, names in (("unknown", found.keys() - wanted.keys()), ("missing", wanted.keys() - found.keys())):
                if names:
                    others = f" and {len(names) - 1} more" * (len(names) > 1)
                    problems.append(f"{word} {_shown(min(names))}{others}")
            for name, tensor in wanted.items():
                if name in found:
                    shape, kind = found[name].get_shape(), found[name].get_dtype()
                    if list(shape) != list(tensor.shape):
                        problems.append(f"size mismatch of {name}: {shape} instead of {list(tensor.shape)}")
                    elif kind not in (("F16", "BF16", "F32", "F64") if tensor.is_floating_point() else ("I64",)):
                        problems.append(f"{name} is of type {kind}")
            if problems:
                raise ValueError(f"{'; '.join(problems[:3])}{f' and {len(problems) - 3} more' * (len(problems) > 3)}")
        tensors = safetensors.torch.load_file(path)
        tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds values that are no numbers")
            if name.endswith("running_var") and (tensor < 0).any():
                raise ValueError(f"{name} holds a negative variance")
    except (RuntimeError, ValueError, safetensors.SafetensorError, OverflowError) as error:
        raise ValueError(f"the weights in {where} do not fit {wanted_by}: {one_line(error)}") from error
    network.load_state_dict(tensors, strict=True, assign=True)


def check_download(path: Path) -> None:
    """Compare a large file in the Hub's cache with its SHA-256, by which the cache names it.

    The client itself compares sizes only, so that a file with wrong bytes would load in silence.
    """
    name = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", name):  # Not where links are not to be had: there files keep their own names.
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != name:
                raise DamagedDownload(f"{path.name} is damaged: load it again with force_download=True")


def _lacks(location: str, name: str) -> str:
    if name == WEIGHTS_FILE:
        return f"{location} holds no {name}, the only format of weights that is read"
    return f"{location} holds no {name}: it is no saved model"


def _fits(value: Any, kind: Any) -> bool:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if origin is tuple and options[-1] is ...:
        return isinstance(value, (list, tuple)) and all(_fits(entry, options[0]) for entry in value)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and len(value) == len(options) and all(map(_fits, value, options))
    if kind is float:
        return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)
    # Types as they are: true is a whole number to Python, and to nobody else.
    return type(value) is kind


def _described(kind: Any) -> str:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is tuple and options[-1] is ...:
        return f"a list, each of it {_described(options[0])}"
    if typing.get_origin(kind) is tuple:
        return f"{len(options)} of: {_described(options[0])}"
    return " or ".join(map(_described, options)) if options else _JSON_TYPES[kind]


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."
