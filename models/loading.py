"""A saved model's files, from a folder or the Hub, checked before anything is built from them.

Whoever loads a model by name loads a stranger's files: nothing in them may take more time or memory than a model of
theirs would, and whatever is wrong with them is a ValueError of one sentence.
"""

import hashlib
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import safetensors
import safetensors.torch
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import nn
from torch.overrides import TorchFunctionMode

CONFIG_FILE, WEIGHTS_FILE = constants.CONFIG_NAME, constants.SAFETENSORS_SINGLE_FILE

# Ours take some 200 bytes, and the headers of our weights some 3 kB.
MOST_CONFIG_BYTES, MOST_HEADER_BYTES = 100_000, 1_000_000

Network = typing.TypeVar("Network", bound=nn.Module)

# In the words of a config.json.
_JSON_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", type(None): "null"}


class DamagedDownload(ValueError):
    """A file whose contents are not those that the Hub announced."""


@dataclass(frozen=True)
class Location:
    """A folder, or a model on the Hub; the attributes are `from_pretrained`'s arguments."""

    name: str
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False

    def file(self, name: str) -> Path:
        """The path of one of the model's files, downloaded where it is on the Hub.

        Raises:
            ValueError: there is no such model, revision or file.
            OSError: the Hub cannot be reached, and the file is not cached.
        """
        folder = Path(self.name).expanduser()
        if folder.is_dir():
            if not (folder / name).is_file():
                raise ValueError(_lacks(self.name, name))
            return folder / name
        if self.name.startswith((".", "/", "~")) or self.name.count("/") != 1 or "\\" in self.name:
            raise ValueError(f"{self.name} is neither a folder here nor the name of a model on the Hub, user/name")
        try:
            path = hf_hub_download(
                self.name,
                name,
                revision=self.revision,
                token=self.token,
                cache_dir=self.cache_dir,
                local_files_only=self.local_files_only,
                force_download=self.force_download,
            )
        except GatedRepoError as error:
            raise ValueError(f"{self.name} is gated: ask for access on its page on the Hub, and log in") from error
        except RepositoryNotFoundError as error:
            raise ValueError(_unknown(self.name)) from error
        except RevisionNotFoundError as error:
            raise ValueError(f"{self.name} has no revision {self.revision}") from error
        except RemoteEntryNotFoundError as error:
            raise ValueError(_lacks(self.name, name)) from error
        except HFValidationError as error:
            raise ValueError(f"{self.name} is no name of a model on the Hub: {one_line(error)}") from error
        except LocalEntryNotFoundError as error:
            if self.local_files_only:
                raise LocalEntryNotFoundError(
                    f"{name} of {self.name} is not cached, and the Hub may not be asked"
                ) from error
            raise LocalEntryNotFoundError(
                f"the Hub cannot be reached, and {name} of {self.name} is not cached"
            ) from error
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code == 401:
                raise ValueError(_unknown(self.name)) from error
            raise OSError(f"the Hub does not serve {self.name}: {one_line(error)}") from error
        except httpx2.HTTPError as error:
            raise OSError(f"{name} of {self.name} cannot be downloaded: {one_line(error)}") from error
        return Path(path)


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


def one_line(error: Exception) -> str:
    """What an error says, in one line of a length that people read."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _lacks(location: str, name: str) -> str:
    if name == WEIGHTS_FILE:
        return f"{location} holds no {name}, the only format of weights that is read"
    return f"{location} holds no {name}: it is no saved model"


def _unknown(location: str) -> str:
    return f"there is no {location} on the Hub, or it is private and this token may not read it"


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
