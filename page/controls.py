"""What visitors set and programs send, declared once: each kind checks a value, describes itself to the browser, and
has a component of gradio with which the API types and documents it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from . import labels, values
from .story import GONE


@dataclass(frozen=True)
class Control:
    """
    Attributes:
        name: in links.
        label: what people read beside it.
        value: what a program or a link means that leaves it out.
        first: what a visitor sees who comes without a link, where that differs.
    """

    name: str
    label: str
    value: Any
    first: Any = field(default=None, kw_only=True)

    def check(self, value: Any, what: str) -> Any:
        """What was sent for this control, as functions take it.

        Args:
            what: names it in a sentence, such as "The seed".

        Raises:
            ValueError: it is not what the control could have sent, in a sentence for whoever sent it.
        """
        raise NotImplementedError

    def component(self) -> Component:
        """What stands for it in gradio's API, unseen."""
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """For page.json."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class Number(Control):
    _: KW_ONLY
    least: float
    most: float
    step: float = 1

    def check(self, value: Any, what: str) -> int | float:
        kind = values.whole if self.step == 1 else values.number
        return kind(value, what, self.least, self.most)

    def component(self) -> Component:
        if self.most - self.least > 1000:  # More than a slider has places.
            return gr.Number(self.value, label=self.label, precision=0, minimum=self.least, maximum=self.most)
        return gr.Slider(self.least, self.most, self.value, step=self.step, label=self.label)


@dataclass(frozen=True)
class Choice(Control):
    choices: Sequence[str]

    def check(self, value: Any, what: str) -> str:
        return values.choice(value, what, self.choices)

    def component(self) -> Component:
        return gr.Dropdown([*self.choices], value=self.value, label=self.label)


@dataclass(frozen=True)
class Text(Control):
    value: str = ""
    most: int = values.MOST_CHARACTERS

    def check(self, value: Any, what: str) -> str:
        return values.text(value, what, self.most)

    def component(self) -> Component:
        return gr.Textbox(self.value, label=self.label)


@dataclass(frozen=True)
class Attributes(Text):
    """What faces are to have, as a line; a program may send a mapping for it."""

    name: str = "attributes"
    label: str = "Attributes"
    most: int = labels.MOST_CHARACTERS

    def check(self, value: Any, what: str) -> str:
        return labels.line(value, what)


@dataclass(frozen=True)
class Photograph(Control):
    """An upload, as gradio's file data; never in links."""

    value: None = None  # type: ignore[assignment]

    def check(self, value: Any, what: str) -> str | None:
        """Its path; None where there is none."""
        if value is None:
            return None
        # Nothing but what was uploaded to this page: a path is whatever its sender wrote.
        with suppress(TypeError, LookupError, ValueError, OSError):
            path = Path(value["path"]).resolve()
            if path.is_relative_to(Path(get_upload_folder()).resolve()) and path.is_file():
                return str(path)
        raise ValueError(GONE)

    def component(self) -> Component:
        return gr.Image(label=self.label, type="filepath")
