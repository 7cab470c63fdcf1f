"""What strangers send to the page, and what damaged files do to it, over and over.

    python -m tests.hostility [--times 100] [--seed 7] [--only page]

Makes each attack many times, with random values, and prints a row for each: how often, what the attacker or the visitor
was told, and what was lost. The tests make each attack once. The status is 1 if anything was lost.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

import httpx
from PIL import Image

from models import Generator, load
from models.decoding import UnreadableImage
from models.images import open_image
from page import server

from .conftest import draw_face, encode
from .markup import MARKUP
from .serving import Served, serving
from .test_app import JUNK, spoilt
from .test_hostility import HALF_A_REQUEST, answered, connected, files, half_an_upload, run, uploaded


class World(NamedTuple):
    """What is attacked: a page with its client, and a folder for files, with a small model."""

    page: Served
    client: httpx.Client
    folder: Path

    def model_with(self, name: str, change: Callable[[bytes], bytes]) -> Path:
        """A folder with the small model, one of its files changed."""
        folder = self.folder / "damaged model"
        Generator(6, 4, hidden_size=2).save_pretrained(folder)
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        return folder


# Makes an attack once; returns what was told, raises AssertionError if anything is lost.
Attack = Callable[[World, Random], str]

ATTACKS: dict[str, tuple[float, Attack]] = {}
HARMLESS = "nothing: it does no harm"


def attack(name: str, share: float = 1) -> Callable[[Attack], Attack]:
    """Name an attack, and say how often it is made: this share of the times that are asked for."""

    def named(function: Attack) -> Attack:
        ATTACKS[name] = share, function
        return function

    return named


def refused(function: Callable, *arguments: object) -> str:
    """What a ValueError says: a stranger's file may do nothing else, unless it is harmless."""
    try:
        function(*arguments)
    except ValueError as error:
        said = str(error)
        assert "\n" not in said and 0 < len(said) < 700, said
        return said
    return HARMLESS


def mutated(content: bytes, random: Random, near: int | None = None) -> bytes:
    """Cut or changed in places, those near the beginning if asked for."""
    changed = bytearray(content[: random.randrange(1, len(content))] if random.random() < 0.2 else content)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(min(len(changed), near or len(changed)))] = random.randrange(256)
    return bytes(changed)


@attack("models: a value of config.json")
def config_value(world: World, random: Random) -> str:
    def change(content: bytes) -> bytes:
        config = json.loads(content)
        other = random.choice([*JUNK, random.uniform(-1e3, 1e3), random.randint(-100, 10**12)])
        config[random.choice([*config, "crop", MARKUP])] = other
        return json.dumps(config).encode()

    return refused(load, world.model_with("config.json", change))


@attack("models: changed bytes of model.safetensors", 5)
def weight_bytes(world: World, random: Random) -> str:
    change = lambda content: mutated(content, random, near=3000)
    return refused(load, world.model_with("model.safetensors", change))


@attack("pictures: changed bytes, in seven formats")
def picture_bytes(world: World, random: Random) -> str:
    format = random.choice(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO"])
    content = encode(draw_face(random.randrange(1000), (96, 96)), format)
    (world.folder / "picture").write_bytes(mutated(content, random))
    try:
        assert open_image(world.folder / "picture").mode == "RGB"
    except UnreadableImage as error:
        return str(error)
    return "nothing: it is read"


@attack("page: eight pictures of 24 megapixels at once", 0.02)
def eight_pictures(world: World, random: Random) -> str:
    photographs = []
    for _ in range(8):
        content, colour = io.BytesIO(), tuple(random.randbytes(3))
        Image.new("RGB", (4900, 5000), colour).save(content, "WEBP", lossless=True, quality=0, method=0)
        photographs.append(uploaded(world.client, content.getvalue()))
    # The face detector is imported for the first photograph, and stays.
    face = uploaded(world.client, encode(draw_face(1), "PNG"))
    assert "data" in run(world.client, "reconstruct", face, "")
    before, most, waited = megabytes_of_all(world.page), 0.0, 0.0
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(run, world.client, "reconstruct", photograph, "") for photograph in photographs]
        while not all(answer.done() for answer in answers):
            began = time.monotonic()
            assert world.client.get("/page.json").status_code == 200
            waited = max(waited, time.monotonic() - began)
            most = max(most, megabytes_of_all(world.page) - before)
            time.sleep(0.05)
    assert waited < 3 and most < 600, f"others waited {waited:.1f} s, {most:.0f} MB more"
    busy = sum(answer.result() == {"error": server.BUSY} for answer in answers)
    assert all("data" in answer.result() or answer.result() == {"error": server.BUSY} for answer in answers)
    return f"{8 - busy} answered, {busy} told that the page is busy; others waited {waited:.1f} s; {most:.0f} MB more"


