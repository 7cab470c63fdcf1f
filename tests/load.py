"""How the page bears many at once.

    python -m tests.load [--clients 50] [--requests 2000]
    python -m tests.load --clients 20 --minutes 3

Starts `python app.py`. The first lets so many programs ask `/generate` for 16 faces each, over and over with seeds of
their own, without and with fetching the 16 files. Prints the percentiles of the seconds from asking to the answer, the
errors, and the server's memory on the way.

The second is a soak: for so many minutes each client opens the page with a model's weights, fetches a part of some,
uploads a photograph and has it reconstructed, or has faces drawn and fetches their files, one after the other without a
pause. Prints for each minute the errors, how many were told that the page is busy, the percentiles, and the memory of
the server.
"""

import asyncio
import json
import math
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Annotated

import httpx
import tyro

from page import catalog, site
from page.server import BUSY

from .conftest import draw_face, encode
from .serving import Served, serving

FACES = 16

# Of a client, a visitor's number and a seed.
Ask = Callable[[httpx.AsyncClient, int, int], Awaitable[None]]


@dataclass(frozen=True)
class Settings:
    clients: Annotated[int, tyro.conf.arg(help="How many ask at the same time.")] = 50
    requests: Annotated[int, tyro.conf.arg(help="How many answers in all, for each of the two ways.")] = 2000
    minutes: Annotated[int, tyro.conf.arg(help="For so long a mixture of all that visitors and programs do.")] = 0


async def answer(client: httpx.AsyncClient, address: str, last_message: str) -> dict:
    """The data of an event stream's last message."""
    async with client.stream("GET", address) as stream:
        named = ""
        async for line in stream.aiter_lines():
            if line.startswith("event:"):
                named = line.removeprefix("event:").strip()
            if line.startswith("data:"):
                data = json.loads(line.removeprefix("data:"))
                if named == "error" and BUSY in str(data):
                    raise Busy
                if named == "error" or (isinstance(data, dict) and data.get("success") is False):
                    raise RuntimeError(f"the page answers with an error: {data}")
                if last_message in (named, data.get("msg") if isinstance(data, dict) else None):
                    return data
    raise RuntimeError("the answer ended before its last message")


async def called(client: httpx.AsyncClient, name: str, *arguments: object) -> list:
    """What an endpoint answers."""
    while (started := await client.post(f"/gradio_api/call/{name}", json={"data": [*arguments]})).status_code == 503:
        if name == "reconstruct":
            raise Busy
        await asyncio.sleep(1)  # The page is busy, and says so.
    started.raise_for_status()
    return await answer(client, f"/gradio_api/call/{name}/{started.json()['event_id']}", "complete")


def by_endpoint(fetch: bool) -> Ask:
    """What a program does, which may fetch the files that the answer names."""

    async def ask(client: httpx.AsyncClient, _: int, seed: int) -> None:
        gallery, _ = await called(client, "generate", "GAN", seed, FACES, 1, "")
        if len(gallery) != FACES:
            raise RuntimeError(f"{len(gallery)} faces came instead of {FACES}")
        if fetch:
            for item in gallery:
                (await client.get(item["image"]["url"])).raise_for_status()

    return ask


async def load(settings: Settings, page: Served, label: str, ask: Ask, first_seed: int) -> None:
    seconds: list[float] = []
    errors: list[str] = []
    memory = [page.megabytes]
    seeds = iter(range(first_seed, first_seed + settings.requests))

    async def visit(client: httpx.AsyncClient, visitor: int) -> None:
        for seed in seeds:
            began = time.monotonic()
            try:
                await ask(client, visitor, seed)
                seconds.append(time.monotonic() - began)
            except (httpx.HTTPError, RuntimeError, Busy) as error:
                errors.append(f"{type(error).__name__} {error}")
            if (len(seconds) + len(errors)) % max(1, settings.requests // 4) == 0:
                memory.append(page.megabytes)

    began, spent = time.monotonic(), page.processor_seconds
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=page.url, timeout=60, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(visit(client, visitor) for visitor in range(settings.clients)))
    rate = len(seconds) / (time.monotonic() - began)
    spent = 1000 * (page.processor_seconds - spent) / settings.requests
    cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [float("nan")] * 99
    print(
        f"| {label} | {settings.clients} | {settings.requests} | {len(errors)} | {cuts[49]:.2f} | {cuts[94]:.2f} | "
        f"{cuts[98]:.2f} | {rate:.0f} | {spent:.0f} | {', '.join(f'{value:.0f}' for value in memory)} |",
        flush=True,
    )
    for error in sorted(set(errors))[:5]:
        print(f"  {error}", file=sys.stderr)


@dataclass
class Minute:
    """What came in a minute of a soak: seconds of answers by their kind, and what went wrong."""

    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"page": [], "photographs": [], "endpoints": [], "health": []}
    )
    busy: int = 0
    errors: list[str] = field(default_factory=list)

    def row(self, number: int, megabytes: float) -> str:
        cells = [str(number), str(sum(map(len, self.seconds.values()))), str(len(self.errors)), str(self.busy)]
        for kind in ("page", "photographs", "endpoints"):
            cells += [f"{value:.2f}" for value in percentiles(self.seconds[kind])]
        cells += [f"{1000 * value:.0f}" for value in percentiles(self.seconds["health"], 100)]
        return f"| {' | '.join(cells)} | {megabytes:.0f} |"


