"""The page: models of faces, what their latents do, and how far a prior can be left. Run with `python app.py`."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

# Before gradio is imported: the page asks nothing of any other machine.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# After every answer gradio makes a table of all answers so far, for a monitoring page that is off here.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))

from page import server

server.give_back_freed_memory()
if __name__ == "__main__":
    server.without_matplotlib()
    TEMPORARY = server.own_temporary_folder()

import gradio as gr

from page import drawings, endpoints, labels, story
from page.recipe import MAX_FACES, MAX_SEED, MAX_TEMPERATURE
from page.screen import Screen, attributes_line, connect, picture, script
from page.show import foreign, html
from page.values import MOST_CHARACTERS
from page.zoo import CORES, MODELS, directions, load, load_all, prior_of, with_bits, zero_gpu

PAGE = Path(__file__).parent / "page"

INTRODUCTION = """# Latent Faces
Small networks learned faces from CelebA. Each turns a *latent*, a vector of 100 numbers, into a face of 64 x 64
pixels. Draw latents, walk between two of them, and leave the distribution that a model was trained on."""

# Clicks among faces and among switches are events of their own.
CHOOSE = "element.addEventListener('change', (event) => { latentFaces.choose(event.target); trigger('choose'); });"
SWITCH = "element.addEventListener('click', (event) => latentFaces.press(event.target) && trigger('turn'));"


@dataclass(frozen=True)
class Ends:
    """Where a path begins and ends. Made before the tabs, since faces of one tab are sent to another."""

    model: gr.Dropdown = field(default_factory=lambda: model_choice(render=False))
    recipes: list[gr.Textbox] = field(
        default_factory=lambda: [
            gr.Textbox(
                str(seed), label=f"{end}: seed, or seed/face", max_length=MOST_CHARACTERS, min_width=120, render=False
            )
            for seed, end in enumerate("AB")
        ]
    )
    photographs: list[gr.Image] = field(
        default_factory=lambda: [photograph(f"{end}: a photograph instead", render=False) for end in "AB"]
    )


def prior_mean(shown: str) -> float:
    """Of the model that is shown, or of most of them."""
    return load(shown if shown in MODELS else next(iter(MODELS))).prior_mean


class Page(gr.Blocks):
    """The page on its own. Within another application it is mounted with `server.limits()`."""

    def launch(self, *arguments: Any, **options: Any) -> Any:
        """As gradio's, with the limits of a public page unless `options` say otherwise."""
        bound = options.get("server_name") or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
        if options.get("share") or os.environ.get("GRADIO_SHARE", "").lower() == "true":
            bound = "0.0.0.0"  # By way of a tunnel, under a name that is made up at the start.
        limits = {
            **server.limits(bound),
            # Of threads that wait for each other. With gradio's 40, some visitors wait twice as long as others.
            "max_threads": 4 * CORES,
            # Gradio keeps the components of so many sessions as they were last; nothing of them is needed here.
            "state_session_capacity": 50,
        }
        return super().launch(*arguments, **{**limits, **options})

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *others: Any, **options: Any) -> list[Any]:
        """As gradio's, but what is wrong with a program's arguments is told in a line, and not logged at all.

        What a program leaves out at the end is as it is on arrival, as with gradio's own clients.
        """
        inputs = [*inputs, *(block.value for block in block_fn.inputs[len(inputs) :])]
        try:
            return await super().preprocess_data(block_fn, inputs, *others, **options)
        except Exception as error:
            reason = " ".join(str(getattr(error, "message", error)).split())
            raise gr.Error(reason[:200] or "These arguments cannot be read.", print_exception=False) from None


