"""Models from a namespace on the Hub when it answers in time, else those that came with the page.

`from_pretrained` waits for a Hub that is away, 23 seconds to over 6 minutes. A page must not. The Hub gets two seconds
to show that it is there. All that it sends has one deadline, and no file may be larger than it was announced. What came
is shown only if it is a model that every tab can show.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, TimeoutError
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np
import safetensors
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from models.history import EPOCHS_FILE, TRAINING_FILE
from models.hub import INVALID_TOKEN, one_line, rejects_token
from models.index import repository_name

from .catalog import CARD_FILE, CONFIG_FILE, ROOT, WEIGHTS_FILE, ShownModel, describe, hashes
from .labels import ATTRIBUTES_FILE

# A Hub that is there answers a request for a file's headers in a fraction of a second; a name may not even resolve.
PROBE_SECONDS, PROBE_DEADLINE = 2.0, 3.0

# For all files of all models, 45 MB; the page starts after it. And for those of a model that may be missing.
DEADLINE, EXTRAS_DEADLINE = 60.0, 10.0

# The most bytes of each file: several times what ours have.
NEEDED = {CONFIG_FILE: 100_000, WEIGHTS_FILE: 100_000_000}
EXTRAS = {ATTRIBUTES_FILE: 1_000_000, CARD_FILE: 200_000, TRAINING_FILE: 1_000_000, EPOCHS_FILE: 30_000_000}

# The layers of the decoders that a browser can compute, by their architecture; written by export.py beside it.
DECODERS = ROOT / "page/front/kernel/decoders.json"

# The most characters of a reason, which is shown at the foot of the page.
MOST_CHARACTERS = 200

Result = TypeVar("Result")


def from_hub(bundled: Mapping[str, ShownModel], hub: str) -> dict[str, ShownModel]:
    """The Hub's models by the names of their folders, and the bundled model where the Hub has none.

    Args:
        hub: "namespace" or "namespace@revision".
    """
    namespace, _, revision = hub.partition("@")
    end = time.monotonic() + DEADLINE
    pulls = {
        name: _in_thread(_pull_or_say_why, repository_name(namespace, name), revision or None, own, end)
        for name, own in bundled.items()
    }
    shown = {}
    for name, own in bundled.items():
        try:
            found = pulls[name].result(timeout=max(0.0, end - time.monotonic()))
        except TimeoutError:
            found = f"{repository_name(namespace, name)}: it took more than {DEADLINE:.0f} s"
        shown[name] = replace(own, origin=f"{own.origin} ({found})") if isinstance(found, str) else found
    return shown


def _pull_or_say_why(repository: str, revision: str | None, like: ShownModel, end: float) -> ShownModel | str:
    """The model, or why there is none.

    A stranger's files can make the code that reads them fail in any way. The page starts all the same.

    Args:
        like: the model in whose place it would be shown.
        end: when it must have come.
    """
    try:
        folder, note = _pull(repository, revision, end)
        found = describe(folder, f"{repository} at {folder.name[:7]}{note}")
        check_fits(found, like)
        return found
    except RepositoryNotFoundError:
        reason = "there is no such model on the Hub"
    except RevisionNotFoundError:
        reason = f"it has no revision {revision}"
    except RemoteEntryNotFoundError:
        reason = f"it lacks {' or '.join(NEEDED)}"
    except BaseException as error:  # Also the panics of libraries that are written in Rust.
        reason = one_line(error)[:MOST_CHARACTERS]
    return f"{repository}: {reason}"


def check_fits(found: ShownModel, like: ShownModel) -> None:
    """Make sure that every tab, and every browser, can show a model in the place of another one.

    Raises:
        ValueError: it is of another kind, its latents are not those that it would share, or its weights lack some or
            are no numbers.
    """
    if found.kind != like.kind:
        raise ValueError(f"it is of the kind {found.kind[:60]}, not {like.kind}")
    for what, its, ours in (
        ("bits", found.discrete_size, like.discrete_size),
        ("attributes", len(found.attributes), len(like.attributes)),
    ):
        if bool(its) != bool(ours):
            raise ValueError(f"it has {its} {what}, and the bundled model {ours}")
    # The experiment gives several autoencoders the same latents.
    if found.encodes and found.latent_size != like.latent_size:
        raise ValueError(
            f"its latents have {found.latent_size} numbers, and those of other autoencoders {like.latent_size}"
        )
    layers = json.loads(DECODERS.read_text(encoding="utf-8")).get(found.architecture, [])
    if missing := [layer["name"] for layer in layers if f"{layer['name']}.weight" not in found.shapes]:
        raise ValueError(f"its weights lack {missing[0]}.weight")
    with safetensors.safe_open(found.folder / WEIGHTS_FILE, "numpy") as weights:
        for name in found.shapes:
            # NumPy has no bfloat16; of what comes so, each browser finds out by itself.
            if weights.get_slice(name).get_dtype() != "BF16" and not np.isfinite(weights.get_tensor(name)).all():
                raise ValueError(f"its weights hold values that are no numbers, in {name[:60]}")


def _pull(repository: str, revision: str | None, end: float) -> tuple[Path, str]:
    """The folder of the model's files in the cache, and what is to be said of how they came."""
    try:
        url = hf_hub_url(repository, WEIGHTS_FILE, revision=revision)
        probed = _in_thread(get_hf_file_metadata, url, None, PROBE_SECONDS).result(timeout=PROBE_DEADLINE)
        if probed.commit_hash is None:  # As a hotel's login page does, for any address.
            raise OSError("what answers there is no Hub")
    except (httpx2.HTTPError, OSError) as error:
        is_refused = isinstance(error, HfHubHTTPError) and rejects_token(error)
        is_missing = isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError))
        if is_missing and not is_refused:
            raise
        path = try_to_load_from_cache(repository, WEIGHTS_FILE, revision=revision)
        if not isinstance(path, str):
            raise OSError(INVALID_TOKEN if is_refused else f"the Hub is away, {one_line(error)}") from error
        return Path(path).parent, f", cached ({'the token is invalid' if is_refused else 'the Hub is away'})"
    # Resolves the revision and remembers it for a start without the Hub. What follows names the commit, so that all
    # files are of one state, and nothing is asked about files that are cached.
    folder = _fetch(repository, CONFIG_FILE, revision, end).parent
    weights = partial(_fetch, repository, WEIGHTS_FILE, folder.name, end)
    if _is_damaged(weights()) and _is_damaged(weights(force_download=True)):
        raise ValueError(f"its {WEIGHTS_FILE} is not what the Hub announced")

    def fetch_extras() -> None:
        for name in EXTRAS:
            with suppress(RemoteEntryNotFoundError):  # As with models made before there was any.
                _fetch(repository, name, folder.name, end)

    try:
        _in_thread(fetch_extras).result(timeout=EXTRAS_DEADLINE)
    except Exception as error:
        return folder, f", without its history: {one_line(error)[:MOST_CHARACTERS]}"
    return folder, ""


