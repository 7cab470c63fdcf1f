"""What a browser draws the page from: its files, page.json, the models' weights, and the faces of their training.

    python -m page.site FOLDER

writes all of it into a folder that any web server shows, such as python -m http.server.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles

from models.history import EPOCHS_FILE

from . import labels, pictures, recipe, records, values
from .catalog import MODELS, ROOT, WEIGHTS_FILE, attributes_of, hashes, load
from .endpoints import Tab, within_a_sentence
from .tabs import TABS, out_of_distribution

FRONT, EXAMPLES = (Path(__file__).with_name(name) for name in ("front", "examples"))

# What is seen before anything is computed: pictures that docs/draw.py drew, and the SHA-256 of the weights that it
# drew them with, by the models' folders.
DRAWN = FRONT / "first/drawn.json"

# For whoever wants to know more.
REPORT = ROOT / "docs/report.md"

TICKS = [-100, -30, -10, -3, 0, 3, 10, 30, 100]

# Rows of a sheet: no WebP is higher than 16383 pixels.
MOST_EPOCHS_SHOWN = 250

# A file whose address holds its content's hash never changes; all others are asked for anew, which costs no bytes.
FOR_EVER, ASK_AGAIN = ({"Cache-Control": value} for value in ("public, max-age=31536000, immutable", "no-cache"))

# The list of what `python -m page.site` wrote into a folder.
WRITTEN = "written-by-page-site.txt"


@cache
def tabs() -> list[Tab]:
    """In the order in which they are shown."""
    return [module.tab() for module in TABS]


def examples() -> dict[str, Path]:
    """Faces that the models drew, written by docs/draw.py, by what their buttons say."""
    return {path.stem.replace("-", " "): path for path in sorted(EXAMPLES.glob("*.png"))}


def introduction() -> str:
    sources = list(dict.fromkeys(source for name in MODELS if (source := load(name).faces_from)))
    pictures = f"the pictures of {' and '.join(sources)}" if sources else "pictures"
    return (
        f"Small neural networks learned from {pictures} to draw new ones: each turns a latent, "
        f"{load(next(iter(MODELS))).latent_size} numbers, into a picture of 64 x 64 pixels."
    )


@cache
def page(api: bool = True) -> bytes:
    """page.json.

    Args:
        api: whether there is a server with endpoints for programs.
    """
    described = {
        "api": api,
        "introduction": introduction(),
        "tabs": [tab.described() for tab in tabs()],
        "models": [_model(name) for name in MODELS],
        "examples": [{"name": name, "url": f"examples/{path.name}"} for name, path in examples().items()],
        "means": {"ticks": TICKS},
        "notes": {"attributes": labels.WHAT_THEY_ARE},
        "links": {"code": _code(), "report": "report.txt" if "report.txt" in _texts() else None},
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


def _code() -> str | None:
    """Where the files of this page are to be read: on a Space, its own."""
    space = os.environ.get("SPACE_ID")
    return f"https://huggingface.co/spaces/{space}/tree/main" if space else None


def _texts() -> dict[str, Path]:
    """What visitors may read about the models, by its place on the page. Browsers show plain text."""
    cards = {f"weights/{MODELS[name]}/card.txt": load(name).folder / "README.md" for name in MODELS}
    return {place: path for place, path in {**cards, "report.txt": REPORT}.items() if path.is_file()}


def _model(name: str) -> dict[str, Any]:
    model, folder = load(name), MODELS[name]
    weights = hashes(model.folder / WEIGHTS_FILE)
    return {
        "name": name,
        "folder": folder,
        "said": within_a_sentence(name),
        "kind": model.kind,
        "architecture": model.architecture,
        "latent_size": model.latent_size,
        "discrete_size": model.discrete_size,
        "prior_mean": model.prior_mean,
        "prior_variance": model.prior_variance,
        "prior": model.prior,
        "attributes": [*model.attributes],
        "best": attributes_of(name),
        "encodes": model.encodes,
        "encoding_steps": model.encoding_steps,
        "origin": model.origin,
        "card": card if (card := f"weights/{folder}/card.txt") in _texts() else None,
        "faces_from": model.faces_from,
        "weights": {
            "url": f"weights/{folder}/{WEIGHTS_FILE}?v={weights.whole[:16]}",
            "size": (model.folder / WEIGHTS_FILE).stat().st_size,
            "hash": weights.whole,
            "blocks": weights.blocks,
        },
        "first": _is_drawn(name),
        **_history(name),
        "measured": records.measured(name),
    }


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
        "sheet": f"epochs/{MODELS[name]}.webp?v={_version(name, EPOCHS_FILE)}",
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
            rows = (
                pictures.side_by_side(np.stack([*map(pictures.pixels_of, faces)]))
                for faces in history.faces_of(_shown(history.epochs))
            )
            _sheets[name] = pictures.webp(np.concatenate([*rows]))
        return _sheets[name]


def _version(name: str, file: str) -> str:
    return hashes(load(name).folder / file).whole[:16]


@cache
def _drawn() -> dict[str, str]:
    return json.loads(DRAWN.read_text(encoding="utf-8")) if DRAWN.is_file() else {}


def _is_drawn(name: str) -> bool:
    """Whether the first pictures of a model show faces by the weights that are shown."""
    return _drawn().get(MODELS[name]) == hashes(load(name).folder / WEIGHTS_FILE).whole


@cache
def index() -> str:
    """index.html, without the pictures of models whose weights are others than those that drew them.

    On a Space the picture that stands for its links has a whole address, as those who show links want it.
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


