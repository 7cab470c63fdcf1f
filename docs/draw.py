"""Draw the pictures of faces in the README, the report and the page, with the bundled models: python docs/draw.py"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY))

from models import FaceModel
from models.history import load_history
from models.images import to_pil
from page import drawing, pictures, site
from page.catalog import MODELS, WEIGHTS, WEIGHTS_FILE, hashes
from page.controls import Control
from page.networks import decode, load
from page.recipe import Recipe
from page.site import DRAWN
from study.attributes import graded, kind_of, name_of

SCALE, GAP, LABEL_WIDTH, LABEL_HEIGHT = 1.5, 4, 170, 26
EXAMPLES = (("GAN", 0, 6), ("GAN", 0, 11), ("GAN", 0, 30), ("Plain autoencoder", 0, 4))

# Settings of the first pictures, as in page/front/tabs/generate.js, interpolate.js and tour.js.
SWAY, LIVING_FRAMES, MAP = 0.35, 16, 5
SMILES, BROKEN = 5, 100

MEANS = (-100, -30, -10, -3, 0, 3, 10, 30, 100)

# Attributes that people see in a picture. For each model the five that work best are drawn.
VISIBLE = (
    *("Eyeglasses", "Smiling", "Male", "Blond_Hair", "Bangs", "Heavy_Makeup", "Bald"),
    *("Black_Hair", "No_Beard", "Pale_Skin", "Young", "Mouth_Slightly_Open"),
)
STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)

# The reports' autoencoders, the means of their two priors, and the variance of both.
REPORTED = ("Plain autoencoder", "Matched autoencoder", "Shifted autoencoder")
PRIOR_MEANS, PRIOR_VARIANCE = (0, -3), 2

# So many of a model's bits are flipped: those that change faces most.
STRONGEST = 5


def sheet(rows: dict[str, list[Image.Image]], headings: tuple[str, ...] = ()) -> Image.Image:
    """Faces in labelled rows, under headings."""
    side, top = round(64 * SCALE), LABEL_HEIGHT if headings else 0
    width = LABEL_WIDTH + (side + GAP) * max(map(len, rows.values()))
    picture = Image.new("RGB", (width, top + (side + GAP) * len(rows)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for column, heading in enumerate(headings):
        draw.text((LABEL_WIDTH + column * (side + GAP) + side / 2, top / 2), heading, "black", font, anchor="mm")
    for row, (label, faces) in enumerate(rows.items()):
        y = top + row * (side + GAP)
        draw.text((4, y + side / 2), label, "black", font, anchor="lm")
        for column, face in enumerate(faces):
            enlarged = face.resize((side, side), Image.Resampling.LANCZOS)
            picture.paste(enlarged, (LABEL_WIDTH + column * (side + GAP), y))
    return picture


def bits(model: FaceModel, names: list[str], seed: int = 0) -> Image.Image:
    """For each attribute eight faces with its bit off, and below them the same faces with it on."""
    rows = {}
    for name in names:
        for word, value in (("off", False), ("on", True)):
            rows[f"{name_of(name)}: {word}"] = model.generate(8, seed=seed, attributes={name: value})
    return sheet(rows)


def directions(model: FaceModel, names: list[str], seeds: tuple[int, int] = (3, 17)) -> Image.Image:
    """Two faces that show changes well, moved along the direction of each attribute."""
    rows = {
        name_of(name): [
            face for seed in seeds for step in STEPS for face in model.generate(1, seed=seed, attributes={name: step})
        ]
        for name in names
    }
    return sheet(rows, tuple(f"{step:+g}" if step else "0" for _ in seeds for step in STEPS))


def main_directions(model: FaceModel, names: list[str], seed: int = 5) -> Image.Image:
    """Two faces, moved along the first main directions of the latents."""
    steps = torch.tensor([3 * step / 2 for step in STEPS])[:, None]
    rows = {
        name: [face for z in model.sample_latent(2, seed=seed) for face in to_pil(model.decode(z + steps * direction))]
        for name, direction in zip(names, model.main_directions(len(names)), strict=True)
    }
    return sheet(rows, tuple(f"{step:+g}" if step else "0" for _ in range(2) for step in steps.flatten().tolist()))


def two_priors(models: dict[str, FaceModel], seed: int = 1) -> Image.Image:
    """Eight faces of each model under each of the reports' priors. The faces of a column share their noise."""
    rows = {
        f"{title.partition(' ')[0]}: N({mean}, {PRIOR_VARIANCE})": model.generate(8, seed, mean, PRIOR_VARIANCE)
        for title, model in models.items()
        for mean in PRIOR_MEANS
    }
    return sheet(rows)