def _is_damaged(path: Path) -> bool:
    """Whether a large file in the Hub's cache has another SHA-256 than that by which the cache names it.

    The Hub's client compares sizes only.
    """
    name = path.resolve().name
    hashes.cache_clear()
    return bool(re.fullmatch("[0-9a-f]{64}", name)) and hashes(path).whole != name


def _fetch(repository: str, name: str, revision: str | None, end: float, **options: Any) -> Path:
    """Download a file, unless it is cached already.

    Raises:
        ValueError: it is too large, goes on after its end, or takes too long.
    """
    most = (NEEDED | EXTRAS)[name]

    class Watched(tqdm):
        """A progress bar that shows nothing: the client tells it what comes, and hears what it raises."""

        def __init__(self, *arguments: Any, **settings: Any):
            super().__init__(*arguments, **{**settings, "disable": True})
            self.size, self.come = settings.get("total") or most, settings.get("initial", 0)
            if self.size > most:
                raise ValueError(f"its {name} has {self.size:,} bytes, and the page takes at most {most:,}")

        def update(self, n: float | None = 1) -> bool | None:
            self.come += n or 0
            if self.come > self.size:
                raise ValueError(f"its {name} goes on after the {self.size:,} bytes that it may have")
            if time.monotonic() > end:
                raise ValueError(f"its files took more than {DEADLINE:.0f} s")
            return super().update(n)

    return Path(hf_hub_download(repository, name, revision=revision, tqdm_class=Watched, **options))


def _in_thread(function: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Start a function that may never return in a daemon thread; an executor's threads would be waited for when the
    process ends."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # Whatever it is, it belongs to whoever asks for the result.
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
