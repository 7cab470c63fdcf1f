"""What strangers send to the page, over and over.

    python -m tests.hostility [--times 100] [--seed 7] [--only uploads]

Makes each attack many times, with random values, and prints a row for each: how often, what the attacker or the visitor
was told, and what was lost. The tests make the quick ones too. The status is 1 if anything was lost.
"""

import argparse
import json
import math
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import httpx

from page import server

from .markup import MARKUP
from .serving import Served, serving


class World(NamedTuple):
    """What is attacked: a page with its client, the folder of its temporary files, and its log."""

    page: Served
    client: httpx.Client
    folder: Path
    log: Path


@contextmanager
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as temporary:
        folder, log = Path(temporary, "page"), Path(temporary, "log")
        with (
            serving({"GRADIO_TEMP_DIR": str(folder)}, log=log) as page,
            httpx.Client(base_url=page.url, timeout=60, trust_env=False) as client,
        ):
            yield World(page, client, folder, log)


QUESTION = {"data": ["GAN", 0, 2, 1, ""]}


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


def half_an_upload(client: httpx.Client) -> socket.socket:
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n"
    form = b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    part = b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    return connected(client, head + form + part + b"q" * 2_000_000)


def outlast(world: World, connections: list[socket.socket], seconds: float) -> None:
    """Make sure that the page answers a visitor beside these connections, and in full after so many seconds."""
    with httpx.Client(base_url=world.page.url, timeout=20, trust_env=False) as visitor:
        assert visitor.get("/health").json() == {"status": "ok"}
        time.sleep(seconds)
        assert visitor.get("/page.json").status_code == 200, "they are waited for"
    for connection in connections:
        connection.close()


# Each attack is made once by its function, which returns what was told and raises AssertionError if anything is lost.


