"""How fast the page feels, in Chromium on this machine:

    python -m tests.measure_feel

Prints for `python app.py` and for a folder of `python -m page.site` the seconds from opening the page to a face in
sight, and from there, by a press of "Another", to the first that the browser drew by itself, the megabytes until then,
and what the server's processor spent; the same on a line of 1.6 Mbit/s. Then, for each model, the milliseconds of its
first drawing of nine faces, once its network is ready, and of later ones. Then, for the slider of the mean, dragged for
two seconds, the milliseconds from each position of the pointer that was answered to its picture on screen.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page

from page.catalog import MODELS
from tests.conftest import open_chromium
from tests.in_browser import static_page
from tests.serving import serving

DRAWN = "latentFaces.decoder.status.state === 'ready' && latentFaces.tabs.every((tab) => !tab.drawing)"

# A face in sight: the page's picture, or a canvas that shows something.
IN_SIGHT = """[...document.querySelectorAll("img[data-model], canvas")].some((face) => {
    const { top, bottom, width } = face.getBoundingClientRect();
    return width >= 64 && top >= 0 && bottom <= innerHeight && (face.complete ?? true);
})"""

# As Lighthouse's "slow 4G": bytes a second, milliseconds.
SLOW = {"offline": False, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 750e3 / 8, "latency": 150}

# Notes when each position was reached, and when its picture was painted.
WATCH = """(names) => {
    latentFaces.open("out-of-distribution");
    const tab = latentFaces.tab("out-of-distribution");
    Object.defineProperty(tab, "models", { get: () => names.map((name) => latentFaces.models.get(name)) });
    latentFaces.decoder.want(tab.models);
    tab.redraw();
    window.reached = {}; window.painted = [];
    let now;  // Before the page hears of it; its value is known after.
    tab.fields.mean.input.addEventListener("input", () => (now = performance.now()), { capture: true });
    tab.fields.mean.input.addEventListener("input", () => (window.reached[tab.settings.mean] ??= now));
    new MutationObserver(() => {
        const at = window.reached[tab.list.dataset.mean];
        if (at) requestAnimationFrame(() => window.painted.push(performance.now() - at));
        delete window.reached[tab.list.dataset.mean];
    }).observe(tab.list, { attributes: true, attributeFilter: ["data-mean"] });
    tab.fields.mean.input.scrollIntoView({ block: "center" });
    const box = tab.fields.mean.input.getBoundingClientRect();
    return [box.x, box.y + box.height / 2, box.width];
}"""


# The milliseconds of a model's first drawing of nine faces, and of later ones.
USE = """async (name) => {
    const { decoder, models } = latentFaces, model = models.get(name);
    decoder.want([model]);
    await model.ready();
    while (decoder.status.state !== "ready") await new Promise((resolve) => setTimeout(resolve, 50));
    const times = [];
    for (let seed = 1; seed <= 12; seed++) {
        const z = model.sample(seed, 9), began = performance.now();
        await decoder.decode(model, z);
        times.push(performance.now() - began);
    }
    return times;
}"""


def arrive(browser: Browser, url: str, slow: bool) -> tuple[float, float, float]:
    """Seconds to a face in sight, and from a press of "Another" to the first that the browser drew; megabytes in all."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page, sizes = context.new_page(), dict[str, int]()
    page.on("requestfinished", lambda request: sizes.update({request.url: request.sizes()["responseBodySize"]}))
    if slow:
        context.new_cdp_session(page).send("Network.emulateNetworkConditions", SLOW)
    began = time.monotonic()
    page.goto(url, wait_until="commit")
    page.wait_for_function(IN_SIGHT)
    seen = time.monotonic() - began
    page.wait_for_function("window.latentFaces?.opened")
    pressed = time.monotonic()
    page.get_by_role("button", name="Another").click()
    page.wait_for_function(DRAWN, timeout=120_000)
    own = time.monotonic() - pressed
    context.close()
    return seen, own, sum(sizes.values()) / 1e6


def drag(page: Page, box: list[float]) -> list[float]:
    """Milliseconds to each picture that was shown while a pointer moves the slider for two seconds."""
    x, y, width = box
    page.evaluate("window.painted = []; window.reached = {}")
    page.mouse.move(x + width / 2, y)
    page.mouse.down()
    began = time.monotonic()
    while (share := (time.monotonic() - began) / 2) < 1:
        page.mouse.move(x + width * (0.5 + 0.45 * share), y)
        time.sleep(1 / 60)
    page.mouse.up()
    page.wait_for_timeout(1000)
    return page.evaluate("window.painted")


def main() -> None:
    argparse.ArgumentParser(
        "python -m tests.measure_feel", description="Print how fast the page feels in Chromium."
    ).parse_args()
    with (
        serving() as served,
        tempfile.TemporaryDirectory() as folder,
        static_page(Path(folder, "page")) as files,
        open_chromium() as browser,
    ):
        print(f"Start to first answer: {served.seconds:.1f} s, {served.megabytes:.0f} MB.\n")
        print("| page | connection | a face in sight, s | the first face drawn here, s | MB until then | server's ms |")
        print("|---|---|---|---|---|---|")
        for name, url in (("python app.py", served.url), ("static folder", files)):
            for slow in (False, True):
                before = served.processor_seconds
                seen, own, megabytes = arrive(browser, url, slow)
                spent = f"{1000 * (served.processor_seconds - before):.0f}" if url == served.url else "–"
                line = "1.6 Mbit/s" if slow else "this machine"
                print(f"| {name} | {line} | {seen:.2f} | {own:.2f} | {megabytes:.2f} | {spent} |", flush=True)
        print("\n| nine faces | first, ms | later, ms | first / later |\n|---|---|---|---|")
        for name in MODELS:
            times = []
            for _ in range(5):
                page = opened(browser, files)
                times.append(page.evaluate(USE, name))
                page.close()
            # Medians of five pages.
            first, *others = map(statistics.median, zip(*times, strict=True))
            later = statistics.median(others)
            print(f"| {name} | {first:.0f} | {later:.0f} | {first / later:.2f} |", flush=True)
        print("\n| models | pictures in 2 s | median ms | 95 % ms |\n|---|---|---|---|")
        for name, models in {"GAN": ["GAN"], f"all {len(MODELS)}": [*MODELS]}.items():
            page = opened(browser, files)
            box = page.evaluate(WATCH, models)
            page.wait_for_function(DRAWN)
            page.wait_for_timeout(3000)  # For the other workers.
            drag(page, box)  # The first use may be slower.
            painted = drag(page, box)
            cuts = statistics.quantiles(painted, n=20)
            print(f"| {name} | {len(painted)} | {cuts[9]:.0f} | {cuts[18]:.0f} |", flush=True)
            page.close()


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(url)
    page.wait_for_function("window.latentFaces?.opened")
    return page


if __name__ == "__main__":
    main()
