"""The page: models of faces, what their latents do, and how far a prior can be left. Run with `python app.py`."""

import argparse
import gc
import importlib.util
import os
import sys
from typing import Any

from models.hub import ask_this_machine_directly

# Before gradio is imported, which then asks nothing of other machines.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# After every answer gradio makes a table of all answers so far, for a monitoring page that is off here.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
# When the page starts, gradio asks its address whether it answers: never through a proxy.
ask_this_machine_directly()
for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
    if os.environ[name].startswith("socks") and not importlib.util.find_spec("socksio"):
        print(f"{name} is left out: a SOCKS proxy needs pip install socksio.")
        del os.environ[name]

from page import server

if __name__ == "__main__":
    more = "docs/page.md, For operators, lists the environment variables that set it."
    argparse.ArgumentParser("python app.py", description=__doc__, epilog=more).parse_args()
    port = os.environ.get("GRADIO_SERVER_PORT", "7860")
    if not (port.isdecimal() and 0 < int(port) < 65536):
        sys.exit(f"GRADIO_SERVER_PORT cannot be {port!r}: write a number, such as 7860.")
    server.own_temporary_folder()

import gradio as gr

from page import site
from page.endpoints import fetched

# Within another application that mounts the page without `server.limits()`, main.js is missing.
START = """
const base = new URL(window.gradio_config.root.replace(/\\/?$/, "/"), location);
import(new URL("front/main.js", base)).then(({ start }) => start(element, { base })).catch((error) => {
  console.error(error);
  const complaint = document.createElement("p");
  complaint.role = "alert";
  complaint.textContent = "The page could not be loaded. Load it anew; within another application, mount it with limits().";
  element.prepend(complaint);
});
"""


class Page(gr.Blocks):
    """Gradio's page without its own work on what programs send and get.

    The endpoints check what they take, and return files as programs get them. Gradio would keep all values of a
    session, and look for files in them. For 16 faces that takes 10 ms, in which it answers nobody else.
    """

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *_: Any, **__: Any) -> list[Any]:
        try:
            return [await fetched(value) for value in inputs]
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    async def postprocess_data(self, block_fn: Any, predictions: Any, *_: Any) -> list[Any]:
        # A function with one output returns no tuple.
        return [predictions] if len(block_fn.outputs) == 1 else [*predictions]


def build() -> Page:
    """The page as gradio's Blocks: the page's files at its address, and an endpoint for each of its tabs' functions."""
    # A Space with ZeroGPU starts only with a function for its GPU; the CPU is enough here.
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces

        spaces.GPU(lambda: None)
    with Page(title="Latent Faces", analytics_enabled=False) as page:
        gr.HTML(
            site.part_of_index("first screen"),
            js_on_load=START,
            head=site.part_of_index("head"),
            apply_default_css=False,
            elem_id="latent-faces",
        )
        for tab in site.tabs():
            for endpoint in tab.endpoints:
                endpoint.render()
    page.queue(max_size=server.MOST_WAITING)
    return page


def launch(page: Page, **options: Any) -> Any:
    """Gradio's `launch`, with the page at its address and the limits of a public one, unless `options` say otherwise."""
    bound = options.get("server_name") or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    if options.get("share") or os.environ.get("GRADIO_SHARE", "").lower() == "true":
        bound = "0.0.0.0"  # A tunnel leads to it, under a name that is made up at the start.
    limits = server.limits(bound)
    limits["app_kwargs"]["routes"].append(site.home())
    # Gradio's 40 threads would keep the server's own thread waiting, and with it every visitor.
    limits["max_threads"] = 2 * (os.cpu_count() or 1)
    # Gradio describes all components anew for each of so many sessions; nothing here needs that.
    limits["state_session_capacity"] = 50
    launched = page.launch(**{**limits, **options, "prevent_thread_lock": True})
    server.guard_connections(page.server)
    if not options.get("prevent_thread_lock"):
        page.block_thread()
    return launched


if __name__ == "__main__":
    try:
        page = build()
    except ValueError as error:  # Of a model in `weights`.
        sys.exit(f"error: {error}")
    gc.freeze()  # As page/networks.py does.
    sys.stderr = server.ShortLog(sys.stderr)
    launch(page)