def build() -> Page:
    zero_gpu()  # ZeroGPU looks for what needs it before the first visitor comes.
    # Pictures that programs ask for are files; an hour is enough to fetch one.
    with Page(title="Latent Faces", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        # First of all, since what follows calls it. As a component it comes along wherever the page is put.
        browser = gr.HTML(visible="hidden", js_on_load=None)
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
        origins = ", ".join(f"{name}: {foreign(loaded.origin)}" for name, loaded in load_all().items())
        gr.HTML(html("<p>Weights: {}.</p>", origins), elem_id="origins", js_on_load=None)
        connect(screens, tabs)
        browser.head = f"<style>{style()}</style>{script(screens)}"
    # Programs that ask and never fetch the answers keep others waiting for so many only.
    page.queue(max_size=server.MOST_WAITING)
    return page


def style() -> str:
    """page.css, once more inside the page: there it prevails over gradio's own looks."""
    css = (PAGE / "page.css").read_text(encoding="utf-8")
    return f"{css}\n.gradio-container.gradio-container .contain {{ {css} }}"


def generate_tab(ends: Ends) -> Screen:
    with tab("Generate", "generate"):
        with gr.Row():
            model, seed = model_choice(), seed_box()
            dice(seed)
            count = gr.Slider(1, MAX_FACES, 16, step=1, label="Faces")
            temperature = gr.Slider(0, MAX_TEMPERATURE, 1, step=0.05, label="Temperature")
        faces, named = picture("generate", 0, CHOOSE), picture("generate", 1, SWITCH)
        with gr.Row():
            senders = [gr.Button(f"Chosen face → {end} of Interpolate", size="sm") for end in "AB"]
            download = gr.Button("Download chosen face (PNG)", size="sm")
        with gr.Column() as discrete:
            gr.Markdown(
                "### The discrete half\nHalf of a GAN's latent is bits. Those without a name are here, as the chosen "
                "face has them. Flip one, and all faces have it so; free it, and each has its own again."
            )
            panel = picture("generate", 2, SWITCH)
            with gr.Row():
                hold, free = (
                    gr.Button("Hold all bits of the chosen face", size="sm"),
                    gr.Button("Let all go", size="sm"),
                )
            bit = gr.Slider(
                1,
                max([2, *(load(name).discrete_size for name in with_bits())]),
                1,
                step=1,
                label="What does one bit change? Bit",
            )
            strip = picture("generate", 3)
        bits, attributes = gr.Textbox("", visible="hidden"), attributes_line()
        face = gr.Number(1, precision=0, minimum=1, maximum=MAX_FACES, visible="hidden")

        settings = {
            "model": model,
            "seed": seed,
            "faces": count,
            "temperature": temperature,
            "bits": bits,
            "face": face,
            "bit": bit,
            "attributes": attributes,
        }
        outputs = [faces, named, panel, strip]
        screen = Screen("generate", settings, drawings.generated, [*settings.values()], outputs, True)

        faces.choose(None, None, face, js="() => latentFaces.face")
        panel.turn(None, bits, [bits, bit], js="(bits) => latentFaces.turn(bits)")
        named.turn(
            None,
            [attributes, bits, bit],
            [attributes, bits, bit],
            js="(...values) => latentFaces.turnAttribute(...values)",
        )
        hold.click(None, None, bits, js="() => latentFaces.holdAll()")
        free.click(None, None, [bits, attributes], js="() => ['', '']")
        model.change(
            None,
            model,
            discrete,
            js=f"(model) => ({{__type__: 'update', visible: {json.dumps(with_bits())}.includes(model)}})",
        )
        download.click(None, [model, seed], js="(model, seed) => latentFaces.downloadFace(`${model} ${seed}`)")
        for sender, recipe, image in zip(senders, ends.recipes, ends.photographs):
            # The chosen face as an end of a path: its model, its recipe, and no photograph in its place.
            sender.click(
                None,
                model,
                [ends.model, recipe, image],
                js="async (model) => [model, await latentFaces.recipe(), null]",
            )

        endpoint(
            endpoints.generate,
            [model, seed, count, temperature, bits, attributes],
            {"faces": gallery, "numbers": gr.JSON},
        )
        endpoint(
            endpoints.flip_bit,
            [seed, count, temperature, bits, bit, model, attributes],
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
        screen = Screen("interpolate", settings, drawings.path, chosen, [path, walk])
        download.click(
            endpoints.in_a_box(endpoints.answering(drawings.walk_as_gif, chosen)),
            chosen,
            walk_address,
            show_progress="hidden",
            api_visibility="private",
            preprocess=False,
        ).success(None, walk_address, js="(address) => latentFaces.download(address, 'walk.gif')")
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
            # A link names each, beside whatever else it carries.
            settings = {
                f"attribute.{name}": gr.Slider(
                    -labels.MOST_STEPS,
                    labels.MOST_STEPS,
                    0,
                    step=0.1,
                    label=labels.title(name),
                    min_width=200,
                    render=False,
                )
                for name in directions()
            }
            sliders = [*settings.values()]
            with gr.Column():  # The moved face stays in sight to its end.
                moved = picture("reconstruct", 0, elem_classes="moved")
                if sliders:
                    direction_sliders(sliders)
            reconstructions = picture("reconstruct", 1)
        attributes = attributes_line()
        drawn = [moved, reconstructions]
        screen = Screen("reconstruct", settings, drawings.reconstructions, [*sliders, image], drawn, remembers=True)
        endpoint(endpoints.reconstruct, [image, attributes], {"faces": gallery, "numbers": gr.JSON})
    return screen


def direction_sliders(sliders: list[gr.Slider]) -> None:
    """Sliders for the attributes of a photograph, the best in sight."""
    best, others = sliders[: labels.BEST], sliders[labels.BEST :]
    with gr.Row(elem_classes="directions"):
        for slider in best:
            slider.render()
    if others:
        with gr.Accordion(f"More attributes ({len(others)})", open=False), gr.Row(elem_classes="directions"):
            for slider in others:
                slider.render()
    with gr.Row():
        back = gr.Button("All back to the photograph's own", size="sm", scale=0, min_width=240)
        back.click(None, None, sliders, js=f"() => Array({len(sliders)}).fill(0)")
    gr.Markdown(f"1 is by what faces that have an attribute differ from those that do not. {labels.WHAT_THEY_ARE}")


def moved_tab() -> Screen:
    with tab("Out of distribution", "out-of-distribution"):
        gr.Markdown(
            "Move the mean of the latents. The noise on top of it stays the same, so each face is its own. Beside the "
            'faces, as measured on the bundled models: <span class="key blue">how much faces differ</span> and '
            '<span class="key red">the share of pictures in which a detector finds one</span>; the band is the prior.'
        )
        mean = gr.Slider(-story.MAX_MEAN, story.MAX_MEAN, 0, step=0.5, label="Mean of the latents")
        with gr.Row():
            prior = gr.Button("To the prior", size="sm", min_width=60)
            for value in (-3, 100, -100):
                gr.Button(f"{value}", size="sm", min_width=60).click(None, None, mean, js=f"() => {value}")
            shown = gr.Dropdown([drawings.ALL, *MODELS], value=drawings.ALL, label="Models")
            seed, count = seed_box(), gr.Slider(1, 16, 6, step=1, label="Faces of each")
        faces = picture("out-of-distribution", 0)
        # Answered by the browser: a late answer of the server's would undo what the visitor has done since.
        means = {name: prior_mean(name) for name in (drawings.ALL, *MODELS)}
        prior.click(None, shown, mean, js=f"(shown) => ({json.dumps(means)})[shown]")
        settings = {"mean": mean, "seed": seed, "faces": count, "models": shown}
        screen = Screen("out-of-distribution", settings, drawings.moved, [*settings.values()], [faces])
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
        screen = Screen("experiment", {"seed": seed}, drawings.experiment, [seed], outputs)
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
        screen = Screen("training", settings, drawings.training, [*settings.values()], [faces])
        endpoint(endpoints.training, [model, epoch], {"faces": gallery, "numbers": gr.JSON})
    return screen


def tab(label: str, name: str) -> gr.Tab:
    tab = gr.Tab(label, id=name)
    tab.select(None, js=f"() => latentFaces.open('{name}')")
    return tab


def model_choice(**options: Any) -> gr.Dropdown:
    return gr.Dropdown([*MODELS], value=next(iter(MODELS)), label="Model", **options)


def seed_box() -> gr.Number:
    return gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=120)


def dice(seed: gr.Component) -> None:
    """A button that rolls a seed, in the browser."""
    gr.Button("Roll", size="sm", min_width=60, scale=0).click(None, None, seed, js="() => latentFaces.roll()")


def photograph(label: str, height: int = 240, **options: Any) -> gr.Image:
    return gr.Image(label=label, height=height, type="filepath", sources=["upload", "webcam", "clipboard"], **options)


def examples(image: gr.Image) -> None:
    """Buttons that put a face in the place of a photograph."""
    with gr.Row():
        for name, path in drawings.EXAMPLES.items():
            button = gr.Button(name, icon=path, size="sm", min_width=90, elem_classes="example")
            button.click(lambda path=path: path, None, image, show_progress="hidden", api_visibility="private")


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
        answer = endpoints.answering(function, inputs)
        gr.Button().click(answer, inputs, components, api_name=function.__name__, preprocess=False)


if __name__ == "__main__":
    page = build()
    server.keep_clean(TEMPORARY)
    server.one_line_errors()
    page.launch()
