"""What stands between the page and the network: who may ask, how much, and what stays of it on disk and in the log.

LATENT_FACES_HOSTS     names that the page answers to, such as "faces.example, *.example.org", or "*"
LATENT_FACES_FRAMES    pages that may frame it, as in a Content-Security-Policy
GRADIO_TEMP_DIR        where uploads and answers lie while they are needed
"""

import asyncio
import atexit
import importlib.util
import ipaddress
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The largest form with uploads: a phone's photograph fits. And the largest other request: most have a few hundred bytes,
# but a model's tool call may hold an image.
MOST_UPLOAD_BYTES, MOST_REQUEST_BYTES = 30 * 2**20, 2**20

# All request bodies that are on their way together, the seconds that one may take, and may pause.
MOST_HELD_BYTES = 256 * 2**20
BODY_SECONDS, STALL_SECONDS = 120.0, 15.0

# A file is sent in parts of this size. One waits in memory for each client that reads slowly.
PART_BYTES = 2**18

# Requests at a time, besides /health; programs, some of which listen for long, may have half of them. Connections; if
# there are more, idle ones are closed. A browser has up to six.
MOST_REQUESTS, MOST_CONNECTIONS = 256, 512

# Seconds until a connection is closed that does not take what it was sent, up to `PART_BYTES`.
UNREAD_SECONDS = 60.0

# Calls of an endpoint that wait in gradio's queue. On two slow cores an answer takes 0.3 s.
MOST_WAITING = 16
BUSY = "The page is busy. Try again in a few seconds."

# The Hub shows a Space in a frame.
FRAMES = "'self' https://huggingface.co https://*.hf.space"

# Temporary files are removed after so many seconds, or sooner, the oldest first, if all have more bytes than this.
TEMPORARY_SECONDS, MOST_KEPT_BYTES = 3600, 500 * 2**20
TIDY_EVERY_SECONDS = 30

# The longest line in the log, and the lines in a minute: a stranger can cause one with every request.
MOST_LOGGED_CHARACTERS, MOST_LOGGED_LINES = 300, 100

# In place of answers in which gradio and its libraries name their classes and the server's folders.
FAILURES = {
    400: "This request cannot be read: /gradio_api/info tells what the page takes.",
    403: "Not allowed: the page does not send this file, or the request comes from another site.",
    404: "There is nothing at this address.",
    405: "This address takes no such request.",
    408: "This took too long to arrive.",
    413: f"This is too large: an upload has at most {MOST_UPLOAD_BYTES // 2**20} MB, another request 1 MB.",
    415: "Files are taken at /gradio_api/upload only.",
    421: "The page does not answer to this name. Whoever runs it can add it to LATENT_FACES_HOSTS.",
    500: "Something went wrong in the page itself.",
    503: BUSY,
}


def limits(bound: str = "0.0.0.0") -> dict[str, Any]:
    """Arguments for `launch` or `gr.mount_gradio_app`: the limits of a public page, and the page's files.

    Args:
        bound: the address that the server listens at. One that only this machine reaches has no name but localhost.
    """
    from .site import routes  # Imports gradio; some functions here must run before that.

    # The extra `mcp` makes every endpoint a tool for language models.
    if has_tools := importlib.util.find_spec("mcp") is not None:
        from . import mcp

        mcp.install()
    frames = " ".join(os.environ.get("LATENT_FACES_FRAMES", FRAMES).split())  # It may be on several lines.
    return {
        "app_kwargs": {
            "middleware": [Middleware(Gate, allowed_hosts(bound), frames)],
            "routes": [Route("/health", health), *routes()],
        },
        "footer_links": ["api", "settings"],
        "run_history": False,
        "show_error": False,  # But for the sentences that are meant for whoever asks.
        "enable_monitoring": False,
        "mcp_server": has_tools,
    }


async def health(_: Request) -> Response:
    """Answers at once, without a worker thread."""
    return JSONResponse({"status": "ok"})


def allowed_hosts(bound: str) -> list[str]:
    """Patterns of the host names that the page answers to, besides addresses of digits, which are always allowed.

    LATENT_FACES_HOSTS lists them. Without it, a Space answers to the names that the Hub gave it, and a page that other
    machines reach answers to every name. A page that only this machine reaches answers to localhost alone: a stranger
    may point another name at it, to read it through the visitor's browser.
    """
    listed = os.environ.get("LATENT_FACES_HOSTS") or os.environ.get("SPACE_HOST")
    if listed:
        # People write addresses too, such as https://faces.example/.
        return ["localhost", *(_host_name(host.strip().rpartition("://")[2]) for host in listed.split(","))]
    address = _address(bound.strip("[]"))
    is_loopback = address.is_loopback if address else bound == "localhost"
    return ["localhost", "*.localhost"] if is_loopback else ["*"]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


