"""The files that a browser draws the page from: scripts, page.json, models' weights, and the faces of their training.

A server answers with them. `python -m page.site FOLDER` writes them into a folder, for any web server.
"""

import argparse
import hashlib
import json
import mimetypes
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.staticfiles import NotModifiedResponse

from models.history import EPOCHS_FILE

from . import directions, labels, pictures, recipe, records, values
from .catalog import CARD_FILE, MODELS, ROOT, WEIGHTS_FILE, attributes_of, hashes, load
from .endpoints import Tab, upload, within_a_sentence
from .tabs import TABS, out_of_distribution

# The scripts, and faces that the models drew, by docs/draw.py.
FRONT, EXAMPLES = (Path(__file__).with_name(name) for name in ("front", "examples"))

# The first pictures that a visitor sees are drawn by docs/draw.py. This file holds the SHA-256 of the weights that drew
# them, by the models' folders.
DRAWN = FRONT / "first/drawn.json"

# What people call the main directions of models, by the SHA-256 of their weights; "" for one without a clear effect.
DIRECTIONS = FRONT / "directions.json"

# Each is a row of 64 pixels in a sheet, and no WebP is higher than 16383.
MOST_EPOCHS_SHOWN = 250

# The attributes of `ShownModel` that page.json repeats.
TOLD = (
    *("kind", "latent_size", "discrete_size", "prior_mean", "prior_variance", "prior", "attributes"),
    *("encodes", "encoding_steps", "origin"),
)

# A file whose address holds its hash never changes. A browser asks for others again, and gets no bytes if it has them.
FOR_EVER, ASK_AGAIN = ({"Cache-Control": value} for value in ("public, max-age=31536000, immutable", "no-cache"))

# The list of what `python -m page.site` wrote into a folder.
WRITTEN = "written-by-page-site.txt"


@cache
def tabs() -> list[Tab]:
    """In the order in which they are shown."""
    return [module.tab() for module in TABS]


def introduction() -> str:
    sources = list(dict.fromkeys(source for name in MODELS if (source := load(name).faces_from)))
    pictures = f"the pictures of {' and '.join(sources)}" if sources else "pictures"
    return (
        f"Small neural networks learned from {pictures} to draw new ones: each turns a latent, "
        f"{load(next(iter(MODELS))).latent_size} numbers, into a picture of 64 x 64 pixels."
    )


@cache
def page(api: bool = True) -> bytes:
    """The content of page.json.

    Args:
        api: whether there is a server with endpoints for programs.
    """
    space = os.environ.get("SPACE_ID") or None
    described = {
        "api": api,
        "introduction": introduction(),
        "tabs": [tab.described() for tab in tabs()],
        "models": [_model(name) for name in MODELS],
        "examples": [
            {"name": path.stem.replace("-", " "), "url": f"examples/{path.name}"}
            for path in sorted(EXAMPLES.glob("*.png"))
        ],
        "means": {"ticks": [-100, -30, -10, -3, 0, 3, 10, 30, 100]},
        "notes": {"attributes": labels.WHAT_THEY_ARE},
        "links": {
            "code": space and f"https://huggingface.co/spaces/{space}/tree/main",
            "report": _address("report.txt"),
        },
        "constants": {
            "most_faces": recipe.MAX_FACES,
            "most_seed": recipe.MAX_SEED,
            "most_temperature": recipe.MAX_TEMPERATURE,
            "most_bit": labels.MOST_BIT,
            "most_attribute": labels.MOST_STEPS,
            "most_shown_characters": values.MOST_QUOTED,
            "recipe_pattern": recipe.PATTERN.replace("(?P<", "(?<"),
            "smooth_steps": pictures.SMOOTH_STEPS,
            "frame_milliseconds": pictures.FRAME_MILLISECONDS,
            "model_key": recipe.MODEL_KEY,
            "recipe_key": recipe.RECIPE_KEY,
            "all_models": out_of_distribution.ALL,
        },
    }
    return json.dumps(described, allow_nan=False).encode()


def _model(name: str) -> dict[str, Any]:
    model, folder = load(name), MODELS[name]
    weights = hashes(model.folder / WEIGHTS_FILE)
    return {
        "name": name,
        "folder": folder,
        "said": within_a_sentence(name),
        **{field: getattr(model, field) for field in TOLD},
        "best": attributes_of(name),
        "directions": names_of_directions(name),
        "main_directions": directions.main_directions(name),
        "card": _address(f"weights/{folder}/card.txt"),
        "weights": {
            "url": _address(f"weights/{folder}/{WEIGHTS_FILE}"),
            "size": (model.folder / WEIGHTS_FILE).stat().st_size,
            "blocks": weights.blocks,
        },
        "first": _is_drawn(name),
        **_history(name),
        "measured": records.measured(name),
    }


