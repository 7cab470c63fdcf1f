"""What stands between the page and the network: who may ask, how much, and what stays of it on disk and in the log.

LATENT_FACES_HOSTS     names that the page answers to, such as "faces.example, *.example.org", or "*"
LATENT_FACES_FRAMES    pages that may frame it, as in a Content-Security-Policy
GRADIO_TEMP_DIR        where visitors' photographs lie while they are needed
"""

import asyncio
import atexit
import ctypes
import getpass
import importlib.util
import ipaddress
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, TextIO

import anyio.to_thread
from filelock import FileLock, Timeout
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A phone's photograph fits. Whatever else is asked takes a few hundred bytes; a model's image in a tool call, more.
MOST_UPLOAD_BYTES, MOST_REQUEST_BYTES = 30 * 2**20, 2**20

# Of a multipart form around a file.
FORM_BYTES = 2**16

# Of all requests that have not come to their end, and the seconds within which one has to, and to go on.
MOST_HELD_BYTES = 256 * 2**20
BODY_SECONDS, STALL_SECONDS = 120.0, 15.0

# Requests at a time, /health apart; connections, of which those over which nothing is asked make room for others; and
# the seconds after which one over which nothing is asked is closed. A browser has up to six connections.
MOST_REQUESTS, MOST_CONNECTIONS, IDLE_SECONDS = 256, 512, 15.0

# Descriptors that are asked of the system: those of the connections, and as many for files.
DESCRIPTORS = 2 * MOST_CONNECTIONS

# How many questions of programs may wait for each other. On two slow cores an answer takes 0.3 s.
MOST_WAITING = 16
BUSY = "The page is busy. Try again in a few seconds."

# Spaces are shown inside a frame of the Hub.
FRAMES = "'self' https://huggingface.co https://*.hf.space"

# Temporary files are needed no longer, and looked for as often; and all of them may be so large, the oldest go first.
TEMPORARY_SECONDS, LOOK_SECONDS, MOST_KEPT_BYTES = 3600, 30, 500 * 2**20

# Of a line in the log, and of a minute's lines: a stranger can cause one with every request.
MOST_LOGGED_CHARACTERS, MOST_LOGGED_LINES = 300, 30