def percentiles(seconds: list[float], parts: int = 20) -> tuple[float, float, float]:
    """The median, what all but one in so many parts are below, and the largest."""
    if len(seconds) < 2:
        return (math.nan,) * 3
    return statistics.median(seconds), statistics.quantiles(seconds, n=parts)[-1], max(seconds)


class Busy(Exception):
    """The page has said so."""


def mixture() -> dict[str, tuple[float, str, Ask]]:
    """What visitors and programs do: how often, whom it concerns, and how it is asked."""
    # Drawn beforehand: to draw one takes a quarter of a second, in which no client would hear an answer.
    photographs = [encode(draw_face(number, (1200, 1600)), "JPEG") for number in range(20)]

    async def open_page(client: httpx.AsyncClient, _: int, seed: int) -> None:
        """The page, what it is drawn from, and the weights of a model."""
        (await client.get("/")).raise_for_status()
        told = (await client.get("/page.json")).json()
        model = told["models"][seed % len(told["models"])]
        for address in (model["weights"]["url"], model["history"]["sheet"]):
            (await client.get(f"/{address}")).raise_for_status()

    async def part_of_weights(client: httpx.AsyncClient, _: int, seed: int) -> None:
        address = json.loads(site.page())["models"][seed % len(catalog.MODELS)]["weights"]["url"]
        part = await client.get(f"/{address}", headers={"Range": "bytes=8-4103"})
        if len(part.content) != 4096:
            raise RuntimeError(f"a part of {len(part.content)} bytes")

    async def upload(client: httpx.AsyncClient, _: int, seed: int) -> None:
        photograph = photographs[seed % len(photographs)]
        sent = await client.post("/gradio_api/upload", files={"files": ("photograph.jpg", photograph)})
        sent.raise_for_status()
        file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
        versions, _ = await called(client, "reconstruct", file, "")
        if len(versions) < 2:
            raise RuntimeError(f"no reconstructions: {str(versions)[:200]}")

    async def endpoint(client: httpx.AsyncClient, visitor: int, seed: int) -> None:
        await by_endpoint(fetch=True)(client, visitor, seed)

    return {
        "page": (6, "page", open_page),
        "part of weights": (6, "page", part_of_weights),
        "upload": (1, "photographs", upload),
        "endpoint": (2, "endpoints", endpoint),
    }


async def soak(settings: Settings, page: Served) -> None:
    minutes = [Minute() for _ in range(settings.minutes)]
    began = time.monotonic()
    done = lambda: time.monotonic() - began >= 60 * settings.minutes
    # What began in a minute counts there.
    now = lambda: minutes[min(int((time.monotonic() - began) / 60), settings.minutes - 1)]
    asks = mixture()

    async def timed(client: httpx.AsyncClient, kind: str, ask: Ask, visitor: int, seed: int) -> None:
        minute, start = now(), time.monotonic()
        try:
            await ask(client, visitor, seed)
            minute.seconds[kind].append(time.monotonic() - start)
        except Busy:
            minute.busy += 1
            await asyncio.sleep(1)
        except (httpx.HTTPError, RuntimeError) as error:
            minute.errors.append(f"{type(error).__name__} {error}")

    async def visit(client: httpx.AsyncClient, visitor: int) -> None:
        random = Random(visitor)
        while not done():
            (chosen,) = random.choices([*asks], [share for share, _, _ in asks.values()])
            _, kind, ask = asks[chosen]
            await timed(client, kind, ask, visitor, random.randrange(2**31))

    async def health(client: httpx.AsyncClient, *_: int) -> None:
        (await client.get("/health")).raise_for_status()

    async def watch(client: httpx.AsyncClient) -> None:
        while not done():
            await timed(client, "health", health, 0, 0)
            await asyncio.sleep(0.25)

    async def tell() -> None:
        for number, minute in enumerate(minutes, start=1):
            # Whoever asked in it has been answered a few seconds later.
            await asyncio.sleep(max(0, began + 60 * number + 5 - time.monotonic()))
            print(minute.row(number, page.megabytes), flush=True)

    async with httpx.AsyncClient(
        base_url=page.url, timeout=60, limits=httpx.Limits(max_connections=None), trust_env=False
    ) as client:
        visits = [visit(client, visitor) for visitor in range(settings.clients)]
        await asyncio.gather(*visits, watch(client), tell())
    for error in sorted({error for minute in minutes for error in minute.errors})[:5]:
        print(f"  {error}", file=sys.stderr)


SOAK = """\
| minute | answers | errors | told busy | page: median s | 95 % s | worst s | photographs: median s | 95 % s | worst s | endpoints: median s | 95 % s | worst s \
| health: median ms | 99 % ms | worst ms | memory MB |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(Settings, args=arguments, prog="python -m tests.load", description=__doc__)
    if settings.minutes:
        with serving() as page:
            print(SOAK)
            asyncio.run(soak(settings, page))
        return
    print(
        "| 16 faces | clients | requests | errors | median s | 95 % s | 99 % s | answers/s | processor ms each | memory MB, on the way |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with serving() as page:
        ways = {
            "by endpoint": by_endpoint(fetch=False),
            "by endpoint, files fetched": by_endpoint(fetch=True),
        }
        # The first answers fill caches, which is no leak: what follows is measured.
        for index, (label, ask) in enumerate(ways.items()):
            warm = Settings(settings.clients, 2 * settings.clients)
            asyncio.run(load(warm, page, f"{label}, first", ask, 10_000_000 * (index + 1)))
            asyncio.run(load(settings, page, label, ask, 1_000_000 * (index + 1)))


if __name__ == "__main__":
    main()