def names_of_directions(name: str) -> list[str]:
    """What a model's first main directions change; empty where nobody has looked."""
    named: dict[str, list[str]] = json.loads(DIRECTIONS.read_text(encoding="utf-8"))
    return named.get(hashes(load(name).folder / WEIGHTS_FILE).whole, [])


def _history(name: str) -> dict[str, Any]:
    """What page.json tells of a model's training, or why that cannot be told."""
    try:
        found = records.history(name)
    except ValueError as error:
        return {"history": None, "history_problem": str(error)}
    told = {
        "epochs": found.epochs,
        "losses": found.losses,
        "note": found.note,
        "command": found.command,
        "sheet": _address(f"epochs/{MODELS[name]}.webp"),
        "shown": _shown(found.epochs),
    }
    return {"history": told, "history_problem": None}


def _shown(epochs: int) -> list[int]:
    return np.linspace(1, epochs, min(epochs, MOST_EPOCHS_SHOWN)).round().astype(int).tolist()


_sheets, _one_at_a_time = dict[str, bytes](), threading.Lock()


def sheet(name: str) -> bytes:
    """The faces of a model's training as a WebP: a row of 16 for each epoch that is shown.

    Raises:
        ValueError: there are none, or they are damaged.
    """
    with _one_at_a_time:  # Of many epochs it takes seconds and 150 MB.
        if name not in _sheets:
            history = records.history(name)
            epochs = history.faces_of(_shown(history.epochs))
            rows = [np.hstack([*map(pictures.pixels_of, faces)]) for faces in epochs]
            _sheets[name] = pictures.webp(np.concatenate(rows))
        return _sheets[name]


def _is_drawn(name: str) -> bool:
    """Whether the first pictures of a model show faces by the weights that are shown."""
    drawn = json.loads(DRAWN.read_text(encoding="utf-8")) if DRAWN.is_file() else {}
    return drawn.get(MODELS[name]) == hashes(load(name).folder / WEIGHTS_FILE).whole


@cache
def index() -> str:
    """index.html, without the pictures that were drawn by other weights than those that are shown.

    On a Space the picture for links to the page has an absolute address, since social networks take no other.
    """
    content = (FRONT / "index.html").read_text(encoding="utf-8")
    if host := os.environ.get("SPACE_HOST"):
        content = content.replace('content="front/first/', f'content="https://{host}/front/first/')
    others = {folder for name, folder in MODELS.items() if not _is_drawn(name)}
    of_others = lambda image: "" if image[1] in others else image[0]
    return re.sub(r'<img\b[^>]*\bdata-model="([^"]*)"[^>]*>', of_others, content)


def part_of_index(name: str) -> str:
    """What stands in index.html between the comments NAME and "end of the NAME"."""
    return index().partition(f"<!-- {name} -->")[2].partition(f"<!-- end of the {name} -->")[0].strip()


# The page has no other files. What else is beside them, such as a key or notes, is neither served nor published.
SUFFIXES = {".js", ".css", ".html", ".json", ".onnx", ".gz", ".wasm", ".webp", ".png", ".jpg", ".svg", ".ico"}
LICENSES = ("LICENSE", "ThirdPartyNotices", "README.md")


def is_public(place: Path) -> bool:
    """Whether a path below page/front has the name of a part of the page."""
    hidden = any(part.startswith(".") or part == "node_modules" for part in place.parts)
    return not hidden and (place.suffix in SUFFIXES or place.name.startswith(LICENSES))


def is_within(folder: Path, place: str | Path) -> bool:
    """Whether a path below a folder has no link in it, and does not lead out of the folder."""
    path = folder.resolve() / place
    return path.is_relative_to(folder.resolve()) and path.resolve() == path


class File(NamedTuple):
    """A file of the page.

    Attributes:
        content: where it is, or a function that makes it.
        version: the first digits of its hash, if they are part of its address. What is there never changes then.
    """

    content: Path | Callable[[], bytes]
    version: str = ""


