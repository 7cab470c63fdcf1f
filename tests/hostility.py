"""What strangers, disks and bits do to the page and to training, over and over.

    python -m tests.hostility [--times 100] [--minutes 30] [--seed 7] [--only page]

Makes each attack many times, with random values, and prints a row for each: how often, what was said to whoever
suffers from it, and what was lost. An attack fails where a test's demand of the same kind does: the attacks are made of
the tests' own helpers. The status is 1 if anything was lost.
"""

import io
import json
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Annotated

import httpx
import pytest
import tyro
from PIL import Image

from models import load
from models.decoding import UnreadableImage
from models.history import EPOCHS_FILE, TRAINING_FILE, load_history
from models.images import open_image
from models.index import repository_name
from page import server
from page.zoo import load_models

from . import test_app, test_damaged_hub, test_history, test_hostility, test_images, test_models
from .conftest import draw_face, encode
from .loopback_hub import Fault, LoopbackHub, point_clients_at
from .markup import MARKUP, history_with, history_with_markup
from .serving import REPOSITORY, Served, serving


@dataclass(frozen=True)
class Settings:
    times: Annotated[int, tyro.conf.arg(help="How often the cheap attacks are made; the costly ones more rarely.")] = (
        100
    )
    minutes: Annotated[float, tyro.conf.arg(help="Begin anew until this has passed.")] = 0
    seed: Annotated[int | None, tyro.conf.arg(help="Of the random values; told in the first line.")] = None
    only: Annotated[str, tyro.conf.arg(help="Of the attacks, those whose names hold this.")] = ""


@dataclass
class World:
    """What attacks need, made once it is needed."""

    folder: Path
    stack: ExitStack

    @cached_property
    def page(self) -> Served:
        folder = self.folder / "page"
        folder.mkdir()
        served = self.stack.enter_context(serving({"GRADIO_TEMP_DIR": str(folder)}, log=self.folder / "log"))
        test_hostility.answered(httpx.Client(base_url=served.url, timeout=60, trust_env=False))
        return served

    @cached_property
    def client(self) -> httpx.Client:
        return self.stack.enter_context(httpx.Client(base_url=self.page.url, timeout=60, trust_env=False))

    @cached_property
    def model(self) -> Path:
        folder = self.folder / "model"
        test_models.TINY["generator"]().save_pretrained(folder)
        return folder

    @cached_property
    def config(self) -> dict:
        return json.loads((self.model / "config.json").read_text())

    @cached_property
    def weights(self) -> bytes:
        return (self.model / "model.safetensors").read_bytes()

    @cached_property
    def history(self) -> Path:
        folder = self.folder / "history"
        folder.mkdir()
        return history_with(folder)

    @cached_property
    def hub(self) -> LoopbackHub:
        hub = self.stack.enter_context(LoopbackHub())
        point_clients_at(hub, self.stack.enter_context(pytest.MonkeyPatch.context()), self.folder / "home")
        return hub

    @cached_property
    def bundled(self) -> Path:
        folder = self.folder / "bundled"
        test_damaged_hub.small_generator(latent_size=12).save_pretrained(folder / "gan")
        return folder


# Makes an attack once; returns what was said to whoever suffers from it, raises AssertionError if anything is lost.
Attack = Callable[[World, Random], str]


@dataclass
class Row:
    """What came of an attack."""

    tried: int = 0
    said: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)


ATTACKS: dict[str, tuple[float, Attack]] = {}


def attack(name: str, share: float = 1) -> Callable[[Attack], Attack]:
    """Name an attack, and say how often it is made: this share of the times that are asked for."""

    def named(function: Attack) -> Attack:
        ATTACKS[name] = share, function
        return function

    return named


def sentence(error: BaseException) -> str:
    said = str(error)
    assert "\n" not in said and 0 < len(said) < 700, said
    return said


def refused(function: Callable, *arguments: object) -> str:
    """What a ValueError says, which is the only thing that a stranger's file may do but be what it should be."""
    try:
        function(*arguments)
    except ValueError as error:
        return sentence(error)
    return "nothing: it does no harm"


