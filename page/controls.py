"""The settings of the page, declared once for visitors and programs. Each kind checks a value, describes itself to the
browser, and has a gradio component that gives the API its type and documentation."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from . import labels, values

# Uploads are removed after a while, and when the page starts anew.
GONE = "This photograph is not here: uploads are kept for an hour. Upload it again."


@dataclass(frozen=True)
class Control:
    """A setting of the page.

    Attributes:
        name: in links.
        label: the words beside it.
        value: for a program or a link that leaves it out.
        first: for a visitor who comes without a link, where that differs.
    """

    name: str
    label: str
    value: Any
    first: Any = field(default=None, kw_only=True)

    def check(self, value: Any, what: str) -> Any:
        """The value that a program sent for this control, as the page's functions take it.

        Args:
            what: names it in a sentence, such as "The seed".

        Raises:
            ValueError: the control cannot have this value, in a sentence for whoever sent it.
        """
        raise NotImplementedError

    def component(self) -> Component:
        """The gradio component of an endpoint's argument; it is not shown."""
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """For page.json."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class Number(Control):
    """With a step of 1, a whole number."""

    _: KW_ONLY
    least: float
    most: float
    step: float = 1

    def check(self, value: Any, what: str) -> float:
        return values.number(value, what, self.least, self.most, whole=self.step == 1)

    def component(self) -> Component:
        return gr.Slider(self.least, self.most, self.value, step=self.step, label=self.label)


@dataclass(frozen=True)
class Choice(Control):
    choices: Sequence[str]

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str) or value not in self.choices:
            known = f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
            raise ValueError(f"{what} cannot be {values.quoted(value)}: choose {known}.")
        return value

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
    """A line of attributes; a program may send a mapping."""

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
        # Only what was uploaded to this page: a path is whatever its sender wrote.
        with suppress(TypeError, LookupError, ValueError, OSError):
            path = Path(value["path"]).resolve()
            if path.is_relative_to(Path(get_upload_folder()).resolve()) and path.is_file():
                return str(path)
        raise ValueError(GONE)

    def component(self) -> Component:
        return gr.Image(label=self.label, type="filepath")
