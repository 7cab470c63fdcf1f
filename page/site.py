"""What the browser draws the page from: page.json, the models' weights, and the faces of their training.

    python -m page.site FOLDER

writes all of it into a folder that any web server shows, such as python -m http.server: the page without photographs.
"""

import argparse
import hashlib
import html
import json
import shutil
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from models.history import EPOCHS_FILE
from models.loading import WEIGHTS_FILE

from . import labels, pictures, story
from .tabs import Tab, generate, interpolate, out_of_distribution, reconstruct, training
from .zoo import MODELS, attributes_of, load_all, prior_of

FRONT, EXAMPLES = (Path(__file__).with_name(name) for name in ("front", "examples"))

INTRODUCTION = (
    "Small networks learned faces from CelebA. Each turns a latent, a vector of 100 numbers, into a face of 64 x 64 "
    "pixels. Draw latents, walk between two of them, and leave the distribution that a model was trained on."
)

TICKS = [-100, -30, -10, -3, 0, 3, 10, 30, 100]

# Rows of a sheet: no WebP is higher than 16383 pixels.
MOST_EPOCHS_SHOWN = 250

# A file whose address holds its content's hash never changes; all others are asked for anew, which costs no bytes.
FOR_EVER, ASK_AGAIN = ({"Cache-Control": value} for value in ("public, max-age=31536000, immutable", "no-cache"))


@cache
def tabs() -> list[Tab]:
    """In the order in which they are shown."""
    return [kind.tab() for kind in (generate, reconstruct, interpolate, out_of_distribution, training)]


def examples() -> dict[str, Path]:
    """Faces that the models drew, written by docs/draw.py, by what their buttons say."""
    return {path.stem.replace("-", " "): path for path in sorted(EXAMPLES.glob("*.png"))}


@cache
def page(server: bool = True) -> bytes:
    """page.json.

    Args:
        server: whether there is one, which takes photographs.
    """
    described = {
        "server": server,
        "introduction": INTRODUCTION,
        "tabs": [tab.described(server) for tab in tabs() if server or tab.name != "reconstruct"],
        "models": [_model(name) for name in MODELS],
        "examples": [{"name": name, "url": f"examples/{path.name}"} for name, path in examples().items() if server],
        "means": {"ticks": TICKS},
        "notes": {"attributes": labels.WHAT_THEY_ARE},
    }
    return json.dumps(described, allow_nan=False).encode()


def _model(name: str) -> dict[str, Any]:
    loaded, folder = load_all()[name], MODELS[name]
    model = loaded.model
    graph = f"graphs/{model.architecture}.onnx"
    history, problem = _history(name)
    return {
        "name": name,
        "folder": folder,
        "said": story.in_a_sentence(name),
        "kind": model.model_type,
        "architecture": model.architecture,
        "latent_size": model.latent_size,
        "discrete_size": model.discrete_size,
        "prior_mean": model.prior_mean,
        "prior_variance": model.prior_variance,
        "prior": prior_of(model),
        "attributes": [*model.attributes],
        "best": attributes_of(name),
        "encodes": model.encodes,
        "origin": loaded.origin,
        "weights": {
            "url": f"weights/{folder}/{WEIGHTS_FILE}?v={_hash(name, WEIGHTS_FILE)}",
            "size": (loaded.folder / WEIGHTS_FILE).stat().st_size,
            "hash": _hash(name, WEIGHTS_FILE),
        },
        "graph": f"front/{graph}" if (FRONT / graph).is_file() else None,
        "history": history,
        "history_problem": problem,
        "measured": story.measured(name),
    }


def _history(name: str) -> tuple[dict[str, Any] | None, str | None]:
    """What page.json tells of a model's training, or why that cannot be told."""
    try:
        found = story.history(name)
        sheet(name)
    except ValueError as error:
        return None, f"{error}".rstrip(".") + "."
    return {
        "epochs": found.epochs,
        "losses": found.losses,
        "note": found.note,
        "command": found.command,
        "sheet": f"epochs/{MODELS[name]}.webp?v={_hash(name, EPOCHS_FILE)}",
        "shown": _shown(found.epochs),
    }, None


