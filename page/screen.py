"""A tab that draws itself anew whenever something on it changes, and that a link can reproduce."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.components import Component

from . import show


@dataclass(frozen=True)
class Drawing:
    """A function of some components' values, and the components that show what it returns."""

    function: Callable[..., Any]
    inputs: list[Component]
    outputs: list[gr.HTML]


@dataclass
class Screen:
    """One tab.

    Attributes:
        name: in links.
        settings: what a link carries, by its name there.
        drawings: what is drawn from them.
    """

    name: str
    settings: dict[str, Component] = field(default_factory=dict)
    drawings: list[Drawing] = field(default_factory=list)

    def draws(self, function: Callable[..., Any], inputs: list[Component], outputs: list[gr.HTML]) -> None:
        """Draw at every change of an input, and once now, so that the page arrives with its pictures."""
        drawing = Drawing(_complaining(function, len(outputs)), inputs, outputs)
        self.drawings.append(drawing)
        first = _as_list(drawing.function(*(component.value for component in inputs)))
        for output, value in zip(outputs, first):
            output.value = value
        # While a hand drags, answers follow as fast as they come, and the last position always gets one.
        gr.on(
            [component.change for component in inputs],
            drawing.function,
            inputs,
            outputs,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )

    def remembers(self) -> None:
        """Keep the address of the page such that it leads back to what is on screen."""
        names = json.dumps([self.name, *self.settings])
        gr.on(
            [component.change for component in self.settings.values()],
            None,
            [*self.settings.values()],
            js=f"(...values) => latentFaces.remember({names}, values)",
        )

    def defaults(self) -> dict[str, Any]:
        return {name: component.value for name, component in self.settings.items()}

    def restored(self, query: dict[str, str]) -> dict[Component, Any]:
        """The values and drawings that a link asks for, by component. What it asks for in vain is told and left."""
        asked: dict[Component, Any] = {}
        for name, component in self.settings.items():
            if name not in query:
                continue
            try:
                asked[component] = _from_text(component, query[name])
            except (ValueError, gr.Error):
                gr.Warning(f"The link's {name} cannot be {query[name][:40]}.")
        updates = dict(asked)
        for drawing in self.drawings:
            if asked.keys() & set(drawing.inputs):
                values = [asked.get(component, component.value) for component in drawing.inputs]
                updates.update(zip(drawing.outputs, _as_list(drawing.function(*values))))
        return updates


def restoring(screens: list[Screen], tabs: gr.Tabs) -> None:
    """When the page is opened by a link, show what the link says."""
    for screen in screens:
        screen.remembers()
    by_name = {screen.name: screen for screen in screens}
    components = [
        component
        for screen in screens
        for component in [*screen.settings.values(), *(out for drawing in screen.drawings for out in drawing.outputs)]
    ]

    def restore(query: str) -> dict[Component, Any]:
        asked = {name: values[-1] for name, values in parse_qs(query.lstrip("?"), max_num_fields=50).items()}
        screen = by_name.get(asked.get("tab", ""), screens[0])
        return {tabs: gr.Tabs(selected=screen.name), **screen.restored(asked)}

    gr.context.Context.root_block.load(
        restore,
        gr.Textbox(visible=False),
        [tabs, *components],
        js="() => window.location.search",
        show_progress="hidden",
        api_visibility="private",
    ).then(None, js="() => latentFaces.arrive()")


def _from_text(component: Component, text: str) -> Any:
    if isinstance(component, gr.Checkbox):
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if isinstance(component, (gr.Slider, gr.Number)):
        value = float(text)
        return component.preprocess(int(value) if value.is_integer() else value)
    return component.preprocess(text)


def _complaining(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The function, with a sentence in the place of the first of its `count` results where it raises ValueError."""

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except ValueError as error:
            complaint = show.complaint(str(error))
            return complaint if count == 1 else [complaint, *[""] * (count - 1)]

    return call


def _as_list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]