def refusals(world: World, random: Random) -> str:
    """Other files, foreign names of hosts, posts by pages of other sites, megabytes."""
    folder = random.choice(["front/", "examples/", "weights/", "epochs/", "weights/gan/"])
    up = random.choice(["../", "%2e%2e/", "..%2f", "..%5c", "/", "%00", "gan/../../"]) * random.randint(1, 4)
    file = f"/{folder}{up}{random.choice(['app.py', 'etc/hostname', 'config.json', MARKUP[:40]])}"
    host = random.choice(["elsewhere.example", "localhost.evil.example", "127.0.0.1.evil.example", MARKUP[:40]])
    site = random.choice(
        [{"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
    )
    post = f"/gradio_api/{random.choice(['call/generate', 'run/generate', 'queue/join', 'mcp/'])}"
    status, method, address, headers, content = random.choice(
        [
            (404, "GET", file, {}, b""),
            (421, "GET", random.choice(["/", "/config", "/health", "/page.json"]), {"Host": host}, b""),
            (403, "POST", post, site, b'{"data": ["GAN", 0, 1, 1, ""]}'),
            (413, "POST", post, {"Content-Type": "application/json"}, b"x" * random.randint(2**20 + 1, 2**23)),
        ]
    )
    answer = world.client.request(method, address, headers=headers, content=content)
    assert answer.status_code == status and len(answer.text) < 200, (address, answer.status_code, answer.text[:100])
    return answer.json()["detail"] if answer.headers["Content-Type"] == "application/json" else answer.text


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


def junk(world: World, random: Random) -> str:
    """In the place of one argument or more."""
    name = random.choice([*CALLS])
    sent = [*CALLS[name]]
    for place in random.sample(range(len(sent)), random.choice([1, 1, 1, min(2, len(sent)), len(sent)])):
        sent[place] = random.choice(JUNK)
    headers = {"Content-Type": "application/json"}
    asked = world.client.post(f"/gradio_api/call/{name}", content=json.dumps({"data": sent}), headers=headers)
    if asked.status_code == 200:
        told = world.client.get(f"/gradio_api/call/{name}/{asked.json()['event_id']}").text
        if "event: complete" in told:
            return "nothing: it does no harm"
        assert "event: error" in told, told[:200]
        said = json.loads(told.partition("data: ")[2].partition("\n")[0])["error"]
    else:  # No JSON, for one.
        said = asked.json()["detail"]
    assert said.endswith(".") and len(said) < 300, said
    for word in ("NoneType", "Traceback", "object at", "argument", "unpack", "Error", "+0"):
        assert word not in said, said
    return said


def idle_connections(world: World, random: Random) -> str:
    connections = []
    try:
        for _ in range(1000):
            connections.append(connected(world.client, random.choice([b"", b"GET / HTTP/1.1\r\nX-Long: "])))
        outlast(world, connections, 0)
    finally:
        for connection in connections:
            connection.close()
    return "nothing: /health answers"


def readers(world: World, _: Random) -> str:
    weights = world.client.get("/page.json").json()["models"][0]["weights"]["url"]
    places = [f"/{weights}", "/gradio_api/heartbeat/x"]
    heads = [f"GET {place} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for place in places]
    connections = [connected(world.client, head) for head in heads * 200]
    outlast(world, connections, server.UNREAD_SECONDS + 5)
    return "nothing: /health answers, and after a minute the page"


def stalled_uploads(world: World, _: Random) -> str:
    before, memory = files(world.folder), world.page.megabytes
    connections = [half_an_upload(world.client) for _ in range(20)]
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    connections += [connected(world.client, head) for _ in range(280)]
    outlast(world, connections, server.STALL_SECONDS + 2)
    left = files(world.folder) - before
    assert not left and world.page.megabytes - memory < 100, f"{len(left)} files, {world.page.megabytes - memory} MB"
    return server.FAILURES[408]


def many_uploads(world: World, random: Random) -> str:
    memory = world.page.megabytes
    for _ in range(25):
        uploaded(world.client, random.randbytes(29 * 2**20))
    kept = sum(path.stat().st_size for path in files(world.folder))
    grown = world.page.megabytes - memory
    assert kept <= server.MOST_KEPT_BYTES and grown < 100, f"{kept / 2**20:.0f} MB kept, {grown:.0f} MB more memory"
    return f"nothing: {kept / 2**20:.0f} MB are kept"


def lines_of_the_log(world: World, _: Random) -> str:
    lines = world.log.read_text().splitlines()
    longest = max(map(len, lines), default=0)
    assert longest <= server.MOST_LOGGED_CHARACTERS, f"{longest} characters"
    return f"{len(lines)} lines, the longest of {longest} characters"


# What is made, and how often: a share of the times that are asked for.
ATTACKS: dict[str, tuple[float, Callable[[World, Random], str]]] = {
    "what is not for strangers": (2, refusals),
    "junk from a program": (0.5, junk),
    "a thousand connections over which nothing is asked": (0.02, idle_connections),
    "four hundred clients that read nothing or listen for ever": (0.02, readers),
    "uploads that stall, three hundred at once": (0.02, stalled_uploads),
    "uploads of 29 MB, twenty-five of them": (0.02, many_uploads),
    "lines of the log, after all that": (0.01, lines_of_the_log),
}


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.hostility", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--times", type=int, default=100, help="of the cheap attacks; the costly ones are made more rarely"
    )
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6), help="of the random values")
    parser.add_argument("--only", default="", help="attacks whose names hold this")
    settings = parser.parse_args()
    any_lost = False
    print(f"Seed {settings.seed}.\n\n| attack | times tried | what was said | lost |\n|---|---|---|---|")
    with world() as attacked:
        answered(attacked.client)  # Imports PyTorch.
        for name, (share, attack) in ATTACKS.items():
            if settings.only not in name:
                continue
            times, said, lost = max(1, round(share * settings.times)), Counter[str](), list[str]()
            random = Random(f"{settings.seed} {name}")  # The same whatever else is chosen.
            for _ in range(times):
                try:
                    said[attack(attacked, random)] += 1
                except Exception as error:  # Whatever else it is, it is not what was promised.
                    lost.append(f"{type(error).__name__}: {error}"[:160].replace("|", "/"))
            sentences = [sentence for sentence, _ in said.most_common() if not sentence.startswith("nothing")]
            shown = [*sentences, *said, "-"][0][:160]
            others = f" and {len(said) - 1} others" if len(said) > 1 else ""
            print(f"| {name} | {times} | `{shown}`{others} | {lost[0] if lost else 'none'} |", flush=True)
            any_lost = any_lost or bool(lost)
    return int(any_lost)


if __name__ == "__main__":
    sys.exit(main())