def megabytes_of_all(page: Served) -> float:
    """Of the server and of the processes that it has started."""
    command = ["ps", "-o", "rss=", "--ppid", str(page.process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return page.megabytes + sum(map(int, listed.stdout.split())) / 1024


@attack("page: what is not for strangers", 2)
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
            (400, "GET", random.choice(["/", "/config", "/health"]), {"Host": host}, b""),
            (403, "POST", post, site, b'{"data": ["GAN", 0, 1, 1, ""]}'),
            (413, "POST", post, {"Content-Type": "application/json"}, b"x" * random.randint(2**20 + 1, 2**23)),
        ]
    )
    answer = world.client.request(method, address, headers=headers, content=content)
    assert answer.status_code == status and len(answer.text) < 200, (address, answer.status_code, answer.text[:100])
    return answer.text


CALLS = {
    "generate": ["Plain autoencoder", 0, 1, 1, ""],
    "interpolate": ["Plain autoencoder", "0", "1", None, None, 2, "straight", "relaxed"],
    "reconstruct": [None],
    "out_of_distribution": [0, 0, 1],
    "training": ["GAN", 1],
}


@attack("page: junk from a program", 0.5)
def program(world: World, random: Random) -> str:
    name = random.choice([*CALLS])
    (junk,) = spoilt(CALLS[name], 1, random.randrange(2**32))
    headers = {"Content-Type": "application/json"}
    asked = world.client.post(f"/gradio_api/call/{name}", content=json.dumps({"data": junk}), headers=headers)
    if asked.status_code in (400, 413, 422):  # No JSON, for one.
        assert len(asked.text) < 200
        return f"status {asked.status_code}"
    assert asked.status_code == 200, asked.text[:200]
    told = world.client.get(f"/gradio_api/call/{name}/{asked.json()['event_id']}").text
    assert "Traceback" not in told
    if "event: complete" in told:
        return HARMLESS
    assert "event: error" in told and len(told) < 1000, told[:200]
    return json.loads(told.partition("data: ")[2].partition("\n")[0])["error"]


@attack("page: a thousand connections over which nothing is asked", 0.02)
def idle_connections(world: World, random: Random) -> str:
    sent = random.choice([b"", HALF_A_REQUEST])
    connections = []
    try:
        for _ in range(1000):
            connections.append(connected(world.client, sent))
        with httpx.Client(base_url=world.page.url, timeout=5, trust_env=False) as visitor:
            assert visitor.get("/health").json() == {"status": "ok"}
    finally:
        for connection in connections:
            connection.close()
    return "nothing: /health answers"


def outlast(world: World, connections: list, seconds: float) -> None:
    """Make sure that the page answers a visitor beside these connections, and in full after so many seconds."""
    with httpx.Client(base_url=world.page.url, timeout=20, trust_env=False) as visitor:
        assert visitor.get("/health").json() == {"status": "ok"}
        time.sleep(seconds)
        assert visitor.get("/page.json").status_code == 200, "they are waited for"
    for connection in connections:
        connection.close()


