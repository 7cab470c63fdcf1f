"""What strangers send to a page that is public, and that it neither suffers from nor keeps."""

import asyncio
import json
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from page import drawing, endpoints, server
from tests.conftest import WEIGHTS, draw_face, encode
from tests.markup import MARKUP
from tests.serving import serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def client(folder):
    """Of a page in a process of its own, which keeps its temporary files in the folder."""
    with (
        serving({"GRADIO_TEMP_DIR": str(folder)}) as page,
        httpx.Client(base_url=page.url, timeout=60, trust_env=False) as client,
    ):
        yield client


def ask(client: httpx.Client) -> httpx.Response:
    return client.post("/gradio_api/call/generate", json={"data": ["GAN", 0, 2, 1, ""]})


def answered(client: httpx.Client) -> str:
    return client.get(f"/gradio_api/call/generate/{ask(client).json()['event_id']}").text


def uploaded(client: httpx.Client, content: bytes) -> dict:
    (path,) = client.post("/gradio_api/upload", files={"files": ("photograph", content)}).json()
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def run(client: httpx.Client, name: str, *arguments: object) -> dict:
    return client.post(f"/gradio_api/run/{name}", json={"data": [*arguments]}).json()


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def connected(client: httpx.Client, sent: bytes) -> socket.socket:
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    connection.sendall(sent)
    return connection


def half_an_upload(client: httpx.Client) -> socket.socket:
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n"
    form = b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    part = b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    return connected(client, head + form + part + b"q" * 2_000_000)


def eventually(look: Callable[[], Any], is_expected: Callable[[Any], bool], otherwise: str) -> Any:
    """What is seen as soon as it is as expected, within a minute."""
    end = time.monotonic() + 60
    while not is_expected(seen := look()):
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)
    return seen


JUNK = [
    *(None, True, False, -1, 0, 1, 1.5, 63.999, 65, 2**31, 2**32, 2**64, 10**400, -0.0, 1e-320, 1e308),
    *(math.nan, math.inf, "", "7", "7/0", "seven", "\0", "\ud800", "\u202e", MARKUP, 100_000 * "+", "GAN"),
    *("/etc/hostname", "../../app.py", [], [1], [[[[]]]], {}, {"path": None}, {"path": "/etc/hostname"}),
    *({"path": "\0"}, {"path": 5000 * "a"}, {"a": {}}),
    {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}, "orig_name": "a.svg"},
]

CALLS = {
    "generate": ["Attribute GAN", 0, 1, 1, "", "Smiling"],
    "flip_bit": [0, 1, 1, "", 1, "Attribute GAN", ""],
    "interpolate": ["Plain autoencoder", "0", "1", None, None, 2, "straight", "relaxed"],
    "reconstruct": [None, ""],
    "out_of_distribution": [0, 0, 1],
    "training": ["GAN", 1],
}


def junk(random: Random) -> tuple[str, list]:
    """An endpoint and its arguments, one or more of which are replaced."""
    name = random.choice([*CALLS])
    sent = [*CALLS[name]]
    for place in random.sample(range(len(sent)), random.choice([1, 1, 1, min(2, len(sent)), len(sent)])):
        sent[place] = random.choice(JUNK)
    return name, sent


def complaint(client: httpx.Client, name: str, sent: list) -> str | None:
    """What the page says against these arguments, or None if it takes them."""
    headers = {"Content-Type": "application/json"}
    asked = client.post(f"/gradio_api/call/{name}", content=json.dumps({"data": sent}), headers=headers)
    if asked.status_code != 200:  # No JSON, for one.
        return asked.json()["detail"]
    told = client.get(f"/gradio_api/call/{name}/{asked.json()['event_id']}").text
    if "event: complete" in told:
        return None
    assert "event: error" in told, told[:200]
    return json.loads(told.partition("data: ")[2].partition("\n")[0])["error"]


def test_junk_from_a_program_is_answered_in_sentences(client):
    random = Random(7)
    complaints = {complaint(client, *junk(random)) for _ in range(120)}
    assert len(complaints) > 6
    for said in complaints - {None}:
        assert said.endswith(".") and len(said) < 300, said
        for word in ("NoneType", "Traceback", "object at", "argument", "unpack", "Error", "+0"):
            assert word not in said, said


def test_a_thousand_idle_connections_silence_nobody(client):
    with ExitStack() as connections, httpx.Client(base_url=client.base_url, timeout=20, trust_env=False) as visitor:
        for sent in 500 * [b"", b"GET / HTTP/1.1\r\nX-Long: "]:
            connections.enter_context(connected(client, sent))
        assert visitor.get("/health").json() == {"status": "ok"}
        assert visitor.get("/page.json").status_code == 200


def test_only_the_hub_may_frame_the_page(client):
    """Refusals say so too."""
    answers = [client.get(path) for path in ("/", "/health", "/nothing")]
    answers.append(client.get("/", headers={"Host": "elsewhere.example"}))
    answers.append(client.post("/gradio_api/run/generate", headers={"Origin": "null"}))
    assert [answer.status_code for answer in answers] == [200, 200, 404, 421, 403]
    policies = {answer.headers["Content-Security-Policy"] for answer in answers}
    assert policies == {"frame-ancestors 'self' https://huggingface.co https://*.hf.space"}


