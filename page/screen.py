"""Tabs that draw themselves anew whenever something on them changes, and that a link can reproduce.

Drawing goes past gradio's queue: of each answer its browser side copies the state of every component, several times,
which takes longer than drawing the faces. `page.js` asks `draw` below instead, one question at a time for each tab, and
after the last movement of a slider once more.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.components import Component

from . import labels, server, show
from .story import GONE, is_remembered
from .values import choice, number, text, whole
from .zoo import CORES

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
        remembers: whether drawing opens a photograph once only.
    """

    name: str
    settings: Mapping[str, Component]
    draw: Draw
    inputs: list[Component]
    outputs: list[gr.HTML]
    on_arrival: bool = False
    remembers: bool = False

    def __post_init__(self):
        if self.on_arrival:
            values = [component.value for component in self.inputs]
            for output, html in zip(self.outputs, self._drawn(values), strict=True):
                output.value = html
        gr.on(
            [component.change for component in self.inputs],  # type: ignore[attr-defined]
            None,
            self.inputs,
            trigger_mode="multiple",
            js=f"(...values) => latentFaces.change('{self.name}', values)",
        )

    def answer(self, values: list[Any]) -> list[str]:
        """HTML for each output, from what the browser sent for each input; the last ones may be left out."""
        if len(values) > len(self.inputs):
            return self._complaint("This is no question that the page asks.")
        values = [*values, *[None] * (len(self.inputs) - len(values))]
        names = [*self.settings, *["photograph"] * (len(self.inputs) - len(self.settings))]
        try:
            sent = zip(self.inputs, values, names, strict=True)
            checked = [check(component, value, f"The {name}") for component, value, name in sent]
        except ValueError as error:
            return self._complaint(str(error))
        return self._drawn(checked)

    def reads_a_picture(self, values: list[Any]) -> bool:
        """Whether an answer to these values decodes an upload. The examples are small, and remembered."""
        uploads = [str(value.get("path")) for value in values if isinstance(value, dict)]
        return any(not (self.remembers and is_remembered(path)) for path in uploads)

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
                    values[name] = check(component, _from_text(component, query[name]), f"The link's {name}")
                except ValueError as error:
                    problems.append(str(error))
        return values, problems


def picture(screen: str, index: int, js: str = "", **options: Any) -> gr.HTML:
    """What shows one of a screen's results.

    Args:
        index: which one.
        js: more to be run when it appears, with its `element` and `trigger`.
    """
    return gr.HTML(js_on_load=f"latentFaces.mount('{screen}', {index}, element); {js}", **options)


def attributes_line() -> gr.Textbox:
    """What faces are to have, as a line that the browser keeps; a program may send a mapping for it."""
    return gr.Textbox("", visible="hidden", elem_classes=_ATTRIBUTES)


# Not a class of its own: gradio would write a file beside this one for it.
_ATTRIBUTES = "line-of-attributes"


def connect(screens: list[Screen], tabs: gr.Tabs) -> None:
    """Let the browser ask for drawings, and follow the link that opened the page."""
    by_name = {screen.name: screen for screen in screens}

    drawings = server.Line(4 * CORES, server.MOST_DRAWINGS_WAITING)
    photographs = server.Line(server.PHOTOGRAPHS_AT_ONCE, server.MOST_PHOTOGRAPHS_WAITING)

    async def draw(question: Any) -> list[str]:
        match question:
            case [str(name), list(values)] if name in by_name:
                screen = by_name[name]
                line = photographs if screen.reads_a_picture(values) else drawings
                try:
                    return await line.serve(screen.answer, values)
                except server.Busy as busy:
                    return [show.complaint(str(busy))]
        return [show.complaint("This is no question that the page asks.")]

    def follow(query: Any) -> dict[str, Any]:
        try:
            fields = parse_qs(query.lstrip("?"), max_num_fields=50)
        except (ValueError, AttributeError):
            fields = {}
        asked = {name: values[-1] for name, values in fields.items()}
        screen = by_name.get(asked.get("tab", ""), screens[0])
        values, problems = screen.asked(asked)
        return {"tab": screen.name, "values": values, "problems": show.together(map(show.complaint, problems))}

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
    # Settings may be called by what a model's maker wrote, which must not end the script.
    arrival = json.dumps(settings).replace("<", "\\u003c")
    return f"<script>{code}\nlatentFaces.settingsOnArrival = {arrival};</script>"


def check(component: Component, value: Any, what: str) -> Any:
    """What was sent for a component, as functions take it.

    Args:
        what: names it in a sentence, such as "The seed".

    Raises:
        ValueError: it is not what the component could have sent.
    """
    match component:
        case gr.Slider() | gr.Number():
            assert component.minimum is not None and component.maximum is not None  # On this page.
            kind = whole if component.step == 1 else number
            return kind(value, what, component.minimum, component.maximum)
        case gr.Dropdown() | gr.Radio():
            return choice(value, what, [str(name) for _, name in component.choices])
        case gr.Textbox() if _ATTRIBUTES in component.elem_classes:
            return labels.line(value, what)
        case gr.Image():
            return _uploaded(value, Path(component.GRADIO_CACHE))
    return text(value, what)


def _uploaded(value: Any, folder: Path) -> str | None:
    """The path of a photograph; None where there is none."""
    if value is None:
        return None
    # Nothing but what was uploaded to this page: a path is whatever its sender wrote.
    with suppress(TypeError, LookupError, ValueError, OSError):
        path = Path(value["path"]).resolve()
        if path.is_relative_to(folder.resolve()) and path.is_file():
            return str(path)
    raise ValueError(GONE)


def _from_text(component: Component, text: str) -> Any:
    if isinstance(component, (gr.Slider, gr.Number)):
        with suppress(ValueError):
            return float(text)
    return text
