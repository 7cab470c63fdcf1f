"""The models that the page shows: loaded once, shared by every visitor, changed by none."""

import copy
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from models import FaceModel, PerceptualAutoencoder
from models.images import denormalise
from models.index import read_index
from models.speed import accelerate

from . import labels
from .hub import LoadedModel, load_models

WEIGHTS = Path(__file__).parent.parent / "weights"

# The folder of each model by its name on the page; the first is the one that is shown on arrival.
MODELS = {title: folder for folder, title in read_index(WEIGHTS).items()}

# As many threads as there are cores compute for all visitors, one core each: for networks as small as these, to share
# faces among cores takes less time than to share every layer. Computing in the threads that wait would give each of
# them buffers of its own. Joining requests to larger batches does not pay: 64 faces take as long as four times 16.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_a_worker() -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":  # There a thread has a priority of its own: whoever only asks for a file comes first.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


_WORKERS = ThreadPoolExecutor(CORES, "networks", initializer=_as_a_worker)

# Fewer faces are not shared among cores: they take hardly less time than these.
LEAST_BATCH = 8

# ZeroGPU lends a GPU for the length of a call, and starts no Space that has no use for one. To be lent it takes longer
# than fewer faces than these take on two cores.
GPU, GPU_FACES = "cuda", 64


@cache
def load_all() -> dict[str, LoadedModel]:
    """The models by their names on the page."""
    loaded = load_models(MODELS.values(), WEIGHTS, os.environ.get("LATENT_FACES_HUB"))
    return {name: loaded[folder] for name, folder in MODELS.items()}


def load(name: str) -> FaceModel:
    return load_all()[name].model


def autoencoders() -> list[str]:
    """The models that can start from a photograph."""
    return [name for name in MODELS if load(name).encodes]


def with_attributes() -> list[str]:
    """The models that know attributes."""
    return [name for name in MODELS if labels.names_of(load(name))]


def attributes_of(name: str) -> list[str]:
    """The attributes that a model knows, those that work best first."""
    return labels.best_first(labels.names_of(load(name)), load_all()[name].areas)


def directions() -> list[str]:
    """The attributes that a photograph can be given, by whichever of the autoencoders, those that work best first."""
    return list(dict.fromkeys(attribute for name in autoencoders() for attribute in attributes_of(name)))


def prior_of(model: FaceModel) -> str:
    """The model's prior in words, from its own config."""
    normal = f"N({model.prior_mean:g}, {model.prior_variance:g})"
    if model.discrete_size:
        named = f", {len(model.attributes)} of them attributes" if model.attributes else ""
        return f"{model.continuous_size} numbers from {normal}, {model.discrete_size} bits{named}"
    if isinstance(model, PerceptualAutoencoder):
        count = len(model.mixture_logits)
        return f"{model.latent_size} numbers from a mixture of {count} Gaussians, as a whole like {normal}"
    return f"{model.latent_size} numbers from {normal}"


def decode(name: str, z: torch.Tensor) -> np.ndarray:
    """Latents (n, latent_size) to faces (n, 64, 64, 3) uint8."""
    if (on_gpu := zero_gpu()) and len(z) >= GPU_FACES:
        return _to_bytes(on_gpu(name, z))
    size = min(load(name).generate_batch_size, max(LEAST_BATCH, math.ceil(len(z) / CORES)))
    return np.concatenate(list(_WORKERS.map(partial(_decode, name), z.split(size))))


def encode(name: str, x: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, 64, 64) in [-1, 1] to the latents (n, latent_size) of an autoencoder."""
    return _WORKERS.submit(torch.inference_mode()(load(name).encode), x).result()


@torch.inference_mode()
def _decode(name: str, z: torch.Tensor) -> np.ndarray:
    return _to_bytes(_fast_layers(name)(z))


def _to_bytes(x: torch.Tensor) -> np.ndarray:
    return denormalise(x).permute(0, 2, 3, 1).contiguous().numpy()


@cache
def _fast_layers(name: str) -> torch.nn.Sequential:
    return accelerate(load(name).decoder_layers)


@cache
def zero_gpu() -> Callable[[str, torch.Tensor], torch.Tensor] | None:
    """Decoding on a GPU that is lent for the call, on Spaces that lend one; elsewhere None."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    import spaces

    # ZeroGPU wants models on the GPU before the first call; these are copies, the CPU keeps its own.
    copies = {name: copy.deepcopy(load(name).decoder_layers).to(GPU) for name in MODELS}

    @spaces.GPU(duration=5)
    def decode_on_gpu(name: str, z: torch.Tensor) -> torch.Tensor:
        return copies[name](z.to(GPU)).cpu()

    return decode_on_gpu
