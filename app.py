"""The page: four models, what their latents do, and how far a prior can be left. Run with `python app.py`."""

import os
from functools import cache
from pathlib import Path

# Before gradio is imported: the page asks nothing of any other machine.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import torch
from PIL import Image

from models import Autoencoder, Generator, interpolate
from models.base import FaceModel
from models.hub import LoadedModel, load_models
from models.images import from_pil, open_image, to_pil

WEIGHTS = Path(__file__).parent / "weights"

MODELS: dict[str, tuple[type[FaceModel], str]] = {
    "GAN": (Generator, "gan"),
    "Plain autoencoder": (Autoencoder, "autoencoder"),
    "Matched autoencoder": (Autoencoder, "matched-autoencoder"),
    "Shifted autoencoder": (Autoencoder, "shifted-autoencoder"),
}
AUTOENCODERS = [name for name, (kind, _) in MODELS.items() if kind is Autoencoder]

MAX_FACES, MAX_SEED = 64, 2**32 - 1

# 64 x 64 faces are shown as they are: larger, with square pixels. A gallery is as high as its faces.
CSS = """
.faces img { image-rendering: pixelated; }
.faces .grid-wrap { min-height: 0; max-height: none; }
"""

INTRODUCTION = """# Latent Faces
Four small networks learned faces from CelebA. Each turns a *latent*, a vector of 100 numbers, into a face of 64 x 64
pixels. Draw latents, walk between two of them, and leave the distribution that a model was trained on."""


@cache
def load_all() -> dict[str, LoadedModel]:
    """The models by their names on the page, loaded once.

    Every request shares them: nothing that a visitor does changes a model.
    """
    kinds = {folder: kind for kind, folder in MODELS.values()}
    loaded = load_models(kinds, WEIGHTS, os.environ.get("LATENT_FACES_HUB"))
    return {name: loaded[folder] for name, (_, folder) in MODELS.items()}


def load(name: str) -> FaceModel:
    return load_all()[name].model


def prior_of(model: FaceModel) -> str:
    """The model's prior in words, from its own config."""
    normal = f"N({model.prior_mean:g}, {model.prior_variance:g})"
    if isinstance(model, Generator) and model.discrete_size:
        return f"{model.continuous_size} numbers from {normal}, {model.discrete_size} bits"
    return f"{model.latent_size} numbers from {normal}"


def generate(model: str, seed: int, count: int) -> list[Image.Image]:
    """Draw latents from a model's own prior and decode them.

    Args:
        model: one of the four names.
        seed: a whole number; the same seed gives the same faces.
        count: how many, from 1 to 64.

    Returns:
        Faces of 64 x 64 pixels.
    """
    return load(model).generate(int(count), seed=int(seed))


@torch.inference_mode()
def interpolate_faces(
    model: str, seed_a: int, seed_b: int, image_a: str | None, image_b: str | None, steps: int
) -> tuple[list[Image.Image], str]:
    """Walk the straight line between two latents.

    Args:
        model: one of the four names.
        seed_a, seed_b: the ends, as the first face of each seed.
        image_a, image_b: photographs to encode instead, for an autoencoder.
        steps: pictures on the way, both ends included. The report has 11.

    Returns:
        The pictures from A to B, and a sentence where something could not be done.
    """
    network = load(model)
    try:
        ends = [_latent(network, image, seed) for image, seed in ((image_a, seed_a), (image_b, seed_b))]
    except ValueError as error:
        return [], str(error)
    return to_pil(network.decode(interpolate(*ends, steps=int(steps)))), ""


@torch.inference_mode()
def reconstruct(image: str | None) -> tuple[list[tuple[Image.Image, str]], str]:
    """Encode a photograph and decode it again, with each autoencoder.

    Args:
        image: a photograph; its middle is cropped and scaled to 64 x 64.

    Returns:
        The crop and each reconstruction with their captions, and a sentence where something could not be done.
    """
    if image is None:
        return [], "Upload a face, or take one with the camera."
    try:
        x = from_pil(open_image(image))
    except ValueError as error:
        return [], str(error)
    pictures = [(to_pil(x)[0], "What the networks see")]
    for name in AUTOENCODERS:
        reconstruction = load(name)(x)
        decibels = 10 * torch.log10(4 / (reconstruction - x).square().mean()).item()
        pictures.append((to_pil(reconstruction)[0], f"{name}: {decibels:.1f} dB"))
    return pictures, ""


@torch.inference_mode()
def out_of_distribution(mean: float, seed: int, count: int) -> list:
    """Move the mean of the latents away from the prior's, with the noise held fixed.

    Of the GAN's latents the continuous half moves. The variance stays each prior's own.

    Args:
        mean: from -100 to 100.
        seed: a whole number; it fixes the noise.
        count: faces of each model, from 1 to 16.

    Returns:
        The faces of the GAN, the plain, the matched and the shifted autoencoder, then, by model, the standard
        deviation of a pixel across the faces (0: all alike; values lie in [-1, 1]).
    """
    pictures, spreads = [], {}
    for name in MODELS:
        model = load(name)
        x = model.decode(model.sample_latent(int(count), seed=int(seed), mean=float(mean)))
        pictures.append(to_pil(x))
        spreads[name] = round(x.std(0, correction=0).mean().item(), 4)
    return [*pictures, spreads]


