"""Refinement: that draws follow the discriminator, and what of a model it changes."""

import copy
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models import PerceptualAutoencoder, load
from models.images import normalise
from tests.conftest import write_parquet
from train import refine
from train.data import open_split
from train.errors import TrainingError
from train.refine import Refiner, RefineSettings

WEIGHTS = Path(__file__).parent.parent / "weights"


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


def arguments(data, model, tmp_path, *more: str) -> list[str]:
    words = ["--dataset", data, "--cache-dir", tmp_path / "cache", "--model", model, "--output", tmp_path / "refined"]
    return [*map(str, words), "--device", "cpu", "--precision", "fp32", "--batch-size", "8", *more]


def real_faces(data, tmp_path) -> torch.Tensor:
    settings = RefineSettings(model=data, dataset=str(data), cache_dir=tmp_path / "cache")
    with open_split(settings, "train") as faces:
        return normalise(faces[: faces.wait_for(None)])


@contextmanager
def refiner(data, model, tmp_path, **changes):
    settings = RefineSettings(
        model=model, dataset=str(data), cache_dir=tmp_path, batch_size=8, hidden_size=8, device="cpu", **changes
    )
    with open_split(settings, "train") as faces:
        faces.wait_for(None)
        yield Refiner(settings, load(model), faces)


def test_draws_become_what_the_discriminator_learned_to_call_real(data, model, tmp_path, monkeypatch):
    real = real_faces(data, tmp_path)
    rates = {"learning_rate": 0.003, "adversarial_learning_rate": 0.001}
    with refiner(data, model, tmp_path, head_start=30, steps=1000, pixel_weight=0, warped=0, **rates) as it:

        @torch.no_grad()
        def called_real(images: torch.Tensor) -> float:
            return it.discriminator(images)[0].mean().item()

        def drawn() -> torch.Tensor:
            return it.model.decode(it.model.sample_latent(50, seed=5)).detach()

        for step in range(1, 31):
            it.step(step)
        before, most = called_real(drawn()), called_real(real)
        assert most > before + 1
        monkeypatch.setattr(it.discriminator_optimizer, "step", lambda: None)  # It stands still from now on.
        for step in range(31, 71):
            it.step(step)
        assert called_real(drawn()) > (before + most) / 2


def test_only_what_draws_and_encodes_is_changed(data, model, tmp_path, capsys):
    refine.main(arguments(data, model, tmp_path, "--steps", "3", "--head-start", "1"))
    refined = tmp_path / "refined"
    before, after = (load_file(folder / "model.safetensors") for folder in (model, refined))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert changed <= {name for name, _ in load(model).named_parameters()}  # No prior, and no direction, is one.
    assert {name.partition(".")[0] for name in changed} == {"encoder", "decoder"}
    assert (refined / "config.json").read_text() == (model / "config.json").read_text()
    card = (refined / "README.md").read_text()
    assert "python -m train.refine --" in card
    assert card.count("## Refinement") == 1 + (model / "README.md").read_text().count("## Refinement")
    assert not any(stale in card for stale in ("## Scores", "model-index", "dB PSNR"))  # Of the model that it was.
    training, as_before = (json.loads((folder / "training.json").read_text()) for folder in (refined, model))
    note = training.pop("note").removeprefix(as_before.pop("note", ""))
    assert note.strip().startswith("Refined afterwards by 3 steps (python -m train.refine --") and training == as_before
    assert f"The refined model is in {refined}." in capsys.readouterr().out


def test_reconstructions_are_held(data, model, tmp_path):
    """With all weight on pixels the held faces are nearer than with none, with which nothing is told to the encoder."""
    errors, encoders = [], []
    for weight in ("0", "1000"):
        folder = tmp_path / weight
        more = f"--steps 30 --head-start 0 --learning-rate 0.003 --pixel-weight {weight} --average 0".split()
        refine.main(arguments(data, model, folder, *more))
        real = real_faces(data, folder)
        refined = load(folder / "refined")
        errors.append((refined(real) - real).square().mean().item())
        encoders.append(refined.encode(real))
    assert errors[1] < 0.8 * errors[0]
    before, (free, held) = load(model).encode(real), encoders
    assert torch.allclose(free, before, atol=1e-3) and not torch.allclose(held, before, atol=1e-2)


