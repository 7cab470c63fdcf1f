"""What a model's card says, against what was trained."""

import ast
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from jinja2 import DictLoader

from models import AttributeGenerator, Autoencoder
from tests.conftest import TINY
from tests.test_train import SMALL_GAN
from train import card, gan
from train.record import Record
from train.settings import TrainingError

SHARED = {"split": "train", "flip": True, "epochs": 3, "batch_size": 8, "seed": 0, "learning_rate": 0.0002}
GAN = {**SHARED, "average": 0.05}
AUTOENCODER = {**SHARED, "learning_rate": 0.005, "held_out": 16, "held_out_split": "valid", "match_weight": 0.1}
MEASURED = {"latent_mean": 0.12, "latent_variance": 2.34, "latent_skewness": 0.05, "latent_kurtosis": 3.2}


def write_card(folder: Path, model, settings: dict, dataset: str = "flwrlabs/celeba") -> str:
    record, kind = Record(folder), "autoencoder" if model.encodes else "attribute_gan" if model.attributes else "gan"
    settings = {"dataset": dataset, **settings}
    described = {"precision": "float32", "machine": "2 x86_64 cores", "torch": "2.14", "commit": None}
    command = {"kind": kind, "command": f"python -m train.{kind}", "settings": settings, "dataset": dataset}
    record.describe({**command, **described})
    epoch = {"step": 18, "epoch": 3, "images_seen": 1144, "seconds": 240.0}
    record.append([epoch | ({"held_out_psnr": 21.456, **MEASURED} if model.encodes else {})])
    card.write_card(record, model, folder, "user/a-model")
    return (folder / "README.md").read_text()


def small_autoencoder(**options) -> Autoencoder:
    return Autoencoder(latent_size=10, hidden_size=8, channels=(4, 4, 4), **options)


def test_a_gans_card(tmp_path):
    text = write_card(tmp_path, TINY["generator"](), GAN)
    for line in (
        "# Latent Faces: GAN with a half-discrete latent",
        "10 numbers: 6 from N(1, 1), then 4 fair bits.",
        "| data | the split train of flwrlabs/celeba |",
        "| epochs | 3 |",
        "| images seen | 1,144 |",
        "| batch size | 8 |",
        "| seed | 0 |",
        "| time | 4 minutes on 2 x86_64 cores, torch 2.14 |",
    ):
        assert line in text.splitlines(), line
    assert "learning rate 0.0002, betas (0.5, 0.999)" in text and "relative standard deviation 0.05" in text
    assert "mirrored at random" in text and 'from_pretrained("user/a-model")' in text
    text = write_card(tmp_path, TINY["generator"](), {**GAN, "flip": False, "epochs": 5})
    assert "mirrored" not in text and "| epochs | 3 (of 5 begun) |" in text


@pytest.mark.parametrize(
    "matching, mean, name, loss",
    [
        (None, 0.0, "plain", ""),
        ("moments", 0.0, "matched", " + 0.1 x distance of the first four moments"),
        ("mmd", -3.0, "shifted", " + 0.1 x kernel MMD"),
    ],
)
def test_an_autoencoders_card(matching, mean, name, loss, tmp_path):
    text = write_card(tmp_path, small_autoencoder(matching=matching, prior_mean=mean), AUTOENCODER)
    end = " between a batch's latents and the prior" if loss else ""
    for line in (
        f"# Latent Faces: {name} autoencoder",
        f"| loss | mean squared pixel error{loss}{end} |",
        "| optimiser | Muon for matrices, Adam for the rest, learning rate 0.005 falling to 0 along a cosine |",
        f"| prior | {mean:.2f} | 2.00 | 0 | 3 |",
        "| measured | 0.12 | 2.34 | 0.05 | 3.20 |",
        "Reconstructions of the same faces: 21.46 dB PSNR, the mean over faces.",
    ):
        assert line in text.splitlines(), line
    assert ("matched to N(-3, 2)" in text) == (mean == -3)
    text = write_card(tmp_path, small_autoencoder(), {**AUTOENCODER, "optimizer": "adam"})
    assert "| optimiser | Adam, learning rate 0.005 falling" in text