@cache
def files() -> dict[str, File]:
    """All that index.html needs, by its place below it: on a server as in a static folder."""
    found = {"page.json": File(page)}
    for folder, place in ((FRONT, "front"), (EXAMPLES, "examples")):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if is_public(name) and path.is_file() and is_within(folder, name) and path != FRONT / "index.html":
                found[f"{place}/{name.as_posix()}"] = File(path)
    texts = {"report.txt": ROOT / "docs/report.md"}  # Browsers show plain text.
    for title, model in MODELS.items():
        folder = load(title).folder
        texts[f"weights/{model}/card.txt"] = folder / CARD_FILE
        found[f"weights/{model}/{WEIGHTS_FILE}"] = File(folder / WEIGHTS_FILE, _version(folder / WEIGHTS_FILE))
        if load(title).history:
            found[f"epochs/{model}.webp"] = File(partial(sheet, title), _version(folder / EPOCHS_FILE))
    return found | {place: File(path) for place, path in texts.items() if path.is_file()}


def _version(path: Path) -> str:
    return hashes(path).whole[:16]


def _address(place: str) -> str | None:
    """What a browser asks for to get a file; None if there is no such file."""
    file = files().get(place)
    return file and (f"{place}?v={file.version}" if file.version else place)


def routes() -> list[BaseRoute]:
    """The addresses that a server adds to gradio's own."""
    threading.Thread(target=page, name="page.json", daemon=True).start()  # Lest the first visitor wait for it.
    beginnings = ("page.json", "report.txt", "front/", "examples/", "weights/", "epochs/")
    files = [Route(f"/{beginning}{{rest:path}}", partial(_answer, beginning)) for beginning in beginnings]
    return [*files, Route("/gradio_api/upload", upload, methods=["POST"])]


async def _answer(beginning: str, request: Request) -> Response:
    place = beginning + request.path_params["rest"]
    file = files().get(place)
    if file is None or (file.version and file.version != request.query_params.get("v")):
        return PlainTextResponse("There is no such file, or no longer: load the page anew.", 404, ASK_AGAIN)
    try:
        content = file.content if isinstance(file.content, Path) else await run_in_threadpool(file.content)
        return _response(request, place, content, FOR_EVER if file.version else ASK_AGAIN)
    except ValueError as error:
        return PlainTextResponse(str(error), 404, ASK_AGAIN)


def _response(request: Request, place: str, content: Path | bytes, headers: dict[str, str]) -> Response:
    """An answer with a file's content, or "not modified" where the browser has it."""
    kind = mimetypes.guess_type(place)[0] or "application/octet-stream"
    response: Response
    if isinstance(content, Path):
        response = FileResponse(content, media_type=kind, headers=headers, stat_result=content.stat())
    else:
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        response = Response(content, media_type=kind, headers={**headers, "ETag": etag})
    is_known = response.headers["ETag"] in request.headers.get("If-None-Match", "")
    return NotModifiedResponse(response.headers) if is_known else response


class _Home(Route):
    """The page. At ?view=api gradio's own page tells programs of the endpoints."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        return (Match.NONE, {}) if b"view=" in scope.get("query_string", b"") else super().matches(scope)


def home() -> BaseRoute:
    return _Home("/", lambda request: _response(request, "index.html", index().encode(), ASK_AGAIN))


def static_files() -> dict[str, Path | bytes]:
    """The page without a server of its own: each file's path, or its content, by its place."""
    found: dict[str, Path | bytes] = {"index.html": index().encode()}
    for place, (content, _) in files().items():
        try:
            found[place] = content if isinstance(content, Path) else content()
        except ValueError as error:
            print(f"{place} is left out: {error}", file=sys.stderr)
    return {**found, "page.json": page(api=False)}


def write(folder: Path) -> None:
    """Write the page into a folder, for any web server.

    Args:
        folder: a new or empty one, or one that this function wrote before. There it replaces what it wrote, and leaves
            what it did not write.

    Raises:
        ValueError: it is another folder, or a file or link of somebody's is where a file of the page would be.
    """
    listed = folder / WRITTEN
    before = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    if folder.is_symlink() or (not before and folder.exists() and any(folder.iterdir())):
        raise ValueError(f"{folder} was not written by this command: name a folder that is new or empty")
    files = static_files()
    for place in (WRITTEN, *before):
        if is_within(folder, place):
            (folder / place).unlink(missing_ok=True)
    for place, content in {WRITTEN: "\n".join(files).encode(), **files}.items():
        if not is_within(folder, place):
            raise ValueError(f"{folder / place} is, or lies behind, a link: remove it, or name another folder")
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / place, "xb") as file:  # Of nobody else's.
            file.write(content.read_bytes() if isinstance(content, Path) else content)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m page.site", description="Write the page as a folder of static files.")
    parser.add_argument("folder", type=Path, help="one that is new, empty, or was written by this command before")
    try:
        write(parser.parse_args(arguments).folder)
    except (ValueError, OSError) as error:
        sys.exit(f"{str(error).rstrip('.')}.")


if __name__ == "__main__":
    main()
