"""What stands between the page and the network: who may ask, how much, and what stays of it on disk and in the log.

LATENT_FACES_HOSTS     names that the page answers to, such as "faces.example, *.example.org", or "*"
LATENT_FACES_FRAMES    pages that may frame it, as in a Content-Security-Policy
GRADIO_TEMP_DIR        where visitors' photographs lie while they are needed
"""

import atexit
import ctypes
import getpass
import importlib.util
import ipaddress
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, TextIO, TypeVar

import anyio.to_thread
from filelock import FileLock, Timeout
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A phone's photograph fits. Whatever else is asked takes a few hundred bytes; a model's image in a tool call, more.
MOST_UPLOAD_BYTES, MOST_REQUEST_BYTES = 30 * 2**20, 2**20

# Of a multipart form around a file.
FORM_BYTES = 2**16

# How many questions of programs may wait for each other. On two slow cores an answer takes 0.3 s.
MOST_WAITING = 16
BUSY = "The page is busy. Try again in a few seconds."

# And how many of visitors' faces, of which each browser asks for one at a time.
MOST_DECODINGS_WAITING = 64

# Photographs, of which each takes about a second, wait for each other only, as they are decoded one at a time. Of five
# at once the last waited for 7 s.
PHOTOGRAPHS_AT_ONCE, MOST_PHOTOGRAPHS_WAITING = 2, 2

# Spaces are shown inside a frame of the Hub.
FRAMES = "'self' https://huggingface.co https://*.hf.space"

# Temporary files are needed no longer, and looked for as often.
TEMPORARY_SECONDS = 3600

MOST_LOGGED_CHARACTERS = 300

Result = TypeVar("Result")

# glibc's mallopt: the size from which memory is asked of the system for itself, and given back when it is freed.
_M_MMAP_THRESHOLD = -3