@attack("models: a value of config.json")
def config_value(world: World, random: Random) -> str:
    other = random.choice([*test_models.OTHER_VALUES, random.uniform(-1e3, 1e3), random.randint(-100, 10**12), MARKUP])
    (world.model / "model.safetensors").write_bytes(world.weights)
    key = random.choice([*world.config, "crop", MARKUP])
    (world.model / "config.json").write_text(json.dumps(world.config | {key: other}))
    return refused(load, world.model)


@attack("models: sizes of 10^5 to 10^9 in config.json")
def config_size(world: World, random: Random) -> str:
    key = random.choice(["latent_size", "hidden_size"])
    (world.model / "config.json").write_text(json.dumps(world.config | {key: int(10 ** random.uniform(5, 9))}))
    tracemalloc.start()
    began = time.thread_time()
    said = refused(load, world.model)
    seconds, (_, peak) = time.thread_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6 and seconds < 0.5, f"{seconds:.2f} s, {peak / 1e6:.0f} MB"
    return said


@attack("models: changed bytes of model.safetensors", 5)
def weight_bytes(world: World, random: Random) -> str:
    (world.model / "config.json").write_text(json.dumps(world.config))
    (world.model / "model.safetensors").write_bytes(mutated(world.weights, random, near=3000))
    return refused(load, world.model)


def mutated(content: bytes, random: Random, near: int | None = None) -> bytes:
    """Cut or changed in places, those near the beginning if asked for."""
    changed = bytearray(content[: random.randrange(1, len(content))] if random.random() < 0.2 else content)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(min(len(changed), near or len(changed)))] = random.randrange(256)
    return bytes(changed)


@attack("models: a header of gigabytes", 0.1)
def large_header(world: World, random: Random) -> str:
    (world.model / "config.json").write_text(json.dumps(world.config))
    size = random.randint(10**6 + 1, 2**33)
    with open(world.model / "model.safetensors", "wb") as file:
        file.write(size.to_bytes(8, "little") + b"{")
        file.truncate(size)  # A hole: no space is taken.
    began = time.thread_time()
    said = refused(load, world.model)
    assert said.startswith("the weights") and time.thread_time() - began < 0.5
    return said


@attack("models: NaN, infinite, negative variance, int8 and bool weights", 0.2)
def worthless_weights(world: World, random: Random) -> str:
    import torch
    from safetensors.torch import save_file

    (world.model / "config.json").write_text(json.dumps(world.config))
    name = random.choice(["layers.1.0.weight", "layers.2.1.running_mean", "layers.1.1.running_var", "layers.3.weight"])
    number = random.choice([float("nan"), float("inf"), float("-inf")])
    changes = [test_models.put(name, number), test_models.put("layers.1.1.running_var", -random.random())]
    changes += [test_models.convert(kind) for kind in (torch.int8, torch.bool, torch.int64)]
    save_file(test_models.damaged(random.choice(changes)), world.model / "model.safetensors")
    said = refused(load, world.model)
    assert said.startswith("the weights"), said
    return said


@attack("models: a damaged config.json on the Hub", 0.2)
def hub_config(world: World, random: Random) -> str:
    published = world.folder / "published"
    test_damaged_hub.small_generator().save_pretrained(published)
    content = random.choice([*test_damaged_hub.CONFIGS.values(), None])
    config = published / "config.json"
    config.write_bytes(mutated(config.read_bytes(), random) if content is None else content)
    world.hub.add_folder("model", repository_name("tester", "gan"), published)
    loaded = load_models(["gan"], world.bundled, "tester")["gan"]
    if loaded.latent_size != 12:
        return "nothing: it does no harm"
    assert loaded.origin.startswith("bundled (") and len(loaded.origin) < 300
    return loaded.origin


@attack("histories: a damaged training.json")
def history_record(world: World, random: Random) -> str:
    training = json.loads((world.history / TRAINING_FILE).read_text())
    changes = random.choice(
        [*test_history.UNFIT.values(), {random.choice([*training, "losses"]): random.choice(test_app.JUNK)}]
    )
    path = world.folder / "damaged-history"
    path.mkdir(exist_ok=True)
    return refused(lambda: drawn(history_with(path, **changes)))


