"""What strangers send to a page that is public, and that it neither suffers from nor keeps."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from random import Random

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from page import drawing, endpoints, server
from tests import hostility
from tests.conftest import draw_face, encode
from tests.hostility import answered, ask, connected, files, half_an_upload, run, uploaded


@pytest.fixture(scope="module")
def world():
    with hostility.world() as world:
        yield world


@pytest.fixture(scope="module")
def client(world):
    return world.client


@pytest.mark.parametrize(
    "attack, times", [(hostility.refusals, 40), (hostility.junk, 120), (hostility.idle_connections, 2)]
)
def test_an_attack_is_answered_in_sentences_and_silences_nobody(world, attack, times):
    random = Random(7)
    told = {attack(world, random) for _ in range(times)}
    assert len(told) > times / 20


def test_only_the_hub_may_frame_the_page(client):
    for path in ("/", "/health", "/nothing"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert policy == "frame-ancestors 'self' https://huggingface.co https://*.hf.space"


def test_megabytes_without_a_length_are_refused(client):
    parts = (b"x" * 2**16 for _ in range(32))
    refused = client.post("/gradio_api/call/generate", content=parts, headers={"Content-Type": "application/json"})
    assert refused.status_code == 413 and len(refused.text) < 200


def test_uploads_that_break_off_leave_nothing(client, world):
    before = files(world.folder)
    connections = [half_an_upload(client) for _ in range(30)]
    assert client.get("/health").status_code == 200
    assert "event: complete" in answered(client)
    for connection in connections:
        connection.close()
    time.sleep(0.5)
    assert all(path.suffix == ".png" and path.stat().st_size < 100_000 for path in files(world.folder) - before)


def test_uploads_have_a_limit_and_one_door(client, world):
    before = files(world.folder)
    refused = client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * (31 * 2**20))})
    assert refused.status_code == 413 and "30 MB" in refused.text
    elsewhere = client.post("/gradio_api/call/reconstruct", files={"files": ("a.png", b"x")})
    assert elsewhere.status_code == 415
    assert files(world.folder) == before
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
        while (asked := ask(program)).status_code == 503:
            time.sleep(0.05)
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
        while (answer := of_a_program()).status_code != 503:
            time.sleep(0.05)
        assert answer.json() == {"detail": server.BUSY} and int(answer.headers["Retry-After"]) > 0
        assert client.get("/page.json").status_code == 200 and client.get("/health").json() == {"status": "ok"}
        for connection in connections:
            connection.close()
        while of_a_program().status_code == 503:
            time.sleep(0.05)


def test_who_does_not_read_an_answer_loses_it(url, monkeypatch):
    monkeypatch.setattr(server, "UNREAD_SECONDS", 0.2)
    with httpx.Client(base_url=url, trust_env=False) as visitor:
        place = f"/{visitor.get('/page.json').json()['models'][0]['weights']['url']}"
        reader = connected(visitor, f"GET {place} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        time.sleep(1)
        received = 0
        with reader, suppress(ConnectionResetError):
            while part := reader.recv(2**16):
                received += len(part)
        assert received < len(visitor.get(place).content)


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


def test_a_photograph_is_reconstructed_after_all_this(client):
    told = run(client, "reconstruct", uploaded(client, encode(draw_face(1), "PNG")), "")
    assert len(told["data"][0]) > 1
