"""How fast the page feels, in Chromium on this machine:

    python -m tests.measure_feel

Prints the seconds from opening the page to faces on it, and for sliders that are dragged for two seconds the
milliseconds from each position of the hand that was answered to its picture on screen.
"""

import statistics
import time

from playwright.sync_api import Page

from tests.conftest import open_chromium
from tests.serving import serving

# Tab, label of a slider, and what tells in the answer's HTML which position it is the answer to.
SLIDERS = {
    "Out of distribution, every model": ("?tab=out-of-distribution", "Mean of the latents", "data-mean"),
    "Out of distribution, one model": ("?tab=out-of-distribution&models=GAN", "Mean of the latents", "data-mean"),
}

# Notes when each position was reached, and when its picture was painted. An earlier watch would note it too, in the
# same list, so it ends here.
WATCH = """([label, attribute]) => {
    window.unwatch?.();
    const watch = new AbortController();
    const slider = [...document.querySelectorAll("input[type=range]")].find(e => e.ariaLabel?.includes(label));
    window.reached = {};
    window.painted = [];
    const reach = () => window.reached[Number(slider.value)] = performance.now();
    slider.addEventListener("input", reach, { capture: true, signal: watch.signal });
    let last = null;
    const observer = new MutationObserver(() => {
        const value = Number(document.querySelector(`[${attribute}]`).getAttribute(attribute));
        if (value === last || !(value in window.reached)) return;
        last = value;
        const images = [...document.querySelectorAll(`[${attribute}] img`)];
        Promise.all(images.map(image => image.decode())).then(() => requestAnimationFrame(() =>
            window.painted.push(performance.now() - window.reached[value])));
    });
    observer.observe(document.body, { subtree: true, attributes: true, attributeFilter: [attribute] });
    window.unwatch = () => { watch.abort(); observer.disconnect(); };
    const box = slider.getBoundingClientRect();
    return [box.x, box.y + box.height / 2, box.width];
}"""


def drag(page: Page, label: str, attribute: str) -> list[float]:
    """Milliseconds to each picture that was shown, while a hand moves the slider for two seconds."""
    x, y, width = page.evaluate(WATCH, [label, attribute])
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
    with serving() as served, open_chromium() as browser:
        print(f"Start to first answer: {served.seconds:.1f} s, {served.megabytes:.0f} MB.")
        arrivals = []
        for _ in range(5):
            page = browser.new_page()
            began = time.monotonic()
            page.goto(served.url)
            page.wait_for_function("[...document.querySelectorAll('.faces img')].filter(i => i.complete).length === 16")
            arrivals.append(time.monotonic() - began)
            page.close()
        print(f"Opening to 16 faces: {statistics.median(arrivals):.2f} s.\n")
        print("| slider | pictures in 2 s | median ms | 95 % ms |\n|---|---|---|---|")
        for name, (link, label, attribute) in SLIDERS.items():
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(served.url + link)
            page.wait_for_function("window.latentFaces?.tab")
            page.wait_for_timeout(1000)
            drag(page, label, attribute)
            painted = drag(page, label, attribute)
            cuts = statistics.quantiles(painted, n=20)
            print(f"| {name} | {len(painted)} | {cuts[9]:.0f} | {cuts[18]:.0f} |", flush=True)
            page.close()


if __name__ == "__main__":
    main()
