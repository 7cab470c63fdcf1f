"""The bundled models do what the reports say of them, and their folders are what the Hub would hold."""

import pytest
from huggingface_hub import ModelCard

from models import load
from models.images import from_pil
from models.index import read_index
from tests.conftest import WEIGHTS

NAMES = [*read_index(WEIGHTS)]


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_complete_and_its_card_says_how_the_model_was_made(name):
    files = {path.name: path.stat().st_size for path in (WEIGHTS / name).iterdir()}
    needed = {"config.json", "model.safetensors", "README.md", "loss.png", "samples.png"}
    assert needed <= set(files) <= needed | {"training.json", "epochs.webp", "attributes.json"}
    assert max(files.values()) < 10 * 1024 * 1024
    model, card = load(WEIGHTS / name), ModelCard.load(WEIGHTS / name / "README.md").text
    assert ("attributes.json" in files) == bool(model.attributes)
    assert ("| measured |" in card) == model.encodes
    of_whom = "27,698 of CelebA-HQ's faces, in the centre crop of 140 pixels of aligned CelebA"
    told = ("| epochs |", "| images seen |", "| seed |", "python -m train.", f'.from_pretrained("weights/{name}")')
    for words in (of_whom, *told):
        assert words in card


@pytest.mark.parametrize("name", NAMES)
def test_faces_differ_from_each_other(name):
    """The standard deviation across real faces is some 0.5 on the same scale."""
    assert from_pil(load(WEIGHTS / name).generate(50, seed=0)).std(0).mean() > 0.15


def test_far_out_the_matched_autoencoders_faces_are_all_alike():
    model = load(WEIGHTS / "matched-autoencoder")
    near, far = (from_pil(model.generate(50, seed=0, mean=mean)).std(0).mean() for mean in (0, 100))
    assert far < near / 10
