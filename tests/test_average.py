"""The average of trained models: its numbers, what it keeps, and what has no average."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from models import AttributeGenerator, Autoencoder, Generator, load
from train import average
from train.errors import TrainingError

WEIGHTS = Path(__file__).parent.parent / "weights"


def generator(seed: int, **changes) -> AttributeGenerator:
    torch.manual_seed(seed)
    model = AttributeGenerator(
        **{"latent_size": 10, "discrete_size": 5, "attributes": ("Hat",), "channels": (4,) * 5, **changes}
    )
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model


def error(*arguments) -> str:
    with pytest.raises(TrainingError) as caught:
        average.main(list(map(str, arguments)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_number_is_the_average_but_what_was_fitted_to_labels(tmp_path):
    """Also of batch normalisation's, and where one of them has stronger bits; a card and a history tell of it."""
    one, two = generator(0), generator(1).strengthened({"Hat": (-1, 3)})
    for name, model in (("one", one), ("two", two)):
        model.save_pretrained(tmp_path / name)
    for name in ("README.md", "training.json"):
        shutil.copyfile(WEIGHTS / "attribute-gan" / name, tmp_path / "one" / name)
    folders = ["--models", tmp_path / "one", tmp_path / "two", "--shares", "3", "1", "--output", tmp_path / "mean"]
    average.main(list(map(str, folders)))
    mean = load(tmp_path / "mean").state_dict()
    one, two = one.strengthened({}).state_dict(), two.state_dict()
    assert mean.keys() == two.keys()
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            expected = one[name] if name.startswith("attribute_") else (3 * one[name] + two[name]) / 4
            assert torch.allclose(tensor, expected, rtol=1e-3), name
    assert mean["layers.0.weight"].diagonal().tolist()[5] == pytest.approx(1.25)  # Of 1 and 2.
    card = (tmp_path / "mean/README.md").read_text()
    assert "averages of 2 models' weights, in shares of 3, 1" in card
    assert "--models path/to/one path/to/two --shares 3 1\n" in card
    assert "averaged with others afterwards" in json.loads((tmp_path / "mean/training.json").read_text())["note"]
    assert len(list((tmp_path / "one").iterdir())) == 4 and (tmp_path / "mean/samples.png").is_file()


def test_shares_are_equal_by_default(tmp_path):
    for seed in (0, 1):
        generator(seed).save_pretrained(tmp_path / str(seed))
    average.main(["--models", str(tmp_path / "0"), str(tmp_path / "1"), "--output", str(tmp_path / "mean")])
    bias = [load(tmp_path / name).get_parameter("layers.4.0.weight") for name in ("0", "1", "mean")]
    assert torch.allclose(bias[2], (bias[0] + bias[1]) / 2, rtol=1e-3)


def test_what_has_no_average_is_told(tmp_path):
    first, output = tmp_path / "first", ["--output", tmp_path / "mean"]
    generator(0).save_pretrained(first)
    others = {
        "wider": generator(0, channels=(8,) * 5),
        "other names": generator(0, attributes=("Glasses",)),
        "other bits": generator(0, discrete_size=4),
        "another class": Generator(10, 5, 4),
        "an autoencoder": Autoencoder(10, 8),
    }
    for name, model in others.items():
        model.save_pretrained(tmp_path / name)
        told = error("--models", first, tmp_path / name, *output)
        assert told.startswith("--models cannot be averaged: "), told
        assert ("autoencoders have latents of their own" in told) == (name == "an autoencoder")
    assert error("--models", first, *output) == "--models names 1: give two or more"
    assert error("--models", first, first, "--shares", "1", *output).startswith("--shares has 1 numbers")
    assert error("--models", first, first, "--shares", "1", "0", *output).startswith("--shares is 0")
    assert error("--models", first, tmp_path / "nowhere", *output).startswith(f"{tmp_path / 'nowhere'} is neither")
    assert not any((tmp_path / "mean").iterdir())
