"""CONTRIBUTING's recipe "Add a model", followed on a copy of the tree: a generator that keeps its faces in shades of grey."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.serving import REPOSITORY

MODEL = '''"""A GAN of faces in grey."""

from torch import nn

from .gan import Generator


class GreyGenerator(Generator):
    """A `Generator` whose red, green and blue are the same."""

    model_type = "grey_generator"

    def __init__(self, latent_size: int, discrete_size: int, prior_mean: float = 0.0, prior_variance: float = 1.0):
        super().__init__(latent_size, discrete_size, 4, prior_mean, prior_variance)
        last = self.layers[3]
        nn.init.constant_(last.bias, 0.0)
        last.weight.data[:, 1:] = last.weight.data[:, :1]
        last.weight.register_hook(lambda gradient: gradient.mean(1, keepdim=True).expand_as(gradient))
        last.bias.register_hook(lambda gradient: gradient.mean().expand_as(gradient))
'''

COMMAND = '''"""Train the GAN of faces in grey: python -m train.grey_gan --help"""

from dataclasses import dataclass
from pathlib import Path

from .gan import GANSettings
from .settings import command_line, run_command


@dataclass(frozen=True)
class GreyGANSettings(GANSettings):
    output: Path = Path("runs/grey-gan")
    latent_size: int = 8
    discrete_size: int = 4


def main(arguments: list[str] | None = None) -> None:
    settings = command_line(GreyGANSettings, "train.grey_gan", __doc__, arguments)
    from models import Discriminator
    from models.grey_gan import GreyGenerator

    from .generators import GANTrainer
    from .loop import train

    class GreyGANTrainer(GANTrainer):
        def build(self):
            return GreyGenerator(settings.latent_size, settings.discrete_size), Discriminator(4)

    train("grey_gan", settings, GreyGANTrainer)


if __name__ == "__main__":
    run_command(main)
'''

CARD = """{% elif kind == "grey_gan" %}

{% set title %}GAN of faces in grey{% endset %}
{% set summary %}A small generator without colours.{% endset %}
{% set latent %}{{ model.latent_size }} numbers.{% endset %}
{% set optimiser %}Adam{% endset %}
{% set loss %}binary cross-entropy{% endset %}

{% endif -%}"""

# What the page and other code make of the model.
USE = """
import json
from models import load
from page import catalog, site

model = load("grey-gan")
print(json.dumps({
    "kind": type(model).__name__,
    "modes": [face.convert("L").convert("RGB").tobytes() == face.tobytes() for face in model.generate(2, seed=0)],
    "title": catalog.load("Grey GAN").prior,
    "page": [about["name"] for about in json.loads(site.page())["models"]],
    "layers": len(json.load(open("page/front/kernel/decoders.json"))["grey_generator"]),
}))
"""


def run(folder, *command):
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_new_kind_of_model_is_two_files_a_card_an_import_and_a_title(tmp_path):
    tree = tmp_path / "tree"
    for name in ("models", "train", "page"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "weights", tree / "weights")
    (tree / "models/grey_gan.py").write_text(MODEL)
    (tree / "train/grey_gan.py").write_text(COMMAND)
    kinds = tree / "models/kinds.py"
    kinds.write_text(kinds.read_text().replace("from .latents", "from .grey_gan import GreyGenerator\nfrom .latents"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3), np.uint8)):
        Image.fromarray(pixels).resize((64, 64)).save(pictures / f"{number}.png")
    card = tree / "train/card.md"
    card.write_text(card.read_text().replace("{% endif -%}", CARD))
    words = ["--dataset", str(pictures), "--epochs", "1", "--batch-size", "4", "--passes", "1"]
    run(tree, "-m", "train.grey_gan", *words)
    shutil.copytree(tree / "runs/grey-gan/model", tree / "weights/grey-gan")
    titles = tree / "weights/index.json"
    titles.write_text(json.dumps({**json.loads(titles.read_text()), "grey-gan": "Grey GAN"}))
    run(tree, "-m", "page.front.kernel.export")

    assert "A small generator without colours." in (tree / "weights/grey-gan/README.md").read_text()
    assert json.loads(run(tree, "-c", USE)) == {
        "kind": "GreyGenerator",
        "modes": [True, True],
        "title": "4 numbers from N(0, 1), 4 bits",
        "page": [*json.loads((REPOSITORY / "weights/index.json").read_text()).values(), "Grey GAN"],
        "layers": 4,
    }
