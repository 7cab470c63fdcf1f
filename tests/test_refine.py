"""Refinement: that faces go where the Frechet distance falls, and what of a model it changes."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from models import PerceptualAutoencoder, load
from models.images import normalise
from tests.conftest import write_parquet
from train import refine
from train.data import open_split
from train.errors import TrainingError
from train.perceptual import PerceptualDistance
from train.refine import RefineSettings, Transport

WEIGHTS = refine.Path(__file__).parent.parent / "weights"


def frechet(x: torch.Tensor, y: torch.Tensor) -> float:
    """By another's code."""
    statistics = [fid_features_to_statistics(features.float()) for features in (x, y)]
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    (folder / "data").mkdir()
    write_parquet(folder / "data/train-00000-of-00001.parquet", range(40))
    return folder


@pytest.fixture
def model(tmp_path):
    """A small one that draws grey, with a card and a history."""
    torch.manual_seed(0)
    folder = tmp_path / "model"
    PerceptualAutoencoder(10, (4,) * 4, (8,) * 5, 2, ("Smiling",)).save_pretrained(folder)
    for name in ("README.md", "training.json"):
        shutil.copyfile(WEIGHTS / "perceptual-autoencoder" / name, folder / name)
    return folder


@pytest.fixture(autouse=True)
def few_first_faces(monkeypatch):
    monkeypatch.setattr(refine, "FIRST_FACES", 50)


def arguments(data, model, tmp_path, *more: str) -> list[str]:
    words = ["--dataset", data, "--cache-dir", tmp_path / "cache", "--model", model, "--output", tmp_path / "refined"]
    return [*map(str, words), "--device", "cpu", "--precision", "fp32", "--batch-size", "8", *more]


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_features_go_where_the_frechet_distance_falls_fastest(scale):
    """The gradient of the distance, over features of any size, by another's code and differences."""
    random = torch.Generator().manual_seed(0)
    spread = torch.randn(6, 6, generator=random)
    real = scale * (torch.randn(2000, 6, generator=random) @ spread + 1)
    drawn = scale * torch.randn(300, 6, generator=random)
    transport = Transport(real)
    transport.begin(drawn)
    features = drawn.clone().requires_grad_(True)
    transport.loss(features).backward()
    variance = real.double().T.cov().trace().item()
    assert transport.distance == pytest.approx(frechet(drawn, real) / variance, rel=0.02)
    for face in range(3):
        for number in range(6):
            step = torch.zeros_like(drawn)
            step[face, number] = 0.3 * scale
            slope = (frechet(drawn + step, real) - frechet(drawn - step, real)) / (0.6 * scale) / variance
            assert features.grad[face, number].item() == pytest.approx(slope, rel=0.05, abs=2e-4 / scale)


def test_refined_faces_are_nearer_and_the_rest_of_the_model_stays(data, tmp_path, capsys):
    model = WEIGHTS / "perceptual-autoencoder"
    refine.main(arguments(data, model, tmp_path, "--steps", "40", "--pixel-weight", "0"))
    refined = tmp_path / "refined"
    settings = RefineSettings(model=model, dataset=str(data), cache_dir=tmp_path / "cache")
    with open_split(settings, "train") as faces:
        real = normalise(faces[: faces.wait_for(None)])

    alexnet = PerceptualDistance().network

    @torch.no_grad()
    def away(location) -> float:
        """By the features of AlexNet's last layer, which these steps come to first."""
        network = load(location)
        layers = [alexnet.net(x)[-1].mean((2, 3)) for x in (network.decode(network.sample_latent(100, seed=5)), real)]
        return frechet(*layers)

    assert away(refined) < 0.5 * away(model)
    before, after = (load_file(folder / "model.safetensors") for folder in (model, refined))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    weights = {name for name, _ in load(model).named_parameters() if name.startswith("decoder.")}
    assert changed and changed <= weights
    assert (refined / "config.json").read_text() == (model / "config.json").read_text()
    card = (refined / "README.md").read_text()
    assert "python -m train.refine --" in card
    assert card.count("## Refinement") == 1 + (model / "README.md").read_text().count("## Refinement")
    assert not any(stale in card for stale in ("## Scores", "model-index", "dB PSNR"))  # Of the model that it was.
    training, as_before = (json.loads((folder / "training.json").read_text()) for folder in (refined, model))
    note = training.pop("note").removeprefix(as_before.pop("note", ""))
    assert (
        note.strip().startswith("Refined afterwards by 40 steps (python -m train.refine --") and training == as_before
    )
    assert f"The refined model is in {refined}." in capsys.readouterr().out


def test_reconstructions_are_held(data, model, tmp_path):
    """With all weight on pixels the held faces are nearer than with none."""
    errors = []
    for weight in ("0", "1000"):
        folder = tmp_path / weight
        more = ["--steps", "30", "--learning-rate", "0.003", "--pixel-weight", weight, "--average", "0"]
        refine.main(arguments(data, model, folder, *more))
        settings = RefineSettings(model=model, dataset=str(data), cache_dir=folder / "cache")
        with open_split(settings, "train") as faces:
            real = normalise(faces[: faces.wait_for(None)])
        errors.append((load(folder / "refined")(real) - real).square().mean().item())
    assert errors[1] < 0.8 * errors[0]


def test_a_gan_is_refined_too(data, tmp_path):
    refine.main(arguments(data, WEIGHTS / "gan", tmp_path, "--steps", "2"))
    assert np.asarray(load(tmp_path / "refined").generate(1, seed=0)[0]).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["--steps", "0"], "--steps is 0: it must be between 1 and 1,000,000"),
        (["--learning-rate", "0"], "--learning-rate is 0.0: it must be more than 0"),
        (["--pixel-weight", "-1"], "--pixel-weight is -1.0"),
        (["--average", "1"], "--average is 1.0"),
        (["--batch-size", "1"], "--batch-size is 1"),
        (["--batch-size", "41"], "--batch-size is 41: "),
        (["--model", "nowhere"], "nowhere"),
        (["--output", "."], "--output . holds something already: name another folder"),
        (["--output", "README.md"], "--output README.md: "),
        (["--output", "README.md/refined"], "--output README.md/refined: "),
    ],
)
def test_what_cannot_be_done_is_said(wrong, said, data, model, tmp_path):
    with pytest.raises(TrainingError) as error:
        refine.main(arguments(data, model, tmp_path, *wrong))
    assert said in str(error.value) and not [*tmp_path.glob("refined/*")]


def test_the_output_may_lie_in_the_models_folder(data, model, tmp_path):
    refine.main(arguments(data, model, tmp_path, "--steps", "1", "--output", str(model / "refined")))
    assert {file.name for file in (model / "refined").iterdir()} == {
        *("config.json", "model.safetensors", "samples.png", "README.md", "training.json")
    }


@pytest.mark.parametrize("name", ["README.md", "training.json"])
def test_a_damaged_card_or_history_is_told_before_any_step(name, data, model, tmp_path, monkeypatch):
    monkeypatch.setattr(refine, "refine", None)
    (model / name).write_bytes(b"---\n: [\n---\n\xff")
    with pytest.raises(TrainingError, match="its card or history is damaged"):
        refine.main(arguments(data, model, tmp_path))


def test_a_loss_that_is_no_number_ends_it(data, model, tmp_path, monkeypatch):
    monkeypatch.setattr(Transport, "loss", lambda self, features: features.sum() * torch.nan)
    with pytest.raises(TrainingError, match="no number at step 3: lower --learning-rate"):
        refine.main(arguments(data, model, tmp_path, "--steps", "3"))
    assert not [*tmp_path.glob("refined/*")]
