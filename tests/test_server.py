"""What stands between the page and the network, and the page within other applications."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import gradio as gr
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

import app
from page import server
from tests.serving import REPOSITORY


def mounted(**options) -> FastAPI:
    return gr.mount_gradio_app(FastAPI(), app.build(), path="/faces", **options)


def within_tabs() -> FastAPI:
    other = gr.Interface(lambda text: text, "text", "text")
    outer = gr.TabbedInterface([other, app.build()], ["Other", "Faces"])
    return gr.mount_gradio_app(FastAPI(), outer, path="/faces", **server.limits())


@pytest.fixture
def address(request):
    """Of an application that a function makes."""
    running = uvicorn.Server(uvicorn.Config(request.param(), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/faces/"
    running.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("address", [mounted], indirect=True)
def test_a_page_without_its_files_says_what_it_lacks(address, chromium):
    page = chromium.new_page()
    page.goto(address)
    page.get_by_role("alert").wait_for()
    assert "mount it with limits()" in page.get_by_role("alert").inner_text()
    page.close()


@pytest.mark.parametrize(
    ("address", "is_in_a_tab"), [(lambda: mounted(**server.limits()), False), (within_tabs, True)], indirect=["address"]
)
def test_a_page_within_an_application_draws_and_has_its_limits(address, is_in_a_tab, chromium):
    page = chromium.new_page()
    page.goto(f"{address}?tab=generate&seed=5&faces=3")
    if is_in_a_tab:
        page.get_by_role("tab", name="Faces").click()
    page.wait_for_function("window.latentFaces?.decoder.status.state === 'ready'")
    page.wait_for_function("latentFaces.tabs.every(tab => !tab.drawing)")
    faces = page.locator("#tab-generate .faces label canvas")
    assert faces.count() == 3 and page.get_by_role("alert").count() == 0
    assert len(set(faces.evaluate_all("all => all.map(one => one.toDataURL())"))) == 3
    page.close()
    assert httpx.get(f"{address}health", headers={"Host": "faces.example"}).json() == {"status": "ok"}
    large = httpx.post(f"{address}gradio_api/call/generate", content=b"[" * 2**21)
    assert large.status_code == 413


def refusal(gate: server.Gate, method: str, path: str, headers: dict[str, str]) -> int | None:
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return gate._refusal({"type": "http", "method": method, "path": path, "headers": sent})


@pytest.mark.parametrize(
    ("environment", "bound", "host", "answered"),
    [
        ({}, "127.0.0.1", "localhost:7860", True),
        ({}, "127.0.0.1", "[::1]:7860", True),
        ({}, "127.0.0.1", "192.168.1.7", True),
        ({}, "127.0.0.1", "elsewhere.example", False),
        ({}, "::1", "elsewhere.example", False),
        ({}, "127.0.0.1", "localhost@elsewhere.example", False),
        ({}, "0.0.0.0", "elsewhere.example", True),
        ({"SPACE_HOST": "faces.example,a-b.hf.space"}, "0.0.0.0", "A-b.hf.space.", True),
        ({"SPACE_HOST": "a-b.hf.space"}, "0.0.0.0", "c-d.hf.space", False),
        ({"LATENT_FACES_HOSTS": "*.example.org, faces.example"}, "127.0.0.1", "a.example.org", True),
        ({"LATENT_FACES_HOSTS": "*.example.org, faces.example"}, "0.0.0.0", "example.com", False),
        ({"LATENT_FACES_HOSTS": "https://faces.example:443/"}, "127.0.0.1", "faces.example", True),
        ({"LATENT_FACES_HOSTS": "*"}, "127.0.0.1", "elsewhere.example", True),
    ],
)
def test_the_names_that_the_page_answers_to(monkeypatch, environment, bound, host, answered):
    for name in ("LATENT_FACES_HOSTS", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    gate = server.Gate(None, server.allowed_hosts(bound), server.FRAMES)
    assert refusal(gate, "GET", "/", {"Host": host}) == (None if answered else 421)


def test_frames_may_be_named_on_several_lines(monkeypatch):
    monkeypatch.setenv("LATENT_FACES_FRAMES", "'self'\n  https://faces.example\n")
    (gate,) = server.limits()["app_kwargs"]["middleware"]
    assert gate.args[1] == "'self' https://faces.example"


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, True),  # A program.
        ({"Origin": "http://localhost:7860"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"}, True),
        ({"Origin": "https://faces.example", "X-Forwarded-Host": "faces.example"}, True),
        ({"Origin": "http://localhost:3000"}, False),
        ({"Origin": "https://elsewhere.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:7860"}, False),
    ],
)
def test_pages_of_other_sites_may_not_post(headers, taken):
    gate = server.Gate(None, ["localhost"], server.FRAMES)
    for method in ("POST", "PUT", "DELETE", "GET"):
        refused = refusal(gate, method, "/gradio_api/call/x", {"Host": "localhost:7860", **headers})
        assert refused == (None if taken or method == "GET" else 403)


# Makes the folder of a process, tells where it is, and waits to be ended.
PROCESS = "import sys; from page import server; print(server.own_temporary_folder(), flush=True); sys.stdin.read()"


def test_a_process_that_ends_leaves_no_files_and_one_that_is_killed_until_the_next_starts(tmp_path):
    environment, processes = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)}, []

    def start() -> Path:
        command = [sys.executable, "-c", PROCESS]
        processes.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=-1, stdout=-1, text=True))
        folder = Path(processes[-1].stdout.readline().strip())
        (folder / "photograph.png").touch()
        return folder

    killed, other = start(), start()
    assert killed.parent == tmp_path and (killed / "photograph.png").exists(), "its process lives"
    processes[0].kill()
    processes[0].wait()
    third = start()
    assert not killed.exists() and (other / "photograph.png").exists()
    processes[1].terminate()  # As a container is told to end.
    assert processes[1].wait() == 128 + signal.SIGTERM and not other.exists()
    processes[2].communicate("")
    assert not third.exists() and not [*tmp_path.iterdir()]


def test_what_is_old_goes_and_of_too_much_the_oldest(tmp_path, monkeypatch):
    names = ["1/photograph", "2/photograph", "3/photograph"]
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(bytes(10_000))
        time.sleep(0.02)  # So that the next is younger.
    left = lambda: [name for name in names if (tmp_path / name).exists()]
    server.tidy(tmp_path)
    assert left() == names
    server.tidy(tmp_path, 25_000)
    assert left() == names[1:]
    monkeypatch.setattr(server, "TEMPORARY_SECONDS", -1)
    server.tidy(tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"GRADIO_TEMP_DIR": f"{REPOSITORY}/app.py/x"}, [], "app.py/x'. Set GRADIO_TEMP_DIR to another folder."),
        ({"GRADIO_SERVER_PORT": "seven"}, [], "GRADIO_SERVER_PORT cannot be 'seven'"),
        ({}, ["--share"], "error: unrecognized arguments: --share"),
    ],
)
def test_what_an_operator_asks_for_in_vain_is_told_in_a_sentence(environment, arguments, words):
    command, variables = [sys.executable, "app.py", *arguments], {**os.environ, **environment}
    ended = subprocess.run(command, cwd=REPOSITORY, env=variables, stderr=-1, text=True, check=False)
    assert ended.returncode and words in ended.stderr and len(ended.stderr.splitlines()) <= 2


def test_a_stranger_can_cause_some_short_lines_a_minute(monkeypatch):
    written, now = io.StringIO(), [1000.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    stream = server.ShortLog(written)
    for number in range(500):
        stream.write(f"\x1b[31mline {number}{1000 * 'x'}\n")
    lines = written.getvalue().splitlines()
    assert [line[:12] for line in lines] == [
        f"?[31mline {number}xxxx"[:12] for number in range(server.MOST_LOGGED_LINES)
    ]
    assert {len(line) for line in lines} == {server.MOST_LOGGED_CHARACTERS}
    now[0] += 61
    stream.write("another minute\n")
    *_, told, last = written.getvalue().splitlines()
    assert told == f"{500 - server.MOST_LOGGED_LINES} lines were left out." and last == "another minute"
