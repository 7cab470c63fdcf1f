"""The bundled models do what the reports say of them, and their folders are what the Hub would hold."""

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from models import load
from models.images import to_pil
from models.index import read_index
from tests.conftest import WEIGHTS

NAMES = [*read_index(WEIGHTS)]


@torch.inference_mode()
def spread(name: str, **distribution) -> float:
    """Per-pixel standard deviation across 1,000 generated faces, averaged over the pixels."""
    model = load(WEIGHTS / name)
    z = model.sample_latent(1000, seed=0, **distribution)
    return torch.cat([model.decode(part) for part in z.split(100)]).std(0).mean().item()


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_complete_and_small(name):
    files = {path.name: path.stat().st_size for path in (WEIGHTS / name).iterdir()}
    needed = {"config.json", "model.safetensors", "README.md", "loss.png", "samples.png"}
    assert needed <= set(files) <= needed | {"training.json", "epochs.webp", "attributes.json"}
    assert ("attributes.json" in files) == bool(load(WEIGHTS / name).attributes)
    assert max(files.values()) < 10 * 1024 * 1024


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_how_the_model_was_made(name):
    card = ModelCard.load(WEIGHTS / name / "README.md")
    for words in (
        "27,698 of CelebA-HQ's faces, in the centre crop of 140 pixels of aligned CelebA",
        "| epochs |",
        "| images seen |",
        "| seed |",
        "python -m train.",
        f'.from_pretrained("weights/{name}")',
    ):
        assert words in card.text
    assert ("| measured |" in card.text) == load(WEIGHTS / name).encodes


@pytest.mark.parametrize("name", NAMES)
def test_faces_differ_from_each_other(name):
    """At the prior of each; the standard deviation across real faces is some 0.5 on the same scale."""
    assert spread(name) > 0.15


def test_far_out_the_matched_autoencoders_faces_are_all_alike():
    assert spread("matched-autoencoder", mean=100) < spread("matched-autoencoder") / 10


@pytest.mark.parametrize("name", NAMES)
def test_generate_draws_the_decoders_faces_wherever_it_is_asked_to(name):
    """Within one grey level, at every mean that the page offers and at spreads from none to four of the prior's."""
    model = load(WEIGHTS / name)
    for mean in (-100, -30, -10, -1, None, 3, 20, 50, 100):
        for spread in (0, 1, 16):
            latents = {"count": 32, "seed": 0, "mean": mean, "variance": spread * model.prior_variance}
            with torch.inference_mode():
                exact = to_pil(model.decode(model.sample_latent(**latents)))
            difference = np.stack(exact).astype(int) - np.stack(model.generate(**latents))
            assert abs(difference).max() <= 1, (mean, spread)
