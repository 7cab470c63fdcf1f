"""Faces of every model with the mean of their latents moved, far from where training left it."""

from typing import Any

import gradio as gr

from .. import pictures, story
from ..controls import Choice, Number
from ..catalog import MODELS
from . import Endpoint, Tab, gallery, png, seed, title_of

# The choice of all models at once, among their names.
ALL = "All of them"


def tab() -> Tab:
    controls = (
        Number("mean", "Push all numbers by", 0, least=-story.MAX_MEAN, most=story.MAX_MEAN, step=0.1),
        seed(),
        Number("faces", "Faces of each", 6, least=1, most=16),
        Choice("models", "Model", ALL, [ALL, *MODELS], first=title_of("matched-autoencoder")),
    )
    *arguments, _ = controls
    endpoints = [
        Endpoint(out_of_distribution, arguments, {**dict.fromkeys(MODELS, gallery), "numbers": gr.JSON}),
        Endpoint(experiment, [seed()], {**dict.fromkeys(story.EXPERIMENT, gallery), "numbers": gr.JSON}),
    ]
    return Tab("out-of-distribution", "Out of distribution", controls, endpoints)


def out_of_distribution(mean: float, seed: int, count: int) -> list[Any]:
    """Draw faces of every model with the mean of their latents moved away from the prior's, the noise held fixed.

    Of the GAN's latents the continuous half moves. The variance stays each prior's own.

    Args:
        mean: from -100 to 100. The priors' own means are 0, and -3 for the shifted autoencoder.
        seed: a whole number from 0 to 4,294,967,295; it fixes the noise.
        count: faces of each model, from 1 to 16.

    Returns:
        The faces of each model, in the order of the page, then numbers by model: the diversity (grey levels between two
        of the faces; 0 if all are alike), the distance of the mean from the prior's in standard deviations, and the
        share of pictures this far in which a detector found a face, as measured before on these models (null where
        it was not).
    """
    from .. import drawing

    galleries, numbers = [], {}
    for name in MODELS:
        draws = drawing.out_of_distribution(name, mean, seed, count)
        galleries.append(list(map(png, draws.faces)))
        share = story.face_share(name, mean)
        numbers[name] = {
            "diversity": round(draws.diversity, 2),
            "distance": round(draws.distance, 2),
            "measured_face_share": share if share is None else round(share, 3),
        }
    return [*galleries, numbers]


def experiment(seed: int) -> tuple[list[str], list[str], dict[str, float]]:
    """Give the plain and the shifted autoencoder the same 16 draws from N(-3, 2), the prior of the shifted one.

    Args:
        seed: a whole number from 0 to 4,294,967,295.

    Returns:
        The plain autoencoder's faces, the shifted one's, and the diversity of each: grey levels between two faces.
    """
    from .. import drawing

    results = drawing.experiment(seed)
    diversity = {name: round(pictures.diversity(faces), 2) for name, faces in results.items()}
    plain, shifted = (list(map(png, faces)) for faces in results.values())
    return plain, shifted, diversity