class Gate:
    """ASGI middleware that lets through what the page's own visitors and programs ask."""

    def __init__(self, app: ASGIApp, hosts: list[str], frames: str):
        self.app = app
        self.hosts = hosts
        self.frames = frames
        self.requests = 0
        self.held = 0  # Bytes of bodies that are on their way.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer, body = Answer(send, f"frame-ancestors {self.frames}"), Body(self, scope, receive)
        # Responses name their file, and `Answer` reads it.
        scope["extensions"] = {**scope.get("extensions", {}), "http.response.pathsend": {}}
        self.requests += 1
        try:
            refused = self._refusal(scope)
            await (_failure(refused) if refused else self.app)(scope, body, answer)
        except ClientDisconnect:
            pass
        except Exception as error:  # Gradio's own, which would close the connection.
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            if answer.content_type is None:
                status = {"FnIndexInferError": 404, "TypeError": 400}.get(type(error).__name__, 500)
                await _failure(status)(scope, receive, answer)
            elif answer.content_type.startswith("text/event-stream"):  # Its last event told of the error.
                await answer({"type": "http.response.body", "body": b""})
        finally:
            self.requests -= 1
            self.held -= body.size

    def _refusal(self, scope: Scope) -> int | None:
        """The status of the answer to a request that is not for this page, by its headers, or is one too many."""
        headers = Headers(scope=scope)
        host = headers.get("host", "localhost")  # Only probes of this machine itself name none.
        name = _host_name(host)
        if not _address(name) and not any(fnmatch(name, pattern) for pattern in self.hosts):
            return 421
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _is_of_another_site(headers, host):
            return 403
        # At other addresses gradio keeps files of forms that broke off.
        if headers.get("content-type", "").lower().startswith("multipart/") and not _is_upload(scope):
            return 415
        most = MOST_REQUESTS // 2 if "/gradio_api/" in scope["path"] else MOST_REQUESTS
        return 503 if self.requests > most and scope["path"] != "/health" else None


