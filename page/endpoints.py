"""What programs call: the same answers as the page's, as pictures and numbers.

The docstrings are what the page's API documentation and a language model read.
"""

import functools
import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component
from gradio.utils import get_upload_folder

from . import curves, labels, pictures, story
from .recipe import Recipe
from .screen import check
from .show import html
from .story import Discrete, Way
from .zoo import MODELS, autoencoders, load, with_attributes


def answering(function: Callable[..., Any], inputs: list[Component]) -> Callable[..., Any]:
    """The function for programs: what they send for its inputs is checked, and what is wrong reaches them in a sentence.

    Gradio's own checks are to be switched off, with `preprocess=False`.
    """
    names = inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        try:
            sent = zip(inputs, values, names, strict=True)
            return function(*(check(component, value, f"The {name}") for component, value, name in sent))
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except OSError as error:
            raise gr.Error(f"The page could not write a file ({error.strerror}). Try again in a while.") from None

    return call


def in_a_box(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its complaints escaped: the box in which gradio shows them to visitors takes HTML."""

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except gr.Error as error:
            raise gr.Error(html("{}", error.message), print_exception=False) from None

    return call


def _file(content: bytes, name: str) -> str:
    """The path of a file with this content, which whoever reads it finds whole at any time.

    Gradio would write it itself, in place: under the eyes of others who were given the same faces.
    """
    path = Path(get_upload_folder(), hashlib.sha256(content).hexdigest(), name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.replace(file.name, path)
        finally:
            Path(file.name).unlink(missing_ok=True)
    return str(path)


def _png(pixels: np.ndarray, **text: str) -> str:
    return _file(pictures.png(pixels, **text), "face.png")


def generate(
    model: str, seed: int, count: int, temperature: float, bits: str, attributes: str
) -> tuple[list[str], dict[str, float]]:
    """Draw faces of 64 x 64 pixels from a model's own prior. The same arguments always give the same faces.

    Args:
        model: its name on the page, such as "GAN", whose faces are the sharpest.
        seed: a whole number from 0 to 4,294,967,295.
        count: how many faces, from 1 to 64.
        temperature: multiplies the standard deviation of the draws: 1 is the prior, less gives more typical faces.
        bits: for the GANs, 50 characters that hold the bits: "+", "-", or "." for a bit that is drawn; empty for none.
        attributes: what all faces are to have or not, for the models that know attributes: a line such as
            "Smiling, no Eyeglasses", or a mapping such as {"Smiling": true, "Eyeglasses": false}. The faces are those
            that the seed gives without it, otherwise unchanged.

    Returns:
        The faces as PNG files that name their model and recipe, and their diversity: the root mean square difference
        of two faces in grey levels (0 to 255), averaged over all pairs.
    """
    attributes = _known(model, attributes)
    faces = story.generate(model, seed, count, temperature, bits, attributes)
    recipes = (Recipe(seed, number, temperature, bits, attributes) for number in range(1, len(faces) + 1))
    files = [_png(face, **story.signature(model, recipe)) for face, recipe in zip(faces, recipes)]
    return files, {"diversity": round(pictures.diversity(faces), 2)}


def _known(model: str, attributes: str) -> str:
    """A line of attributes in the model's own words.

    Raises:
        ValueError: the model has none of that name, or none at all.
    """
    if attributes and model not in with_attributes():
        knowing = " or the ".join(map(story.in_a_sentence, with_attributes())) or "a model that does"
        raise ValueError(f"The {story.in_a_sentence(model)} knows no attributes: choose the {knowing}.")
    return labels.write(labels.read(attributes, load(model)))


def flip_bit(
    seed: int, count: int, temperature: float, bits: str, bit: int, model: str, attributes: str
) -> tuple[list, list, dict[str, float | str]]:
    """Show what one bit of a GAN's latent changes: the same faces with it at -1 and at +1.

    Args:
        seed: a whole number from 0 to 4,294,967,295.
        count: how many faces, from 1 to 64.
        temperature: multiplies the standard deviation of the continuous half; 1 is the prior.
        bits: 50 characters that hold the other bits: "+", "-", or "." for a bit that is drawn; empty for none.
        bit: which bit, from 1 to 50.
        model: "GAN", or "Attribute GAN", most of whose bits have names.
        attributes: what all faces are to have, as for generate.

    Returns:
        The faces with the bit at -1, the faces with it at +1, and the mean absolute difference in grey levels with
        the bit's name.
    """
    off, on = story.flip_bit(model, seed, count, temperature, bits, bit, _known(model, attributes))
    change = np.abs(on.astype(int) - off).mean()
    numbers: dict[str, float | str] = {"change": round(float(change), 2), "name": story.bit_name(model, bit)}
    return list(map(_png, off)), list(map(_png, on)), numbers


def interpolate(
    model: str,
    a: str,
    b: str,
    image_a: str | None,
    image_b: str | None,
    steps: int,
    way: Way,
    discrete: Discrete,
) -> tuple[list[str], str, dict[str, list[str]]]:
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
        The pictures from the first to the last, the walk there and back as a GIF that moves smoothly, and notes about the photographs.
    """
    path = story.interpolate(model, (a, b), (image_a, image_b), steps, way, discrete)
    walk = _file(pictures.gif(path.smooth_faces), "walk.gif")
    return list(map(_png, path.faces)), walk, {"notes": path.notes}


def reconstruct(image: str | None, attributes: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Find the face in a photograph, bring it to CelebA's framing, and encode and decode it with each autoencoder.

    Args:
        image: a photograph: any common format; a JPEG of at most 51 megapixels, others of 24.
        attributes: what the face is to have more or less of, from -3 to 3: a line such as "Smiling=1.5, no Bangs", or a
            mapping such as {"Smiling": 1.5, "Bangs": -1}. 1 is by what faces differ that have an attribute from those
            that do not. Empty for the reconstructions alone.

    Returns:
        The 64 x 64 crop that the networks see, each autoencoder's version of it and, where attributes were asked for,
        the version with these, by each autoencoder that knows them, all with captions; and the numbers
        of faces found, a note on the crop, and each version's PSNR in decibels (more is closer).
    """
    if image is None:
        raise ValueError("There is no image: send a photograph of a face.")
    moves = dict[str, float]()
    if attributes:
        knowing = [name for name in autoencoders() if name in with_attributes()]
        if not knowing:
            raise ValueError("No autoencoder here knows attributes: leave them out.")
        for name in knowing:
            moves |= labels.read(attributes, load(name))
    aligned, results = story.reconstruct(image)
    shown = [(_png(story.pixels_of(aligned.image)), "What the networks see")]
    shown += [(_png(result.faces[0]), f"{name}: {result.psnr:.1f} dB") for name, result in results.items()]
    if attributes:
        wishes = labels.write(moves)
        moved = story.with_attributes(results, moves)
        shown += [(_png(face), f"{name}, moved: {wishes}") for name, face in moved.items()]
    psnr = {name: round(result.psnr, 2) for name, result in results.items()}
    return shown, {"faces": aligned.faces, "note": aligned.note, "psnr": psnr}


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
        share of pictures this far in which a detector found a face, as measured before on the bundled models (null
        where it was not).
    """
    galleries, numbers = [], {}
    for name in MODELS:
        draws = story.out_of_distribution(name, mean, seed, count)
        galleries.append(list(map(_png, draws.faces)))
        share = curves.face_share(name, mean)
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
    results = story.experiment(seed)
    diversity = {name: round(pictures.diversity(faces), 2) for name, faces in results.items()}
    plain, shifted = (list(map(_png, faces)) for faces in results.values())
    return plain, shifted, diversity


def training(model: str, epoch: int) -> tuple[list[str], dict[str, Any]]:
    """Show what training did to a model: the same 16 latents, decoded after a given epoch.

    Args:
        model: its name on the page, such as "GAN".
        epoch: from 1 to the number of epochs that the model was trained for.

    Returns:
        The faces, slightly compressed, as training kept them; and the number of epochs, the command that trained the
        model, its loss curves, each point a mean over some steps, the last of which is given, and a note.
    """
    found = story.history(model)
    faces = list(map(_png, story.training(model, epoch)))
    return faces, {"epochs": found.epochs, "command": found.command, "losses": found.losses, "note": found.note}