def test_megabytes_without_a_length_are_refused(client):
    parts = (b"x" * 2**16 for _ in range(32))
    refused = client.post("/gradio_api/call/generate", content=parts, headers={"Content-Type": "application/json"})
    assert refused.status_code == 413 and len(refused.text) < 200


def test_uploads_that_break_off_leave_nothing(client, folder):
    before = files(folder)
    connections = [half_an_upload(client) for _ in range(30)]
    assert client.get("/health").status_code == 200
    assert "event: complete" in answered(client)
    for connection in connections:
        connection.close()
    is_drawn = lambda path: path.suffix == ".png" and path.stat().st_size < 100_000
    eventually(lambda: files(folder) - before, lambda left: all(map(is_drawn, left)), "halves of uploads stay")


def test_uploads_have_a_limit_and_one_door(client, folder):
    before = files(folder)
    refused = client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * (31 * 2**20))})
    assert refused.status_code == 413 and "30 MB" in refused.text
    elsewhere = client.post("/gradio_api/call/reconstruct", files={"files": ("a.png", b"x")})
    assert elsewhere.status_code == 415
    assert files(folder) == before
    assert client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 2**20)}).status_code == 200


@pytest.fixture
def held(monkeypatch):
    """A function that has calls of a function of `drawing` wait, and returns the event that lets them go on."""
    goes_on = threading.Event()

    def hold(name: str) -> threading.Event:
        function = getattr(drawing, name)
        monkeypatch.setattr(drawing, name, lambda *arguments: goes_on.wait(60) and function(*arguments))
        return goes_on

    yield hold
    goes_on.set()


def test_who_never_fetches_an_answer_keeps_others_waiting_for_few(url, held):
    """And while they wait, the page and its health are told."""
    goes_on = held("generate")
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as program:
        answers = [ask(program) for _ in range(40)]
        taken = [answer.json()["event_id"] for answer in answers if answer.status_code == 200]
        assert server.MOST_WAITING <= len(taken) <= server.MOST_WAITING + 2
        for answer in answers:
            if answer.status_code != 200:
                assert answer.status_code == 503 and answer.json() == {"detail": server.BUSY}
                assert int(answer.headers["Retry-After"]) > 0
        assert program.get("/health").json() == {"status": "ok"} and program.get("/page.json").status_code == 200
        goes_on.set()
        asked = eventually(lambda: ask(program), lambda answer: answer.status_code != 503, "the page stays busy")
        assert "event: complete" in program.get(f"/gradio_api/call/generate/{asked.json()['event_id']}").text


def test_who_finds_photographs_before_theirs_is_told_so(url, held):
    """One is looked at while one waits."""
    goes_on = held("align")
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as program, ThreadPoolExecutor(5) as threads:
        photograph = uploaded(program, encode(draw_face(1), "PNG"))
        left = {threads.submit(run, program, "reconstruct", photograph, "") for _ in range(5)}
        for _ in range(3):
            (done, *_), left = wait(left, return_when=FIRST_COMPLETED)
            left |= {*_}
            assert done.result() == {"error": server.BUSY}
        goes_on.set()
        assert all("data" in answer.result() for answer in left)


@pytest.mark.parametrize(
    "head",
    [b"POST /gradio_api/run/generate HTTP/1.1\r\nContent-Length: 9\r\n", b"GET /gradio_api/heartbeat/x HTTP/1.1\r\n"],
    ids=["half a request", "a stream of news"],
)
def test_programs_that_never_end_leave_the_page_to_its_visitors(url, monkeypatch, head):
    """There is room for some, and others are told so."""
    monkeypatch.setattr(server, "MOST_REQUESTS", 40)
    with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        of_a_program = lambda: client.get("/gradio_api/app_id")
        connections = [connected(client, head + b"Host: localhost\r\n\r\n") for _ in range(server.MOST_REQUESTS)]
        answer = eventually(of_a_program, lambda answer: answer.status_code == 503, "there is room for all")
        assert answer.json() == {"detail": server.BUSY} and int(answer.headers["Retry-After"]) > 0
        assert client.get("/page.json").status_code == 200 and client.get("/health").json() == {"status": "ok"}
        for connection in connections:
            connection.close()
        eventually(of_a_program, lambda answer: answer.status_code != 503, "the page stays busy")


