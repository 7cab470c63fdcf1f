"""The tabs, one file each: what visitors set there, declared once, and the endpoints with which programs do the same.

The browser draws them, from `Tab.described`. The docstrings of the endpoints are what the page's API documentation and
a language model read.
"""

import functools
import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder

from .. import labels, pictures, story
from ..controls import Choice, Control, Number, Photograph
from ..recipe import MAX_SEED
from ..zoo import MODELS, load, with_attributes


def model_choice(first: str = "attribute-gan") -> Choice:
    """
    Args:
        first: the folder of the model that is shown first.
    """
    return Choice("model", "Model", next(iter(MODELS)), [*MODELS], first=title_of(first))


def title_of(folder: str) -> str | None:
    """The name on the page of the model in a folder of `weights`; None where there is no such model."""
    return next((name for name, its in MODELS.items() if its == folder), None)


def seed(first: int | None = None) -> Number:
    return Number("seed", "Seed", 0, least=0, most=MAX_SEED, first=first)


def gallery(label: str) -> gr.Gallery:
    return gr.Gallery(label=label, format="png", interactive=False)


@dataclass(frozen=True)
class Endpoint:
    """A function that programs call by its name.

    Attributes:
        controls: of its arguments, in their order.
        outputs: what makes each result's component, by the name of the result.
    """

    function: Callable[..., Any]
    controls: Sequence[Control]
    outputs: dict[str, Callable[..., gr.components.Component]]

    def render(self) -> None:
        """Let gradio offer it, with components that nobody sees. What arrives is checked here, and not by gradio."""
        with gr.Column(visible=False):
            inputs = [control.component() for control in self.controls]
            outputs = [kind(label=name) for name, kind in self.outputs.items()]
            gr.Button().click(self.answering(), inputs, outputs, api_name=self.function.__name__, preprocess=False)

    def answering(self) -> Callable[..., Any]:
        """The function of what programs send: what is wrong with it reaches them in a sentence."""
        names = inspect.signature(self.function).parameters

        @functools.wraps(self.function)
        def call(*sent: Any) -> Any:
            try:
                arguments = zip(self.controls, sent, names, strict=True)
                return self.function(*(control.check(value, f"The {name}") for control, value, name in arguments))
            except ValueError as error:
                raise gr.Error(str(error), print_exception=False) from None
            except OSError as error:
                raise gr.Error(f"The page could not write a file ({error.strerror}). Try again in a while.") from None

        return call


@dataclass(frozen=True)
class Tab:
    """
    Attributes:
        name: in links.
        title: on its button.
        controls: by their names in links, in the order in which they are shown.
    """

    name: str
    title: str
    controls: Sequence[Control]
    endpoints: Sequence[Endpoint]

    def described(self, photographs: bool) -> dict[str, Any]:
        """For page.json.

        Args:
            photographs: whether there is a server that takes them.
        """
        shown = [control for control in self.controls if photographs or not isinstance(control, Photograph)]
        return {"name": self.name, "title": self.title, "controls": [control.described() for control in shown]}


def png(pixels: np.ndarray, **text: str) -> str:
    """The path of a face as a PNG that holds texts by name."""
    return file(pictures.png(pixels, **text), "face.png")


def file(content: bytes, name: str) -> str:
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


def in_its_words(model: str, attributes: str) -> str:
    """A line of attributes in the model's own words.

    Raises:
        ValueError: the model has none of that name, or none at all.
    """
    if attributes and model not in with_attributes():
        knowing = " or the ".join(map(story.in_a_sentence, with_attributes())) or "a model that does"
        raise ValueError(f"The {story.in_a_sentence(model)} knows no attributes: choose the {knowing}.")
    return labels.write(labels.read(attributes, load(model)))
