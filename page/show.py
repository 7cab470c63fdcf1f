"""Faces and numbers as HTML. Pictures travel inside it, so that a moving slider costs one answer and no flicker."""

from html import escape

import numpy as np

from .pictures import moving_webp, png, side_by_side, webp


def faces(pixels: np.ndarray, names: list[str], columns: int = 8, captions: list[str] | None = None) -> str:
    """A grid of faces (n, 64, 64, 3).

    Args:
        names: what each is called when it is read aloud.
        columns: on a wide screen.
        captions: what is written under each.
    """
    figures = []
    for face, name, caption in zip(pixels, names, captions or [""] * len(names)):
        text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        figures.append(f"<figure>{_image(png(face), name)}{text}</figure>")
    return _grid("".join(figures), columns)


def choice_of_faces(pixels: np.ndarray, names: list[str], texts: list[dict[str, str]], columns: int = 8) -> str:
    """A grid of faces, one of which can be chosen, by mouse, finger or arrow keys; at first the first.

    Args:
        texts: what is written into each PNG.
    """
    labels = []
    for index, (face, name, text) in enumerate(zip(pixels, names, texts), start=1):
        checked = " checked" if index == 1 else ""
        radio = f'<input type="radio" name="face" value="{index}" aria-label="{escape(name)}"{checked}>'
        labels.append(f'<label title="{escape(name)}">{radio}{_image(png(face, **text), name)}</label>')
    return _grid("".join(labels), columns, 'role="radiogroup" aria-label="Choose a face"')


def strip(pixels: np.ndarray, name: str) -> str:
    """A row of faces (n, 64, 64, 3) as one picture."""
    return f'<div class="strip" style="--faces: {len(pixels)}">{_image(webp(side_by_side(pixels)), name)}</div>'


def labelled_strips(rows: dict[str, np.ndarray]) -> str:
    """Rows of faces with their labels before them."""
    return "".join(
        f'<div class="labelled"><span>{escape(label)}</span>{strip(pixels, label)}</div>'
        for label, pixels in rows.items()
    )


def loop(pixels: np.ndarray, name: str) -> str:
    """A walk there and back again, moving. Who asked the system for less motion sees its first face."""
    still = f'<source srcset="{png(pixels[0])}" media="(prefers-reduced-motion: reduce)">'
    return f'<picture class="loop">{still}{_image(moving_webp(pixels), name)}</picture>'


def switches(bits: str, held: str) -> str:
    """The bits of a face as switches, each with a lock.

    Args:
        bits: "+" or "-" each.
        held: "." where a bit is free, "+" or "-" where every face has it so; empty for all free.
    """
    held = held or "." * len(bits)
    items = []
    for number, (bit, hold) in enumerate(zip(bits, held), start=1):
        on, locked = str(bit == "+").lower(), str(hold != ".").lower()
        items.append(
            f'<span class="bit"><button type="button" data-bit="{number}" data-action="flip" aria-pressed="{on}" '
            f'aria-label="Bit {number}">{number}</button>'
            f'<button type="button" data-bit="{number}" data-action="hold" aria-pressed="{locked}" '
            f'aria-label="Hold bit {number} for all faces"></button></span>'
        )
    return f'<div class="bits" role="group" aria-label="Bits of the chosen face">{"".join(items)}</div>'


def sentence(text: str) -> str:
    """A sentence that is read aloud when it changes."""
    return f'<p class="sentence" role="status">{escape(text)}</p>'


def complaint(text: str) -> str:
    """What could not be done, and why."""
    return f'<p class="complaint" role="alert">{escape(text)}</p>'


def _image(source: str, name: str) -> str:
    return f'<img src="{source}" alt="{escape(name)}" draggable="false">'


def _grid(content: str, columns: int, attributes: str = "") -> str:
    return f'<div class="faces" style="--columns: {columns}" {attributes}>{content}</div>'
