"""The page in Firefox and in WebKit: what every browser has to do, by keyboard and mouse."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from PIL import Image

from page import drawing
from page.networks import decode, load
from tests.in_browser import pixels_of
from tests.serving import free_port

RIGHT = "\ue014"  # The arrow's key (WebDriver, 17.4.2).
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # The key of a reference to an element (WebDriver, 12.2).
SECONDS = 60  # That a page may take for what it is asked, on a machine that has much else to do.


class Browser:
    """A browser by the commands of WebDriver, which both browsers know."""

    def goto(self, url: str) -> None:
        self.command("Navigate", url=url)
        self.wait("window.latentFaces?.opened")

    def run(self, expression: str):
        """The value of an expression of JavaScript; of a promise, what it resolves to."""
        script = f"const done = arguments[0]; Promise.resolve({expression}).then(done, (error) => done(`${{error}}`));"
        return self.command("ExecuteAsyncScript", script=script, args=[])

    def wait(self, expression: str) -> None:
        for _ in range(20 * SECONDS):
            if self.run(f"!!({expression})") is True:
                return
            time.sleep(0.05)
        raise AssertionError(f"{expression} never came true; the page says: {self.run('document.body.innerText')}")

    def wait_until_drawn(self) -> None:
        self.wait("latentFaces.tabs.every((tab) => !tab.drawing)")

    def element(self, expression: str) -> str:
        return self.command("ExecuteScript", script=f"return {expression}", args=[])[ELEMENT]

    def click(self, text: str) -> None:
        """Click the visible button of a text."""
        buttons = "[...document.querySelectorAll('button')].filter((button) => button.checkVisibility())"
        self.command("ElementClick", id=self.element(f"{buttons}.find((one) => one.textContent === '{text}')"))

    def press(self, selector: str, key: str, times: int = 1) -> None:
        self.command("ElementSendKeys", id=self.element(f"document.querySelector('{selector}')"), text=key * times)

    def shown(self, selector: str) -> np.ndarray:
        """The pixels of the visible canvases, (n, height, width, 3)."""
        canvases = f"[...document.querySelectorAll('{selector}')].filter((canvas) => canvas.checkVisibility())"
        return pixels_of(self.run(f"{canvases}.map((canvas) => canvas.toDataURL().split(',')[1])"))


class Firefox(Browser):
    """By Marionette, Firefox's own protocol: JSON after its length (firefox-source-docs, Marionette, Protocol)."""

    def __init__(self, port: int):
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.stream = self.connection.makefile("rb")
        self.receive()
        self.command("NewSession")
        self.command("SetTimeouts", script=1000 * SECONDS)

    def command(self, name: str, **parameters):
        message = json.dumps([0, 1, f"WebDriver:{name}", parameters]).encode()
        self.connection.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self.receive()
        assert error is None, error
        return result.get("value") if isinstance(result, dict) else result

    def receive(self):
        length = b""
        while (digit := self.stream.read(1)) != b":":
            length += digit
        return json.loads(self.stream.read(int(length)))


PATHS = {
    "Navigate": "url",
    "ExecuteScript": "execute/sync",
    "ExecuteAsyncScript": "execute/async",
    "ElementClick": "element/{id}/click",
    "ElementSendKeys": "element/{id}/value",
}


class WebKit(Browser):
    """By WebDriver over HTTP."""

    def __init__(self, port: int, binary: str):
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=2 * SECONDS, trust_env=False)
        options = {"binary": binary, "args": ["--automation"]}
        asked = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
        self.session = f"/session/{self.post('/session', asked)['sessionId']}"
        self.post(f"{self.session}/timeouts", {"script": 1000 * SECONDS})

    def command(self, name: str, **parameters):
        path = PATHS[name].format(**parameters)
        return self.post(f"{self.session}/{path}", {key: value for key, value in parameters.items() if key != "id"})

    def post(self, path: str, content: dict):
        value = self.client.post(path, json=content).json()["value"]
        assert not (isinstance(value, dict) and "error" in value), value
        return value