class Body:
    """Receives the body of a request, of a limited size and in a limited time.

    Whoever reads beyond a limit gets an HTTPException, which becomes the answer. Uvicorn reads and drops the rest of the
    body, since many clients hear no answer before they have sent all.
    """

    def __init__(self, gate: Gate, scope: Scope, receive: Receive):
        self.size = 0
        self._gate = gate
        self._receive = receive
        self._most = MOST_UPLOAD_BYTES if _is_upload(scope) else MOST_REQUEST_BYTES
        self._end: float | None = time.monotonic() + BODY_SECONDS  # None once all has arrived.

    async def __call__(self) -> Message:
        if self._end is None:  # What comes next is that the client has left.
            return await self._receive()
        try:
            async with asyncio.timeout(min(STALL_SECONDS, self._end - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408) from None
        size = len(message.get("body", b""))
        self.size += size
        self._gate.held += size
        if self.size > self._most:
            raise HTTPException(413)
        if self._gate.held > MOST_HELD_BYTES:
            raise HTTPException(503)
        if not message.get("more_body"):
            self._end = None
        return message


class Answer:
    """Sends an answer with the policy on frames, reads the file that it names, and tells a failure in a sentence, unless
    the page has done so itself."""

    def __init__(self, send: Send, policy: str):
        self.content_type: str | None = None  # Until the answer begins.
        self._send = send
        self._policy = policy
        self._failed, self._content = 0, b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.content_type = Headers(raw=message["headers"]).get("content-type", "")
            if message["status"] >= 400 and not self.content_type.startswith("text/plain"):
                self._failed = message["status"]
            else:
                await self._begin(message)
        elif self._failed:
            self._content = (self._content + message.get("body", b""))[:MOST_REQUEST_BYTES]
            if not message.get("more_body"):
                response = _failure(self._failed, self._content)
                start = {"type": "http.response.start", "status": self._failed, "headers": response.raw_headers}
                await self._begin(start)
                await self._send({"type": "http.response.body", "body": response.body})
        elif message["type"] == "http.response.pathsend":
            await self._send_file(message["path"])
        else:
            await self._send(message)

    async def _send_file(self, path: str) -> None:
        """Starlette would hand a file to a thread and back to open it, to read each 64 kB and to close it.

        While many ask, that takes most of the time of an answer.
        """
        with open(path, "rb") as file:  # noqa: ASYNC230
            more = True
            while more:
                content = file.read(PART_BYTES)
                more = len(content) == PART_BYTES
                await self._send({"type": "http.response.body", "body": content, "more_body": more})

    async def _begin(self, start: Message) -> None:
        MutableHeaders(scope=start).append("Content-Security-Policy", self._policy)
        await self._send(start)


def _failure(status: int, content: bytes = b"") -> Response:
    """What is answered in place of a failure's own content."""
    sentence = FAILURES.get(status, FAILURES[400 if status < 500 else 500])
    with suppress(ValueError, RecursionError):
        match json.loads(content):
            case {"error": str(said)}:  # An endpoint's own sentence.
                return JSONResponse({"error": said}, status)
    return JSONResponse({"detail": sentence}, status, {"Retry-After": "5"} if status == 503 else None)


def _host_name(host: str) -> str:
    """Without the port and the brackets: "[::1]:7860" is "::1"."""
    with suppress(ValueError):
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    return ""


def _is_of_another_site(headers: Headers, host: str) -> bool:
    """Whether a browser says that a page of another site asks. Programs say nothing of the kind."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    _, _, name = headers.get("origin", "").lower().partition("://")
    return "origin" in headers and name not in (host.lower(), headers.get("x-forwarded-host", host).lower())


def _is_upload(scope: Scope) -> bool:
    return scope["path"].rstrip("/").endswith("/gradio_api/upload")


def guard_connections(running: Any) -> None:
    """Have a server close idle connections where there are too many, and those that do not take their answers.

    Args:
        running: a uvicorn.Server. It closes those that were used before, but waits for ever for a first request or a
            slow reader, and takes connections until the process has no descriptors left, not even for a file.
    """
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit.
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 8 * MOST_CONNECTIONS  # More than arrive in a burst, before any is closed, and files.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))

    class Guarded(running.config.http_protocol_class):  # type: ignore[misc, name-defined]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.since = self.loop.time()
            if len(self.connections) > MOST_CONNECTIONS:
                idle = [other for other in self.connections if other.is_idle]
                min(idle, key=lambda other: other.since).transport.abort()  # This one is among them.

        def pause_writing(self) -> None:
            super().pause_writing()
            self.gives_up = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self.gives_up.cancel()

        @property
        def is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

    running.config.http_protocol_class = Guarded


# The folder of this process, once it has one.
_own_folder: Path | None = None

# Bytes in that folder when it was looked at last, and of the files since.
_kept = 0


def own_temporary_folder() -> Path:
    """Make a folder of this process alone, and have gradio keep its temporary files there. A thread keeps it tidy.

    It is removed when the process ends. If the process is killed, the next that starts removes it.

    Raises:
        SystemExit: there is no folder that can be written.
    """
    global _own_folder
    user = os.getuid() if hasattr(os, "getuid") else ""  # Elsewhere the system's folder is the user's own.
    try:
        parent = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir(), f"latent-faces-{user}"))
        parent.mkdir(parents=True, exist_ok=True)
        # A lock ends with the process that holds it: so the folders of the dead are told from those of the living.
        for left in filter(Path.is_dir, parent.glob("latent-faces-*")):
            with suppress(Timeout, OSError), FileLock(f"{left}.lock", timeout=0):
                shutil.rmtree(left, ignore_errors=True)
                Path(f"{left}.lock").unlink()
        folder = parent.resolve() / f"latent-faces-{secrets.token_hex(8)}"
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
        folder.mkdir(mode=0o700)
    except OSError as error:
        sys.exit(f"Temporary files cannot be written: {error}. Set GRADIO_TEMP_DIR to another folder.")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    _own_folder = folder

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)

    def end(*_: Any) -> None:  # Containers are told so to end.
        remove()
        os._exit(128 + signal.SIGTERM)

    def keep_tidy() -> None:
        while True:
            time.sleep(TIDY_EVERY_SECONDS)
            with suppress(OSError):  # Something else may remove the folder. `file` makes it anew.
                tidy(folder)

    atexit.register(remove)
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=keep_tidy, name="temporary files", daemon=True).start()
    return folder


def make_room(size: int) -> None:
    """Remove old files before so many bytes are kept, if need be. To look at all takes long: there may be thousands."""
    global _kept
    if _own_folder and _kept + size > MOST_KEPT_BYTES:
        tidy(_own_folder, MOST_KEPT_BYTES - size)
    _kept += size


def tidy(folder: Path, most: int | None = None) -> None:
    """Remove what came over an hour ago, then the oldest, until the rest has at most `most` bytes (500 MB)."""
    global _kept
    most, end = MOST_KEPT_BYTES if most is None else most, time.time() - TEMPORARY_SECONDS
    kept = list[tuple[float, int, Path]]()
    for path in folder.iterdir():  # A folder of each upload and each answer.
        with suppress(OSError):  # Removed meanwhile.
            size = sum(file.stat().st_size for file in path.rglob("*"))
            kept.append((path.stat().st_ctime, size, path))
    _kept = sum(size for _, size, _ in kept)
    for since, size, path in sorted(kept):
        if since >= end and _kept <= most:
            break
        shutil.rmtree(path, ignore_errors=True)
        _kept -= size


class ShortLog:
    """A text stream that passes the beginnings of lines on, up to some in a minute.

    Gradio and uvicorn write a line or more for much that a stranger sends, and what was sent with it.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._rest = ""  # Of a line that has not ended.
        self._minute, self._lines = 0.0, 0

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            now = time.monotonic()
            if now - self._minute > 60:
                if (left_out := self._lines - MOST_LOGGED_LINES) > 0:
                    self._stream.write(f"{left_out} lines were left out.\n")
                self._minute, self._lines = now, 0
            self._lines += 1
            if self._lines <= MOST_LOGGED_LINES:
                # What a stranger sends may speak to a terminal.
                cut = "".join(letter if letter.isprintable() else "?" for letter in line[:MOST_LOGGED_CHARACTERS])
                self._stream.write(f"{cut}\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
