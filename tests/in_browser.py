"""What the tests of the page in a browser share: its files on a server, and what is on screen."""

import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from page import site
from tests.conftest import encode


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Nothing."""


@contextmanager
def static_page(folder: Path) -> Iterator[str]:
    """The address of the page as a folder of files, on Python's own server, which knows no parts of files."""
    site.write(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def visiting(chromium, address: str, prepare: Callable = lambda page: None, **options) -> Iterator:
    """A page in a browser that knows nothing; `complaints` has its errors, and `asked` the addresses that it asks for."""
    context = chromium.new_context(**options)
    page = context.new_page()
    page.complaints, page.asked = [], []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    prepare(page)
    page.goto(address)
    yield page
    context.close()


def wait_until_drawn(page) -> None:
    """Until all that was asked for is on screen."""
    page.wait_for_function("window.latentFaces?.opened && latentFaces.tabs.every((tab) => !tab.drawing)")


def wait_until(page, is_so: Callable[[], bool]) -> None:
    """For a minute at least: a machine may have much else to do."""
    for _ in range(2400):
        if is_so():
            return
        page.wait_for_timeout(25)
    raise AssertionError("it never came to be so")


def text_of(image: Image.Image, format: str = "PNG", **options) -> str:
    """A picture's file as base64."""
    return base64.b64encode(encode(image, format, **options)).decode()


def array(text: str, kind: type = np.float32) -> np.ndarray:
    """Numbers from base64."""
    return np.frombuffer(base64.b64decode(text), kind).copy()


def pixels_of(pictures: list[str]) -> np.ndarray:
    """The pixels of pictures in base64, (n, height, width, 3)."""
    images = [Image.open(io.BytesIO(base64.b64decode(picture))) for picture in pictures]
    return np.array([np.asarray(image.convert("RGB")).astype(int) for image in images])


def shown(page, selector: str) -> np.ndarray:
    """The pixels of the visible canvases that a selector finds, (n, height, width, 3)."""
    canvases = page.locator(f"{selector} >> visible=true")
    return pixels_of(canvases.evaluate_all("all => all.map((one) => one.toDataURL().split(',')[1])"))
