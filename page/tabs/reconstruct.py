"""A photograph as the autoencoders see it, and with other attributes."""

from typing import Any

import gradio as gr

from .. import labels, pictures
from ..catalog import attributes_of, autoencoders, load
from ..controls import Attributes, Number, Photograph
from ..endpoints import Endpoint, Gallery, Tab, gallery, png


def tab() -> Tab:
    sliders = [
        # A link names each, beside whatever else it carries.
        Number(f"attribute.{name}", labels.title(name), 0, least=-labels.MOST_STEPS, most=labels.MOST_STEPS, step=0.1)
        for name in dict.fromkeys(attribute for model in autoencoders() for attribute in attributes_of(model))
    ]
    image = Photograph("image", "A face")
    # No call waits in the queue: a program that finds others before it is told so.
    endpoint = Endpoint(reconstruct, [image, Attributes()], {"faces": gallery, "numbers": gr.JSON}, at_once=None)
    return Tab("reconstruct", "Your photo", [*sliders, image], [endpoint])


def reconstruct(image: str | None, attributes: str) -> tuple[Gallery, dict[str, Any]]:
    """Find the face in a photograph, bring it to CelebA's framing, and encode and decode it with each autoencoder.

    Args:
        image: a photograph: any common format; a JPEG of at most 51 megapixels, others of 24.
        attributes: that the face is given more or less of, from -3 to 3: a line such as "Smiling=1.5, no Bangs", or a
            mapping such as {"Smiling": 1.5, "Bangs": -1}. 1 is the average difference between faces with the attribute
            and faces without. Empty for the reconstructions alone.

    Returns:
        The 64 x 64 crop that the networks see, each autoencoder's version of it and, where attributes were asked for,
        the version with these, by each autoencoder that knows them, all with captions; and the numbers
        of faces found, a note on the crop, and each version's PSNR in decibels (more is closer).
    """
    from .. import drawing, networks

    if image is None:
        raise ValueError("There is no image: send a photograph of a face.")
    knowing = [name for name in autoencoders() if attributes and attributes_of(name)]
    if attributes and not knowing:
        raise ValueError("No autoencoder here knows attributes: leave them out.")
    moves = {name: labels.read(attributes, load(name)) for name in knowing}
    aligned, latents = drawing.see(image, autoencoders())
    crop = pictures.pixels_of(aligned.image)
    faces = {name: networks.decode(name, z)[0] for name, z in latents.items()}
    psnr = {name: round(pictures.psnr(face, crop), 2) for name, face in faces.items()}
    shown = [png(crop, "What the networks see")]
    shown += [png(face, f"{name}: {psnr[name]:.1f} dB") for name, face in faces.items()]
    for name, values in moves.items():
        z = networks.load(name).with_attributes(latents[name], values)
        shown.append(png(networks.decode(name, z)[0], f"{name}, moved: {labels.write(values)}"))
    return shown, {"faces": aligned.faces, "note": aligned.note, "psnr": psnr}
