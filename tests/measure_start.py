"""How long the page takes to start with the Hub there and in all the ways it can be away.

    python -m tests.measure_start [starts]

Prints a table of the seconds from `python app.py` to the first answer, the median of so many starts (3), and where
the GAN's weights came from.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import httpx2

from tests.loopback_hub import LoopbackHub
from tests.serving import REPOSITORY, serving


def start(environment: dict[str, str]) -> tuple[float, str]:
    """Start the page; returns seconds to the first answer, and the origin of the GAN's weights."""
    with serving(environment) as page:
        told = httpx2.get(f"{page.url}page.json", trust_env=False).json()
        return page.seconds, told["models"][0]["origin"].partition(" (")[0]


def publish_weights(hub: LoopbackHub) -> None:
    for folder in sorted((REPOSITORY / "weights").iterdir()):
        hub.add_folder("model", f"tester/latent-faces-{folder.name}", folder)


def main(starts: int = 3) -> None:
    print("| Hub | cache | seconds | GAN's weights |\n|---|---|---|---|")

    def row(label: str, cache: str, environment: dict[str, str]) -> None:
        measured = [start(environment) for _ in range(starts)]
        print(
            f"| {label} | {cache} | {statistics.median(seconds for seconds, _ in measured):.1f} | {measured[-1][1]} |",
            flush=True,
        )

    row("not asked", "-", {})
    with LoopbackHub() as hub, tempfile.TemporaryDirectory() as folder:
        publish_weights(hub)
        told = {"LATENT_FACES_HUB": "tester"}
        filled = {**hub.environment(Path(folder, "filled")), **told}
        row("answers", "filled after the first", filled)
        empty = {**hub.environment(Path(folder, "empty")), **told}
        unresolved = {"HF_ENDPOINT": "http://hub.invalid", "http_proxy": "", "HTTP_PROXY": ""}
        for cache, environment in (("empty", empty), ("filled", filled)):
            for label, fault in (("refuses", "refuse"), ("answers 503", "503"), ("never answers", "hang")):
                hub.fault = fault
                row(label, cache, environment)
                hub.fault = None
            row("has no address", cache, {**environment, **unresolved})
            row("offline mode", cache, {**environment, "HF_HUB_OFFLINE": "1"})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
