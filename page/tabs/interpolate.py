"""A walk between two faces."""

from functools import partial
from typing import Any, Literal, get_args

import gradio as gr

from .. import pictures
from ..controls import Choice, Number, Photograph, Text
from ..endpoints import Endpoint, Gallery, Tab, file, gallery, model_choice, png

Way = Literal["straight", "spherical"]
Discrete = Literal["relaxed", "switched", "held"]


def tab() -> Tab:
    controls = (
        model_choice("perceptual-autoencoder"),
        Text("a", "A: seed, or seed/face", "0", first="0/12"),
        Text("b", "B: seed, or seed/face", "1", first="0/21"),
        Text("c", "C: seed, or seed/face", "2", first="0/25"),  # For the map, which programs have no use for.
        Number("steps", "Pictures on the way", 11, least=2, most=21),
        Choice("way", "Way", "straight", get_args(Way)),
        Choice("discrete", "Switches on the way", "relaxed", get_args(Discrete)),
        Photograph("image_a", "A: a photograph instead"),
        Photograph("image_b", "B: a photograph instead"),
    )
    model, a, b, _, steps, way, discrete, image_a, image_b = controls
    endpoint = Endpoint(
        interpolate,
        [model, a, b, image_a, image_b, steps, way, discrete],
        {"path": gallery, "walk": partial(gr.Image, format="gif"), "notes": gr.JSON},
    )
    return Tab("interpolate", "Morph", controls, [endpoint])


def interpolate(
    model: str,
    a: str,
    b: str,
    image_a: str | None,
    image_b: str | None,
    steps: int,
    way: Way,
    discrete: Discrete,
) -> tuple[Gallery, dict[str, Any], dict[str, list[str]]]:
    """Walk from one face to another through a model's latent space.

    Args:
        model: its name on the page, such as "GAN".
        a: the first face: a seed such as "7", or a face of a seed such as "7/3", the third of seed 7.
        b: the last face, likewise.
        image_a: a photograph of a face in place of a; for the autoencoders, as the GAN cannot encode one.
        image_b: a photograph of a face in place of b.
        steps: pictures on the way, both ends included, from 2 to 21.
        way: "straight", or "spherical" for the arc around the prior's mean.
        discrete: what the GAN's bits do on the way: "relaxed" (through the values between), "switched" (at the middle)
            or "held" (stay those of the first face).

    Returns:
        The pictures from the first to the last, the walk there and back as a GIF that moves smoothly, and notes about
        the photographs.
    """
    from .. import drawing

    faces, smooth_faces, notes = drawing.interpolate(model, (a, b), (image_a, image_b), steps, way, discrete)
    return list(map(png, faces)), file(pictures.gif(smooth_faces), "walk.gif"), {"notes": notes}
