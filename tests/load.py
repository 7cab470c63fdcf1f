"""How the page bears many at once.

    python -m tests.load [--clients 20] [--minutes 3]

Starts `python app.py`. For so many minutes each client opens the page with a model's weights, fetches a part of some,
uploads a photograph and has it reconstructed, or has faces drawn and fetches their files, one after the other without a
pause. Prints for each minute the answers, the errors, how many clients were told that the page is busy, percentiles of
the seconds from asking to the answer, and the memory of the server.
"""

import asyncio
import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random

import httpx
import tyro

from page import catalog, site
from page.server import BUSY

from .conftest import draw_face, encode
from .serving import Served, serving

FACES = 16


class Busy(Exception):
    """The page has said so."""


async def called(client: httpx.AsyncClient, name: str, *arguments: object) -> list:
    """What an endpoint answers."""
    while (started := await client.post(f"/gradio_api/call/{name}", json={"data": [*arguments]})).status_code == 503:
        if name == "reconstruct":
            raise Busy
        await asyncio.sleep(1)  # The page is busy, and says so.
    started.raise_for_status()
    async with client.stream("GET", f"/gradio_api/call/{name}/{started.json()['event_id']}") as stream:
        event = ""
        async for line in stream.aiter_lines():
            kind, _, content = line.partition(": ")
            if kind == "event":
                event = content
            elif kind == "data" and event == "complete":
                return json.loads(content)
            elif kind == "data" and event == "error":
                raise Busy if BUSY in content else RuntimeError(f"the page answers with an error: {content}")
    raise RuntimeError("the answer ended before its last event")


# Photographs are drawn beforehand: to draw one takes a quarter of a second, in which no client would hear an answer.
PHOTOGRAPHS: list[bytes] = []


async def open_page(client: httpx.AsyncClient, seed: int) -> None:
    """The page, what it is drawn from, and the weights of a model."""
    (await client.get("/")).raise_for_status()
    told = (await client.get("/page.json")).json()
    model = told["models"][seed % len(told["models"])]
    for address in (model["weights"]["url"], model["history"]["sheet"]):
        (await client.get(f"/{address}")).raise_for_status()


async def part_of_weights(client: httpx.AsyncClient, seed: int) -> None:
    address = json.loads(site.page())["models"][seed % len(catalog.MODELS)]["weights"]["url"]
    part = await client.get(f"/{address}", headers={"Range": "bytes=8-4103"})
    if len(part.content) != 4096:
        raise RuntimeError(f"a part of {len(part.content)} bytes")


async def photograph(client: httpx.AsyncClient, seed: int) -> None:
    content = PHOTOGRAPHS[seed % len(PHOTOGRAPHS)]
    sent = await client.post("/gradio_api/upload", files={"files": ("photograph.jpg", content)})
    sent.raise_for_status()
    file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
    versions, _ = await called(client, "reconstruct", file, "")
    if len(versions) < 2:
        raise RuntimeError(f"no reconstructions: {str(versions)[:200]}")


async def faces(client: httpx.AsyncClient, seed: int) -> None:
    gallery, _ = await called(client, "generate", "GAN", seed, FACES, 1, "")
    if len(gallery) != FACES:
        raise RuntimeError(f"{len(gallery)} faces came instead of {FACES}")
    for item in gallery:
        (await client.get(item["image"]["url"])).raise_for_status()


def watch(url: str, end: float) -> list[float]:
    """Ask for the health of the page four times a second, until a time of the system's clock: the seconds until each
    answer.

    In a process of its own, since in the clients' an answer would also wait for their work.
    """
    seconds = []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        while time.time() < end:
            start = time.monotonic()
            client.get("/health").raise_for_status()
            seconds.append(time.monotonic() - start)
            time.sleep(0.25)
    return seconds


# What visitors and programs do: how often, and in which column it counts. The functions take a client and a seed.
Ask = Callable[[httpx.AsyncClient, int], Awaitable[None]]
MIXTURE: list[tuple[int, str, Ask]] = [
    (6, "page", open_page),
    (6, "page", part_of_weights),
    (1, "photographs", photograph),
    (2, "endpoints", faces),
]


@dataclass
class Minute:
    """What began in a minute: seconds until the answers by their kind, what went wrong, and the server's memory at its end."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    busy: int = 0
    errors: list[str] = field(default_factory=list)
    megabytes: float = 0

    def row(self, number: int) -> str:
        cells = [str(number), str(sum(map(len, self.seconds.values()))), str(len(self.errors)), str(self.busy)]
        for kind in ("page", "photographs", "endpoints"):
            cells += [f"{value:.2f}" for value in percentiles(self.seconds[kind], 20)]
        cells += [f"{1000 * value:.0f}" for value in percentiles(self.seconds["health"], 100)]
        return f"| {' | '.join(cells)} | {self.megabytes:.0f} |"


def percentiles(seconds: list[float], parts: int) -> tuple[float, float, float]:
    """The median, what all but one in so many parts are below, and the largest."""
    if len(seconds) < 2:
        return (math.nan,) * 3
    return statistics.median(seconds), statistics.quantiles(seconds, n=parts)[-1], max(seconds)


async def soak(page: Served, clients: int, duration: float) -> None:
    """Have so many clients ask for so many minutes, and print a row for each minute."""
    minutes = [Minute() for _ in range(math.ceil(duration))]
    began, began_by_the_clock = time.monotonic(), time.time()
    done = lambda: time.monotonic() - began >= 60 * duration

    async def timed(client: httpx.AsyncClient, kind: str, ask: Ask, seed: int) -> None:
        start = time.monotonic()
        minute = minutes[min(int((start - began) / 60), len(minutes) - 1)]
        try:
            await ask(client, seed)
            minute.seconds[kind].append(time.monotonic() - start)
        except Busy:
            minute.busy += 1
            await asyncio.sleep(1)
        except (httpx.HTTPError, RuntimeError) as error:
            minute.errors.append(f"{type(error).__name__} {error}")

    async def visit(client: httpx.AsyncClient, visitor: int) -> None:
        random = Random(visitor)
        while not done():
            ((_, kind, ask),) = random.choices(MIXTURE, [share for share, _, _ in MIXTURE])
            await timed(client, kind, ask, random.randrange(2**31))

    async def watch_all() -> None:
        with ProcessPoolExecutor(1) as pool:
            for number, minute in enumerate(minutes, start=1):
                end = began_by_the_clock + 60 * min(number, duration)
                health = asyncio.get_running_loop().run_in_executor(pool, watch, page.url, end)
                minute.seconds["health"] = await health
                minute.megabytes = page.megabytes

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=page.url, timeout=60, limits=limits, trust_env=False) as client:
        visits = [visit(client, visitor) for visitor in range(clients)]
        await asyncio.gather(*visits, watch_all())
    for number, minute in enumerate(minutes, start=1):
        print(minute.row(number))
    for error in sorted({error for minute in minutes for error in minute.errors})[:5]:
        print(f"  {error}", file=sys.stderr)


HEADER = """\
| minute | answers | errors | told busy | page: median s | 95 % s | worst s | photographs: median s | 95 % s | worst s | endpoints: median s | 95 % s | worst s \
| health: median ms | 99 % ms | worst ms | memory MB |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main(clients: int = 20, minutes: float = 3) -> None:
    PHOTOGRAPHS.extend(encode(draw_face(number, (1200, 1600)), "JPEG") for number in range(20))
    with serving() as page:
        print(HEADER)
        asyncio.run(soak(page, clients, minutes))


if __name__ == "__main__":
    tyro.cli(main, prog="python -m tests.load", description=__doc__)