def test_a_discriminator_learns_alone_at_first(data, model, tmp_path):
    with refiner(data, model, tmp_path, head_start=3) as it:

        def changed(step: int) -> list[bool]:
            networks = [it.discriminator, it.model, it.averaged.module]
            before = [copy.deepcopy(network).state_dict() for network in networks]
            it.step(step)
            return [
                any(not torch.equal(value, old[name]) for name, value in network.state_dict().items())
                for network, old in zip(networks, before)
            ]

        assert [changed(step) for step in range(1, 4)] == [[True, False, False]] * 3
        assert changed(4) == [True, True, True]


def test_draws_get_another_variance(data, model, tmp_path):
    refine.main(arguments(data, model, tmp_path, "--steps", "1", "--head-start", "0", "--prior-variance", "4"))
    before, after = (load(folder).sample_latent(9, seed=0) for folder in (model, tmp_path / "refined"))
    torch.testing.assert_close(after, 2 * before)
    assert "draws and directions are stretched to a variance of 4." in (tmp_path / "refined/README.md").read_text()


def test_encoding_gets_steps_that_fit_the_refined_decoder(data, model, tmp_path):
    steps = ["--steps", "5", "--head-start", "0", "--learning-rate", "0.01", "--average", "0", "--encoding-steps", "2"]
    refine.main(arguments(data, model, tmp_path, *steps))
    refined = load(tmp_path / "refined")
    assert refined.encoding_steps == 2
    own, before = (it.with_encoding_steps(0).with_encoding_steps(2).preconditioner for it in (refined, load(model)))
    near = 0.01 * own.abs().max().item()  # The decoder is stored in float16.
    torch.testing.assert_close(refined.preconditioner, own, rtol=0.01, atol=near)
    assert (refined.preconditioner - before).abs().max() > 10 * near
    assert "Encoding takes 2 Gauss-Newton steps since." in (tmp_path / "refined/README.md").read_text()


def test_encoding_steps_of_a_gan_are_refused(data, tmp_path):
    with pytest.raises(TrainingError, match="--encoding-steps are a perceptual autoencoder's: .*gan holds none"):
        refine.main(arguments(data, WEIGHTS / "gan", tmp_path, "--encoding-steps", "2"))


def test_a_gan_is_refined_too(data, tmp_path):
    refine.main(arguments(data, WEIGHTS / "gan", tmp_path, "--steps", "2", "--head-start", "1"))
    assert np.asarray(load(tmp_path / "refined").generate(1, seed=0)[0]).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["--steps", "0"], "--steps is 0: it must be between 1 and 1,000,000"),
        (["--learning-rate", "0"], "--learning-rate is 0.0: it must be more than 0"),
        (["--adversarial-learning-rate", "0"], "--adversarial-learning-rate is 0.0: it must be more than 0"),
        (["--head-start", "-1"], "--head-start is -1"),
        (["--pixel-weight", "-1"], "--pixel-weight is -1.0"),
        (["--encoding-steps", "51"], "--encoding-steps is 51: it must be between 0 and 50"),
        (["--prior-variance", "0"], "--prior-variance is 0.0"),
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
    refine.main(
        arguments(data, model, tmp_path, "--steps", "1", "--head-start", "0", "--output", str(model / "refined"))
    )
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
    monkeypatch.setattr(refine, "pixel_loss", lambda made, held: made.sum() * torch.nan)
    with pytest.raises(TrainingError, match="no number at step 3: lower --learning-rate"):
        refine.main(arguments(data, model, tmp_path, "--steps", "2", "--head-start", "1"))
    assert not [*tmp_path.glob("refined/*")]
