"""Tabs that draw themselves anew whenever something on them changes, and that a link can reproduce.

Drawing goes past gradio's queue: of each answer its browser side copies the state of every component, several times,
which takes longer than drawing the faces. `page.js` asks `draw` below instead, one question at a time for each tab, and
after the last movement of a slider once more.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.components import Component
from gradio.data_classes import ImageData

from . import show

Draw = Callable[..., list[str]]


@dataclass
class Screen:
    """One tab.

    Attributes:
        name: in links.
        settings: what a link carries, by its name there.
        draw: a function of what the visitor chose, which returns HTML for each output. A ValueError of it becomes a
            sentence in place of the first.
        inputs: the components of its arguments: the settings, then what no link can carry.
        outputs: made by `picture`.
        on_arrival: whether the page arrives with its pictures. Other tabs draw theirs when they are first opened.
    """

    name: str
    settings: dict[str, Component]
    draw: Draw
    inputs: list[Component]
    outputs: list[gr.HTML]
    on_arrival: bool = False

    def __post_init__(self):
        if self.on_arrival:
            values = [component.value for component in self.inputs]
            for output, html in zip(self.outputs, self._drawn(values), strict=True):
                output.value = html
        gr.on(
            [component.change for component in self.inputs],
            None,
            self.inputs,
            trigger_mode="multiple",
            js=f"(...values) => latentFaces.change('{self.name}', values)",
        )

    def answer(self, values: list[Any]) -> list[str]:
        """HTML for each output, from what the browser sent for each input; the last ones may be left out."""
        values = [*values, *[None] * (len(self.inputs) - len(values))]
        try:
            checked = [_checked(component, value) for component, value in zip(self.inputs, values, strict=True)]
        except gr.Error as error:
            return self._complaint(str(error.message))
        except (ValueError, TypeError):
            return self._complaint(f"{str(values)[:200]} is not what this tab can be set to.")
        return self._drawn(checked)

    def _drawn(self, values: list[Any]) -> list[str]:
        try:
            return self.draw(*values)
        except ValueError as error:
            return self._complaint(str(error))

    def _complaint(self, text: str) -> list[str]:
        return [show.complaint(text), *[""] * (len(self.outputs) - 1)]

    def asked(self, query: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
        """The values that a link asks for, by name, and a sentence for each that cannot be had."""
        values, problems = {}, []
        for name, component in self.settings.items():
            if name in query:
                try:
                    values[name] = _from_text(component, query[name])
                except (ValueError, gr.Error):
                    problems.append(f"The link's {name} cannot be {query[name][:40]}.")
        return values, problems


def picture(screen: str, index: int, js: str = "") -> gr.HTML:
    """What shows one of a screen's results.

    Args:
        index: which one.
        js: more to be run when it appears, with its `element` and `trigger`.
    """
    return gr.HTML(js_on_load=f"latentFaces.mount('{screen}', {index}, element); {js}")


def connect(screens: list[Screen], tabs: gr.Tabs) -> None:
    """Let the browser ask for drawings, and follow the link that opened the page."""
    by_name = {screen.name: screen for screen in screens}

    def draw(question: Any) -> list[str]:
        match question:
            case [str(name), list(values)] if name in by_name:
                return by_name[name].answer(values)
        return [show.complaint("This is no question that the page asks.")]

    def follow(query: Any) -> dict[str, Any]:
        try:
            fields = parse_qs(str(query).lstrip("?"), max_num_fields=50)
        except ValueError:
            fields = {}
        asked = {name: values[-1] for name, values in fields.items()}
        screen = by_name.get(asked.get("tab", ""), screens[0])
        values, problems = screen.asked(asked)
        return {"tab": screen.name, "values": values, "problems": "".join(map(show.complaint, problems))}

    # The page may lie in a tab of another page, and arrives when that is opened.
    notice = gr.HTML(
        js_on_load="latentFaces.connect(server, props); trigger('arrive')", server_functions=[draw, follow]
    )
    settings = [component for screen in screens for component in screen.settings.values()]
    notice.arrive(None, settings, [tabs, *settings], js="(...values) => latentFaces.arrive(values)")


def script(screens: list[Screen]) -> str:
    """What the browser runs: page.js, told what each screen's settings are on arrival."""
    settings = {
        screen.name: {name: component.value for name, component in screen.settings.items()} for screen in screens
    }
    code = Path(__file__).with_name("page.js").read_text()
    return f"<script>{code}\nlatentFaces.settingsOnArrival = {json.dumps(settings)};</script>"


def _checked(component: Component, value: Any) -> Any:
    """What a browser sent for a component, as its function takes it.

    Raises:
        ValueError, TypeError, gr.Error: it is not what the component could have sent.
    """
    if not isinstance(component, gr.Image):
        return component.preprocess(value)
    if value is None:
        return None
    image = ImageData(**value)
    # Nothing but what was uploaded to this page: a path is whatever its sender wrote.
    if not Path(image.path or "").resolve().is_relative_to(Path(component.GRADIO_CACHE).resolve()):
        raise gr.Error("This image was not uploaded here.")
    return component.preprocess(image)


def _from_text(component: Component, text: str) -> Any:
    if isinstance(component, (gr.Slider, gr.Number)):
        value = float(text)
        return component.preprocess(int(value) if value.is_integer() else value)
    return component.preprocess(text)
