"""How long the page takes to start with the Hub there and in all the ways it can be away.

    python -m tests.measure_start

Prints a table of the seconds from `python app.py` to the first answer, the memory that it has by then, and where the
GAN's weights came from. The first row is an empty page of gradio's.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import httpx2

from models.index import bundled, repository_name
from tests.loopback_hub import LoopbackHub
from tests.serving import REPOSITORY, serving

EMPTY = "import gradio\n\nwith gradio.Blocks() as page:\n    gradio.HTML('')\npage.launch()\n"


def start(environment: dict[str, str], folder: Path = REPOSITORY) -> tuple[float, float, str]:
    """Start a page; returns seconds to the first answer, megabytes, and the origin of the GAN's weights, if it has any."""
    with serving(environment, folder) as page:
        megabytes = page.megabytes
        told = httpx2.get(f"{page.url}page.json", trust_env=False)
        origin = told.json()["models"][0]["origin"].partition(" (")[0] if folder == REPOSITORY else "-"
        return page.seconds, megabytes, origin


def main() -> None:
    parser = argparse.ArgumentParser("tests.measure_start", description="Print how long the page takes to start.")
    parser.add_argument("starts", nargs="?", type=int, default=3, help="of each row, which shows their median (3)")
    starts = parser.parse_args().starts
    print("| Hub | cache | seconds | MB | GAN's weights |\n|---|---|---|---|---|")

    def row(label: str, cache: str, environment: dict[str, str], folder: Path = REPOSITORY) -> None:
        seconds, megabytes, origins = zip(*(start(environment, folder) for _ in range(starts)), strict=True)
        middle = f"{statistics.median(seconds):.1f} | {statistics.median(megabytes):.0f}"
        print(f"| {label} | {cache} | {middle} | {origins[-1]} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(EMPTY)
        row("empty page of gradio's", "-", {}, Path(folder))
    row("not asked", "-", {})
    with LoopbackHub() as hub, tempfile.TemporaryDirectory() as folder:
        for name, path in bundled().items():
            hub.add_folder("model", repository_name("tester", name), path)
        told = {"LATENT_FACES_HUB": "tester"}
        filled = {**hub.environment(Path(folder, "filled")), **told}
        row("answers", "filled after the first", filled)
        empty = {**hub.environment(Path(folder, "empty")), **told}
        unresolved = {"HF_ENDPOINT": "http://hub.invalid"}
        for cache, environment in (("empty", empty), ("filled", filled)):
            for label, fault in (("refuses", "refuse"), ("answers 503", "503"), ("never answers", "hang")):
                hub.fault = fault
                row(label, cache, environment)
                hub.fault = None
            row("has no address", cache, {**environment, **unresolved})
            row("offline mode", cache, {**environment, "HF_HUB_OFFLINE": "1"})


if __name__ == "__main__":
    main()