@contextmanager
def running(*command: str, **variables: str):
    """A process in a home of its own; both end with the context, and all that it has started."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = {**os.environ, "HOME": home, "TMPDIR": home, "XDG_RUNTIME_DIR": home, **variables}
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=home, env=environment, start_new_session=True, **silent)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def patiently(connect):
    """What `connect` returns, once what it connects to is there."""
    for _ in range(20 * SECONDS):
        try:
            return connect()
        except (OSError, httpx.TransportError):
            time.sleep(0.05)
    raise AssertionError("the browser never answered")


@contextmanager
def firefox():
    port = free_port()
    with tempfile.TemporaryDirectory() as profile:
        settings = {"marionette.port": port, "layout.css.prefers-color-scheme.content-override": 0}  # Dark.
        lines = [f'user_pref("{name}", {value});' for name, value in settings.items()]
        Path(profile, "user.js").write_text("\n".join(lines))
        with running("firefox-esr", "--headless", "--marionette", "--profile", profile):
            yield patiently(lambda: Firefox(port))


@contextmanager
def webkit():
    port = free_port()
    binary = next(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))
    command = ("xvfb-run", "--auto-servernum", "WebKitWebDriver", f"--port={port}")
    variables = {"GTK_THEME": "Adwaita:dark", "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
    with running(*command, **variables):
        yield patiently(lambda: WebKit(port, f"{binary}"))


NEEDS = {firefox: ["firefox-esr"], webkit: ["WebKitWebDriver", "xvfb-run"]}


@pytest.fixture(scope="module", params=NEEDS, ids=lambda opened: opened.__name__)
def browser(request):
    """A browser of somebody who prefers dark colours."""
    for command in NEEDS[request.param]:
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")
    with request.param() as browser:
        yield browser


GRID = "#tab-generate .crowd canvas"
# Rounding, and sums in another order.
MOST_APART = 1


def test_it_draws_what_the_library_draws_and_the_address_leads_back_to_it(browser, url):
    browser.goto(f"{url}?{urlencode({'tab': 'generate', 'model': 'Attribute GAN', 'seed': 7, 'faces': 4})}")
    browser.wait_until_drawn()
    assert np.abs(browser.shown(GRID) - drawing.generate("Attribute GAN", 7, 4, 1.0)).max() <= MOST_APART
    colours = "['color', 'backgroundColor'].map((of) => getComputedStyle(document.querySelector('.latent-faces'))[of])"
    text, ground = (re.findall(r"[\d.]+", colour) for colour in browser.run(colours))
    assert sum(map(float, ground[:3])) < 200 < sum(map(float, text[:3]))  # It is dark.

    browser.click("Another")
    browser.wait_until_drawn()
    others, seed = browser.shown(GRID), browser.run("latentFaces.opened.settings.seed")
    assert np.abs(others - drawing.generate("Attribute GAN", seed, 4, 1.0)).max() <= MOST_APART
    browser.wait(f"location.search.includes('seed={seed}&')")
    browser.goto(browser.run("location.href"))
    browser.wait_until_drawn()
    assert (browser.shown(GRID) == others).all()

    browser.run("(URL.made = URL.createObjectURL, URL.createObjectURL = (blob) => URL.made(window.saved = blob), 0)")
    browser.click("Save picture")
    browser.wait("window.saved")
    content = browser.run("saved.arrayBuffer().then((bytes) => [...new Uint8Array(bytes)])")
    picture = Image.open(io.BytesIO(bytes(content)))
    assert picture.size == (512, 512)
    assert picture.text["latent-faces model"] == "Attribute GAN"
    assert picture.text["latent-faces recipe"] == f"{seed}/1"


def test_the_slider_moves_the_faces(browser, url):
    browser.goto(f"{url}?{urlencode({'tab': 'out-of-distribution', 'models': 'GAN', 'faces': 3, 'mean': 0})}")
    browser.press("#tab-out-of-distribution input[type=range]", RIGHT, times=5)
    browser.wait_until_drawn()
    mean = browser.run("latentFaces.opened.settings.mean")
    assert mean > 0
    wanted = decode("GAN", load("GAN").sample_latent(3, seed=0, mean=mean))
    assert np.abs(browser.shown(".model canvas") - wanted).max() <= MOST_APART


def test_a_photograph_is_found_and_encoded(browser, url):
    browser.goto(f"{url}?tab=reconstruct")
    browser.command("ElementClick", id=browser.element("document.querySelector('#tab-reconstruct .example')"))
    browser.wait("latentFaces.opened.found?.note.startsWith('Choose') === false")
    browser.wait_until_drawn()
    seen, kept = browser.shown("#tab-reconstruct .versions canvas")
    assert seen.std() > 20 and np.abs(seen - kept).mean() < 20