# Of files that the page is made of; a key, a link or somebody's notes beside them are nobody's business.
SUFFIXES = {".js", ".css", ".html", ".json", ".onnx", ".gz", ".wasm", ".webp", ".png", ".jpg", ".svg", ".ico"}
LICENSES = ("LICENSE", "ThirdPartyNotices", "README.md")


def is_public(root: Path, path: Path) -> bool:
    """Whether a file below a folder of the page is a part of it."""
    place = path.relative_to(root)
    hidden = any(part.startswith(".") or part == "node_modules" for part in place.parts)
    known = path.suffix in SUFFIXES or path.name.startswith(LICENSES)
    return known and not hidden and path.is_file() and not _is_behind_a_link(root, place.as_posix())


def _is_behind_a_link(root: Path, place: str) -> bool:
    """Whether one of the parts of a path below a folder is a link."""
    parts = Path(place).parts
    return any(Path(root, *parts[:count]).is_symlink() for count in range(1, len(parts) + 1))


class _Files(StaticFiles):
    """Files that may change with every new version of the page."""

    def lookup_path(self, path: str) -> Any:
        found, stat = super().lookup_path(path)
        return (found, stat) if stat and is_public(Path(str(self.directory)), Path(found)) else ("", None)

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(ASK_AGAIN)
        return response


class _Home(Route):
    """The page itself; gradio's own remains where it tells programs of the endpoints, at ?view=api."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        return (Match.NONE, {}) if b"view=" in scope.get("query_string", b"") else super().matches(scope)


def home() -> BaseRoute:
    return _Home("/", _unless_known(lambda: index().encode(), "text/html"))


def routes() -> list[BaseRoute]:
    """What a server adds to gradio's own addresses."""
    threading.Thread(target=page, name="page.json", daemon=True).start()  # Lest the first visitor wait for it.

    def weights(request: Request) -> Response:
        model = _asked(request, WEIGHTS_FILE)
        if model is None:
            return _GONE
        path = load(model).folder / WEIGHTS_FILE
        return FileResponse(path, media_type="application/octet-stream", headers=FOR_EVER)

    def epochs(request: Request) -> Response:
        name = _asked(request, EPOCHS_FILE)
        try:
            return Response(sheet(name), media_type="image/webp", headers=FOR_EVER) if name else _GONE
        except ValueError as error:
            return PlainTextResponse(str(error), 404, ASK_AGAIN)

    def text(request: Request) -> Response:
        folder = request.path_params.get("folder")
        path = _texts().get(f"weights/{folder}/card.txt" if folder else "report.txt")
        return PlainTextResponse(path.read_text(encoding="utf-8"), headers=ASK_AGAIN) if path else _GONE

    return [
        Route("/report.txt", text),
        Route("/weights/{folder}/card.txt", text),
        Route("/page.json", _unless_known(page, "application/json")),
        Route(f"/weights/{{folder}}/{WEIGHTS_FILE}", weights),
        Route("/epochs/{folder}.webp", epochs),
        Mount("/front", _Files(directory=FRONT)),
        Mount("/examples", _Files(directory=EXAMPLES)),
    ]


