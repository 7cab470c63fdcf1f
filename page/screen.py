"""A tab that draws itself anew whenever something on it changes, and that a link can reproduce."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.components import Component

from . import show


@dataclass
class Screen:
    """One tab.

    Attributes:
        name: in links.
        settings: what a link carries, by its name there.
        draw: a function of what the visitor chose, which returns what is shown. ValueErrors become a sentence there.
        inputs: the components of its arguments: the settings, and what no link can carry.
        outputs: the components that show what it returns.
    """

    name: str
    settings: dict[str, Component]
    draw: Callable[..., list[str]]
    inputs: list[Component]
    outputs: list[gr.HTML]

    def __post_init__(self):
        self.draw = _complaining(self.draw, len(self.outputs))
        # The page arrives with its pictures.
        for output, value in zip(self.outputs, self.draw(*(component.value for component in self.inputs)), strict=True):
            output.value = value
        # One function draws all of a tab. While a hand drags, answers follow as fast as they come, and the last position
        # always gets one. (Of two functions that one event starts in this mode, gradio 6.31 repeats each whenever the
        # other has finished, for ever.)
        gr.on(
            [component.change for component in self.inputs],
            self.draw,
            self.inputs,
            self.outputs,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
        if not self.settings:
            return
        names = json.dumps([self.name, *self.settings])
        gr.on(
            [component.change for component in self.settings.values()],
            None,
            [*self.settings.values()],
            trigger_mode="multiple",
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
        if not asked:
            return {}
        values = (asked.get(component, component.value) for component in self.inputs)
        return {**asked, **dict(zip(self.outputs, self.draw(*values)))}


def restoring(screens: list[Screen], tabs: gr.Tabs) -> None:
    """When the page is opened by a link, show what the link says."""
    by_name = {screen.name: screen for screen in screens}
    components = [component for screen in screens for component in [*screen.settings.values(), *screen.outputs]]

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


def _complaining(draw: Callable[..., list[str]], count: int) -> Callable[..., list[str]]:
    """The function, with a sentence in the place of the first of its `count` results where it raises ValueError."""

    @functools.wraps(draw)
    def call(*values: Any) -> list[str]:
        try:
            return draw(*values)
        except ValueError as error:
            return [show.complaint(str(error)), *[""] * (count - 1)]

    return call
