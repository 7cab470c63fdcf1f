"""CONTRIBUTING's recipe "Add a model", followed on a copy of the tree: a generator without bits."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import draw_face
from tests.serving import REPOSITORY

MODEL = '''"""A GAN of faces without bits."""

from .gan import Generator


class PlainGenerator(Generator):
    """A `Generator` with normal numbers alone."""

    model_type = "plain_generator"

    def __init__(self, latent_size: int, prior_mean: float = 0.0, prior_variance: float = 1.0):
        super().__init__(latent_size, 0, 4, prior_mean, prior_variance)
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
            return PlainGenerator(settings.latent_size), Discriminator(4)

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

# What the page and other code make of the model.
USE = """
import json
from models import load
from page import catalog, site

model = load("plain-gan")
print(json.dumps({
    "kind": type(model).__name__,
    "sizes": [face.size for face in model.generate(2, seed=0)],
    "title": catalog.load("Plain GAN").prior,
    "page": [about["name"] for about in json.loads(site.page())["models"]],
    "layers": len(json.load(open("page/front/kernel/decoders.json"))["plain_generator"]),
}))
"""


def run(folder, *command):
    return subprocess.check_output([sys.executable, *command], cwd=folder, text=True, timeout=300)


@pytest.mark.slow
def test_a_new_kind_of_model_is_two_files_a_card_an_import_and_a_title(tmp_path):
    tree = tmp_path / "tree"
    for name in ("models", "train", "page"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "weights", tree / "weights")
    (tree / "models/plain_gan.py").write_text(MODEL)
    (tree / "train/plain_gan.py").write_text(COMMAND)
    kinds = tree / "models/kinds.py"
    kinds.write_text(kinds.read_text().replace("from .latents", "from .plain_gan import PlainGenerator\nfrom .latents"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(8):
        draw_face(number).save(pictures / f"{number}.png")
    card = tree / "train/card.md"
    card.write_text(card.read_text().replace("{% endif -%}", CARD))
    words = ["--dataset", str(pictures), "--epochs", "1", "--batch-size", "4", "--passes", "1", "--latent-size", "8"]
    run(tree, "-m", "train.plain_gan", *words, "--discrete-size", "0", "--output", "runs/plain-gan")
    shutil.copytree(tree / "runs/plain-gan/model", tree / "weights/plain-gan")
    titles = tree / "weights/index.json"
    titles.write_text(json.dumps({**json.loads(titles.read_text()), "plain-gan": "Plain GAN"}))
    run(tree, "-m", "page.front.kernel.export")

    assert "A small generator." in (tree / "weights/plain-gan/README.md").read_text()
    assert json.loads(run(tree, "-c", USE)) == {
        "kind": "PlainGenerator",
        "sizes": [[64, 64], [64, 64]],
        "title": "8 numbers from N(0, 1)",
        "page": [*json.loads((REPOSITORY / "weights/index.json").read_text()).values(), "Plain GAN"],
        "layers": 4,
    }