def give_back_freed_memory() -> None:
    """Let this process give back the memory of large pictures, on Linux.

    Left to itself, glibc learns from the first large block that is freed to keep the next, and Pillow decodes into
    blocks of 16 MB: after eight pictures of 30 megapixels at once, 1.2 GB stayed. What networks compute with is
    smaller than this and kept, since it is needed again at once.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 2**23)


def without_matplotlib() -> None:
    """Have gradio draw without matplotlib, which this page has no use for.

    Gradio looks for it at every answer to a program. Where it is installed, its import alone keeps everybody waiting
    for a third of a second.
    """
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]  # As the import system marks what is not there.


def limits(bound: str = "0.0.0.0") -> dict[str, Any]:
    """What `launch` and `gr.mount_gradio_app` take: the limits of a public page, and the files that it is made of.

    Args:
        bound: the address that the server listens at. One that only this machine reaches has no other names.
    """
    from .site import routes  # Imports gradio, before which some of what is here is to be done.

    hosts = allowed_hosts(bound)
    frames = os.environ.get("LATENT_FACES_FRAMES", FRAMES)
    return {
        "app_kwargs": {
            "middleware": [Middleware(Gate, hosts, frames), Middleware(CompressedPage)],
            "routes": [Route("/health", health), *routes()],
        },
        "max_file_size": MOST_UPLOAD_BYTES,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "show_error": True,
        "enable_monitoring": False,
        # The extra `mcp` makes every endpoint a tool for language models.
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


async def health(_: Request) -> Response:
    """Whether the server lives, at once: it waits for no worker."""
    return JSONResponse({"status": "ok"})


def allowed_hosts(bound: str) -> list[str]:
    """Patterns of the names that the page answers to, beside addresses of digits, which it always does.

    Without a list of its own, a Space has the names that the Hub gave it, and a page that only this machine reaches
    has none but localhost: any other name was pointed at it by a stranger, whose pages could then read it. Whoever
    has the page listen to others without naming it lets every name through.
    """
    told = os.environ.get("LATENT_FACES_HOSTS") or os.environ.get("SPACE_HOST")
    if told:
        return ["localhost", *(host.strip().lower() for host in told.split(",") if host.strip())]
    return ["localhost", "*.localhost"] if _is_loopback(bound) else ["*"]


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address.is_loopback if address else name == "localhost"


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


class Gate:
    """Lets through what the page's own visitors and programs ask; an ASGI middleware.

    A body is read to its end before anyone works on it. What breaks off or is too large therefore leaves nothing, and
    who sends slowly keeps nobody waiting.
    """

    def __init__(self, app: ASGIApp, hosts: list[str], frames: str):
        self.app = app
        self.hosts = hosts
        self.frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        framed = self._framed(send)
        if refusal := self._refusal(scope):
            await refusal(scope, receive, framed)
            return
        most = MOST_UPLOAD_BYTES + FORM_BYTES if _is_upload(scope) else MOST_REQUEST_BYTES
        # A file without a name: it is gone when this process is, however that ends.
        with SpooledTemporaryFile(2**20, dir=os.environ.get("GRADIO_TEMP_DIR")) as body:
            size = await _read(receive, body, most)
            if size is None:
                return
            if size > most:
                refusal = PlainTextResponse(f"This is too large: at most {most // 2**20} MB are taken.", 413)
                await refusal(scope, receive, framed)
                return
            await self.app(scope, _replay(body, size, receive), _without_details(framed))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        # Only probes of a machine's own name no host.
        host = _host_name(headers.get("host", "localhost"))
        if not _address(host) and not any(fnmatch(host, pattern) for pattern in self.hosts):
            sentence = "The page does not answer to this name. Whoever runs it can add it to LATENT_FACES_HOSTS."
            return PlainTextResponse(sentence, 400)
        # Elsewhere, gradio would leave files behind that broke off.
        if headers.get("content-type", "").lower().startswith("multipart/") and not _is_upload(scope):
            return PlainTextResponse("Files are taken by /gradio_api/upload only.", 415)
        return None

    def _framed(self, send: Send) -> Send:
        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = f"frame-ancestors {self.frames}"
                MutableHeaders(scope=message).append("Content-Security-Policy", policy)
            await send(message)

        return framed


class CompressedPage:
    """Compresses the page's HTML, 300 kB: gradio goes by the endings of files, of which it has none; an ASGI middleware."""

    def __init__(self, app: ASGIApp):
        self.app, self.compressing = app, GZipMiddleware(app, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) in ("", "/")
        await (self.compressing if is_page else self.app)(scope, receive, send)


def _host_name(host: str) -> str:
    """Without the port: "[::1]:7860" is "[::1]"."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower().rstrip(".")


def _is_upload(scope: Scope) -> bool:
    return scope["path"].rstrip("/").endswith("/gradio_api/upload")


async def _read(receive: Receive, body: SpooledTemporaryFile, most: int) -> int | None:
    """Read a request to its end; returns its size, None where it breaks off.

    What is too large is read too, though not kept, as many clients hear no answer before they have sent all. But who
    sends ten times as much is not heard out.
    """
    size, more = 0, True
    while more and size <= 10 * most:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if size <= most:
            body.write(message.get("body", b""))
        more = message.get("more_body", False)
    body.seek(0)
    return size


def _replay(body: SpooledTemporaryFile, size: int, receive: Receive) -> Receive:
    left = size
    done = False

    async def replay() -> Message:
        nonlocal left, done
        if done:
            return await receive()
        chunk = body.read(2**16)
        left -= len(chunk)
        done = left <= 0
        return {"type": "http.request", "body": chunk, "more_body": not done}

    return replay


def _without_details(send: Send) -> Send:
    """Says that the page is busy where gradio tells the size of its queue."""
    busy = False

    async def told(message: Message) -> None:
        nonlocal busy
        if message["type"] == "http.response.start" and message["status"] == 503:
            busy = True
            response = JSONResponse({"detail": BUSY}, 503, {"Retry-After": "5"})
            await send({**message, "headers": response.raw_headers})
            await send({"type": "http.response.body", "body": response.body})
        elif not busy:
            await send(message)

    return told


class Line:
    """Threads in which what visitors ask is done in turn.

    Args:
        at_once: how many threads.
        most_waiting: whoever finds so many before them is not served.
    """

    def __init__(self, at_once: int, most_waiting: int):
        self._threads = anyio.CapacityLimiter(at_once)
        self._most = at_once + most_waiting
        self._here = 0

    async def serve(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The function's result.

        Raises:
            Busy: too many wait already.
        """
        if self._here >= self._most:
            raise Busy(BUSY)
        self._here += 1
        try:
            return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)
        finally:
            self._here -= 1


