"""What each tab shows, as HTML, from what the visitor chose there."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import curves, labels, pictures, show, story
from .recipe import Recipe
from .story import Discrete, Way
from .zoo import MODELS, attributes_of, directions, load, prior_of, side_by_side

# The choice of all models at once, among their names.
ALL = "All of them"

# Faces that the models drew, by what their buttons say; written by docs/draw.py.
EXAMPLES = {
    path.stem.replace("-", " "): str(path) for path in sorted(Path(__file__).with_name("examples").glob("*.png"))
}

# Of so many faces the effect of a bit is shown.
FACES_WITH_A_BIT = 6


def generated(
    model: str, seed: int, count: int, temperature: float, bits: str, face: int, bit: int, attributes: str = ""
) -> list[str]:
    """The grid of faces, the attributes they can be given, the switches of the chosen one's bits that have no names,
    and what one bit changes."""
    network, unknown = load(model), list[str]()
    values = labels.read(attributes, network, unknown) if network.attributes else {}
    attributes = labels.write(values)
    faces = faces_of(model, seed, count, temperature, bits, attributes)
    named = ""
    if network.attributes:
        code = story.in_code(model, seed, count, temperature, values)
        named = _attributes(model, bits, values, unknown) + show.code(code)
    if not network.discrete_size:
        return [faces, named, "", ""]
    recipe = Recipe(seed, min(face, count), temperature, bits, attributes)
    switches = show.switches(story.bits_of(model, recipe), bits, first=len(network.attributes) + 1)
    bit = min(bit, network.discrete_size)
    return [faces, named, switches, effect_of(model, seed, count, temperature, bits, bit, attributes)]


def _attributes(model: str, bits: str, values: dict[str, float], unknown: list[str]) -> str:
    """The switches of a model's attributes.

    Args:
        values: of those that are set, beside those that are held by `bits`.
        unknown: what was asked for in vain.
    """
    network, names = load(model), attributes_of(model)
    numbers = {name: number for number, name in enumerate(network.attributes, start=1) if network.discrete_size}
    held = {
        name: {"+": 1.0, "-": -1.0}[bits[at - 1]] for name, at in numbers.items() if bits[at - 1 : at] in ("+", "-")
    }
    complaint = f"The {story.in_a_sentence(model)} knows no {', '.join(map(show.foreign, unknown[:5]))}."
    switches = show.attributes(names, held | values, numbers, labels.BEST)
    return switches + (show.complaint(complaint) if unknown else "")


# What one control changes is not drawn anew for another's sake.
@lru_cache(maxsize=32)
def faces_of(model: str, seed: int, count: int, temperature: float, bits: str, attributes: str) -> str:
    """A grid of faces that can be chosen from."""
    pixels = story.generate(model, seed, count, temperature, bits, attributes)
    recipes = [Recipe(seed, number, temperature, bits, attributes) for number in range(1, len(pixels) + 1)]
    names = [f"Face {recipe.face} of {len(pixels)}, {model}, seed {seed}" for recipe in recipes]
    texts = [story.signature(model, recipe) for recipe in recipes]
    return show.choice_of_faces(pixels, names, texts, list(map(str, recipes)))


@lru_cache(maxsize=32)
def effect_of(model: str, seed: int, count: int, temperature: float, bits: str, bit: int, attributes: str) -> str:
    """The first faces with a bit at -1 and at +1, and the difference."""
    off, on = story.flip_bit(model, seed, count, temperature, bits, bit, attributes, most=FACES_WITH_A_BIT)
    change = np.abs(on.astype(int) - off)
    name = story.bit_name(model, bit)
    is_named = name != f"bit {bit}"
    rows = {
        (f"{name}: off" if is_named else f"{name} at -1"): off,
        (f"{name}: on" if is_named else f"{name} at +1"): on,
        "difference x 3": (3 * change).clip(0, 255).astype(np.uint8),
    }
    named = f"Bit {bit}, {name}," if is_named else f"Bit {bit}"
    return show.labelled_strips(rows) + show.sentence(f"{named} moves a pixel by {change.mean():.1f} grey levels.")


def path(
    model: str, a: str, b: str, steps: int, way: Way, discrete: Discrete, image_a: str | None, image_b: str | None
) -> list[str]:
    """The walk from A to B in pictures, and moving."""
    walk = story.interpolate(model, (a, b), (image_a, image_b), steps, way, discrete)
    names = [f"Picture {number} of {len(walk.faces)} from A to B, {model}" for number in range(1, len(walk.faces) + 1)]
    grid = show.faces(walk.faces, names, columns=len(names))
    moving = show.loop(walk.smooth_faces, f"The walk from A to B and back, {model}")
    return [grid + show.together(map(show.sentence, walk.notes)), moving]


def walk_as_gif(
    model: str, a: str, b: str, steps: int, way: Way, discrete: Discrete, image_a: str | None, image_b: str | None
) -> str:
    """The address of a GIF to download."""
    walk = story.interpolate(model, (a, b), (image_a, image_b), steps, way, discrete)
    return pictures.data_uri(pictures.gif(walk.smooth_faces), "image/gif")


def reconstructions(*chosen: Any) -> list[str]:
    """A photograph as the networks see it and with other attributes, and each autoencoder's version of it.

    Args:
        chosen: how far to go in each of the directions, then the photograph, if there is one.
    """
    *moves, image = chosen
    aligned, results = story.reconstruct(image or next(iter(EXAMPLES.values())))
    note = aligned.note if image else "Upload a face, or take one with the camera. Until then, one that the GAN drew:"
    moved = story.with_attributes(results, dict(zip(directions(), moves, strict=True)))
    captions = ["What the networks see", *(f"{name}, moved" for name in moved)]
    pixels = np.stack([story.pixels_of(aligned.image), *moved.values()])
    rows = []
    for name, result in results.items():
        said = story.in_a_sentence(name)
        names = [f"Reconstruction by the {said}", f"Where the {said} differs"]
        under = [f"{name}: {result.psnr:.1f} dB", f"difference x {result.GAIN}"]
        rows.append(show.html("<div>{}</div>", show.faces(result.faces, names, 2, under)))
    return [
        show.sentence(note) + show.html('<div class="seen">{}</div>', show.faces(pixels, captions, 2, captions)),
        show.html('<div class="reconstructions">{}</div>', show.together(rows)),
    ]


def moved(mean: float, seed: int, count: int, shown: str) -> list[str]:
    """Each model's faces at a mean, beside what was measured there."""

    def row(name: str) -> tuple[story.Draws, str]:
        drawn = story.out_of_distribution(name, mean, seed, count)
        share = curves.face_share(name, mean)
        numbers = [
            f"{drawn.distance:.1f} standard deviations from the prior's mean",
            f"two faces differ by {drawn.diversity:.1f} grey levels",
            *([] if share is None else [f"a face is found in {share:.0%} of pictures this far"]),
        ]
        return drawn, show.html(
            '<div class="model"><h3>{}: {}</h3>{}<p class="numbers">{}.</p>{}</div>',
            name,
            prior_of(load(name)),
            show.strip(drawn.faces, f"{len(drawn.faces)} faces by the {name} at mean {mean:g}"),
            "; ".join(numbers),
            curves.far_curve(name, mean),
        )

    names = [*MODELS] if shown == ALL else [shown]
    draws, rows = zip(*side_by_side(row, names))
    sentence = show.sentence(story.in_words(mean, dict(zip(names, draws))))
    return [show.html('<div data-mean="{:g}">{}{}</div>', mean, sentence, show.together(rows))]


def experiment(seed: int) -> list[str]:
    """The plain and the shifted autoencoder's faces from the same draws."""
    results = story.experiment(seed)
    return [
        show.faces(
            pixels,
            [f"Face {number} of the {story.in_a_sentence(name)}" for number in range(1, len(pixels) + 1)],
            columns=4,
        )
        for name, pixels in results.items()
    ]


def training(model: str, epoch: int) -> list[str]:
    """The same latents after an epoch, and the losses on the way."""
    history = story.history(model)
    epochs = int(history.epochs)
    pixels, epoch = story.training(model, epoch), min(epoch, epochs)
    names = [f"Latent {number} of the {model} after epoch {epoch}" for number in range(1, len(pixels) + 1)]
    keys = show.html(" and ").join(
        show.html('<span class="key {}">{}</span>', colour, name) for colour, name in curves.loss_names(history).items()
    )
    return [
        show.sentence(f"After epoch {epoch} of {epochs}. {show.foreign(history.note)}")
        + show.faces(pixels, names)
        + show.html(
            '<div class="training"><p>Losses: {}, against the epochs.</p>{}</div>',
            keys,
            curves.loss_curve(history, epoch),
        )
    ]