# What is said of answers in which gradio and its libraries would name their classes and the server's folders.
FAILURES = {
    400: "This request cannot be read: /gradio_api/info tells what the page takes.",
    403: "This may not be read.",
    404: "There is nothing at this address.",
    405: "This address takes no such request.",
    500: "Something went wrong in the page itself.",
    503: BUSY,
}

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

    # The extra `mcp` makes every endpoint a tool for language models.
    if has_tools := importlib.util.find_spec("mcp") is not None:
        from . import mcp

        mcp.install()
    hosts = allowed_hosts(bound)
    frames = os.environ.get("LATENT_FACES_FRAMES", FRAMES)
    return {
        "app_kwargs": {
            "middleware": [Middleware(Gate, hosts, frames)],
            "routes": [Route("/health", health), *routes()],
        },
        "max_file_size": MOST_UPLOAD_BYTES,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "show_error": False,  # But for the sentences that are meant for whoever asks.
        "enable_monitoring": False,
        "mcp_server": has_tools,
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

    A body is read to its end before anyone works on it. What breaks off, stalls or is too large therefore leaves
    nothing, and who sends slowly keeps nobody waiting.
    """

    def __init__(self, app: ASGIApp, hosts: list[str], frames: str):
        self.app = app
        self.hosts = hosts
        self.frames = frames
        self.requests = 0
        self.held = 0  # Bytes of bodies that have not come to their end.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun: list[str] = []
        framed = self._framed(send, begun)
        if refusal := self._refusal(scope):
            await refusal(scope, receive, framed)
            return
        self.requests += 1
        # A file without a name: it is gone when this process is, however that ends.
        with SpooledTemporaryFile(2**16, dir=os.environ.get("GRADIO_TEMP_DIR")) as body:
            try:
                refusal, size = await self._read(scope, receive, body)
                if refusal:
                    await refusal(scope, receive, framed)
                    return
                for folder, kept in _cleaned.items() if _is_upload(scope) else ():
                    await anyio.to_thread.run_sync(remove_oldest, folder, MOST_KEPT_BYTES - size, kept)
                await self.app(scope, _replay(body, size, receive), _in_sentences(framed))
            except Gone:
                pass
            except Exception as error:  # Of gradio's own, which would close the connection.
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                status = 404 if type(error).__name__ == "FnIndexInferError" else 500
                if not begun:
                    await _failure(status, b"")(scope, receive, framed)
                elif begun[0].startswith("text/event-stream"):  # Whose last event told of it.
                    await framed({"type": "http.response.body", "body": b""})
            finally:
                self.requests -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        # Only probes of a machine's own name no host.
        host = headers.get("host", "localhost")
        name = _host_name(host)
        if not _address(name) and not any(fnmatch(name, pattern) for pattern in self.hosts):
            sentence = "The page does not answer to this name. Whoever runs it can add it to LATENT_FACES_HOSTS."
            return PlainTextResponse(sentence, 400)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _is_of_another_site(headers, host):
            return PlainTextResponse("The page takes nothing from the pages of other sites.", 403)
        # Elsewhere, gradio would leave files behind that broke off.
        if headers.get("content-type", "").lower().startswith("multipart/") and not _is_upload(scope):
            return PlainTextResponse("Files are taken by /gradio_api/upload only.", 415)
        if self.requests >= MOST_REQUESTS and scope["path"] != "/health":
            return _busy()
        return None

    async def _read(self, scope: Scope, receive: Receive, body: SpooledTemporaryFile) -> tuple[Response | None, int]:
        """Read a request to its end; returns why it is refused, if it is, and its size.

        What is too large is read too, though not kept, as many clients hear no answer before they have sent all. But
        who sends ten times as much is not heard out.

        Raises:
            Gone: it breaks off.
        """
        most = MOST_UPLOAD_BYTES + FORM_BYTES if _is_upload(scope) else MOST_REQUEST_BYTES
        size, kept, more = 0, 0, True
        end = time.monotonic() + BODY_SECONDS
        try:
            while more and size <= 10 * most:
                seconds = min(STALL_SECONDS, end - time.monotonic())
                message = await asyncio.wait_for(receive(), max(0.0, seconds))
                if message["type"] == "http.disconnect":
                    raise Gone
                content = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(content)
                if size <= most and content:
                    if self.held + len(content) > MOST_HELD_BYTES:
                        return _busy(), size
                    kept += len(content)
                    self.held += len(content)
                    body.write(content)
        except TimeoutError:
            return PlainTextResponse("This took too long to arrive.", 408, {"Connection": "close"}), size
        finally:
            self.held -= kept
        body.seek(0)
        too_large = PlainTextResponse(f"This is too large: at most {most // 2**20} MB are taken.", 413)
        return (too_large if size > most else None), size

    def _framed(self, send: Send, begun: list[str]) -> Send:
        """Says who may frame what is sent, and keeps the type of an answer that has begun."""

        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(Headers(raw=message["headers"]).get("content-type", ""))
                policy = f"frame-ancestors {self.frames}"
                MutableHeaders(scope=message).append("Content-Security-Policy", policy)
            await send(message)

        return framed


class Gone(Exception):
    """Whoever asked does not wait for the answer."""


def _is_of_another_site(headers: Headers, host: str) -> bool:
    """Whether a browser says that a page of another site asks. Programs say nothing of the kind."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if not origin:
        return False
    _, _, name = origin.lower().partition("://")
    return name not in (host.lower(), headers.get("x-forwarded-host", host).lower())


def _host_name(host: str) -> str:
    """Without the port: "[::1]:7860" is "[::1]"."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower().rstrip(".")


def _is_upload(scope: Scope) -> bool:
    return scope["path"].rstrip("/").endswith("/gradio_api/upload")


def _busy() -> Response:
    return JSONResponse({"detail": BUSY}, 503, {"Retry-After": "5"})


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


def _in_sentences(send: Send) -> Send:
    """Says in a sentence what failed, unless the page has said so itself."""
    status, content = 0, b""

    async def told(message: Message) -> None:
        nonlocal status, content
        is_start = message["type"] == "http.response.start"
        if (
            is_start
            and message["status"] >= 400
            and not Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
        ):
            status = message["status"]
        elif not status:
            await send(message)
        else:
            content = (content + message.get("body", b""))[:MOST_REQUEST_BYTES]
            if not message.get("more_body"):
                response = _failure(status, content)
                await send({"type": "http.response.start", "status": status, "headers": response.raw_headers})
                await send({"type": "http.response.body", "body": response.body})

    return told


def _failure(status: int, content: bytes) -> Response:
    sentence = FAILURES.get(status, FAILURES[400 if status < 500 else 500])
    with suppress(ValueError, RecursionError):
        match json.loads(content):
            case {"error": str(said)}:  # Of an endpoint's own.
                return JSONResponse({"error": said}, status)
            case {"jsonrpc": version, "error": {"code": int(code)}, **others}:
                error = {"code": code, "message": sentence}
                return JSONResponse({"jsonrpc": version, "id": others.get("id"), "error": error}, status)
    return _busy() if status == 503 else JSONResponse({"detail": sentence}, status)


def guard_connections(running: Any) -> None:
    """From now on a server closes connections over which nothing is asked, sooner where there are many of them.

    Args:
        running: a uvicorn.Server. It has no such deadline of its own, and takes connections until the process has no
            descriptors left, not even for a file.
    """
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit.
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(DESCRIPTORS, hard)), hard))

    class Guarded(running.config.http_protocol_class):  # type: ignore[misc, name-defined]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.seen = self.cycle
            self.since = self.loop.time()
            self.loop.call_later(IDLE_SECONDS, self.look)
            if len(self.connections) > MOST_CONNECTIONS:
                idle = [other for other in self.connections if other.is_idle]
                min(idle, key=lambda other: other.since).transport.abort()  # This one is among them.

        @property
        def is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def look(self) -> None:
            if self.transport.is_closing():
                return
            if self.is_idle and self.cycle is self.seen:
                self.transport.abort()
            else:
                self.seen = self.cycle
                self.loop.call_later(IDLE_SECONDS, self.look)

    running.config.http_protocol_class = Guarded


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


# The folder that is kept clean, and what stays in it.
_cleaned = dict[Path, set[Path]]()


def keep_clean(folder: Path) -> None:
    """Look for what nobody needs; what is in the folder now, such as the icons of buttons, stays."""
    kept = _cleaned[folder] = set(folder.rglob("*"))

    def look() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            remove_old(folder, kept)
            remove_oldest(folder, MOST_KEPT_BYTES, kept)
            remove_abandoned(folder.parent)

    threading.Thread(target=look, name="temporary files", daemon=True).start()


def remove_old(folder: Path, kept: AbstractSet[Path] = frozenset()) -> None:
    """Remove the files that came over an hour ago, and folders that have been empty for as long."""
    newest = time.time() - TEMPORARY_SECONDS
    for path, about in _files_and_folders(folder, kept):
        if about.st_ctime < newest:
            with suppress(OSError):  # Not empty, or gone meanwhile.
                path.rmdir() if stat.S_ISDIR(about.st_mode) else path.unlink()


def remove_oldest(folder: Path, most: int, kept: AbstractSet[Path] = frozenset()) -> None:
    """Remove files, the oldest first, until all together have no more than so many bytes."""
    found = [
        (about.st_ctime, about.st_size, path)
        for path, about in _files_and_folders(folder, kept)
        if stat.S_ISREG(about.st_mode)
    ]
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= size


def _files_and_folders(folder: Path, kept: AbstractSet[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """What is in a folder from which others remove meanwhile, files before the folders that hold them."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in [*files, *folders]):
            if path not in kept and path.name != _LOCK:
                with suppress(OSError):  # Gone meanwhile.
                    yield path, path.lstat()


class OneLineErrors:
    """A stream for errors that leaves one line of each, with the place in the code where it arose, and some a minute.

    Gradio and uvicorn write a traceback for whatever a stranger sends, and what was sent with it.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._place = ""
        self._minute, self._lines = 0.0, 0

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
        # What a stranger sends may speak to a terminal.
        printable = "".join(character if character.isprintable() or character == "\n" else "?" for character in shown)
        self._stream.write(self._within_limits(printable))
        return len(text)

    def _within_limits(self, shown: str) -> str:
        now = time.monotonic()
        if now - self._minute > 60:
            left_out = self._lines - MOST_LOGGED_LINES
            self._minute, self._lines = now, 0
            shown = f"{left_out} lines were left out.\n{shown}" if left_out > 0 else shown
        self._lines += shown.count("\n")
        return shown if self._lines <= MOST_LOGGED_LINES else ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def one_line_errors() -> None:
    """From now on."""
    sys.stderr = OneLineErrors(sys.stderr)
    # The interpreter's own writes a traceback in pieces that cannot be told apart.
    threading.excepthook = lambda told: traceback.print_exception(told.exc_type, told.exc_value, told.exc_traceback)
