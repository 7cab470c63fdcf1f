"""The networks of the models that the page shows, for what programs ask: PyTorch is imported here and nowhere before."""

import gc
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import torch

import models
from models import FaceModel
from models.base import GENERATE_BATCH_SIZE
from models.images import denormalise

from . import catalog

# What is imported stays. To look through PyTorch's half a million objects for garbage takes a third of a second, in which
# the page answers nobody.
gc.freeze()

# As many threads as there are cores compute for everybody, one core each: for networks as small as these, to share
# faces among cores takes less time than to share every layer. Computing in the threads that wait would give each of
# them buffers of its own. Joining requests to larger batches does not pay: 64 faces take as long as four times 16.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_a_worker() -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":  # There a thread has a priority of its own: whoever only asks for a file comes first.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


_WORKERS = ThreadPoolExecutor(CORES, "networks", initializer=_as_a_worker)


@cache
def load(name: str) -> FaceModel:
    """The network that the page shows under this name.

    Raises:
        ValueError: its files, which may be a stranger's, are no such network.
    """
    try:
        return models.load(catalog.load(name).folder)
    except ValueError as error:
        raise ValueError(f"The {name} cannot be used here, since {str(error).rstrip('.')}.") from error


def decode(name: str, z: torch.Tensor) -> np.ndarray:
    """Latents (n, latent_size) to faces (n, 64, 64, 3) uint8."""
    size = min(GENERATE_BATCH_SIZE, math.ceil(len(z) / CORES))
    return np.concatenate(list(_WORKERS.map(partial(_decode, name), z.split(size))))


def encode(name: str, x: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, 64, 64) in [-1, 1] to the latents (n, latent_size) of an autoencoder."""
    return _WORKERS.submit(torch.inference_mode()(load(name).encode), x).result()


@torch.inference_mode()
def _decode(name: str, z: torch.Tensor) -> np.ndarray:
    return denormalise(load(name).decode(z)).permute(0, 2, 3, 1).contiguous().numpy()