def flipped_bits(model: FaceModel, changes: list[float], seed: int = 3) -> Image.Image:
    """Eight faces, and below them the same faces with one bit flipped, for each of the strongest bits.

    Args:
        changes: how much each bit changes a face.
    """
    z = model.sample_latent(8, seed=seed)
    rows = {"faces": to_pil(model.decode(z))}
    names = [name_of(name) for name in model.attributes]
    for bit in sorted(range(model.discrete_size), key=changes.__getitem__, reverse=True)[:STRONGEST]:
        flipped = z.clone()
        flipped[:, model.continuous_size + bit] *= -1
        rows[names[bit] if bit < len(names) else f"bit {bit + 1}"] = to_pil(model.decode(flipped))
    return sheet(rows)


def first_pictures(folder: Path) -> None:
    """Draw what the page shows before any network is loaded: for each tab the faces that its first settings draw, the
    icon, and the picture of a link.

    Args:
        folder: takes faces.webp, living.webp, morph.webp, apart.webp, tour.webp, icon.png and card.jpg.
    """
    settings = {tab.name: {control.name: _first(control) for control in tab.controls} for tab in site.tabs()}

    chosen = settings["generate"]
    model, number = chosen["model"], chosen["face"] - 1
    network = load(model)
    z = network.sample_latent(chosen["faces"], seed=chosen["seed"])
    faces = decode(model, z)
    write(folder / "faces.webp", faces, columns=3)
    # Once around a small circle that touches the latent, as `sway` of page/front/tabs/generate.js moves a face.
    across, along = network.sample_latent(2, seed=1)[:, : network.continuous_size] - network.prior_mean
    angles = torch.arange(LIVING_FRAMES)[:, None] * 2 * math.pi / LIVING_FRAMES
    living = z[number].repeat(LIVING_FRAMES, 1)
    living[:, : network.continuous_size] += SWAY * (angles.sin() * across + (1 - angles.cos()) * along)
    write(folder / "living.webp", decode(model, living), columns=1)

    chosen = settings["interpolate"]
    path = load(chosen["model"])
    corners = [Recipe.parse(chosen[name]).latent(path) for name in "abc"]
    a, b, c = corners
    ways = [path.interpolate(a, b, steps) for steps in (pictures.SMOOTH_STEPS, chosen["steps"])]
    shares = torch.linspace(0, 1, MAP)
    plane = torch.stack([a + u * (b - a) + v * (c - a) for v in shares.flip(0) for u in shares])
    morph = decode(chosen["model"], torch.cat([*ways, torch.stack(corners), plane]))
    write(folder / "morph.webp", morph, columns=9)

    chosen = settings["out-of-distribution"]
    apart = load(chosen["models"])
    around = {
        mean: decode(chosen["models"], apart.sample_latent(chosen["faces"], seed=chosen["seed"], mean=mean))
        for mean in (chosen["mean"], BROKEN)
    }
    write(folder / "apart.webp", around[chosen["mean"]], columns=chosen["faces"])

    smiling = decode(model, network.with_attributes(z, {"Smiling": 1}))[SMILES - 1]
    steps = np.stack([faces[number], smiling, morph[pictures.SMOOTH_STEPS // 2], around[BROKEN][0]])
    write(folder / "tour.webp", steps, columns=4)
    large = Image.fromarray(faces[number])
    large.save(folder / "icon.png", optimize=True)
    card = Image.new("RGB", (1260, 630))
    card.paste(large.resize((630, 630), Image.Resampling.BICUBIC), (0, 0))
    others = [face for index, face in enumerate(faces) if index != number][:9]
    for index, face in enumerate([*others, smiling][:9]):
        where = (630 + 210 * (index % 3), 210 * (index // 3))
        card.paste(Image.fromarray(face).resize((210, 210), Image.Resampling.BICUBIC), where)
    card.save(folder / "card.jpg", quality=85)

    # The weights that drew them: a page with other weights does not show these pictures.
    drawn = {
        MODELS[name] for name in (model, settings["interpolate"]["model"], settings["out-of-distribution"]["models"])
    }
    whole = {name: hashes(WEIGHTS / name / WEIGHTS_FILE).whole for name in sorted(drawn)}
    DRAWN.write_text(json.dumps(whole, indent=1) + "\n")


def _first(control: Control) -> Any:
    return control.value if control.first is None else control.first


def write(path: Path, faces: np.ndarray, columns: int) -> None:
    """Write faces (n, 64, 64, 3) in rows as a WebP."""
    rows = [np.hstack([*faces[at : at + columns]]) for at in range(0, len(faces), columns)]
    path.write_bytes(pictures.webp(np.concatenate(rows)))


@torch.inference_mode()
def main() -> None:
    docs, first = REPOSITORY / "docs", REPOSITORY / "page/front/first"
    first.mkdir(exist_ok=True)
    first_pictures(first)

    networks = {title: load(title) for title in MODELS}
    sheet({title: network.generate(8, seed=0) for title, network in networks.items()}).save(docs / "faces.png")

    moved = {}
    for title, network in networks.items():
        z = torch.cat([network.sample_latent(1, seed=0, mean=mean) for mean in MEANS])
        moved[title] = to_pil(network.decode(z))
    sheet(moved, tuple(f"mean {mean}" for mean in MEANS)).save(docs / "out-of-distribution.png")
    two_priors({title: networks[title] for title in REPORTED}).save(docs / "autoencoders.png")

    # Of the bits those that change faces most, and of the named attributes those that work best.
    changes, named = (json.loads((docs / f"results/{name}.json").read_text()) for name in ("bits", "named-attributes"))
    for title, name in MODELS.items():
        network = networks[title]
        if network.discrete_size:
            flipped_bits(network, changes[name]["discrete"]).save(docs / f"flipped-bits-{name}.png")
        if network.attributes:
            grades = graded(named["models"][name], named["classifiers"])
            chosen = [attribute for attribute in grades["told apart"] + grades["works"] if attribute in VISIBLE][:5]
            draw = bits if network.discrete_size else directions
            draw(network, chosen).save(docs / f"{name}-{kind_of(network)}.png")

    matched = "Matched autoencoder"
    main_directions(networks[matched], site.names_of_directions(matched)).save(docs / "main-directions.png")

    history = load_history(REPOSITORY / "weights/gan")
    epochs = {f"after epoch {epoch}": history.faces_after(epoch)[:8] for epoch in (1, history.epochs)}
    sheet(epochs).save(docs / "gan-first-and-last-epoch.png")

    # Faces to try the page with, each with its recipe inside.
    examples = REPOSITORY / "page/examples"
    examples.mkdir(exist_ok=True)
    for model, seed, face in EXAMPLES:
        recipe = Recipe(seed, face)
        pixels = drawing.generate(model, seed, face, 1.0, "")[-1]
        name = f"{model.partition(' ')[0].lower()}-{seed}-{face}.png"
        (examples / name).write_bytes(pictures.png(pixels, **recipe.metadata(model)))


if __name__ == "__main__":
    main()
