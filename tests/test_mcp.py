"""The page's endpoints as a language model sees them."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

pytest.importorskip("mcp", reason="MCP is not installed: pip install --group mcp")

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

TOOLS = {"generate", "flip_bit", "interpolate", "reconstruct", "out_of_distribution", "experiment", "training"}


@pytest.fixture
def ask(url):
    """A function that runs a coroutine function of a session with the page."""

    async def session(talk):
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/") as (reads, writes, _),
            ClientSession(reads, writes) as client,
        ):
            await client.initialize()
            return await talk(client)

    # In a thread of its own: the browser's tests leave an event loop in this one.
    with ThreadPoolExecutor(1) as thread:
        yield lambda talk: thread.submit(asyncio.run, session(talk)).result()


def test_every_tool_and_argument_is_described(ask):
    tools = {tool.name: tool for tool in ask(lambda client: client.list_tools()).tools}
    assert TOOLS <= tools.keys()
    for name in TOOLS:
        assert "Returns:" in tools[name].description
        for argument, schema in tools[name].inputSchema["properties"].items():
            assert schema["type"] and schema["description"], f"{name}: {argument}"
    model = tools["generate"].inputSchema["properties"]["model"]
    assert "Shifted autoencoder" in model["enum"]


def test_a_tool_draws_faces_and_tells_what_is_wrong(ask):
    drawn = ask(lambda client: client.call_tool("generate", {"model": "GAN", "seed": 3, "count": 2}))
    text = drawn.content[0].text
    assert not drawn.isError and "diversity" in text
    address = text.partition("'url': '")[2].partition("'")[0]
    assert httpx.get(address).content.startswith(b"\x89PNG")

    refused = ask(lambda client: client.call_tool("generate", {"count": 10_000}))
    assert (
        refused.isError and "64" in refused.content[0].text and "Traceback" not in json.dumps(refused.content[0].text)
    )
