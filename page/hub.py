"""Models from a namespace on the Hub when it answers in time, else those that came with the page.

A page cannot wait for a Hub that is away or slow, or take whatever it sends. The Hub gets two seconds to show that it is
there. All that it sends has one deadline, and no file may be larger than it was announced. What came is shown only if it
is a model that every tab can show.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from huggingface_hub import constants
from tqdm import tqdm

from models.history import EPOCHS_FILE, TRAINING_FILE
from models.hub import one_line
from models.index import repository_name
from models.loading import CONFIG_FILE, WEIGHTS_FILE, find

from .catalog import CARD_FILE, ShownModel, describe
from .labels import ATTRIBUTES_FILE

# The Hub's client would first ask the Hub for a list of agents, to tell it which one runs it: three seconds where it hangs.
constants.HF_HUB_DISABLE_TELEMETRY = True

# A Hub that is there answers a request for a file's headers in a fraction of a second.
PROBE_SECONDS = 2.0

# For all files of all models, 45 MB; the page starts after it.
DEADLINE = 60.0

# A model is shown without them, too.
EXTRAS = (ATTRIBUTES_FILE, CARD_FILE, TRAINING_FILE, EPOCHS_FILE)

# The most bytes of a file: several times what our largest has. The code that reads small files has lower limits.
MOST_BYTES = 100_000_000


def from_hub(bundled: Mapping[str, ShownModel], hub: str) -> dict[str, ShownModel]:
    """The Hub's models by the names of their folders, and the bundled model where the Hub has none.

    Args:
        hub: "namespace" or "namespace@revision".
    """
    namespace, _, revision = hub.partition("@")
    repositories = {name: repository_name(namespace, name) for name in bundled}
    pulled = dict[str, ShownModel]()

    def instead(name: str, error: BaseException) -> ShownModel:
        """The bundled model, with the reason, which the foot of the page tells."""
        reason = "it took too long" if isinstance(error, TimeoutError) else one_line(error)[:200].rstrip(".")
        return replace(bundled[name], origin=f"{bundled[name].origin} ({repositories[name]}: {reason})")

    def pull(name: str) -> None:
        try:
            pulled[name] = _pull(repositories[name], revision or None, bundled[name])
        except BaseException as error:  # A stranger's files can raise anything, even the panics of libraries in Rust.
            pulled[name] = instead(name, error)

    # Daemons: when the process ends, it does not wait for what never comes.
    threads = [threading.Thread(target=pull, args=(name,), daemon=True) for name in bundled]
    for thread in threads:
        thread.start()
    end = time.monotonic() + DEADLINE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return {name: pulled.get(name) or instead(name, TimeoutError()) for name in bundled}


def _pull(repository: str, revision: str | None, like: ShownModel) -> ShownModel:
    """The model of a repository. It raises errors of any type.

    Args:
        like: the model in whose place it would be shown.
    """
    look = partial(find, repository, revision, None, timeout=PROBE_SECONDS, cache_dir=None, tqdm_class=_Limit)
    file = look(offline=False, force_download=False)
    folder = file(CONFIG_FILE).parent
    try:
        file(WEIGHTS_FILE)
    except ValueError:  # It may be damaged in the cache.
        look(offline=False, force_download=True)(WEIGHTS_FILE)
    for name in EXTRAS:
        with suppress(ValueError, OSError):
            file(name)
    found = describe(folder, f"{repository} at {folder.name[:7]}")
    check_fits(found, like)
    return found


class _Limit(tqdm):
    """A progress bar that shows nothing: the Hub's client reports each part of a file to it, and stops if it raises."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **{**settings, "disable": True})
        self.most = self.total or MOST_BYTES
        if self.most > MOST_BYTES:
            raise OSError(f"{self.most:,} bytes in one file are more than the page takes, {MOST_BYTES:,}")

    def update(self, n: float | None = 1) -> None:
        self.n += n or 0
        if self.n > self.most:
            raise OSError(f"a file goes on after its {self.most:,} bytes")


def check_fits(found: ShownModel, like: ShownModel) -> None:
    """Make sure that every tab can show a model in the place of another one.

    Raises:
        ValueError: it is of another kind, or its latents are not those that it would share.
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