def drawn(folder: Path) -> None:
    found = load_history(folder)
    assert found is not None
    json.dumps([found.command, found.note, found.losses], allow_nan=False).encode()
    f"{found.command}{found.note}".encode()


@attack("histories: markup in the names of losses", 0.1)
def history_markup(world: World, _: Random) -> str:
    path = world.folder / "markup"
    path.mkdir(exist_ok=True)
    said = refused(load_history, history_with_markup(path))
    assert said.endswith("cannot be told"), said
    return said


@attack("histories: changed bytes of epochs.webp", 0.5)
def history_animation(world: World, random: Random) -> str:
    path = world.folder / "damaged-animation"
    path.mkdir(exist_ok=True)
    history_with(path)
    (path / EPOCHS_FILE).write_bytes(mutated((world.history / EPOCHS_FILE).read_bytes(), random))
    return refused(lambda: load_history(path).faces_after(1))


@attack("pictures: changed bytes, in seven formats")
def picture_bytes(world: World, random: Random) -> str:
    format = random.choice(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO"])
    content = encode(draw_face(random.randrange(1000), (96, 96)), format)
    (world.folder / "picture").write_bytes(mutated(content, random))
    try:
        assert open_image(world.folder / "picture").mode == "RGB"
    except UnreadableImage as error:
        return sentence(error)
    return "nothing: it is read"


@attack("pictures: slow rather than large", 0.05)
def slow_picture(world: World, random: Random) -> str:
    (world.folder / "slow").write_bytes(random.choice([*test_images.SLOW.values()])())
    began = test_images.used_by_children()
    said = refused(open_image, world.folder / "slow")
    seconds = test_images.used_by_children() - began
    assert said != "nothing" and seconds < 3, f"{seconds:.1f} s"
    return said


@attack("page: eight pictures of 24 megapixels at once", 0.02)
def eight_pictures(world: World, random: Random) -> str:
    photographs = []
    for _ in range(8):
        content, colour = io.BytesIO(), tuple(random.randbytes(3))
        Image.new("RGB", (4900, 5000), colour).save(content, "WEBP", lossless=True, quality=0, method=0)
        photographs.append(test_hostility.uploaded(world.client, content.getvalue()))
    # The face detector is imported for the first photograph, and stays.
    face = test_hostility.uploaded(world.client, encode(draw_face(1), "PNG"))
    assert "data" in test_hostility.run(world.client, "reconstruct", face, "")
    before, most, waited = of_the_family(world.page), 0.0, 0.0
    with ThreadPoolExecutor(8) as threads:
        ask = lambda photograph: test_hostility.run(world.client, "reconstruct", photograph, "")
        answers = [threads.submit(ask, photograph) for photograph in photographs]
        while not all(answer.done() for answer in answers):
            began = time.monotonic()
            assert world.client.get("/page.json").status_code == 200
            waited = max(waited, time.monotonic() - began)
            most = max(most, of_the_family(world.page) - before)
            time.sleep(0.05)
    assert waited < 3 and most < 600, f"others waited {waited:.1f} s, {most:.0f} MB more"
    busy = sum(answer.result() == {"error": server.BUSY} for answer in answers)
    assert all("data" in answer.result() or answer.result() == {"error": server.BUSY} for answer in answers)
    return f"{8 - busy} answered, {busy} told that the page is busy; others waited {waited:.1f} s; {most:.0f} MB more"


def of_the_family(page: Served) -> float:
    """Megabytes of the server and of the processes that it has started."""
    listed = subprocess.run(
        ["ps", "-o", "rss=", "--ppid", str(page.process.pid)], capture_output=True, text=True, check=False
    )
    return page.megabytes + sum(map(int, listed.stdout.split())) / 1024


CALLS = {
    "generate": ["Plain autoencoder", 0, 1, 1, ""],
    "interpolate": ["Plain autoencoder", "0", "1", None, None, 2, "straight", "relaxed"],
    "reconstruct": [None],
    "out_of_distribution": [0, 0, 1],
    "training": ["GAN", 1],
}


def junk(good: list, random: Random) -> list:
    return test_app.spoilt(good, 1, random.randrange(2**32))[0]


@attack("page: addresses of other files", 0.5)
def addresses(world: World, random: Random) -> str:
    folder = random.choice(["front/", "examples/", "weights/", "epochs/", "weights/gan/"])
    up = random.choice(["../", "%2e%2e/", "..%2f", "..%5c", "/", "%00", "gan/../../"]) * random.randint(1, 4)
    answer = world.client.get(f"/{folder}{up}{random.choice(['app.py', 'etc/hostname', 'config.json', MARKUP[:40]])}")
    assert answer.status_code in (404, 405) and len(answer.text) < 200, (answer.status_code, answer.text[:100])
    return f"status {answer.status_code}"


@attack("page: junk from a program", 0.5)
def program(world: World, random: Random) -> str:
    name = random.choice([*CALLS])
    content = json.dumps({"data": junk(CALLS[name], random)})
    headers = {"Content-Type": "application/json"}
    asked = world.client.post(f"/gradio_api/call/{name}", content=content, headers=headers)
    if asked.status_code in (400, 413, 422):  # No JSON, for one.
        assert len(asked.text) < 200
        return f"status {asked.status_code}"
    assert asked.status_code == 200, asked.text[:200]
    told = world.client.get(f"/gradio_api/call/{name}/{asked.json()['event_id']}").text
    assert "Traceback" not in told
    if "event: complete" in told:
        return "nothing: it does no harm"
    assert "event: error" in told and len(told) < 1000, told[:200]
    return json.loads(told.partition("data: ")[2].partition("\n")[0])["error"]


@attack("page: uploads broken off", 0.3)
def uploads(world: World, random: Random) -> str:
    folder = world.folder / "page"
    world.client.get("/health")
    before = test_hostility.files(folder)
    connection = test_hostility.half_an_upload(world.client)
    time.sleep(random.uniform(0, 0.05))
    connection.close()
    time.sleep(0.1)
    left = test_hostility.files(folder) - before
    assert not left, f"{len(left)} files are left"
    return "nothing: no file is left"


@attack("page: forty callers who never fetch their answer", 0.02)
def never_fetched(world: World, _: Random) -> str:
    with ThreadPoolExecutor(40) as threads:
        statuses = Counter(threads.map(lambda _: test_hostility.ask(world.client).status_code, range(40)))
    assert set(statuses) <= {200, 503}, statuses
    began = time.monotonic()
    while (asked := test_hostility.ask(world.client)).status_code == 503:
        time.sleep(0.1)
    world.client.get(f"/gradio_api/call/generate/{asked.json()['event_id']}")
    seconds = time.monotonic() - began
    assert seconds < 8, f"the next waited {seconds:.1f} s"
    return server.BUSY


@attack("page: a thousand connections over which nothing is asked", 0.02)
def idle_connections(world: World, random: Random) -> str:
    sent = random.choice([b"", test_hostility.HALF_A_REQUEST])
    connections = []
    try:
        for _ in range(1000):
            connections.append(test_hostility.connected(world.client, sent))
        began = time.monotonic()
        with httpx.Client(base_url=world.page.url, timeout=20, trust_env=False) as visitor:
            assert visitor.get("/health").json() == {"status": "ok"}
        seconds = time.monotonic() - began
    finally:
        for connection in connections:
            connection.close()
    assert seconds < 1, f"/health took {seconds:.1f} s"
    return "nothing: /health answers"


@attack("page: uploads that stall, three hundred at once", 0.02)
def stalled_uploads(world: World, _: Random) -> str:
    before, memory = test_hostility.files(world.folder / "page"), world.page.megabytes
    connections = [test_hostility.half_an_upload(world.client) for _ in range(20)]
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    connections += [test_hostility.connected(world.client, head) for _ in range(280)]
    with httpx.Client(base_url=world.page.url, timeout=20, trust_env=False) as visitor:
        assert visitor.get("/health").json() == {"status": "ok"}
        time.sleep(server.STALL_SECONDS + 2)
        assert visitor.get("/page.json").status_code == 200, "they are waited for"
    for connection in connections:
        connection.close()
    left = test_hostility.files(world.folder / "page") - before
    assert not left and world.page.megabytes - memory < 100, f"{len(left)} files, {world.page.megabytes - memory} MB"
    return "This took too long to arrive."


@attack("page: uploads of 29 MB, twenty-five of them", 0.02)
def many_uploads(world: World, random: Random) -> str:
    folder, memory = world.folder / "page", world.page.megabytes
    for _ in range(25):
        test_hostility.uploaded(world.client, random.randbytes(29 * 2**20))
    kept = sum(path.stat().st_size for path in test_hostility.files(folder))
    grown = world.page.megabytes - memory
    assert kept <= server.MOST_KEPT_BYTES and grown < 100, f"{kept / 2**20:.0f} MB kept, {grown:.0f} MB more memory"
    return f"nothing: {kept / 2**20:.0f} MB are kept"


@attack("page: posts by pages of other sites", 0.5)
def other_sites(world: World, random: Random) -> str:
    header = random.choice(
        [{"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
    )
    path = random.choice(["call/generate", "run/generate", "upload", "queue/join", "mcp/"])
    answer = world.client.post(f"/gradio_api/{path}", json={"data": ["GAN", 0, 1, 1, ""]}, headers=header)
    assert answer.status_code == 403, answer.status_code
    return answer.text


@attack("page: histories of 2,000 epochs", 0.02)
def long_histories(world: World, _: Random) -> str:
    folder = world.folder / "long"
    if not folder.exists():
        test_history.told(folder, 2000, steps_per_epoch=1)
    history = load_history(folder)
    tracemalloc.start()
    began = time.thread_time()
    shown = sum(1 for _ in history.faces_of(range(1, 2001, 8)))
    seconds, (_, peak) = time.thread_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shown == 250 and peak < 50e6 and seconds < 30, f"{seconds:.1f} s, {peak / 1e6:.0f} MB"
    return "nothing: 250 of them are shown, read one by one"


@attack("models: a Hub that sends without end", 0.02)
def endless_hub(world: World, random: Random) -> str:
    published = world.folder / "endless"
    test_damaged_hub.small_generator().save_pretrained(published)
    world.hub.add_folder("model", repository_name("stranger", "gan"), published)
    name = random.choice(["config.json", "model.safetensors"])
    world.hub.sent_in_vain, world.hub.fault = 0, Fault("endless", name)
    try:
        said = load_models(["gan"], world.bundled, "stranger")["gan"].origin
    finally:
        world.hub.fault = None
    sent = world.hub.sent_in_vain / 1e6
    assert sent < 200 and said.startswith("bundled (") and "goes on" in said, f"{sent:.0f} MB, {said}"
    return said


@attack("page: foreign names of hosts", 0.5)
def hosts(world: World, random: Random) -> str:
    name = random.choice(
        ["elsewhere.example", "localhost.evil.example", "127.0.0.1.evil.example", MARKUP[:40], "x" * 999]
    )
    answer = world.client.get(random.choice(["/", "/config", "/health"]), headers={"Host": name})
    assert answer.status_code == 400 and len(answer.text) < 200, answer.status_code
    return answer.text


@attack("page: requests of megabytes", 0.1)
def megabytes(world: World, random: Random) -> str:
    path = random.choice(["call/generate", "run/generate", "queue/join", "mcp/"])
    content = b"x" * random.randint(2**20 + 1, 2**23)
    answer = world.client.post(f"/gradio_api/{path}", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and len(answer.text) < 200
    return answer.text


@attack("page: killed with photographs on disk", 0.02)
def killed(world: World, _: Random) -> str:
    folder = world.folder / "killed"
    folder.mkdir(exist_ok=True)
    for end in (True, False):
        with serving({"GRADIO_TEMP_DIR": str(folder)}, log=world.folder / "log of the killed") as page:
            photographs = [path for path in folder.rglob("photograph.png") if path.is_file()]
            assert not photographs, photographs
            httpx.post(f"{page.url}gradio_api/upload", files={"files": ("photograph.png", b"x")}).raise_for_status()
            if end:
                page.process.kill()
                page.process.wait()
    return "nothing: they are gone at the next start"


@attack("page: lines of its log, after all that", 0.01)
def log(world: World, _: Random) -> str:
    _ = world.page
    lines = (world.folder / "log").read_text().splitlines()
    longest = max(map(len, lines), default=0)
    assert longest < 600 and not any(line.startswith("Traceback") for line in lines), f"{longest} characters"
    return f"{len(lines)} lines, the longest of {longest} characters"


def tested(file: str, names: str) -> Attack:
    """An attack on a run of training, as a test makes it. (There are no random values in it.)"""

    def run(world: World, _: Random) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", f"tests/{file}", "-k", names]
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        last = ended.stdout.strip().rpartition("\n")[2]
        assert ended.returncode == 0, last
        return f"as the tests demand ({last.partition(' ')[0]} of them)"

    return run


for _name, _file, _names in (
    ("training: kills", "test_survival.py", "killed_again"),
    ("training: a full disk", "test_survival.py", "disk"),
    ("training: flipped bits of a checkpoint", "test_survival.py", "flipped_bit"),
    ("training: flipped bits of the decoded cache", "test_data.py", "cut_or_damaged"),
    ("training: damaged side files of a run", "test_survival.py", "damaged_file"),
    ("training: impossible settings", "test_train.py", "impossible_setting"),
):
    attack(_name, 0.01)(tested(_file, _names))


def made(settings: Settings, world: World, random: Random) -> Iterator[tuple[str, Row]]:
    """Each attack by its name, and what came of it in one round of them all."""
    for name, (share, function) in ATTACKS.items():
        if settings.only in name:
            row = Row()
            for _ in range(max(1, round(share * settings.times))):
                row.tried += 1
                try:
                    row.said[function(world, random)] += 1
                except Exception as error:  # Whatever else it is, it is not what was promised.
                    row.lost.append(f"{type(error).__name__}: {error}")
            yield name, row


def printed(name: str, row: Row, folder: str) -> str:
    """A row of a Markdown table, with the shortest of the most frequent sentences; `folder` is left out of it."""
    common = sorted((said for said, _ in row.said.most_common(3)), key=len)
    sentences = [said for said in common if not said.startswith("nothing")] or common or ["-"]

    def clean(text: str) -> str:
        printable = "".join(character if character.isprintable() else " " for character in text)
        # Of a model that weights do not fit, its arguments fill a line.
        short = re.sub(r"\(\{.*?\}\)", "", printable).replace(f"{folder}/", "")
        return short.replace("|", "/").replace("`", "'")[:160]

    others = len(row.said) - 1
    more = f" and {others} other{'s' * (others > 1)}" if others > 0 else ""
    lost = f"{len(row.lost)}: {clean(row.lost[0])}" if row.lost else "none"
    return f"| {name} | {row.tried} | `{clean(sentences[0])}`{more} | {lost} |"


def main(arguments: list[str] | None = None) -> int:
    settings = tyro.cli(Settings, args=arguments, prog="python -m tests.hostility", description=__doc__)
    seed = Random().randrange(10**6) if settings.seed is None else settings.seed
    random, end = Random(seed), time.monotonic() + 60 * settings.minutes
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        world = World(Path(folder), stack)
        while True:
            for name, row in made(settings, world, random):
                total = rows.setdefault(name, Row())
                total.tried += row.tried
                total.said += row.said
                total.lost += row.lost
                print(f"{name}: {total.tried}, lost {len(total.lost)}", file=sys.stderr, flush=True)
            if time.monotonic() >= end:
                break
    print(f"Seed {seed}.\n\n| fault | times tried | what was said | lost |\n|---|---|---|---|")
    for name, row in rows.items():
        print(printed(name, row, folder))
    return int(any(row.lost for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
