"""The page's endpoints as a language model sees them."""

import asyncio
import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mcp", reason="MCP is not installed: pip install --group mcp")

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

from page import networks

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
        # All of it has a value on arrival.
        assert not tools[name].inputSchema.get("required")
    model = tools["generate"].inputSchema["properties"]["model"]
    assert "Shifted autoencoder" in model["enum"]


def picture(part) -> np.ndarray:
    assert (part.type, part.mimeType) == ("image", "image/png")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(part.data)))).astype(int)


def test_a_tool_shows_the_faces_that_it_drew(ask):
    drawn = ask(lambda client: client.call_tool("generate", {"model": "GAN", "seed": 3, "count": 10}))
    numbers, faces = drawn.content
    assert not drawn.isError and json.loads(numbers.text)["diversity"] > 0
    shown = picture(faces)[::2, ::2]
    assert shown.shape == (128, 512, 3) and (shown[64:, 128:] == 255).all()
    for number, face in enumerate(networks.load("GAN").generate(10, seed=3)):
        row, column = divmod(number, 8)
        cell = shown[64 * row : 64 * (row + 1), 64 * column : 64 * (column + 1)]
        assert np.abs(cell - np.asarray(face)).max() <= 1


def test_no_answer_tells_where_the_server_keeps_its_files(ask):
    async def call_all(client):
        return {name: await client.call_tool(name, {}) for name in TOOLS - {"reconstruct"}}

    for name, told in ask(call_all).items():
        text = " ".join(part.text for part in told.content if part.type == "text")
        assert not told.isError and text and "face.png" not in text and "file=" not in text, name
        assert any(part.type == "image" for part in told.content), name


def test_what_is_wrong_is_told_in_a_sentence(ask):
    refused = ask(lambda client: client.call_tool("reconstruct", {}))
    assert refused.isError and "send a photograph" in refused.content[0].text
    assert "Traceback" not in refused.content[0].text and "site-packages" not in refused.content[0].text
