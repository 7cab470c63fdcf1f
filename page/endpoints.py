"""What the files of page/tabs declare: a tab has controls, which the browser shows, and endpoints, which programs call.

The docstrings of endpoints are what the page's API documentation and a language model read.
"""

import asyncio
import functools
import inspect
import ipaddress
import mimetypes
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from gradio_client.utils import encode_file_path
from safehttpx import AsyncSecureTransport
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import pictures
from .catalog import MODELS, TITLES
from .controls import Choice, Control, Number
from .recipe import MAX_SEED
from .server import BUSY, MOST_UPLOAD_BYTES, make_room
from .values import quoted

# Seconds in which a picture at an address must arrive, and how many may be on their way.
FETCH_SECONDS, MOST_FETCHED = 20.0, 4

_fetching = asyncio.Semaphore(MOST_FETCHED)

# What an endpoint returns for a gallery.
Gallery = list[dict[str, Any]]


@dataclass(frozen=True)
class Endpoint:
    """A function that programs call by its name. It imports what needs PyTorch when it is first called.

    It returns galleries and files as `png` and `file` below make them, and numbers as JSON has them.

    Attributes:
        controls: one for each argument, in their order.
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
                if len(sent) > len(names):
                    raise ValueError(f"{len(sent)} arguments came, of {len(names)}: /gradio_api/info lists them.")
                arguments = zip(self.controls, sent, names, strict=True)
                return self.function(*(control.check(value, f"The {name}") for control, value, name in arguments))
            except ValueError as error:
                raise gr.Error(str(error), print_exception=False) from None
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
    return Choice("model", "Model", next(iter(MODELS)), [*MODELS], first=TITLES.get(first))


def within_a_sentence(model: str) -> str:
    """A model's name as a sentence has it: "plain autoencoder", but "GAN"."""
    return model if model[:2].isupper() else model[:1].lower() + model[1:]


def seed() -> Number:
    return Number("seed", "Seed", 0, least=0, most=MAX_SEED)


gallery = functools.partial(gr.Gallery, format="png", interactive=False)


def png(pixels: np.ndarray, caption: str | None = None, **text: str) -> dict[str, Any]:
    """A face as an item of a gallery: a PNG that holds texts by name, and a caption."""
    return {"image": file(pictures.png(pixels, **text), "face.png"), "caption": caption}


def file(content: bytes, name: str) -> dict[str, Any]:
    """A file with this content, which no other call writes or reads, as programs fetch it.

    Gradio would give the same content one path, and write it in place while others read it.
    """
    make_room(len(content))
    path = Path(get_upload_folder(), secrets.token_hex(16), name)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    url, kind = f"/gradio_api/file={encode_file_path(str(path))}", mimetypes.guess_type(name)[0]
    return FileData(path=str(path), url=url, orig_name=name, mime_type=kind).model_dump()


async def upload(request: Request) -> Response:
    """Keep the files of a form, and answer with their paths. Gradio would keep a part of a file if a form breaks off."""
    async with request.form() as form:
        contents = [await part.read() for part in form.getlist("files") if isinstance(part, UploadFile)]
    if not contents:
        raise HTTPException(400)
    return JSONResponse([(await run_in_threadpool(file, content, "photograph"))["path"] for content in contents])


async def fetched(sent: Any) -> Any:
    """An argument as it was sent. A picture at an address becomes one that was uploaded.

    Gradio's clients and language models send such addresses. Gradio would take whatever comes from there, without end.

    Raises:
        ValueError: it cannot be fetched, in a sentence.
    """
    match sent:
        case {"path": str(url)} if url.startswith(("http://", "https://")):
            if _fetching.locked():
                raise ValueError(BUSY)
            try:
                async with _fetching, asyncio.timeout(FETCH_SECONDS):
                    content = await _content_at(url)
                return await run_in_threadpool(file, content, "photograph")
            except Exception as error:  # A stranger's server can cause any.
                most = f"at most {MOST_UPLOAD_BYTES // 2**20} MB within {FETCH_SECONDS:g} seconds"
                raise ValueError(f"{quoted(url)} cannot be fetched: it must be public, and send {most}.") from error
    return sent


async def _content_at(url: str, hops: int = 5) -> bytes:
    found = await asyncio.get_running_loop().getaddrinfo(httpx.URL(url).host, None)
    public = [address[0] for *_, address in found if ipaddress.ip_address(address[0]).is_global]
    # The transport asks the machine that was looked up: another look might lead to one of this network.
    transport, plain = AsyncSecureTransport(public[0]), {"Accept-Encoding": "identity"}
    async with httpx.AsyncClient(transport=transport, headers=plain) as client, client.stream("GET", url) as answer:
        if answer.has_redirect_location and hops:
            return await _content_at(str(httpx.URL(url).join(answer.headers["Location"])), hops - 1)
        answer.raise_for_status()
        content = bytearray()
        async for part in answer.aiter_raw():
            content += part
            if len(content) > MOST_UPLOAD_BYTES:
                raise ValueError("it is too large")
        return bytes(content)
