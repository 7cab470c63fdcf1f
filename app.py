"""The page: four models, what their latents do, and how far a prior can be left. Run with `python app.py`."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

# Before gradio is imported: the page asks nothing of any other machine.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# After every answer gradio makes a table of all answers so far, for a monitoring page that is off here.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))

import gradio as gr

from models import Generator
from page import curves, endpoints, pictures, show, story
from page.recipe import MAX_FACES, MAX_SEED, MAX_TEMPERATURE, Recipe
from page.screen import Screen, connect, picture, script
from page.zoo import CORES, MODELS, load, load_all, prior_of, side_by_side, zero_gpu

PAGE = Path(__file__).parent / "page"

INTRODUCTION = """# Latent Faces
Four small networks learned faces from CelebA. Each turns a *latent*, a vector of 100 numbers, into a face of 64 x 64
pixels. Draw latents, walk between two of them, and leave the distribution that a model was trained on."""

ALL = "All four"

# Faces that the models drew, by what their buttons say; written by docs/draw.py.
EXAMPLES = {path.stem.replace("-", " "): str(path) for path in sorted((PAGE / "examples").glob("*.png"))}

# Clicks among faces and among switches are events of their own.
CHOOSE = "element.addEventListener('change', () => trigger('choose'));"
SWITCH = "element.addEventListener('click', (event) => latentFaces.press(event.target) && trigger('turn'));"


def draw_generated(model: str, seed: int, count: int, temperature: float, bits: str, face: int, bit: int) -> list[str]:
    network = load(model)
    faces = faces_of(model, seed, count, temperature, bits)
    if not isinstance(network, Generator):
        return [faces, "", ""]
    recipe = Recipe(seed, min(face, count), temperature, bits)
    return [faces, show.switches(story.bits_of(model, recipe), bits), effect_of(seed, count, temperature, bits, bit)]


# What one control changes is not drawn anew for another's sake.
@lru_cache(maxsize=32)
def faces_of(model: str, seed: int, count: int, temperature: float, bits: str) -> str:
    pixels = story.generate(model, seed, count, temperature, bits)
    recipes = [Recipe(seed, number, temperature, bits) for number in range(1, len(pixels) + 1)]
    names = [f"Face {recipe.face} of {len(pixels)}, {model}, seed {seed}" for recipe in recipes]
    return show.choice_of_faces(pixels, names, [story.signature(model, recipe) for recipe in recipes])


@lru_cache(maxsize=32)
def effect_of(seed: int, count: int, temperature: float, bits: str, bit: int) -> str:
    off, on = story.flip_bit("GAN", seed, count, temperature, bits, bit, most=6)
    change = abs(on.astype(int) - off)
    rows = {
        f"bit {bit} at -1": off,
        f"bit {bit} at +1": on,
        "difference x 3": (3 * change).clip(0, 255).astype("uint8"),
    }
    return show.labelled_strips(rows) + show.sentence(f"Bit {bit} moves a pixel by {change.mean():.1f} grey levels.")


def draw_path(
    model: str, a: str, b: str, steps: int, way: str, discrete: str, image_a: str | None, image_b: str | None
) -> list[str]:
    path = story.interpolate(model, (a, b), (image_a, image_b), steps, way, discrete)
    names = [f"Picture {number} of {len(path.faces)} from A to B, {model}" for number in range(1, len(path.faces) + 1)]
    grid = show.faces(path.faces, names, columns=len(names))
    moving = show.loop(path.smooth_faces, f"The walk from A to B and back, {model}")
    return [grid + "".join(map(show.sentence, path.notes)), moving]


def walk_as_gif(
    model: str, a: str, b: str, steps: int, way: str, discrete: str, image_a: str | None, image_b: str | None
) -> str:
    """The address of a GIF to download."""
    path = story.interpolate(model, (a, b), (image_a, image_b), steps, way, discrete)
    return pictures.data_uri(pictures.gif(path.smooth_faces), "image/gif")


def draw_reconstructions(image: str | None) -> list[str]:
    aligned, results = story.reconstruct(image or next(iter(EXAMPLES.values())))
    note = aligned.note if image else "Upload a face, or take one with the camera. Until then, one that the GAN drew:"
    seen = show.faces(story.pixels_of(aligned.image)[None], ["What the networks see"], 1, ["What the networks see"])
    rows = [f'<div class="seen">{seen}</div>']
    for name, result in results.items():
        names = [f"Reconstruction by the {name.lower()}", f"Where the {name.lower()} differs"]
        captions = [f"{name}: {result.psnr:.1f} dB", f"difference x {result.GAIN}"]
        rows.append(f"<div>{show.faces(result.faces, names, 2, captions)}</div>")
    return [show.sentence(note) + f'<div class="reconstructions">{"".join(rows)}</div>']


def draw_moved(mean: float, seed: int, count: int, shown: str) -> list[str]:
    def row(name: str) -> tuple[story.Draws, str]:
        drawn = story.out_of_distribution(name, mean, seed, count)
        share = curves.face_share(name, mean)
        numbers = [
            f"{drawn.distance:.1f} standard deviations from the prior's mean",
            f"two faces differ by {drawn.diversity:.1f} grey levels",
            *([] if share is None else [f"a face is found in {share:.0%} of pictures this far"]),
        ]
        return drawn, (
            f'<div class="model"><h3>{name}: {prior_of(load(name))}</h3>'
            + show.strip(drawn.faces, f"{len(drawn.faces)} faces by the {name} at mean {mean:g}")
            + f'<p class="numbers">{"; ".join(numbers)}.</p>{curves.far_curve(name, mean)}</div>'
        )

    names = [*MODELS] if shown == ALL else [shown]
    draws, rows = zip(*side_by_side(row, names))
    sentence = show.sentence(story.in_words(mean, dict(zip(names, draws))))
    return [f'<div data-mean="{mean:g}">{sentence}{"".join(rows)}</div>']


def draw_experiment(seed: int) -> list[str]:
    results = story.experiment(seed)
    return [
        show.faces(pixels, [f"Face {number} of the {name.lower()}" for number in range(1, len(pixels) + 1)], columns=4)
        for name, pixels in results.items()
    ]


def draw_training(model: str, epoch: int) -> list[str]:
    history = story.history(model)
    pixels, epoch = story.training(model, epoch), min(epoch, history.epochs)
    names = [f"Latent {number} of the {model} after epoch {epoch}" for number in range(1, len(pixels) + 1)]
    keys = " and ".join(
        f'<span class="key {colour}">{name}</span>' for colour, name in curves.loss_names(history).items()
    )
    return [
        show.sentence(f"After epoch {epoch} of {history.epochs}:")
        + show.faces(pixels, names)
        + f'<div class="training"><p>Losses: {keys}, against the epochs.</p>{curves.loss_curve(history, epoch)}</div>'
    ]


def hold_all(model: str, seed: int, temperature: float, bits: str, face: int) -> str:
    return story.bits_of(model, Recipe(seed, face, temperature, bits))


def send(model: str, seed: int, temperature: float, bits: str, face: int) -> tuple[str, str, None]:
    """The chosen face as an end of a path: its model, its recipe, and no photograph in its place."""
    return model, str(Recipe(seed, face, temperature, bits)), None


@dataclass(frozen=True)
class Ends:
    """Where a path begins and ends. Made before the tabs, since faces of one tab are sent to another."""

    model: gr.Dropdown = field(default_factory=lambda: model_choice(render=False))
    recipes: list[gr.Textbox] = field(
        default_factory=lambda: [
            gr.Textbox(str(seed), label=f"{end}: seed, or seed/face", max_length=200, min_width=120, render=False)
            for seed, end in enumerate("AB")
        ]
    )
    photographs: list[gr.Image] = field(
        default_factory=lambda: [photograph(f"{end}: a photograph instead", render=False) for end in "AB"]
    )


def prior_mean(shown: str) -> float:
    """Of the model that is shown, or of most of them."""
    return load(shown if shown in MODELS else "GAN").prior_mean


def build() -> gr.Blocks:
    zero_gpu()
    # Pictures that programs ask for are files; an hour is enough to fetch one.
    with gr.Blocks(title="Latent Faces", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        smooth = gr.Checkbox(False, label="Enlarge smoothly", container=False)
        smooth.change(None, smooth, js="(on) => latentFaces.smooth(on)")
        ends = Ends()
        with gr.Tabs() as tabs:
            screens = [
                generate_tab(ends),
                interpolate_tab(ends),
                reconstruct_tab(),
                moved_tab(),
                experiment_tab(),
                training_tab(),
            ]
        origins = ", ".join(f"{name}: {loaded.origin}" for name, loaded in load_all().items())
        gr.Markdown(f"Weights: {origins}.", elem_id="origins")
        connect(screens, tabs)
        page.launch = partial(page.launch, **launch_options(screens))
    return page


def launch_options(screens: list[Screen]) -> dict[str, Any]:
    """What gradio takes at the launch of a page rather than with its components."""
    return {
        "css_paths": [PAGE / "page.css"],
        "head": script(screens),
        "footer_links": ["api", "settings"],
        "run_history": False,
        "show_error": True,
        "enable_monitoring": False,
        "max_file_size": "100mb",
        # Of threads that wait for each other. With gradio's 40, some visitors wait twice as long as others.
        "max_threads": 4 * CORES,
        # Gradio keeps what each session was last shown, half a megabyte here; nothing of it is needed again.
        "state_session_capacity": 50,
        # The extra `mcp` makes every endpoint a tool for language models.
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def generate_tab(ends: Ends) -> Screen:
    with tab("Generate", "generate"):
        with gr.Row():
            model, seed = model_choice(), seed_box()
            dice(seed)
            count = gr.Slider(1, MAX_FACES, 16, step=1, label="Faces")
            temperature = gr.Slider(0, MAX_TEMPERATURE, 1, step=0.05, label="Temperature")
        faces = picture("generate", 0, CHOOSE)
        with gr.Row():
            senders = [gr.Button(f"Chosen face → {end} of Interpolate", size="sm") for end in "AB"]
            download = gr.Button("Download chosen face (PNG)", size="sm")
        with gr.Column() as discrete:
            gr.Markdown(
                "### The discrete half\nHalf of the GAN's latent is bits, here those of the chosen face. Flip one, and "
                "all faces have it so; free it, and each has its own again."
            )
            panel = picture("generate", 1, SWITCH)
            with gr.Row():
                hold, free = (
                    gr.Button("Hold all bits of the chosen face", size="sm"),
                    gr.Button("Let all go", size="sm"),
                )
            bit = gr.Slider(1, load("GAN").discrete_size, 1, step=1, label="What does one bit change? Bit")
            strip = picture("generate", 2)
        bits, face = gr.Textbox("", visible="hidden"), gr.Number(1, precision=0, visible="hidden")

        settings = {
            "model": model,
            "seed": seed,
            "faces": count,
            "temperature": temperature,
            "bits": bits,
            "face": face,
            "bit": bit,
        }
        screen = Screen("generate", settings, draw_generated, [*settings.values()], [faces, panel, strip])

        private = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
        chosen = [model, seed, temperature, bits, face]
        faces.choose(None, None, face, js="() => latentFaces.chosenFace()")
        panel.turn(None, bits, [bits, bit], js="(bits) => latentFaces.turn(bits)")
        hold.click(hold_all, chosen, bits, **private)
        free.click(None, None, bits, js="() => ''")
        model.change(lambda model: gr.Column(visible=model == "GAN"), model, discrete, **private)
        download.click(None, [model, seed], js="(model, seed) => latentFaces.downloadFace(`${model} ${seed}`)")
        for sender, recipe, image in zip(senders, ends.recipes, ends.photographs):
            sender.click(send, chosen, [ends.model, recipe, image], **private)

        endpoint(endpoints.generate, [model, seed, count, temperature, bits], {"faces": gallery, "numbers": gr.JSON})
        endpoint(
            endpoints.flip_bit,
            [seed, count, temperature, bits, bit],
            {"at -1": gallery, "at +1": gallery, "numbers": gr.JSON},
        )
    return screen


def interpolate_tab(ends: Ends) -> Screen:
    with tab("Interpolate", "interpolate"):
        with gr.Row():
            ends.model.render()
            for recipe in ends.recipes:
                recipe.render()
                dice(recipe)
            steps = gr.Slider(2, story.MAX_STEPS, 11, step=1, label="Pictures")
        with gr.Row():
            way = gr.Radio(["straight", "spherical"], value="straight", label="Way")
            discrete = gr.Radio(["relaxed", "switched", "held"], value="relaxed", label="Bits of the GAN on the way")
        with gr.Accordion("Photographs and examples (autoencoders only)", open=False), gr.Row():
            for image in ends.photographs:
                with gr.Column():
                    image.render()
                    examples(image)
        path, walk = picture("interpolate", 0), picture("interpolate", 1)
        download = gr.Button("Download the walk (GIF)", size="sm", scale=0)
        walk_address = gr.Textbox(visible=False)

        a, b = ends.recipes
        settings = {"model": ends.model, "a": a, "b": b, "steps": steps, "way": way, "discrete": discrete}
        chosen = [*settings.values(), *ends.photographs]
        screen = Screen("interpolate", settings, draw_path, chosen, [path, walk])
        download.click(
            endpoints.told(walk_as_gif), chosen, walk_address, show_progress="hidden", api_visibility="private"
        ).then(None, walk_address, js="(address) => latentFaces.download(address, 'walk.gif')")
        inputs = [ends.model, a, b, *ends.photographs, steps, way, discrete]
        endpoint(
            endpoints.interpolate,
            inputs,
            {"path": gallery, "walk": partial(gr.Image, format="gif"), "notes": gr.JSON},
        )
    return screen


def reconstruct_tab() -> Screen:
    with tab("Reconstruct", "reconstruct"), gr.Row():
        with gr.Column():
            image = photograph("A face", height=320)
            examples(image)
        with gr.Column(scale=2):
            reconstructions = picture("reconstruct", 0)
        screen = Screen("reconstruct", {}, draw_reconstructions, [image], [reconstructions])
        endpoint(endpoints.reconstruct, [image], {"faces": gallery, "numbers": gr.JSON})
    return screen


def moved_tab() -> Screen:
    with tab("Out of distribution", "out-of-distribution"):
        gr.Markdown(
            "Move the mean of the latents. The noise on top of it stays the same, so each face is its own. Beside the "
            'faces, as measured: <span class="key blue">how much faces differ</span> and '
            '<span class="key red">the share of pictures in which a detector finds one</span>; the band is the prior.'
        )
        mean = gr.Slider(-story.MAX_MEAN, story.MAX_MEAN, 0, step=0.5, label="Mean of the latents")
        with gr.Row():
            prior = gr.Button("To the prior", size="sm", min_width=60)
            for value in (-3, 100, -100):
                gr.Button(f"{value}", size="sm", min_width=60).click(None, None, mean, js=f"() => {value}")
            shown = gr.Dropdown([ALL, *MODELS], value=ALL, label="Models")
            seed, count = seed_box(), gr.Slider(1, 16, 8, step=1, label="Faces of each")
        faces = picture("out-of-distribution", 0)
        prior.click(prior_mean, shown, mean, show_progress="hidden", api_visibility="private")
        settings = {"mean": mean, "seed": seed, "faces": count, "models": shown}
        screen = Screen("out-of-distribution", settings, draw_moved, [*settings.values()], [faces])
        endpoint(
            endpoints.out_of_distribution,
            [mean, seed, count],
            {**dict.fromkeys(MODELS, gallery), "numbers": gr.JSON},
        )
    return screen


def experiment_tab() -> Screen:
    with tab("Experiment", "experiment"):
        gr.Markdown(
            f"Both autoencoders get the same draws from {prior_of(load('Shifted autoencoder'))}. Only one of them was "
            "trained to expect them."
        )
        with gr.Row():
            seed = seed_box()
            dice(seed)
        with gr.Row():
            outputs = []
            for index, name in enumerate(story.EXPERIMENT):
                with gr.Column():
                    gr.Markdown(f"### {name}")
                    outputs.append(picture("experiment", index))
        screen = Screen("experiment", {"seed": seed}, draw_experiment, [seed], outputs)
        endpoint(endpoints.experiment, [seed], {**dict.fromkeys(story.EXPERIMENT, gallery), "numbers": gr.JSON})
    return screen


def training_tab() -> Screen:
    with tab("Training", "training"):
        gr.Markdown("The same latents after every epoch, as training left them, and the losses on the way.")
        with gr.Row():
            model = model_choice()
            most = max([2, *(loaded.history.epochs for loaded in load_all().values() if loaded.history)])
            epoch = gr.Slider(1, most, most, step=1, label="Epoch", scale=3)
        faces = picture("training", 0)
        settings = {"model": model, "epoch": epoch}
        screen = Screen("training", settings, draw_training, [*settings.values()], [faces])
        endpoint(endpoints.training, [model, epoch], {"faces": gallery, "numbers": gr.JSON})
    return screen


def tab(label: str, name: str) -> gr.Tab:
    tab = gr.Tab(label, id=name)
    tab.select(None, js=f"() => latentFaces.open('{name}')")
    return tab


def model_choice(**options: Any) -> gr.Dropdown:
    return gr.Dropdown([*MODELS], value="GAN", label="Model", **options)


def seed_box() -> gr.Number:
    return gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=120)


def dice(seed: gr.Component) -> None:
    """A button that rolls a seed, in the browser."""
    gr.Button("Roll", size="sm", min_width=60, scale=0).click(None, None, seed, js="() => latentFaces.roll()")


def photograph(label: str, height: int = 240, **options: Any) -> gr.Image:
    """An upload that arrives as a path, unopened: what is wrong with a file is told in our words, beside the result.

    (Gradio opens it first, and shows an error box. Its subclasses write a .pyi beside their module, so no subclass.)
    """
    image = gr.Image(label=label, height=height, type="filepath", sources=["upload", "webcam", "clipboard"], **options)
    open_and_check = image.preprocess
    image.preprocess = lambda payload: payload.path if payload and payload.path else open_and_check(payload)
    return image


def examples(image: gr.Image) -> None:
    """Buttons that put a face in the place of a photograph."""
    with gr.Row():
        for name, path in EXAMPLES.items():
            button = gr.Button(name, icon=path, size="sm", min_width=90, elem_classes="example")
            button.click(partial(str, path), None, image, show_progress="hidden", api_visibility="private")


def gallery(label: str) -> gr.Gallery:
    return gr.Gallery(label=label, format="png", interactive=False)


def endpoint(
    function: Callable[..., Any], inputs: list[gr.Component], outputs: dict[str, Callable[..., gr.Component]]
) -> None:
    """Let programs call a function, with what visitors set as its arguments and results that visitors do not see.

    Args:
        outputs: what makes each result's component, by the name of the result.
    """
    with gr.Column(visible=False):
        components = [kind(label=name) for name, kind in outputs.items()]
        gr.Button().click(function, inputs, components, api_name=function.__name__)


if __name__ == "__main__":
    build().launch()