def test_who_does_not_read_an_answer_loses_it(url, monkeypatch):
    monkeypatch.setattr(server, "UNREAD_SECONDS", 0.2)
    with httpx.Client(base_url=url, trust_env=False) as visitor:
        # The largest: the buffers of the two sockets take over 4 MB that nobody reads.
        size, weights = max(
            ((WEIGHTS / model["folder"] / "model.safetensors").stat().st_size, model["weights"]["url"])
            for model in visitor.get("/page.json").json()["models"]
        )
        head = f"GET /{weights} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

        def received_after(seconds: float) -> int:
            """How many bytes arrive at a client that waits this long before it reads."""
            received = 0
            with connected(visitor, head) as reader, suppress(ConnectionResetError):
                time.sleep(seconds)
                while part := reader.recv(2**16):
                    received += len(part)
            return received

        # On a busy machine the server may need longer to notice.
        assert any(received_after(seconds) < size for seconds in (0.5, 2, 8, 32)), "it arrives as a whole"


def post_slowly(parts: int, seconds: float = 0, held: int = 0) -> tuple[httpx.Response, server.Gate]:
    """What is answered to a body of so many parts, one every so many seconds."""
    application = FastAPI()

    @application.post("/")
    async def read(request: Request) -> None:
        await request.body()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(parts):
            await asyncio.sleep(seconds)
            yield bytes(2**17)

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(gate)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/", content=body())

    gate = server.Gate(application, ["*"], server.FRAMES)
    gate.held = held
    with ThreadPoolExecutor(1) as thread:  # The browser's tests leave an event loop in this one.
        return thread.submit(asyncio.run, post()).result(), gate


@pytest.mark.parametrize("limit, parts, seconds", [("STALL_SECONDS", 1, 1), ("BODY_SECONDS", 7, 0.05)])
def test_a_body_has_a_deadline(monkeypatch, limit, parts, seconds):
    monkeypatch.setattr(server, limit, 0.2)
    answer, gate = post_slowly(parts, seconds)
    assert answer.status_code == 408 and "took too long" in answer.text and gate.held == 0


def test_bodies_together_have_a_limit():
    held = server.MOST_HELD_BYTES - 2**19
    answer, gate = post_slowly(7, held=held)
    assert answer.status_code == 503 and "busy" in answer.text and gate.held == held


def test_all_kept_files_have_a_limit_and_the_oldest_go_first(monkeypatch, tmp_path):
    for name, value in {"_own_folder": tmp_path, "_kept": 0, "MOST_KEPT_BYTES": 3500}.items():
        monkeypatch.setattr(server, name, value)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for number in range(6):
        endpoints.file(bytes(1000), f"photograph-{number}")
        time.sleep(0.02)
        there = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
        assert there == [f"photograph-{kept}" for kept in range(max(0, number - 2), number + 1)]


WORDS = ("Traceback", "pydantic", "null byte", "site-packages", "/tmp", "Error", "type_error", "int_parsing")
FILE = ', "meta": {"_type": "gradio.FileData"}}'


@pytest.mark.parametrize(
    "method, address, content",
    [
        ("GET", "nothing", ""),
        ("GET", "gradio_api/file=/etc/passwd", ""),
        ("GET", "gradio_api/file=%00", ""),
        ("GET", "gradio_api/queue/data", ""),
        ("GET", "theme.css%00", ""),
        ("DELETE", "page.json", ""),
        ("POST", "gradio_api/call/nothing", '{"data": []}'),
        ("POST", "gradio_api/call/v2/generate", '{"modell": "GAN"}'),
        ("POST", "gradio_api/run/generate", "{"),
        ("POST", "gradio_api/run/generate", '{"data": 7}'),
        ("POST", "gradio_api/run/generate", '{"data": [], "fn_index": "x"}'),
        ("POST", "gradio_api/run/generate", '{"data": [' + "1," * 50 + "1]}"),
        ("POST", "gradio_api/run/reconstruct", '{"data": [{"path": "\\u0000"' + FILE + ', ""]}'),
        ("POST", "gradio_api/run/reconstruct", '{"data": [{"path": "/etc/hostname"' + FILE + "]}"),
        ("POST", "gradio_api/queue/join", '{"data": [], "session_hash": 7}'),
        ("POST", "gradio_api/component_server", '{"data": [], "component_id": 1, "fn_name": "x", "session_hash": "y"}'),
        ("POST", "gradio_api/upload", "x"),
        ("POST", "gradio_api/mcp/", "{"),
        ("POST", "gradio_api/mcp/", '{"jsonrpc": "2.0", "method": 7}'),
    ],
)
def test_a_failed_request_is_answered_in_a_sentence(client, method, address, content):
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    answer = client.request(method, f"/{address}", content=content, headers=headers if content else None)
    assert answer.status_code >= 400, answer.text[:300]
    said = answer.text
    if answer.headers["Content-Type"].startswith("application/json"):
        told = answer.json()
        said = told.get("detail") or told["error"]
    assert isinstance(said, str) and said.endswith(".") and len(said) < 200 and "\n" not in said
    assert not [word for word in WORDS if word in answer.text], answer.text


def test_an_answer_that_nobody_asked_for_is_told_of(client):
    for address in ("call/generate/nothing", "queue/data?session_hash=nobody"):
        told = client.get(f"/gradio_api/{address}").text
        assert "Not Found" in told and told.endswith("\n\n") and len(told) < 200
