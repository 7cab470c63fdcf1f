"""What a model's card says, against what was trained."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from jinja2 import DictLoader

from models import Autoencoder, Generator
from tests.conftest import write_parquet
from train import card, gan
from train.record import Record
from train.settings import TrainingError

SHARED = {"split": "train", "flip": True, "epochs": 3, "batch_size": 8, "seed": 0, "learning_rate": 0.0002}
GAN = {**SHARED, "average": 0.05}
AUTOENCODER = {**SHARED, "learning_rate": 0.005, "held_out": 16, "held_out_split": "valid", "match_weight": 0.1}
MEASURED = {"latent_mean": 0.12, "latent_variance": 2.34, "latent_skewness": 0.05, "latent_kurtosis": 3.2}


def write_card(folder: Path, model, settings: dict, dataset: str = "flwrlabs/celeba") -> str:
    record, kind = Record(folder), "autoencoder" if model.encodes else "gan"
    settings = {"dataset": dataset, **settings}
    described = {"precision": "float32", "machine": "2 x86_64 cores", "torch": "2.14", "commit": None}
    command = {"kind": kind, "command": f"python -m train.{kind}", "settings": settings, "dataset": dataset}
    record.describe({**command, **described})
    epoch = {"step": 18, "epoch": 3, "images_seen": 1144, "seconds": 240.0}
    record.append([epoch | ({"held_out_psnr": 21.456, **MEASURED} if model.encodes else {})])
    card.write_card(record, model, folder, "user/a-model")
    return (folder / "README.md").read_text()


def small_gan() -> Generator:
    return Generator(latent_size=10, discrete_size=4, hidden_size=4)


def small_autoencoder(**options) -> Autoencoder:
    return Autoencoder(latent_size=10, hidden_size=8, channels=(4, 4, 4), **options)


def test_a_gans_card(tmp_path):
    text = write_card(tmp_path, small_gan(), GAN)
    average = (
        "the weights are an average over the training (a power function of the step, relative standard deviation 0.05)"
    )
    for line in (
        "# Latent Faces: GAN with a half-discrete latent",
        "10 numbers: 6 from N(0, 1), then 4 fair bits.",
        "| data | the split train of flwrlabs/celeba |",
        "| epochs | 3 |",
        "| images seen | 1,144 |",
        "| batch size | 8 |",
        f"| optimiser | Adam, learning rate 0.0002, betas (0.5, 0.999); {average} |",
        "| loss | binary cross-entropy from logits; the generator's is the non-saturating one |",
        "| seed | 0 |",
        "| time | 4 minutes on 2 x86_64 cores, torch 2.14 |",
    ):
        assert line in text.splitlines(), line
    assert "mirrored at random" in text and 'from_pretrained("user/a-model")' in text
    text = write_card(tmp_path, small_gan(), {**GAN, "flip": False, "epochs": 5})
    assert "mirrored" not in text and "| epochs | 3 (of 5 begun) |" in text


def test_an_autoencoders_card(tmp_path):
    text = write_card(tmp_path, small_autoencoder(matching="mmd", prior_mean=-3.0), AUTOENCODER)
    for line in (
        "# Latent Faces: shifted autoencoder",
        "10 numbers, each matched to N(-3, 2).",
        "| optimiser | Muon for matrices, Adam for the rest, learning rate 0.005 falling to 0 along a cosine |",
        "| loss | mean squared pixel error + 0.1 x kernel MMD between a batch's latents and the prior |",
        "| prior | -3.00 | 2.00 | 0 | 3 |",
        "| measured | 0.12 | 2.34 | 0.05 | 3.20 |",
        "Reconstructions of the same faces: 21.46 dB PSNR, the mean over faces.",
    ):
        assert line in text.splitlines(), line
    (result,) = ModelCard(text).data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_type) == ("psnr", 21.456, "flwrlabs/celeba")
    assert result.dataset_name == "CelebA, first 16 faces of split valid"
    text = write_card(tmp_path, small_autoencoder(), {**AUTOENCODER, "optimizer": "adam"})
    assert "| optimiser | Adam, learning rate 0.005 falling" in text


@pytest.mark.parametrize("matching, name", [(None, "plain"), ("moments", "matched"), ("mmd", "matched")])
def test_an_autoencoder_is_called_what_it_is(matching, name, tmp_path):
    text = write_card(tmp_path, small_autoencoder(matching=matching), AUTOENCODER)
    assert f"# Latent Faces: {name} autoencoder" in text
    assert ("distance of the first four moments" in text) == (matching == "moments")
    assert ("| loss | mean squared pixel error |" in text) == (matching is None)


@pytest.mark.parametrize("dataset", ["flwrlabs/celeba", "path/to/celeba-close"])
def test_celebas_terms_are_on_models_of_celeba(dataset, tmp_path):
    text = write_card(tmp_path, small_gan(), GAN, dataset)
    data = ModelCard(text).data
    assert (data.license, data.license_name) == ("other", "celeba-non-commercial-research")
    assert "celeba" in data.tags and "CelebA is for non-commercial research" in text
    assert data.datasets == (["flwrlabs/celeba"] if dataset.startswith("flwrlabs") else None)


@pytest.mark.parametrize("dataset", ["path/to/photographs", "user/portraits"])
def test_a_model_of_ones_own_photographs_has_none_of_them(dataset, tmp_path):
    text = write_card(tmp_path, small_autoencoder(matching="mmd"), AUTOENCODER, dataset)
    data = ModelCard(text).data
    assert data.license is None and "celeba" not in text.lower() and "celebrities" not in text
    assert "consent of the people" in text
    (result,) = data.eval_results
    name = "a local folder" if dataset.startswith("path") else dataset
    assert result.dataset_name == f"{name}, first 16 faces of split valid"
    chosen = ModelCard(write_card(tmp_path, small_gan(), {**GAN, "license": "cc-by-4.0"}, dataset)).data
    assert (chosen.license, chosen.license_name, chosen.license_link) == ("cc-by-4.0", None, None)


def test_a_note_stays_within_its_row(tmp_path):
    text = write_card(tmp_path, small_gan(), {**GAN, "data_note": "my | own\n\n# photographs"})
    assert "| data | my / own # photographs |" in text.splitlines()


@pytest.mark.parametrize(
    "there, instead, missing",
    [('kind == "gan"', 'kind == "bird"', "'title' is undefined"), ("set loss", "set loose", "'loss' is undefined")],
)
def test_a_kind_without_a_card_is_refused_before_it_is_trained(there, instead, missing, tmp_path, monkeypatch):
    template = card._TEMPLATES.loader.get_source(card._TEMPLATES, "card.md")[0].replace(there, instead, 1)
    monkeypatch.setattr(card, "_TEMPLATES", card._TEMPLATES.overlay(loader=DictLoader({"card.md": template})))
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", range(4))
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=f"train/card.md makes no card of a gan: {missing}"):
        gan.main(["--dataset", str(tmp_path), "--cache-dir", str(tmp_path / "cache"), "--output", str(run)])
    assert not (run / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "name, command",
    [
        ("attribute gan", "python -m train.attribute_gan --dataset path/to/celeba0 --batch-size 8"),
        ("shifted", "python -m train.autoencoder --dataset path/to/celeba0 --batch-size 8"),
    ],
)
def test_a_card_names_no_folder_of_the_machine(name, command, straight, celeba):
    """And gives the command that trains the model anew."""
    model = straight(name) / "model"
    for path in model.iterdir():
        assert str(celeba.parent).encode() not in path.read_bytes(), path.name
    (told,) = [line for line in (model / "README.md").read_text().splitlines() if line.startswith("python -m")]
    assert told.startswith(command)
    its = {"attribute gan": "--channels 4 4 4 4 4", "shifted": "--prior-mean -3 --prior-variance 2"}[name]
    assert its in told and "--epochs 2" in told
    assert not any(word in told for word in ("--output", "--cache-dir", "--seed"))
