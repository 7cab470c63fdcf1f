"""Photograph every tab of the page, with faces that its own models drew: python docs/screenshots.py

Needs Chromium and what the tests need.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.conftest import open_chromium
from tests.serving import serving

# What each picture shows.
LINKS = {
    "generate": "",
    "reconstruct": "?tab=reconstruct",
    "interpolate": "?tab=interpolate",
    "out-of-distribution": "?tab=out-of-distribution&models=Matched autoencoder&mean=20",
    "training": "?tab=training&epoch=10",
}


def main() -> None:
    with serving() as served, open_chromium() as browser:
        for name, link in LINKS.items():
            photograph(browser, served.url + link, f"page-{name}", width=1200)
        photograph(browser, served.url + LINKS["interpolate"], "page-dark", width=1200, color_scheme="dark")
        photograph(browser, served.url + LINKS["generate"], "page-phone", width=390)


def photograph(browser, url: str, name: str, width: int, **options) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, reduced_motion="reduce", **options)
    page.goto(url)
    page.wait_for_function("window.latentFaces?.opened && latentFaces.tabs.every((tab) => !tab.drawing)")
    page.wait_for_timeout(2000)
    page.screenshot(path=REPOSITORY / f"docs/{name}.png", full_page=True)
    page.close()


if __name__ == "__main__":
    main()
