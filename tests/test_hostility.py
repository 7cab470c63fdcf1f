"""What strangers send to a page that is public, and that it neither suffers from nor keeps."""

import asyncio
import json
import socket
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from page import drawing, server
from tests.conftest import draw_face, encode
from tests.serving import serving

QUESTION = {"data": ["GAN", 0, 2, 1, ""]}


@pytest.fixture(scope="module")
def folder():
    """Where the page keeps temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def client(folder):
    with (
        serving({"GRADIO_TEMP_DIR": str(folder)}) as page,
        httpx.Client(base_url=page.url, timeout=60, trust_env=False) as client,
    ):
        yield client


def ask(client: httpx.Client, question: dict = QUESTION) -> httpx.Response:
    return client.post("/gradio_api/call/generate", json=question)


def answered(client: httpx.Client, question: dict = QUESTION) -> str:
    event = ask(client, question).json()["event_id"]
    return client.get(f"/gradio_api/call/generate/{event}").text


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


HALF_A_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: "


def half_an_upload(client: httpx.Client) -> socket.socket:
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n"
    form = b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    part = b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    return connected(client, head + form + part + b"q" * 2_000_000)


def test_a_foreign_name_is_not_answered(client):
    files = ("/page.json", "/front/main.js", "/weights/gan/model.safetensors", "/epochs/gan.webp")
    for path in ("/", "/config", "/health", "/gradio_api/info", *files):
        refused = client.get(path, headers={"Host": "elsewhere.example"})
        assert refused.status_code == 400 and "LATENT_FACES_HOSTS" in refused.text and len(refused.text) < 200
        own = client.get(path, headers={"Host": "localhost:7860"})
        assert own.status_code == (404 if path.startswith(("/weights", "/epochs")) else 200)


def test_only_the_hub_may_frame_the_page(client):
    for path in ("/", "/health", "/nothing"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert policy == "frame-ancestors 'self' https://huggingface.co https://*.hf.space"


@pytest.mark.parametrize("path", ["call/generate", "run/generate", "queue/join", "mcp/"])
def test_megabytes_are_refused_in_a_sentence(client, path):
    parts = (b"x" * 2**16 for _ in range(32))  # Without a length.
    for content in (b"x" * 2**21, parts):
        refused = client.post(f"/gradio_api/{path}", content=content, headers={"Content-Type": "application/json"})
        assert refused.status_code == 413 and len(refused.text) < 200


def test_what_was_asked_is_not_repeated(client):
    told = answered(client, {"data": ["GAN" + 200_000 * "x\n", None, 16, 1, ""]})
    assert "event: error" in told and len(told) < 500


def test_uploads_that_break_off_leave_nothing(client, folder):
    before = files(folder)
    connections = [half_an_upload(client) for _ in range(30)]
    assert client.get("/health").status_code == 200
    assert "event: complete" in answered(client)
    for connection in connections:
        connection.close()
    time.sleep(0.5)
    left = {path for path in files(folder) - before if path.suffix != ".png" or path.stat().st_size > 100_000}
    assert left == set()


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


@pytest.mark.parametrize("sent", [b"", HALF_A_REQUEST], ids=["idle", "half open"])
def test_connections_over_which_nothing_is_asked_silence_nobody(client, sent):
    connections = []
    try:
        for _ in range(server.MOST_CONNECTIONS + 100):
            connections.append(connected(client, sent))
        for _ in range(5):
            with httpx.Client(base_url=client.base_url, timeout=20, trust_env=False) as visitor:
                assert visitor.get("/health").json() == {"status": "ok"}
                assert visitor.get("/").status_code == 200
    finally:
        for connection in connections:
            connection.close()


def test_an_idle_connection_is_closed_and_a_used_one_is_not(url, held, monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    goes_on = held("generate")
    body = json.dumps(QUESTION).encode()
    head = f"POST /gradio_api/run/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\n\r\n"
    with httpx.Client(base_url=url) as program:
        idle, used = connected(program, b""), connected(program, head.encode() + body)
    with idle, used:
        assert idle.recv(1) == b"", "it was not closed"
        time.sleep(0.6)  # The answer takes long.
        goes_on.set()
        assert used.makefile("rb").read().startswith(b"HTTP/1.1 200 OK")


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


def through_the_gate(app, messages: list[bytes], seconds: float = 0, held: int = 0) -> tuple[list[dict], server.Gate]:
    """What is answered to an upload of which a part comes every so many seconds, without an end if it is of several."""

    async def talk() -> list[dict]:
        left, told = list(messages), list[dict]()

        async def receive() -> dict:
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": len(messages) > 1}

        async def send(message: dict) -> None:
            told.append(message)

        await gate({"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": []}, receive, send)
        return told

    gate = server.Gate(app, ["*"], server.FRAMES)
    gate.held = held
    with ThreadPoolExecutor(1) as thread:  # The browser's tests leave an event loop in this one.
        return thread.submit(asyncio.run, talk()).result(), gate


@pytest.mark.parametrize("limit, seconds", [("STALL_SECONDS", 60), ("BODY_SECONDS", 0.05)])
def test_a_body_has_a_deadline(monkeypatch, limit, seconds):
    monkeypatch.setattr(server, limit, 0.2)
    (start, body), gate = through_the_gate(None, 50 * [b"x"], seconds)
    assert start["status"] == 408 and body["body"].endswith(b".") and gate.held == 0


def test_bodies_together_have_a_limit():
    held = server.MOST_HELD_BYTES - 3 * 2**20
    (start, body), gate = through_the_gate(None, 8 * [b"x" * 2**20], 0.01, held)
    assert start["status"] == 503 and b"busy" in body["body"] and gate.held == held


def test_all_kept_uploads_have_a_limit_and_the_oldest_go_first(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "_own_folder", tmp_path)
    monkeypatch.setattr(server, "_kept", 0)
    monkeypatch.setattr(server, "MOST_KEPT_BYTES", 3500)
    for number in range(6):

        async def keep(scope, receive, send, number=number):
            message = await receive()
            (tmp_path / f"photograph-{number}").write_bytes(message["body"])

        through_the_gate(keep, [bytes(1000)])
        time.sleep(0.02)
        there = sorted(path.name for path in tmp_path.iterdir())
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
        ("GET", "static/..%2f..%2fapp.py", ""),
        ("GET", "assets/%00", ""),
        ("DELETE", "page.json", ""),
        ("POST", "gradio_api/call/nothing", '{"data": []}'),
        ("POST", "gradio_api/call/v2/generate", '{"modell": "GAN"}'),
        ("POST", "gradio_api/run/nothing", '{"data": []}'),
        ("POST", "gradio_api/run/generate", "{"),
        ("POST", "gradio_api/run/generate", '{"data": 7}'),
        ("POST", "gradio_api/run/generate", '{"data": [], "fn_index": "x"}'),
        ("POST", "gradio_api/run/generate", '{"data": [], "fn_index": 999}'),
        ("POST", "gradio_api/run/generate", '{"data": [' + "1," * 50 + "1]}"),
        ("POST", "gradio_api/run/reconstruct", '{"data": [{"path": "/etc/hostname"}, ""]}'),
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
        said = said["message"] if isinstance(said, dict) else said
    assert isinstance(said, str) and said.endswith(".") and len(said) < 200 and "\n" not in said
    assert not [word for word in WORDS if word in answer.text], answer.text


def test_an_answer_that_nobody_asked_for_is_told_of(client):
    for address in ("call/generate/nothing", "queue/data?session_hash=nobody"):
        told = client.get(f"/gradio_api/{address}").text
        assert "Not Found" in told and told.endswith("\n\n") and len(told) < 200


def test_a_photograph_is_reconstructed_after_all_this(client):
    told = run(client, "reconstruct", uploaded(client, encode(draw_face(1), "PNG")), "")
    assert len(told["data"][0]) > 1
