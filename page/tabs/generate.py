"""Faces from a model's prior, with bits held and attributes set."""

import gradio as gr
import numpy as np

from .. import labels, pictures
from ..catalog import MODELS, load
from ..controls import Attributes, Number, Text
from ..endpoints import Endpoint, Gallery, Tab, gallery, model_choice, png, seed
from ..recipe import MAX_FACES, MAX_TEMPERATURE, Recipe


def tab() -> Tab:
    most_bits = max([2, *(load(name).discrete_size for name in MODELS)])
    controls = (
        model_choice(),
        seed(),
        Number("faces", "Faces", 16, least=1, most=MAX_FACES, first=9),
        Number("temperature", "Temperature", 1, least=0, most=MAX_TEMPERATURE, step=0.05),
        Text("bits", "Bits"),
        Number("face", "Chosen face", 1, least=1, most=MAX_FACES, first=3),
        Number("bit", "Show the effect of bit", 1, least=1, most=most_bits),
        Attributes(),
        # The chosen face along the model's main directions, in standard deviations.
        *(Number(f"direction.{n}", f"Direction {n}", 0, least=-4, most=4, step=0.1) for n in range(1, 7)),
    )
    model, seed_, count, temperature, bits, _, bit, attributes, *_ = controls
    endpoints = [
        Endpoint(
            generate, [model, seed_, count, temperature, bits, attributes], {"faces": gallery, "numbers": gr.JSON}
        ),
        Endpoint(
            flip_bit,
            [seed_, count, temperature, bits, bit, model, attributes],
            {"at -1": gallery, "at +1": gallery, "numbers": gr.JSON},
        ),
    ]
    return Tab("generate", "Generate", controls, endpoints)


def generate(
    model: str, seed: int, count: int, temperature: float, bits: str, attributes: str
) -> tuple[Gallery, dict[str, float]]:
    """Draw faces of 64 x 64 pixels from a model's own prior. The same arguments always give the same faces.

    Args:
        model: its name on the page, such as "GAN".
        seed: a whole number from 0 to 4,294,967,295.
        count: how many faces, from 1 to 64.
        temperature: multiplies the standard deviation of the draws: 1 is the prior, less gives more typical faces.
        bits: for the GANs, 50 characters that hold the bits: "+", "-", or "." for a bit that is drawn; empty for none.
        attributes: that every face is given or not, for the models that know attributes: a line such as
            "Smiling, no Eyeglasses", or a mapping such as {"Smiling": true, "Eyeglasses": false}. Otherwise
            the faces are those of the seed.

    Returns:
        The faces as PNG files that name their model and recipe, and their diversity: the root mean square difference
        of two faces in grey levels (0 to 255), averaged over all pairs.
    """
    from .. import drawing

    attributes = labels.write(labels.read(attributes, load(model)))  # In the model's own words.
    bits = bits if load(model).discrete_size else ""
    faces = drawing.generate(model, seed, count, temperature, bits, attributes)
    files = [
        png(face, **Recipe(seed, number, temperature, bits, attributes).metadata(model))
        for number, face in enumerate(faces, start=1)
    ]
    return files, {"diversity": round(pictures.diversity(faces), 2)}


def flip_bit(
    seed: int, count: int, temperature: float, bits: str, bit: int, model: str, attributes: str
) -> tuple[Gallery, Gallery, dict[str, float | str]]:
    """Show what one bit of a GAN's latent changes: the same faces with it at -1 and at +1.

    Args:
        seed: a whole number from 0 to 4,294,967,295.
        count: how many faces, from 1 to 64.
        temperature: multiplies the standard deviation of the continuous half; 1 is the prior.
        bits: 50 characters that hold the other bits: "+", "-", or "." for a bit that is drawn; empty for none.
        bit: which bit, from 1 to 50.
        model: "GAN", or "Attribute GAN"; most of its bits have names.
        attributes: that every face is given or not, as for generate.

    Returns:
        The faces with the bit at -1, the faces with it at +1, and the mean absolute difference in grey levels with
        the bit's name.
    """
    from .. import drawing

    labels.read(attributes, load(model))  # Raises ValueError.
    off, on = drawing.flip_bit(model, seed, count, temperature, bits, bit, attributes)
    change = round(float(np.abs(on.astype(int) - off).mean()), 2)
    names = load(model).attributes
    name = labels.title(names[bit - 1]) if bit <= len(names) else f"bit {bit}"
    return list(map(png, off)), list(map(png, on)), {"change": change, "name": name}
