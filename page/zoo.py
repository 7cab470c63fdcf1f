"""The models that the page shows: loaded once, shared by every visitor, changed by none."""

import copy
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch

from models import Autoencoder, Generator
from models.base import FaceModel
from models.hub import LoadedModel, load_models
from models.images import denormalise
from models.inference import accelerate

WEIGHTS = Path(__file__).parent.parent / "weights"

MODELS: dict[str, tuple[type[FaceModel], str]] = {
    "GAN": (Generator, "gan"),
    "Plain autoencoder": (Autoencoder, "autoencoder"),
    "Matched autoencoder": (Autoencoder, "matched-autoencoder"),
    "Shifted autoencoder": (Autoencoder, "shifted-autoencoder"),
}
AUTOENCODERS = [name for name, (kind, _) in MODELS.items() if kind is Autoencoder]

# One thread computes for all visitors, since a network takes every core for its few milliseconds. Computing in the
# threads that wait for it would take longer, and each would keep threads and buffers of its own. Joining requests to
# larger batches does not pay: 64 faces take as long as four times 16.
_WORKER = ThreadPoolExecutor(1, thread_name_prefix="networks")

# ZeroGPU lends a GPU for the length of a call. The call takes longer than fewer faces than these on two cores.
ZERO_GPU_FACES = 64


@cache
def load_all() -> dict[str, LoadedModel]:
    """The models by their names on the page."""
    kinds = {folder: kind for kind, folder in MODELS.values()}
    loaded = load_models(kinds, WEIGHTS, os.environ.get("LATENT_FACES_HUB"))
    return {name: loaded[folder] for name, (_, folder) in MODELS.items()}


def load(name: str) -> FaceModel:
    return load_all()[name].model


def prior_of(model: FaceModel) -> str:
    """The model's prior in words, from its own config."""
    normal = f"N({model.prior_mean:g}, {model.prior_variance:g})"
    if isinstance(model, Generator) and model.discrete_size:
        return f"{model.continuous_size} numbers from {normal}, {model.discrete_size} bits"
    return f"{model.latent_size} numbers from {normal}"


def decode(name: str, z: torch.Tensor) -> np.ndarray:
    """Latents (n, latent_size) to faces (n, 64, 64, 3) uint8."""
    if (on_gpu := _zero_gpu()) and len(z) >= ZERO_GPU_FACES:
        x = on_gpu(name, z)
    else:
        x = _WORKER.submit(_decode, name, z).result()
    return denormalise(x).permute(0, 2, 3, 1).contiguous().numpy()


def encode(name: str, x: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, 64, 64) in [-1, 1] to the latents (n, latent_size) of an autoencoder."""
    return _WORKER.submit(torch.inference_mode()(load(name).encode), x).result()


@torch.inference_mode()
def _decode(name: str, z: torch.Tensor) -> torch.Tensor:
    layers = _fast_layers(name)
    return torch.cat([layers(part) for part in z.split(load(name).generate_batch_size)])


@cache
def _fast_layers(name: str) -> torch.nn.Sequential:
    return accelerate(load(name).decoder_layers)


@cache
def _zero_gpu() -> Callable[[str, torch.Tensor], torch.Tensor] | None:
    """Decoding on a GPU that is lent for the call, on Spaces that lend one; elsewhere None."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    import spaces

    # ZeroGPU wants models on the GPU before the first call; these are copies, the CPU keeps its own.
    copies = {name: copy.deepcopy(load(name).decoder_layers).to("cuda") for name in MODELS}

    @spaces.GPU(duration=5)
    def decode_on_gpu(name: str, z: torch.Tensor) -> torch.Tensor:
        return copies[name](z.to("cuda")).cpu()

    return decode_on_gpu
