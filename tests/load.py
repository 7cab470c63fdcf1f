"""How the page bears many visitors at once.

    python -m tests.load [--clients 50] [--requests 2000]

Starts `python app.py` and lets so many clients ask for 16 faces each, over and over with seeds of their own: first as
the page does, then through the endpoint `/generate`, without and with fetching its 16 files. Prints the percentiles of the
seconds from asking to the answer, the errors, and the server's memory on the way.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import httpx
import tyro

from .serving import Served, serving

FACES = 16

# Of a client, a visitor's number and a seed.
Ask = Callable[[httpx.AsyncClient, int, int], Awaitable[None]]


@dataclass(frozen=True)
class Settings:
    clients: Annotated[int, tyro.conf.arg(help="How many ask at the same time.")] = 50
    requests: Annotated[int, tyro.conf.arg(help="How many answers in all, for each of the three ways.")] = 2000


async def answer(client: httpx.AsyncClient, address: str, last_message: str) -> dict:
    """The data of an event stream's last message."""
    async with client.stream("GET", address) as stream:
        named = ""
        async for line in stream.aiter_lines():
            if line.startswith("event:"):
                named = line.removeprefix("event:").strip()
            if line.startswith("data:"):
                data = json.loads(line.removeprefix("data:"))
                if named == "error" or (isinstance(data, dict) and data.get("success") is False):
                    raise RuntimeError(f"the page answers with an error: {data}")
                if last_message in (named, data.get("msg") if isinstance(data, dict) else None):
                    return data
    raise RuntimeError("the answer ended before its last message")


def as_the_page(config: dict) -> Ask:
    """What a browser does when a visitor enters a seed."""
    component = next(part["id"] for part in config["components"] if "draw" in part["props"].get("server_fns", []))

    async def ask(client: httpx.AsyncClient, visitor: int, seed: int) -> None:
        question = ["generate", ["GAN", seed, FACES, 1, "", 1, 1]]
        asked = {"data": question, "component_id": component, "fn_name": "draw", "session_hash": f"visitor{visitor}"}
        answer = await client.post("/gradio_api/component_server", json=asked)
        answer.raise_for_status()
        faces = answer.json()[0].count("data:image/png")
        if faces != FACES:
            raise RuntimeError(f"{faces} faces came instead of {FACES}")

    return ask


def by_endpoint(fetch: bool) -> Ask:
    """What a program does, which may fetch the files that the answer names."""

    async def ask(client: httpx.AsyncClient, _: int, seed: int) -> None:
        question = {"data": ["GAN", seed, FACES, 1, ""]}
        while (started := await client.post("/gradio_api/call/generate", json=question)).status_code == 503:
            await asyncio.sleep(1)  # The page is busy, and says so.
        started.raise_for_status()
        gallery, _ = await answer(client, f"/gradio_api/call/generate/{started.json()['event_id']}", "complete")
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
            except (httpx.HTTPError, RuntimeError) as error:
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


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(Settings, args=arguments, prog="python -m tests.load", description=__doc__)
    print(
        "| 16 faces | clients | requests | errors | median s | 95 % s | 99 % s | answers/s | processor ms each | memory MB, on the way |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with serving() as page:
        config = httpx.get(f"{page.url}config", trust_env=False).json()
        ways = {
            "as the page": as_the_page(config),
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