def _unless_known(content: Callable[[], bytes], media_type: str) -> Callable[[Request], Response]:
    """Answers with content that the browser may have already."""

    def told(request: Request) -> Response:
        body = content()
        headers = {**ASK_AGAIN, "ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=media_type, headers=headers)

    return told


def _asked(request: Request, file: str) -> str | None:
    """The model of an address, whose file is what it was when page.json told of it."""
    for name, folder in MODELS.items():
        if folder == request.path_params["folder"] and (load(name).folder / file).is_file():
            return name if request.query_params.get("v") == _version(name, file) else None
    return None


_GONE = PlainTextResponse("There is no such file, or no longer: load the page anew.", 404, ASK_AGAIN)


def _files() -> Iterator[tuple[str, Path | bytes]]:
    """Each file of a static page: its place, and where it is or what it holds."""
    yield "index.html", index().encode()
    yield "page.json", page(api=False)
    for folder, place in ((FRONT, "front"), (EXAMPLES, "examples")):
        for path in sorted(folder.rglob("*")):
            if is_public(folder, path) and path != FRONT / "index.html":
                yield f"{place}/{path.relative_to(folder).as_posix()}", path
    yield from _texts().items()
    for name, model in MODELS.items():
        yield f"weights/{model}/{WEIGHTS_FILE}", load(name).folder / WEIGHTS_FILE
        if load(name).history:
            try:
                yield f"epochs/{model}.webp", sheet(name)
            except ValueError as error:
                print(f"{name}: {error}", file=sys.stderr)


def write(folder: Path) -> None:
    """Write the page for a server that only hands out files.

    Args:
        folder: that is new, empty, or was written by this function before. In the latter all that it wrote is replaced,
            and what else is in the folder stays.

    Raises:
        ValueError: it is another folder, or a file or link stands where the page's own would.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder} is no folder: name one that is new or empty")
    written = folder / WRITTEN
    is_own = written.is_file() and not written.is_symlink()
    before = set(written.read_text(encoding="utf-8").splitlines()) if is_own else set()
    if not before and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files that this command did not write: name a folder that is new or empty")
    files = dict(_files())
    for place in files:
        if _is_behind_a_link(folder, place):
            raise ValueError(f"{folder / place} is, or lies behind, a link: remove it, or name another folder")
        if (folder / place).exists() and place not in before:
            raise ValueError(f"{folder / place} was not written by this command: remove it, or name another folder")
    for place in before - files.keys():
        if ".." not in Path(place).parts and not _is_behind_a_link(folder, place):
            Path(folder, place.lstrip("/")).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    written.write_text("\n".join(sorted(before | files.keys())), encoding="utf-8")
    for place, content in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, folder / place)
        else:
            (folder / place).write_bytes(content)
    written.write_text("\n".join(sorted(files)), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m page.site", description="Write the page as a folder of static files.")
    parser.add_argument("folder", type=Path, help="one that is new, empty, or was written by this command before")
    try:
        write(parser.parse_args(arguments).folder)
    except (ValueError, OSError) as error:
        sys.exit(f"{error}.".replace("..", "."))


if __name__ == "__main__":
    main()
