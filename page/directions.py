"""The main directions of models' latents, as FaceModel.main_directions computes them, but without PyTorch."""

import json
from contextlib import suppress

import numpy as np
import safetensors

from models.loading import WEIGHTS_FILE

from .catalog import ROOT, load

# The layers of the decoders that a browser can compute, by the model's kind; written by export.py beside it.
DECODERS = ROOT / "page/front/kernel/decoders.json"


def main_directions(name: str, count: int = 6) -> list[list[float]]:
    """A model's first directions, each of `latent_size` numbers. Empty where they cannot be computed."""
    model = load(name)
    size = model.latent_size - model.discrete_size
    # What each number of the latent adds to the outputs of the first layer that is more than a linear map.
    effects = np.eye(model.latent_size)[:size]
    with suppress(Exception), safetensors.safe_open(model.folder / WEIGHTS_FILE, "numpy") as weights:
        # A stranger's file may be of any types and sizes.
        for layer in json.loads(DECODERS.read_text(encoding="utf-8"))[model.kind]:
            weight = weights.get_tensor(f"{layer['name']}.weight").astype(float)
            effects = effects @ (weight.reshape(len(weight), -1) if layer["kind"] == "spread" else weight.T)
            if layer["kind"] != "linear":
                break
        found = np.linalg.eigh(effects @ effects.T).eigenvectors.T[::-1][:count]
        largest = np.take_along_axis(found, np.abs(found).argmax(1, keepdims=True), 1)
        directions = found * np.sign(largest) * model.prior_variance**0.5
        return np.pad(directions, ((0, 0), (0, model.discrete_size))).round(4).tolist()
    return []