def experiment(seed: int) -> list[list[Image.Image]]:
    """The plain and the shifted autoencoder, both sampled from the shifted one's prior."""
    shifted = load("Shifted autoencoder")
    prior = {"mean": shifted.prior_mean, "variance": shifted.prior_variance}
    return [load(name).generate(16, seed=int(seed), **prior) for name in ("Plain autoencoder", "Shifted autoencoder")]


def _latent(model: FaceModel, image: str | None, seed: int) -> torch.Tensor:
    """One end of a path, (latent_size,): the photograph's latent if there is one, else the seed's first."""
    if image is None:
        return model.sample_latent(1, seed=int(seed))[0]
    if isinstance(model, Generator):
        raise ValueError("The GAN has no encoder, so it cannot start from a photograph: choose an autoencoder.")
    return model.encode(from_pil(open_image(image)))[0]


def photograph(label: str, height: int = 240) -> gr.Image:
    """An upload that arrives as a path, unopened: what is wrong with a file is told in our words, beside the result.

    (Gradio opens it first, and shows an error box. Its subclasses write a .pyi beside their module, so no subclass.)
    """
    image = gr.Image(label=label, height=height, type="filepath", sources=["upload", "webcam", "clipboard"])
    open_and_check = image.preprocess
    image.preprocess = lambda payload: payload.path if payload and payload.path else open_and_check(payload)
    return image


def model_choice() -> gr.Dropdown:
    return gr.Dropdown([*MODELS], value="GAN", label="Model")


def seed_box(value: int = 0, label: str = "Seed") -> gr.Number:
    return gr.Number(value, label=label, precision=0, minimum=0, maximum=MAX_SEED)


def faces_gallery(label: str, columns: int = 8) -> gr.Gallery:
    return gr.Gallery(
        label=label,
        show_label=False,
        columns=columns,
        height="auto",
        object_fit="contain",
        format="png",
        elem_classes="faces",
        interactive=False,
    )


def build() -> gr.Blocks:
    with gr.Blocks(title="Latent Faces", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)

        with gr.Tab("Generate"):
            with gr.Row():
                model, seed = model_choice(), seed_box()
                count = gr.Slider(1, MAX_FACES, 16, step=1, label="Faces")
                button = gr.Button("Generate", variant="primary")
            faces = faces_gallery("Faces")
            gr.Markdown("  \n".join(f"**{name}** draws {prior_of(load(name))}." for name in MODELS))
            inputs = [model, seed, count]
            gr.on([button.click, seed.submit], generate, inputs, faces, api_name="generate")
            gr.on([page.load, model.change, count.release], generate, inputs, faces, api_visibility="private")

        with gr.Tab("Interpolate"):
            with gr.Row():
                model, seed_a, seed_b = model_choice(), seed_box(0, "Seed of A"), seed_box(1, "Seed of B")
                steps = gr.Slider(2, 21, 11, step=1, label="Pictures")
                button = gr.Button("Interpolate", variant="primary")
            with gr.Accordion("Photographs instead of seeds (autoencoders only)", open=False), gr.Row():
                image_a, image_b = photograph("A"), photograph("B")
            path, message = faces_gallery("From A to B", columns=11), gr.Markdown()
            inputs = [model, seed_a, seed_b, image_a, image_b, steps]
            button.click(interpolate_faces, inputs, [path, message], api_name="interpolate")
            gr.on(
                [page.load, model.change, image_a.change, image_b.change, steps.release],
                interpolate_faces,
                inputs,
                [path, message],
                api_visibility="private",
            )

        with gr.Tab("Reconstruct"):
            with gr.Row():
                image = photograph("A face", height=320)
                with gr.Column(scale=2):
                    reconstructions, message = faces_gallery("Reconstructions", columns=4), gr.Markdown()
            image.change(reconstruct, image, [reconstructions, message], api_name="reconstruct")

        with gr.Tab("Out of distribution"):
            gr.Markdown("Move the mean of the latents. The noise on top of it stays the same, so each face is its own.")
            with gr.Row():
                mean = gr.Slider(-100, 100, 0, step=0.5, label="Mean of the latents", scale=3)
                seed, count = seed_box(), gr.Slider(1, 16, 8, step=1, label="Faces of each model")
            outputs = []
            for name in MODELS:
                gr.Markdown(f"**{name}**, prior: {prior_of(load(name))}")
                outputs.append(faces_gallery(name))
            outputs.append(gr.JSON(label="Standard deviation of a pixel across the faces"))
            inputs = [mean, seed, count]
            # While a hand drags, only the last position counts.
            gr.on(
                [page.load, mean.change, seed.change, count.change],
                out_of_distribution,
                inputs,
                outputs,
                api_name="out_of_distribution",
                trigger_mode="always_last",
                show_progress="hidden",
            )

        with gr.Tab("Experiment"):
            shifted = load("Shifted autoencoder")
            gr.Markdown(
                f"Both autoencoders below get the same draws from N({shifted.prior_mean:g}, {shifted.prior_variance:g}). "
                "Only one of them was trained to expect them."
            )
            seed = seed_box()
            with gr.Row():
                outputs = []
                for name in ("Plain autoencoder", "Shifted autoencoder"):
                    with gr.Column():
                        gr.Markdown(f"**{name}**")
                        outputs.append(faces_gallery(name, columns=4))
            gr.on([page.load, seed.change], experiment, seed, outputs, api_name="experiment")

        origins = ", ".join(f"{name}: {loaded.origin}" for name, loaded in load_all().items())
        gr.Markdown(f"Weights: {origins}.", elem_id="origins")
    return page


if __name__ == "__main__":
    build().launch(css=CSS)
