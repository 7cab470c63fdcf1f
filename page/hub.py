"""Models from a namespace on the Hub when it answers in time, else those that came with the page.

A page cannot wait for a Hub that is away or slow, or take whatever it sends. The Hub gets two seconds to show that it is
there. All that it sends has one deadline, and no file may be larger than it was announced. What came is shown only if it
is a model that every tab can show.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import safetensors
from huggingface_hub import constants, try_to_load_from_cache
from tqdm import tqdm

from models.history import EPOCHS_FILE, TRAINING_FILE
from models.hub import one_line
from models.index import repository_name
from models.loading import CONFIG_FILE, WEIGHTS_FILE, find

from .catalog import CARD_FILE, ROOT, ShownModel, describe
from .labels import ATTRIBUTES_FILE

# The Hub's client would first ask the Hub for a list of agents, to tell it which one runs it: three seconds where it hangs.
constants.HF_HUB_DISABLE_TELEMETRY = True

# A Hub that is there answers a request for a file's headers in a fraction of a second; a name may not even resolve.
PROBE_SECONDS, PROBE_DEADLINE = 2.0, 3.0

# For all files of all models, 45 MB; the page starts after it. And for those of a model that may be missing.
DEADLINE, EXTRAS_DEADLINE = 60.0, 10.0

EXTRAS = (ATTRIBUTES_FILE, CARD_FILE, TRAINING_FILE, EPOCHS_FILE)

# The most bytes of a file: several times what our largest has. The code that reads small files has lower limits.
MOST_BYTES = 100_000_000

# The layers of the decoders that a browser can compute, by their architecture; written by export.py beside it.
DECODERS = ROOT / "page/front/kernel/decoders.json"


def from_hub(bundled: Mapping[str, ShownModel], hub: str) -> dict[str, ShownModel]:
    """The Hub's models by the names of their folders, and the bundled model where the Hub has none.

    Args:
        hub: "namespace" or "namespace@revision".
    """
    namespace, _, revision = hub.partition("@")
    repositories = {name: repository_name(namespace, name) for name in bundled}
    end = time.monotonic() + DEADLINE
    pulls = {name: _in_thread(_pull, repositories[name], revision or None, own) for name, own in bundled.items()}
    shown = {}
    for name, own in bundled.items():
        try:
            shown[name] = pulls[name].result(max(0.0, end - time.monotonic()))
        except KeyboardInterrupt:  # Of whoever starts the page.
            raise
        except BaseException as error:  # A stranger's files can raise anything, even the panics of libraries in Rust.
            shown[name] = replace(own, origin=f"{own.origin} ({repositories[name]}: {_reason(error)})")
    return shown


def _reason(error: BaseException) -> str:
    """Why a model of the Hub is not shown, as the foot of the page tells it."""
    return "it took too long" if isinstance(error, TimeoutError) else one_line(error)[:200].rstrip(".")


def _pull(repository: str, revision: str | None, like: ShownModel) -> ShownModel:
    """The model of a repository. It raises errors of any type.

    Args:
        like: the model in whose place it would be shown.
    """
    look = partial(find, repository, revision, None, timeout=PROBE_SECONDS, cache_dir=None, tqdm_class=_Limit)
    try:
        file = _in_thread(partial(look, offline=False, force_download=False)).result(PROBE_DEADLINE)
    except TimeoutError:
        file = look(offline=True, force_download=False)
    folder, note = file(CONFIG_FILE).parent, ""
    try:
        file(WEIGHTS_FILE)
    except ValueError:  # It may be damaged in the cache.
        look(offline=False, force_download=True)(WEIGHTS_FILE)

    def fetch_extras() -> None:
        for name in EXTRAS:
            # Nothing is asked about a file that is cached, or known to be missing.
            if try_to_load_from_cache(repository, name, revision=folder.name) is None:
                with suppress(ValueError):  # As with models made before there was any.
                    file(name)

    try:
        _in_thread(fetch_extras).result(EXTRAS_DEADLINE)
    except Exception as error:
        note = f", without its history: {_reason(error)}"
    found = describe(folder, f"{repository} at {folder.name[:7]}{note}")
    check_fits(found, like)
    return found


class _Limit(tqdm):
    """A progress bar that shows nothing: the Hub's client tells it what comes of a file, and hears what it raises."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **{**settings, "disable": True})
        self.end = time.monotonic() + DEADLINE
        self.most = self.total or MOST_BYTES
        if self.most > MOST_BYTES:
            raise OSError(f"{self.most:,} bytes in one file are more than the page takes, {MOST_BYTES:,}")

    def update(self, n: float | None = 1) -> None:
        self.n += n or 0
        if self.n > self.most:
            raise OSError(f"a file goes on after its {self.most:,} bytes")
        if time.monotonic() > self.end:
            raise TimeoutError


def check_fits(found: ShownModel, like: ShownModel) -> None:
    """Make sure that every tab, and every browser, can show a model in the place of another one.

    Raises:
        ValueError: it is of another kind, its latents are not those that it would share, or its weights lack some or
            are no numbers.
    """
    for what, its, ours in (
        ("kind", found.kind, like.kind),
        ("bits", found.discrete_size > 0, like.discrete_size > 0),
        ("attributes", len(found.attributes) > 0, len(like.attributes) > 0),
        # The experiment gives several autoencoders the same latents.
        ("latent size", found.encodes and found.latent_size, like.encodes and like.latent_size),
    ):
        if its != ours:
            raise ValueError(f"it differs from the bundled model in {what}: {its!s:.60} instead of {ours}")
    layers = json.loads(DECODERS.read_text(encoding="utf-8")).get(found.architecture, [])
    if missing := [layer["name"] for layer in layers if f"{layer['name']}.weight" not in found.shapes]:
        raise ValueError(f"its weights lack {missing[0]}.weight")
    if layers and found.latent_size not in found.shapes[f"{layers[0]['name']}.weight"]:
        raise ValueError(f"its weights take no latents of {found.latent_size} numbers, which its config.json tells")
    with safetensors.safe_open(found.folder / WEIGHTS_FILE, "numpy") as weights:
        for name in found.shapes:
            # NumPy has no bfloat16; of what comes so, each browser finds out by itself.
            if weights.get_slice(name).get_dtype() != "BF16" and not np.isfinite(weights.get_tensor(name)).all():
                raise ValueError(f"its weights hold values that are no numbers, in {name[:60]}")


def _in_thread(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Start a function that may never return in a daemon thread; an executor's threads would be waited for when the
    process ends."""
    future = Future[Any]()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # Whatever it is, it belongs to whoever asks for the result.
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