def _shown(epochs: int) -> list[int]:
    return np.linspace(1, epochs, min(epochs, MOST_EPOCHS_SHOWN)).round().astype(int).tolist()


@cache
def sheet(name: str) -> bytes:
    """The faces of a model's training as a WebP: a row of 16 for each epoch that is shown.

    Raises:
        ValueError: there are none, or they are damaged.
    """
    history = story.history(name)
    epochs = (np.stack([*map(story.pixels_of, history.faces_after(epoch))]) for epoch in _shown(history.epochs))
    return pictures.webp(np.concatenate([*map(pictures.side_by_side, epochs)]))


@cache
def _hash(name: str, file: str) -> str:
    with open(load_all()[name].folder / file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def first_pictures() -> str:
    """HTML of the first tab as it is on arrival, for the eyes until the browser draws by itself."""
    mean, seed, count, _ = (control.value for control in out_of_distribution.tab().controls)
    rows = []
    for name in MODELS:
        faces = story.out_of_distribution(name, mean, seed, count).faces
        source = pictures.data_uri(pictures.webp(pictures.side_by_side(faces)), "image/webp")
        alt = f"{count} faces by the {story.in_a_sentence(name)}"
        rows.append(
            f'<h3>{html.escape(name)}</h3><img data-model="{html.escape(name)}" alt="{html.escape(alt)}" src="{source}">'
        )
    return "".join(rows)


class _Files(StaticFiles):
    """Files that may change with every new version of the page."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(ASK_AGAIN)
        return response


def routes() -> list[BaseRoute]:
    """What a server adds to gradio's own addresses."""
    threading.Thread(target=page, name="page.json", daemon=True).start()  # Lest the first visitor wait for it.

    def told(request: Request) -> Response:
        content = page()
        headers = {**ASK_AGAIN, "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="application/json", headers=headers)

    def weights(request: Request) -> Response:
        if (name := _asked(request, WEIGHTS_FILE)) is None:
            return _GONE
        path = load_all()[name].folder / WEIGHTS_FILE
        return FileResponse(path, media_type="application/octet-stream", headers=FOR_EVER)

    def epochs(request: Request) -> Response:
        name = _asked(request, EPOCHS_FILE)
        try:
            return Response(sheet(name), media_type="image/webp", headers=FOR_EVER) if name else _GONE
        except ValueError:
            return _GONE

    return [
        Route("/page.json", told),
        Route(f"/weights/{{folder}}/{WEIGHTS_FILE}", weights),
        Route("/epochs/{folder}.webp", epochs),
        Mount("/front", _Files(directory=FRONT)),
        Mount("/examples", _Files(directory=EXAMPLES)),
    ]


def _asked(request: Request, file: str) -> str | None:
    """The model of an address, whose file is what it was when page.json told of it."""
    for name, folder in MODELS.items():
        if folder == request.path_params["folder"] and (load_all()[name].folder / file).is_file():
            return name if request.query_params.get("v") == _hash(name, file) else None
    return None


_GONE = PlainTextResponse("There is no such file, or no longer: load the page anew.", 404, ASK_AGAIN)


def write(folder: Path) -> None:
    """Write the page for a server that only hands out files. What else is in the folder stays."""
    shutil.copytree(FRONT, folder / "front", dirs_exist_ok=True, ignore=shutil.ignore_patterns("index.html"))
    shutil.copy(FRONT / "index.html", folder)
    (folder / "page.json").write_bytes(page(server=False))
    for name, model in MODELS.items():
        (folder / "weights" / model).mkdir(parents=True, exist_ok=True)
        shutil.copy(load_all()[name].folder / WEIGHTS_FILE, folder / "weights" / model)
        if _history(name)[0]:
            (folder / "epochs").mkdir(exist_ok=True)
            (folder / "epochs" / f"{model}.webp").write_bytes(sheet(name))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m page.site", description="Write the page as a folder of static files.")
    parser.add_argument("folder", type=Path)
    write(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
