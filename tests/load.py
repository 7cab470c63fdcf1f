"""Many visitors and programs at once, on a page that locust starts (`pip install --group load`):

    locust --locustfile tests/load.py --headless --users 21 --run-time 3m --only-summary

One user asks for /health four times a second. The others, one thing after another without a pause, open the page with a
model's weights, fetch a part of some, have a photograph reconstructed, or have faces drawn and fetch their files.
"""

import json
import time
from contextlib import ExitStack
from random import choice, randrange

from locust import HttpUser, constant, events, task

from page import site
from page.server import BUSY
from tests.conftest import draw_face, encode
from tests.serving import serving

FACES = 16

# Photographs are drawn beforehand: to draw one takes a quarter of a second, in which no user would hear an answer.
PHOTOGRAPHS = [encode(draw_face(number, (1200, 1600)), "JPEG") for number in range(20)]

MODELS = json.loads(site.page())["models"]
STARTED = ExitStack()


@events.test_start.add_listener
def start(environment, **_) -> None:
    environment.page = STARTED.enter_context(serving())
    environment.host = environment.page.url.removesuffix("/")


@events.test_stop.add_listener
def stop(environment, **_) -> None:
    print(f"The server has {environment.page.megabytes:.0f} MB.")
    STARTED.close()


class Operator(HttpUser):
    fixed_count = 1
    wait_time = constant(0.25)

    @task
    def health(self) -> None:
        self.client.get("/health")


class Visitor(HttpUser):
    @task(6)
    def open_page(self) -> None:
        model = choice(MODELS)
        for address in ("", "page.json", model["weights"]["url"], model["history"]["sheet"]):
            self.client.get(f"/{address}", name="page")

    @task(6)
    def part_of_weights(self) -> None:
        address, part_of_it = choice(MODELS)["weights"]["url"], {"Range": "bytes=8-4103"}
        with self.client.get(f"/{address}", name="part", headers=part_of_it, catch_response=True) as part:
            if len(part.content) != 4096:
                part.failure(f"a part of {len(part.content)} bytes")

    @task(1)
    def photograph(self) -> None:
        files = {"files": ("photograph.jpg", choice(PHOTOGRAPHS))}
        sent = self.client.post("/gradio_api/upload", name="upload", files=files)
        if sent.ok:
            file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
            self.call("reconstruct", file, "")

    @task(2)
    def faces(self) -> None:
        answer = self.call("generate", "GAN", randrange(2**31), FACES, 1, "")
        for item in answer[0] if answer else ():
            self.client.get(item["image"]["url"], name="face")

    def call(self, endpoint: str, *arguments: object) -> list | None:
        """What an endpoint answers. None if the page is busy and says so; the user then waits for a second."""
        address, kind, content = f"/gradio_api/call/{endpoint}", "error", BUSY
        with self.client.post(address, name="ask", json={"data": arguments}, catch_response=True) as asked:
            if asked.status_code == 503:
                asked.request_meta["name"] = "ask: busy"
                asked.success()
        if asked.ok:
            address = f"{address}/{asked.json()['event_id']}"
            with self.client.get(address, name=endpoint, catch_response=True) as answer:
                kind, _, content = answer.text.rpartition("event: ")[2].partition("\ndata: ")
                if BUSY in content:
                    answer.request_meta["name"] = f"{endpoint}: busy"
                elif kind != "complete":
                    answer.failure(f"the page answers {answer.text[-200:]}")
        if BUSY in content:
            time.sleep(1)
        return json.loads(content) if kind == "complete" else None