@pytest.mark.parametrize(
    "dataset, name",
    [
        ("flwrlabs/celeba", "CelebA"),
        ("path/to/celeba-close", "CelebA"),
        ("path/to/photographs", "a local folder"),
        ("user/portraits", "user/portraits"),
    ],
)
def test_celebas_terms_are_on_models_of_celeba_and_on_no_others(dataset, name, tmp_path):
    text = write_card(tmp_path, small_autoencoder(matching="mmd"), AUTOENCODER, dataset)
    data, is_celeba = ModelCard(text).data, name == "CelebA"
    license = ("other", "celeba-non-commercial-research") if is_celeba else (None, None)
    assert (data.license, data.license_name) == license and ("celeba" in data.tags) == is_celeba
    for words in ("CelebA", "celebrities", "CelebA is for non-commercial research"):
        assert (words in text) == is_celeba
    assert ("consent of the people" in text) != is_celeba
    assert data.datasets == (None if dataset.startswith("path") else [dataset])
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("psnr", 21.456)
    assert result.dataset_name == f"{name}, first 16 faces of split valid"
    chosen = ModelCard(write_card(tmp_path, TINY["generator"](), {**GAN, "license": "cc-by-4.0"}, dataset)).data
    assert (chosen.license, chosen.license_name, chosen.license_link) == ("cc-by-4.0", None, None)


def test_names_out_of_a_data_set_are_text(tmp_path):
    name = 'Hat": 1}); import os #[x](http://elsewhere)<img>'
    model = AttributeGenerator(10, 5, (name,), (4,) * 5)
    adversary = {"penalty": 1.0, "warped": 0.5, "attribute_weight": 1.0, "told": 0.5}
    text = write_card(tmp_path, model, {**GAN, **adversary, "data_note": "my | own\n\n# photographs"})
    (line,) = [line for line in text.splitlines() if "import os" in line and "generate(" in line]
    (argument,) = [word.value for word in ast.parse(line).body[0].value.keywords if word.arg == "attributes"]
    assert ast.literal_eval(argument) == {name: True}
    assert r'Hat": 1}); import os #\[x\](http://elsewhere)\<img\>.' in text.splitlines()
    assert "| data | my / own # photographs |" in text.splitlines()


@pytest.mark.parametrize(
    "there, instead, missing",
    [('kind == "gan"', 'kind == "bird"', "'title' is undefined"), ("set loss", "set loose", "'loss' is undefined")],
)
def test_a_kind_without_a_card_is_refused_before_it_is_trained(
    there, instead, missing, arguments, tmp_path, monkeypatch
):
    template = card._TEMPLATES.loader.get_source(card._TEMPLATES, "card.md")[0].replace(there, instead, 1)
    monkeypatch.setattr(card, "_TEMPLATES", card._TEMPLATES.overlay(loader=DictLoader({"card.md": template})))
    with pytest.raises(TrainingError, match=f"train/card.md makes no card of a gan: {missing}"):
        gan.main(arguments(SMALL_GAN))
    assert not (tmp_path / "run/metrics.jsonl").exists()


@pytest.mark.parametrize(
    "name, command, its",
    [
        ("attribute gan", "attribute_gan", "--channels 4 4 4 4 4"),
        ("shifted", "autoencoder", "--prior-mean -3 --prior-variance 2"),
    ],
)
def test_a_card_names_no_folder_of_the_machine(name, command, its, straight, celeba):
    """And gives the command that trains the model anew."""
    model = straight(name) / "model"
    for path in model.iterdir():
        assert str(celeba.parent).encode() not in path.read_bytes(), path.name
    (told,) = [line for line in (model / "README.md").read_text().splitlines() if line.startswith("python -m")]
    assert told.startswith(f"python -m train.{command} --dataset path/to/celeba0 --batch-size 8")
    assert its in told and "--epochs 2" in told
    assert not any(word in told for word in ("--output", "--cache-dir", "--seed"))
