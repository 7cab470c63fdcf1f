"""What the page's own JavaScript asks of the server: faces until its own networks are loaded, and latents of photographs.

Anything that JSON can hold may arrive. What is no such question is answered by {"complaint": a sentence}.
"""

import base64
from typing import Any

import numpy as np
import torch

from . import server, site, story, zoo
from .controls import Photograph
from .recipe import MAX_FACES
from .values import choice

_faces = server.Line(4 * zoo.CORES, server.MOST_DECODINGS_WAITING)
_photographs = server.Line(server.PHOTOGRAPHS_AT_ONCE, server.MOST_PHOTOGRAPHS_WAITING)

_PHOTOGRAPH = Photograph("image", "Photograph")

NO_QUESTION = "This is no question that the page asks."

Answer = dict[str, Any]


async def decode(question: Any) -> Answer:
    """[model, base64 of little-endian float32 latents] to {"faces": base64 of (n, 64, 64, 3) uint8}."""
    try:
        return await _faces.serve(_decode, question)
    except (ValueError, server.Busy) as error:
        return {"complaint": str(error)}


async def encode(question: Any) -> Answer:
    """[photograph], gradio's file data or {"example": name}, to what the networks see of it.

    Returns:
        "seen": base64 of (64, 64, 3) uint8; "faces": how many were found; "note": on the crop; "latents": base64 of
        float32, by autoencoder; "drawn": the "model" and "recipe" if it is a face that was drawn on this page, or None.
    """
    try:
        path = _path(question)
        line = _faces if story.is_remembered(path) else _photographs
        return await line.serve(_encode, path)
    except (ValueError, server.Busy) as error:
        return {"complaint": str(error)}


def _decode(question: Any) -> Answer:
    match question:
        case [name, str(latents)]:
            model = choice(name, "The model", [*zoo.MODELS])
            return {"faces": _base64(zoo.decode(model, _latents(latents, zoo.load(model).latent_size)))}
    raise ValueError(NO_QUESTION)


def _latents(content: str, size: int) -> torch.Tensor:
    try:
        z = np.frombuffer(base64.b64decode(content, validate=True), "<f4").reshape(-1, size).astype(np.float32)
    except ValueError:
        z = np.empty((0, size), np.float32)
    if not 1 <= len(z) <= MAX_FACES or not np.isfinite(z).all():
        raise ValueError(
            f"These are no latents: send base64 of finite float32 numbers, {size} for each of 1 to {MAX_FACES} faces."
        )
    return torch.from_numpy(z)


def _path(question: Any) -> str:
    match question:
        case [{"example": name}]:
            return str(site.examples()[choice(name, "The example", [*site.examples()])])
        case [photograph] if path := _PHOTOGRAPH.check(photograph, "The photograph"):
            return path
    raise ValueError(NO_QUESTION)


def _encode(path: str) -> Answer:
    seen = story.see(path)
    return {
        "seen": _base64(story.pixels_of(seen.aligned.image)),
        "faces": seen.aligned.faces,
        "note": seen.aligned.note,
        "latents": {name: _base64(latent.numpy().astype("<f4")) for name, latent in seen.latents.items()},
        "drawn": {"model": seen.drawn[0], "recipe": str(seen.drawn[1])} if seen.drawn else None,
    }


def _base64(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.tobytes()).decode()
