"""Faces and numbers as HTML. Pictures travel inside it, so that a moving slider costs one answer and no flicker.

All HTML of the page is made by `html` below: what comes from a Hub, a link or a picture can only be text in it.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from markupsafe import Markup

from . import labels
from .pictures import data_uri, moving_webp, png, side_by_side, webp

# Of a text that somebody else wrote.
MOST_CHARACTERS = 200


def html(template: str, *values: object, **named: object) -> Markup:
    """HTML from a template of ours. What fills its gaps is text, and escaped, unless it was made here too."""
    filled = Markup(template).format(*values, **named)
    # JSON can hold halves of characters, which no answer can.
    return Markup(filled.encode("utf-8", "replace").decode())


def together(parts: Iterable[str]) -> Markup:
    """One HTML of several."""
    return Markup("").join(parts)


def foreign(text: object) -> str:
    """What somebody else wrote, of any length and type, as a short text."""
    words = str(text)
    return words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 1] + "…"


def faces(pixels: np.ndarray, names: list[str], columns: int = 8, captions: list[str] | None = None) -> Markup:
    """A grid of faces (n, 64, 64, 3).

    Args:
        names: what each is called when it is read aloud.
        columns: on a wide screen.
        captions: what is written under each.
    """
    figures = []
    for face, name, caption in zip(pixels, names, captions or [""] * len(names)):
        text = html("<figcaption>{}</figcaption>", caption) if caption else ""
        figures.append(html("<figure>{}{}</figure>", _image(_png(face), name), text))
    return html('<div class="faces" style="--columns: {}">{}</div>', columns, together(figures))


def choice_of_faces(pixels: np.ndarray, names: list[str], texts: list[dict[str, str]], recipes: list[str]) -> Markup:
    """A grid of faces, one of which can be chosen, by mouse, finger or arrow keys; at first the first.

    Args:
        texts: what is written into each PNG.
        recipes: of each, for whatever uses the chosen one.
    """
    labels = []
    for index, (face, name, text, recipe) in enumerate(zip(pixels, names, texts, recipes), start=1):
        radio = html('<input type="radio" name="face" value="{}" aria-label="{}"{}>', index, name, _CHECKED[index == 1])
        picture = _image(_png(face, **text), name)
        labels.append(html('<label title="{}" data-recipe="{}">{}{}</label>', name, recipe, radio, picture))
    return html(
        '<div class="faces" style="--columns: 8" role="radiogroup" aria-label="Choose a face">{}</div>',
        together(labels),
    )


_CHECKED = {True: Markup(" checked"), False: ""}


def strip(pixels: np.ndarray, name: str) -> Markup:
    """A row of faces (n, 64, 64, 3) as one picture."""
    row = _image(webp(side_by_side(pixels)), name)
    return html('<div class="strip" style="--faces: {}">{}</div>', len(pixels), row)


def labelled_strips(rows: dict[str, np.ndarray]) -> Markup:
    """Rows of faces with their labels before them."""
    return together(
        html('<div class="labelled"><span>{}</span>{}</div>', label, strip(pixels, label))
        for label, pixels in rows.items()
    )


def loop(pixels: np.ndarray, name: str) -> Markup:
    """A walk there and back again, moving. Who asked the system for less motion sees its first face."""
    return html(
        '<picture class="loop"><source srcset="{}" media="(prefers-reduced-motion: reduce)">{}</picture>',
        _png(pixels[0]),
        _image(moving_webp(pixels), name),
    )


def switches(bits: str, held: str, first: int = 1) -> Markup:
    """The bits of a face as switches, each with a lock.

    Args:
        bits: "+" or "-" each.
        held: "." where a bit is free, "+" or "-" where every face has it so; empty for all free.
        first: the first that gets a switch, from 1.
    """
    held = held or "." * len(bits)
    items = (
        html(
            '<span class="bit"><button type="button" data-bit="{number}" data-action="flip" aria-pressed="{on}" '
            'aria-label="Bit {number}">{number}</button>'
            '<button type="button" data-bit="{number}" data-action="hold" aria-pressed="{locked}" '
            'aria-label="Hold bit {number} for all faces"></button></span>',
            number=number,
            on=str(bit == "+").lower(),
            locked=str(hold != ".").lower(),
        )
        for number, (bit, hold) in enumerate(zip(bits, held), start=1)
        if number >= first
    )
    return html(
        '<div class="bits" role="group" aria-label="Bits of the chosen face" data-bits="{}">{}</div>',
        bits,
        together(items),
    )


def attributes(names: list[str], values: Mapping[str, float], numbers: Mapping[str, int], best: int) -> Markup:
    """A switch with two sides for each attribute: on, off, or neither, where each face has it as it was drawn.

    Args:
        values: of those that are set, 1 for on, -1 for off.
        numbers: of those that are bits, which, from 1.
        best: how many are in sight; the others open.
    """
    switches = []
    for name in names:
        value, title = values.get(name, 0.0), labels.title(name)
        off, on = (
            html(
                '<button type="button" data-item="{}" data-sign="{}" data-bit="{}" aria-pressed="{}" aria-label="{}">{}'
                "</button>",
                labels.item(name, side),
                sign,
                numbers.get(name, ""),
                str(value == side).lower(),
                f"{title}: {said}",
                mark,
            )
            for side, sign, said, mark in ((-1, "-", "off", "✕"), (1, "+", "on", "✓"))
        )
        shown = title if value in (-1, 0, 1) else f"{title} {value:g}"
        switches.append(html('<span class="attribute">{}<bdi>{}</bdi>{}</span>', off, shown, on))
    others = sum(name in values for name in names[best:])
    set_of_them = f", {others} of them set" if others else ""
    more = html(
        "<details><summary>More attributes ({}{})</summary><div>{}</div></details>",
        len(names) - best,
        set_of_them,
        together(switches[best:]),
    )
    return html(
        '<section class="attributes" aria-label="Attributes"><h3>Attributes</h3><p>✓ gives one to all faces, ✕ takes it '
        "from all; pressed again, each has it as it was drawn. What else is in a face stays.</p><div>{}</div>{}"
        "<p>{}</p></section>",
        together(switches[:best]),
        more if len(names) > best else "",
        labels.WHAT_THEY_ARE,
    )


def code(text: str) -> Markup:
    """A line of a program."""
    return html('<pre class="code"><code>{}</code></pre>', text)


def sentence(text: str) -> Markup:
    """A sentence that is read aloud when it changes."""
    return html('<p class="sentence" role="status">{}</p>', text)


def complaint(text: str) -> Markup:
    """What could not be done, and why."""
    return html('<p class="complaint" role="alert">{}</p>', text)


def _image(source: str, name: str) -> Markup:
    return html('<img src="{}" alt="{}" draggable="false">', source, name)


def _png(pixels: np.ndarray, **text: str) -> str:
    return data_uri(png(pixels, **text), "image/png")
