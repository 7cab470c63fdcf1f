"""Faces of every model with the mean of their latents moved, far from where training left it."""

from typing import Any

import gradio as gr

from .. import pictures
from ..catalog import MODELS, TITLES, load
from ..controls import Choice, Number
from ..endpoints import Endpoint, Gallery, Tab, gallery, png, seed
from ..records import face_share

MAX_MEAN = 100.0

# The models of the reports' experiment, which are given the same draws from the prior of the second.
EXPERIMENT = ("Plain autoencoder", "Shifted autoencoder")

# The choice of all models at once, among their names.
ALL = "All of them"


def tab() -> Tab:
    controls = (
        Number("mean", "Mean of the numbers", 0, least=-MAX_MEAN, most=MAX_MEAN, step=0.1),
        seed(),
        Number("faces", "Faces of each", 6, least=1, most=16),
        Choice("models", "Model", ALL, [ALL, *MODELS], first=TITLES.get("matched-autoencoder")),
    )
    *arguments, _ = controls
    endpoints = [
        Endpoint(out_of_distribution, arguments, {**dict.fromkeys(MODELS, gallery), "numbers": gr.JSON}),
        Endpoint(experiment, [seed()], {**dict.fromkeys(EXPERIMENT, gallery), "numbers": gr.JSON}),
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
    from .. import networks

    galleries, numbers = [], {}
    for name in MODELS:
        faces = networks.decode(name, networks.load(name).sample_latent(count, seed=seed, mean=mean))
        galleries.append(list(map(png, faces)))
        prior, share = load(name), face_share(name, mean)
        numbers[name] = {
            "diversity": round(pictures.diversity(faces), 2),
            "distance": round(abs(mean - prior.prior_mean) / prior.prior_variance**0.5, 2),
            "measured_face_share": share if share is None else round(share, 3),
        }
    return [*galleries, numbers]


def experiment(seed: int) -> tuple[Gallery, Gallery, dict[str, float]]:
    """Give the plain and the shifted autoencoder the same 16 draws from N(-3, 2), the prior of the shifted one.

    Args:
        seed: a whole number from 0 to 4,294,967,295.

    Returns:
        The plain autoencoder's faces, the shifted one's, and the diversity of each: grey levels between two faces.
    """
    from .. import networks

    z = networks.load(EXPERIMENT[1]).sample_latent(16, seed=seed)
    faces = {name: networks.decode(name, z) for name in EXPERIMENT}
    plain, shifted = ([png(face) for face in drawn] for drawn in faces.values())
    return plain, shifted, {name: round(pictures.diversity(drawn), 2) for name, drawn in faces.items()}