class Busy(Exception):
    """Too many ask at once; its text says so to visitors."""


def own_temporary_folder() -> Path:
    """Make a folder of this process alone, and have gradio keep its temporary files there.

    It is removed when the process ends. One that was killed leaves its folder behind, with photographs in it: the next
    to start, or to look on the hour, removes it.

    Raises:
        SystemExit: there is no folder that can be written.
    """
    parent: str | Path = os.environ.get("GRADIO_TEMP_DIR", "any folder")
    try:
        parent = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir(), f"latent-faces-{_user()}"))
        parent.mkdir(parents=True, exist_ok=True)
        # A lock ends with the process that holds it, which tells the folders of the dead from those of the living.
        with FileLock(parent / "starting.lock", timeout=60):
            remove_abandoned(parent)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent.resolve()))
            lock = FileLock(folder / _LOCK)
            lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        sys.exit(f"Temporary files cannot be written to {parent} ({reason}): set GRADIO_TEMP_DIR to another folder.")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)

    def remove() -> None:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)

    def end(*_: Any) -> None:  # As without this handler, after the removal.
        remove()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    atexit.register(remove)
    signal.signal(signal.SIGTERM, end)  # So containers are told to end.
    return folder


def _user() -> int | str:
    return os.getuid() if hasattr(os, "getuid") else getpass.getuser()


_PREFIX, _LOCK = "latent-faces-", "alive.lock"


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that have ended."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with FileLock(folder / _LOCK, timeout=0):
                pass
        except Timeout:
            continue
        except OSError:  # Another user's.
            continue
        shutil.rmtree(folder, ignore_errors=True)


def keep_clean(folder: Path) -> None:
    """Look every hour for what nobody needs; what is in the folder now, such as the icons of buttons, stays."""
    kept = set(folder.rglob("*"))

    def look() -> None:
        while True:
            time.sleep(TEMPORARY_SECONDS)
            remove_old(folder, kept)
            remove_abandoned(folder.parent)

    threading.Thread(target=look, name="temporary files", daemon=True).start()


def remove_old(folder: Path, kept: set[Path]) -> None:
    """Remove the files that came over an hour ago, and the folders that this leaves empty."""
    newest = time.time() - TEMPORARY_SECONDS
    for path in sorted(folder.rglob("*"), reverse=True):  # Files before the folders that hold them.
        if path in kept or path.name == _LOCK:
            continue
        try:
            if path.is_dir():
                path.rmdir()
            elif path.lstat().st_ctime < newest:
                path.unlink()
        except OSError:  # Not empty, or gone meanwhile.
            continue


class OneLineErrors:
    """A stream for errors that leaves one line of each, with the place in the code where it arose.

    Gradio and uvicorn write a traceback for whatever a stranger sends, and what was sent with it.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._place = ""

    def write(self, text: str) -> int:
        lines = [line for line in text.splitlines() if line.strip()]
        for line in lines:
            if line.lstrip().startswith('File "'):
                self._place = line.strip().rpartition(", in ")[0] or line.strip()
        # `traceback` writes its parts one by one, and only the last is not indented.
        if lines and lines[0].startswith(("Traceback (", "During handling", "The above exception", "  ")):
            return len(text)
        if len(lines) > 1 and any(line.startswith("Traceback (") for line in lines):
            lines = [f"{lines[0]} {lines[-1]}"]
        shown = text
        if lines:
            end = "\n" if text.endswith("\n") else ""
            shown = lines[0][:MOST_LOGGED_CHARACTERS] + (f" ({self._place})" if self._place else "") + end
            self._place = ""
        self._stream.write(shown)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def one_line_errors() -> None:
    """From now on."""
    sys.stderr = OneLineErrors(sys.stderr)
