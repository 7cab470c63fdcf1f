"""CONTRIBUTING's recipes "Add a model" and "Add a tab", followed on a copy of the tree."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw_face
from tests.in_browser import shown, visiting, wait_until_drawn
from tests.serving import REPOSITORY, serving

pytestmark = pytest.mark.slow

MODEL = '''"""A GAN of faces without bits."""

from .gan import Generator


class PlainGenerator(Generator):
    model_type = "plain_generator"

    def __init__(self, latent_size: int, prior_mean: float = 0.0, prior_variance: float = 1.0):
        super().__init__(latent_size, 0, 8, prior_mean, prior_variance)
'''

COMMAND = '''"""Train the GAN without bits: python -m train.plain_gan --help"""

from .gan import GANSettings
from .settings import command_line, run_command


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(GANSettings, "train.plain_gan", __doc__, arguments)
    from models import Discriminator
    from models.plain_gan import PlainGenerator

    from .generators import GANTrainer
    from .loop import train

    class PlainGANTrainer(GANTrainer):
        def build(self):
            return PlainGenerator(settings.latent_size), Discriminator(8)

    train("plain_gan", settings, PlainGANTrainer)


if __name__ == "__main__":
    run_command(main)
'''

CARD = """{% elif kind == "plain_gan" %}

{% set title %}GAN without bits{% endset %}
{% set summary %}A small generator.{% endset %}
{% set latent %}{{ model.latent_size }} numbers.{% endset %}
{% set optimiser %}Adam{% endset %}
{% set loss %}binary cross-entropy{% endset %}

{% endif -%}"""

TAB = '''"""A colour."""

import gradio as gr

from ..controls import Number
from ..endpoints import Endpoint, Tab


def tab() -> Tab:
    red = Number("red", "Red", 0, least=0, most=255)
    return Tab("colour", "Colour", [red], [Endpoint(colour, [red], {"colour": gr.JSON})])


def colour(red: int) -> dict[str, str]:
    """Mix a colour of red, from 0 to 255."""
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


def run(tree: Path, *command: str) -> None:
    subprocess.check_output([sys.executable, *command], cwd=tree, timeout=300)


def change(file: Path, before: str, after: str) -> None:
    file.write_text(file.read_text().replace(before, after))


def add_model(tree: Path, pictures: Path) -> None:
    (tree / "models/plain_gan.py").write_text(MODEL)
    change(tree / "models/kinds.py", "from .latents", "from .plain_gan import PlainGenerator\nfrom .latents")
    (tree / "train/plain_gan.py").write_text(COMMAND)
    change(tree / "train/card.md", "{% endif -%}", CARD)
    for number in range(8):
        draw_face(number).save(pictures / f"{number}.png")
    words = ["--dataset", str(pictures), "--epochs", "1", "--batch-size", "4", "--passes", "1", "--latent-size", "8"]
    run(tree, "-m", "train.plain_gan", *words, "--discrete-size", "0", "--output", "runs/plain-gan")
    shutil.copytree(tree / "runs/plain-gan/model", tree / "weights/plain-gan")
    titles = tree / "weights/index.json"
    titles.write_text(json.dumps({**json.loads(titles.read_text()), "plain-gan": "Plain GAN"}))
    run(tree, "-m", "page.front.kernel.export")


def add_tab(tree: Path) -> None:
    (tree / "page/tabs/colour.py").write_text(TAB)
    change(tree / "page/tabs/__init__.py", "training\n", "training, colour\n")
    change(tree / "page/tabs/__init__.py", "training)", "training, colour)")
    (tree / "page/front/tabs/colour.js").write_text(CLASS)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Of the page of a copy of the tree, with the model and the tab."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copy(REPOSITORY / "app.py", tree)
    for name in ("models", "train", "page", "weights"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    add_model(tree, tmp_path_factory.mktemp("pictures"))
    add_tab(tree)
    with serving(folder=tree) as page, httpx.Client(base_url=page.url, trust_env=False, timeout=60) as client:
        yield client


def test_a_new_kind_of_model_is_two_files_a_card_an_import_and_a_title(client, chromium):
    added = client.get("/page.json").json()["models"][-1]
    about = {"name": "Plain GAN", "kind": "plain_generator", "prior": "8 numbers from N(0, 1)"}
    assert about.items() <= added.items()
    assert "A small generator." in client.get(f"/{added['card']}").text
    drawn = client.post("/gradio_api/run/generate", json={"data": ["Plain GAN", 0, 16, 1, ""]}).json()["data"][0]
    faces = np.stack([np.asarray(Image.open(item["image"]["path"])) for item in drawn]).astype(int)
    with visiting(chromium, f"{client.base_url}?tab=generate&model=Plain GAN") as page:
        wait_until_drawn(page)
        assert np.abs(shown(page, "#tab-generate .crowd canvas") - faces).max() <= 2


def test_a_new_tab_is_two_files_and_a_name_in_a_list(client, chromium):
    mix = lambda red: client.post("/gradio_api/run/colour", json={"data": [red]}).json()
    assert mix(7)["data"] == [{"colour": "rgb(7, 0, 0)"}]
    assert "choose a whole number from 0 to 255" in mix(256)["error"]
    with visiting(chromium, f"{client.base_url}?tab=colour&red=9") as page:
        page.get_by_text("rgb(9, 0, 0)").wait_for()
        assert page.get_by_role("tab").all_inner_texts()[-1] == "Colour"