@attack("page: four hundred clients that read nothing or listen for ever", 0.02)
def readers(world: World, random: Random) -> str:
    weights = world.client.get("/page.json").json()["models"][0]["weights"]["url"]
    places = [f"/{weights}", "/gradio_api/heartbeat/x"]
    heads = [f"GET {place} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for place in places]
    connections = [connected(world.client, head) for head in heads * 200]
    outlast(world, connections, server.UNREAD_SECONDS + 5)
    return "nothing: /health answers, and after a minute the page"


@attack("page: uploads that stall, three hundred at once", 0.02)
def stalled_uploads(world: World, _: Random) -> str:
    before, memory = files(world.folder / "page"), world.page.megabytes
    connections = [half_an_upload(world.client) for _ in range(20)]
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    connections += [connected(world.client, head) for _ in range(280)]
    outlast(world, connections, server.STALL_SECONDS + 2)
    left = files(world.folder / "page") - before
    assert not left and world.page.megabytes - memory < 100, f"{len(left)} files, {world.page.megabytes - memory} MB"
    return "This took too long to arrive."


@attack("page: uploads of 29 MB, twenty-five of them", 0.02)
def many_uploads(world: World, random: Random) -> str:
    memory = world.page.megabytes
    for _ in range(25):
        uploaded(world.client, random.randbytes(29 * 2**20))
    kept = sum(path.stat().st_size for path in files(world.folder / "page"))
    grown = world.page.megabytes - memory
    assert kept <= server.MOST_KEPT_BYTES and grown < 100, f"{kept / 2**20:.0f} MB kept, {grown:.0f} MB more memory"
    return f"nothing: {kept / 2**20:.0f} MB are kept"


@attack("page: lines of its log, after all that", 0.01)
def log(world: World, _: Random) -> str:
    lines = (world.folder / "log").read_text().splitlines()
    longest = max(map(len, lines), default=0)
    assert longest < 600 and not any(line.startswith("Traceback") for line in lines), f"{longest} characters"
    return f"{len(lines)} lines, the longest of {longest} characters"


def printed(name: str, tried: int, said: Counter[str], lost: list[str], folder: Path) -> str:
    """A row of a Markdown table, with the shortest of the most frequent sentences; `folder` is left out of it."""
    common = sorted((sentence for sentence, _ in said.most_common(3)), key=len)
    sentences = [sentence for sentence in common if not sentence.startswith("nothing")] or common or ["-"]

    def clean(text: str) -> str:
        printable = "".join(character if character.isprintable() else " " for character in text)
        # Of a model that weights do not fit, its arguments fill a line.
        short = re.sub(r"\(\{.*?\}\)", "", printable).replace(f"{folder}/", "")
        return short.replace("|", "/").replace("`", "'")[:160]

    others = len(said) - 1
    more = f" and {others} other{'s' * (others > 1)}" if others > 0 else ""
    return (
        f"| {name} | {tried} | `{clean(sentences[0])}`{more} | {f'{len(lost)}: {clean(lost[0])}' if lost else 'none'} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.hostility", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--times", type=int, default=100, help="of the cheap attacks; the costly ones are made more rarely"
    )
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6), help="of the random values")
    parser.add_argument("--only", default="", help="attacks whose names hold this")
    settings = parser.parse_args()
    chosen = {name: attack for name, attack in ATTACKS.items() if settings.only in name}
    any_lost = False
    print(f"Seed {settings.seed}.\n\n| attack | times tried | what was said | lost |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "page").mkdir()
        with (
            serving({"GRADIO_TEMP_DIR": str(folder / "page")}, log=folder / "log") as page,
            httpx.Client(base_url=page.url, timeout=60, trust_env=False) as client,
        ):
            answered(client)  # Imports PyTorch.
            for name, (share, function) in chosen.items():
                times, said, lost = max(1, round(share * settings.times)), Counter[str](), list[str]()
                random = Random(f"{settings.seed} {name}")  # The same whatever else is chosen.
                for _ in range(times):
                    try:
                        said[function(World(page, client, folder), random)] += 1
                    except Exception as error:  # Whatever else it is, it is not what was promised.
                        lost.append(f"{type(error).__name__}: {error}")
                print(printed(name, times, said, lost, folder), flush=True)
                any_lost = any_lost or bool(lost)
    return int(any_lost)


if __name__ == "__main__":
    sys.exit(main())
