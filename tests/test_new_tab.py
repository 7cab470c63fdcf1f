"""CONTRIBUTING's recipe "Add a tab", followed on a copy of the page."""

import shutil

import httpx
import pytest

from tests.serving import REPOSITORY, serving

TAB = '''"""A colour."""

import gradio as gr

from ..controls import Number
from ..endpoints import Endpoint, Tab


def tab() -> Tab:
    red = Number("red", "Red", 0, least=0, most=255)
    return Tab("colour", "Colour", [red], [Endpoint(colour, [red], {"colour": gr.JSON})])


def colour(red: int) -> dict[str, str]:
    """Mix a colour.

    Args:
        red: from 0 to 255.

    Returns:
        The colour as a style sheet has it.
    """
    return {"colour": f"rgb({red}, 0, 0)"}
'''

CLASS = """import { h } from "../dom.js";
import { Tab } from "../tab.js";

export default class Colour extends Tab {
  constructor(page, about) {
    super(page, about);
    this.shown = h("output");
    this.element.append(this.field("red"), this.shown);
  }

  async draw() {
    this.shown.textContent = `rgb(${this.settings.red}, 0, 0)`;
  }
}
"""


@pytest.mark.slow
def test_a_new_tab_is_two_files_and_a_name_in_a_list(tmp_path, chromium):
    for name in ("page", "models"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copy(REPOSITORY / "app.py", tmp_path)
    (tmp_path / "weights").symlink_to(REPOSITORY / "weights")
    (tmp_path / "page/tabs/colour.py").write_text(TAB)
    tabs = tmp_path / "page/tabs/__init__.py"
    tabs.write_text(
        tabs.read_text().replace("training\n", "training, colour\n").replace("training)", "training, colour)")
    )
    (tmp_path / "page/front/tabs/colour.js").write_text(CLASS)
    with serving(folder=tmp_path) as server:
        mixed = httpx.post(f"{server.url}gradio_api/run/colour", json={"data": [7]})
        assert mixed.json()["data"] == [{"colour": "rgb(7, 0, 0)"}]
        refused = httpx.post(f"{server.url}gradio_api/run/colour", json={"data": [256]})
        assert "choose a whole number from 0 to 255" in refused.json()["error"]
        page = chromium.new_page()
        page.goto(f"{server.url}?tab=colour&red=9")
        page.get_by_text("rgb(9, 0, 0)").wait_for()
        assert [tab.inner_text() for tab in page.get_by_role("tab").all()][-1] == "Colour"
        page.close()
