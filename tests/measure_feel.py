"""How fast the page feels, in Chromium on this machine:

    python -m tests.measure_feel

Prints the seconds from opening the page to faces on it and to the first that the browser drew by itself, the megabytes
until then, and for the slider of the mean, dragged for two seconds, the milliseconds from each position of the hand
that was answered to its picture on screen.
"""

import statistics
import time

from playwright.sync_api import BrowserContext, Page

from page.zoo import MODELS
from tests.conftest import open_chromium
from tests.serving import Served, serving

LOCAL = "latentFaces.decoder.status.state === 'local'"
DRAWN = "latentFaces.tabs.every((tab) => !tab.drawing)"

# Whose faces are drawn.
REPORTS = ["GAN", "Plain autoencoder", "Matched autoencoder", "Shifted autoencoder"]
ROWS = {
    "GAN": ["GAN"],
    "Plain autoencoder": ["Plain autoencoder"],
    "the reports' four": REPORTS,
    f"all {len(MODELS)}": [*MODELS],
}

# Notes when each position was reached, when its picture was painted, and each frame of the browser's.
WATCH = """(names) => {
    const tab = latentFaces.tab("out-of-distribution");
    Object.defineProperty(tab, "shown", { get: () => names.map((name) => latentFaces.models.get(name)) });
    tab.wish();
    window.reached = {}; window.painted = []; window.frames = [];
    let now;  // Before the page hears of it; its value is known after.
    tab.fields.mean.input.addEventListener("input", () => (now = performance.now()), { capture: true });
    tab.fields.mean.input.addEventListener("input", () => (window.reached[tab.fields.mean.value] ??= now));
    new MutationObserver(() => {
        const at = window.reached[tab.list.dataset.mean];
        if (at) requestAnimationFrame(() => window.painted.push(performance.now() - at));
        delete window.reached[tab.list.dataset.mean];
    }).observe(tab.list, { attributes: true, attributeFilter: ["data-mean"] });
    const frame = (now) => { window.frames.push(now); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    const box = tab.fields.mean.input.getBoundingClientRect();
    return [box.x, box.y + box.height / 2, box.width];
}"""


def drag(page: Page, box: list[float]) -> tuple[list[float], float]:
    """Milliseconds to each picture that was shown while a hand moves the slider for two seconds, and frames a second."""
    x, y, width = box
    page.evaluate("window.painted = []; window.frames = []; window.reached = {}")
    page.mouse.move(x + width / 2, y)
    page.mouse.down()
    began = time.monotonic()
    while (share := (time.monotonic() - began) / 2) < 1:
        page.mouse.move(x + width * (0.5 + 0.45 * share), y)
        time.sleep(1 / 60)
    frames = page.evaluate("window.frames.length / (window.frames.at(-1) - window.frames[0]) * 1000")
    page.mouse.up()
    page.wait_for_timeout(1000)
    return page.evaluate("window.painted"), frames


def arrive(context: BrowserContext, served: Served) -> tuple[float, float, float, float]:
    """Seconds to the first faces and to the first of the browser's own, megabytes until then, and of weights among
    these."""
    page, sizes = context.new_page(), dict[str, int]()
    page.on("requestfinished", lambda request: sizes.update({request.url: request.sizes()["responseBodySize"]}))
    began = time.monotonic()
    page.goto(served.url)
    page.wait_for_function(
        "[...document.querySelectorAll('img[data-model]')].some((image) => image.complete)"
        " || document.querySelector('.model canvas')"
    )
    first = time.monotonic() - began
    page.wait_for_function("window.latentFaces")
    page.evaluate("latentFaces.tab('out-of-distribution').set({ models: 'GAN', mean: 1 })")
    page.wait_for_function(f"{LOCAL} && {DRAWN}")
    local = time.monotonic() - began
    weights = sum(size for url, size in sizes.items() if "/weights/" in url)
    page.close()
    return first, local, sum(sizes.values()) / 1e6, weights / 1e6


def main() -> None:
    with serving() as served, open_chromium() as browser:
        print(f"Start to first answer: {served.seconds:.1f} s, {served.megabytes:.0f} MB.")
        context = browser.new_context()
        for visit in ("First", "Second"):
            first, local, megabytes, weights = arrive(context, served)
            print(
                f"{visit} visit: faces after {first:.2f} s, the browser's own after {local:.2f} s and {megabytes:.2f} MB, "
                f"{weights:.1f} of weights."
            )
        print(
            "\n| faces of six | pictures in 2 s | median ms | 95 % ms | frames a second | server's ms |\n|---|---|---|---|---|---|"
        )
        for name, models in ROWS.items():
            page = context.new_page()
            page.set_viewport_size({"width": 1280, "height": 1000})
            page.goto(served.url)
            page.wait_for_function("window.latentFaces")
            box = page.evaluate(WATCH, models)
            page.evaluate("latentFaces.decoder.start()")
            page.wait_for_function(f"{LOCAL} && {DRAWN}")
            drag(page, box)
            before = served.processor_seconds
            painted, frames = drag(page, box)
            spent = 1000 * (served.processor_seconds - before)
            cuts = statistics.quantiles(painted, n=20)
            print(
                f"| {name} | {len(painted)} | {cuts[9]:.0f} | {cuts[18]:.0f} | {frames:.0f} | {spent:.0f} |", flush=True
            )
            page.close()


if __name__ == "__main__":
    main()
