"""The page: models of faces, what their latents do, and how far a prior can be left. Run with `python app.py`."""

import importlib.util
import mimetypes
import os
import sys
from pathlib import Path
from typing import Any

from models.hub import ask_this_machine_directly

# Before gradio is imported: the page asks nothing of any other machine.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# After every answer gradio makes a table of all answers so far, for a monitoring page that is off here.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
# At its start the page asks itself whether it is there: never by way of a proxy.
ask_this_machine_directly()
for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
    if os.environ[name].startswith("socks") and not importlib.util.find_spec("socksio"):
        print(f"{name} is left out: a SOCKS proxy needs pip install socksio.")
        del os.environ[name]

from page import server

server.give_back_freed_memory()
if __name__ == "__main__":
    # Gradio would import matplotlib during the first answer to a program, which takes a third of a second.
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]  # The mark of a module that is missing.
    server.own_temporary_folder()

import gradio as gr
from gradio.data_classes import FileData
from gradio_client.utils import encode_file_path

from page import site

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

UNREADABLE = "These arguments cannot be read: send what /gradio_api/info describes, and files by way of an upload."


class Page(gr.Blocks):
    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *others: Any, **options: Any) -> list[Any]:
        """As gradio's, but what is wrong with a program's arguments is told in a sentence, and is not logged.

        Arguments that a program leaves out at the end have their defaults, as with gradio's own clients. Before it
        calls a function, gradio counts the arguments and looks for files in them, and has no other place for either.
        """
        inputs = [*inputs, *(block.value for block in block_fn.inputs[len(inputs) :])]
        try:
            return await super().preprocess_data(block_fn, inputs, *others, **options)
        except Exception:  # Its words name the server's folders, and whatever was sent.
            raise gr.Error(UNREADABLE, print_exception=False) from None

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """What the endpoints returned, as gradio would answer it.

        Gradio would look for every face on the disk, twice, while it answers nobody else: for 16 faces 10 ms.
        """
        if len(block_fn.outputs) == 1:  # Then there is no tuple around it.
            predictions = [predictions]
        answer = list[Any]()
        for block, value in zip(block_fn.outputs, predictions, strict=True):
            match block:
                case gr.Gallery():
                    faces = [face if isinstance(face, tuple) else (face, None) for face in value]
                    answer.append([{"image": _file(path), "caption": caption} for path, caption in faces])
                case gr.Image():
                    answer.append(_file(value))
                case _:
                    answer.append(value)
        return answer


def _file(path: str) -> dict[str, Any]:
    """A file that programs fetch, as gradio's clients know it."""
    url, kind = f"/gradio_api/file={encode_file_path(path)}", mimetypes.guess_type(path)[0]
    return FileData(path=path, url=url, orig_name=Path(path).name, mime_type=kind).model_dump()


def build() -> Page:
    """The page as gradio's Blocks: the page's files at its address, and an endpoint for each of its tabs' functions."""
    # A Space with ZeroGPU starts only with a function for its GPU; the CPU is enough here.
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces

        spaces.GPU(lambda: None)
    # Pictures that programs ask for are files; an hour is enough to fetch one.
    with Page(title="Latent Faces", analytics_enabled=False, delete_cache=(600, server.TEMPORARY_SECONDS)) as page:
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
        bound = "0.0.0.0"  # By way of a tunnel, under a name that is made up at the start.
    limits = server.limits(bound)
    limits["app_kwargs"]["routes"].append(site.home())
    # With more threads than these, gradio's are 40, the server's own has to wait for its turn, and so does everybody.
    limits["max_threads"] = 2 * (os.cpu_count() or 1)
    # Gradio keeps the components' values of so many sessions; nothing here needs them.
    limits["state_session_capacity"] = 50
    launched = page.launch(**{**limits, **options, "prevent_thread_lock": True})
    server.guard_connections(page.server)
    if not options.get("prevent_thread_lock"):
        page.block_thread()
    return launched


if __name__ == "__main__":
    page = build()
    sys.stderr = server.ShortLog(sys.stderr)
    launch(page)
