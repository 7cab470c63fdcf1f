"""What the files of page/tabs declare: a tab has controls, which the browser shows, and endpoints, which programs call.

The docstrings of endpoints are what the page's API documentation and a language model read.
"""

import functools
import inspect
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder

from . import pictures
from .catalog import MODELS
from .controls import Choice, Control, Number
from .recipe import MAX_SEED


@dataclass(frozen=True)
class Endpoint:
    """A function that programs call by its name. It imports what needs PyTorch when it is first called.

    Attributes:
        controls: of its arguments, in their order.
        outputs: makes the gradio component of each result, by the result's name.
        at_once: how many calls run at a time, while others wait in the queue; None for all.
    """

    function: Callable[..., Any]
    controls: Sequence[Control]
    outputs: dict[str, Callable[..., gr.components.Component]]
    at_once: int | None = 1

    def render(self) -> None:
        """Have gradio offer it, with components that are not shown. Gradio does not check what arrives: `call` does."""
        with gr.Column(visible=False):
            inputs = [control.component() for control in self.controls]
            outputs = [kind(label=name) for name, kind in self.outputs.items()]
            gr.Button().click(
                self.call(),
                inputs,
                outputs,
                api_name=self.function.__name__,
                preprocess=False,
                concurrency_limit=self.at_once,
            )

    def call(self) -> Callable[..., Any]:
        """The function of what programs send. Whatever is wrong reaches them as a sentence."""
        signature = inspect.signature(self.function)
        names = signature.parameters

        @functools.wraps(self.function)
        def call(*sent: Any) -> Any:
            try:
                arguments = zip(self.controls, sent, names, strict=True)
                return self.function(*(control.check(value, f"The {name}") for control, value, name in arguments))
            except ValueError as error:
                raise gr.Error(str(error), print_exception=False) from None
            except OSError as error:
                sentence = f"The page could not read or write a file ({error.strerror}). Try again in a while."
                raise gr.Error(sentence) from None
            except Exception as error:
                print(f"{self.function.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
                raise gr.Error("Something went wrong in the page itself.", print_exception=False) from None

        # Language models may leave out what has a default.
        defaults = zip(names.values(), self.controls, strict=True)
        parameters = [parameter.replace(default=control.value) for parameter, control in defaults]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return call


@dataclass(frozen=True)
class Tab:
    """A tab of the page.

    Attributes:
        name: in links.
        title: on its button.
        controls: in the order in which they are shown.
    """

    name: str
    title: str
    controls: Sequence[Control]
    endpoints: Sequence[Endpoint]

    def described(self) -> dict[str, Any]:
        """For page.json."""
        return {
            "name": self.name,
            "title": self.title,
            "controls": [control.described() for control in self.controls],
        }


def model_choice(first: str = "attribute-gan") -> Choice:
    """The control that chooses a model.

    Args:
        first: the folder of the model that is shown first.
    """
    return Choice("model", "Model", next(iter(MODELS)), [*MODELS], first=title_of(first))


def title_of(folder: str) -> str | None:
    """The name on the page of the model in a folder of `weights`; None where there is no such model."""
    return next((name for name, its in MODELS.items() if its == folder), None)


def within_a_sentence(model: str) -> str:
    """A model's name as a sentence has it: "plain autoencoder", but "GAN"."""
    return model if model[:2].isupper() else model[:1].lower() + model[1:]


def seed(first: int | None = None) -> Number:
    return Number("seed", "Seed", 0, least=0, most=MAX_SEED, first=first)


def gallery(label: str) -> gr.Gallery:
    return gr.Gallery(label=label, format="png", interactive=False)


def png(pixels: np.ndarray, **text: str) -> str:
    """The path of a face as a PNG that holds texts by name."""
    return file(pictures.png(pixels, **text), "face.png")


def file(content: bytes, name: str) -> str:
    """The path of a file with this content, which no other call writes or reads.

    Gradio would give the same content one path, and write it in place while others read it.
    """
    path = Path(get_upload_folder(), secrets.token_hex(16), name)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return str(path)
