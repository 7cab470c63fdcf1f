"""What a model's card says, against what was trained."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from models import Autoencoder, Generator
from tests.conftest import write_parquet
from train import attribute_gan, autoencoder
from train.card import write_card
from train.record import Record

SHARED = {"split": "train", "flip": True, "epochs": 3, "batch_size": 8, "seed": 0, "learning_rate": 0.0002}
GAN = {**SHARED, "average": 0.05}
AUTOENCODER = {**SHARED, "learning_rate": 0.005, "held_out": 16, "held_out_split": "valid", "match_weight": 0.1}
MEASURED = {"latent_mean": 0.12, "latent_variance": 2.34, "latent_skewness": 0.05, "latent_kurtosis": 3.2}


def card(folder: Path, model, settings: dict, dataset: str = "flwrlabs/celeba", **description) -> str:
    record = Record(folder)
    settings = {"dataset": dataset, **settings}
    told = {"precision": "float32", "machine": "2 x86_64 cores", "torch": "2.14", "commit": None, "dataset": dataset}
    record.describe({"kind": "gan", "command": "python -m train.gan", "settings": settings, **told, **description})
    epoch = {"step": 18, "epoch": 3, "images_seen": 1144, "seconds": 240.0}
    record.append([epoch | ({"held_out_psnr": 21.456, **MEASURED} if model.encodes else {})])
    write_card(record, model, folder, "user/a-model")
    return (folder / "README.md").read_text()


def small_gan() -> Generator:
    return Generator(latent_size=10, discrete_size=4, hidden_size=4)


def small_autoencoder(**options) -> Autoencoder:
    return Autoencoder(latent_size=10, hidden_size=8, channels=(4, 4, 4), **options)


def test_a_gans_card(tmp_path):
    text = card(tmp_path, small_gan(), GAN)
    for line in (
        "# Latent Faces: GAN with a half-discrete latent",
        "10 numbers: 6 from N(0, 1), then 4 fair bits.",
        "| data | the split train of flwrlabs/celeba |",
        "| epochs | 3 |",
        "| images seen | 1,144 |",
        "| batch size | 8 |",
        (
            "| optimiser | Adam, learning rate 0.0002, betas (0.5, 0.999); the weights are an average over the training (a "
            "power function of the step, relative standard deviation 0.05) |"
        ),
        "| loss | binary cross-entropy from logits; the generator's is the non-saturating one |",
        "| seed | 0 |",
        "| time | 4 minutes on 2 x86_64 cores, torch 2.14 |",
    ):
        assert line in text.splitlines(), line
    assert "mirrored at random" in text and 'from_pretrained("user/a-model")' in text
    text = card(tmp_path, small_gan(), {**GAN, "flip": False, "epochs": 5})
    assert "mirrored" not in text and "| epochs | 3 (of 5 begun) |" in text


@pytest.mark.parametrize(
    "optimizer, optimiser",
    [
        ("muon", "Muon for matrices, Adam for the rest"),
        ("adam", "Adam"),
        (None, "Muon for matrices, Adam for the rest"),
    ],
)
def test_an_autoencoders_card(optimizer, optimiser, tmp_path):
    settings = AUTOENCODER | ({"optimizer": optimizer} if optimizer else {})
    text = card(tmp_path, small_autoencoder(matching="mmd", prior_mean=-3.0), settings)
    for line in (
        "# Latent Faces: shifted autoencoder",
        "10 numbers, each matched to N(-3, 2).",
        f"| optimiser | {optimiser}, learning rate 0.005 falling to 0 along a cosine |",
        "| loss | mean squared pixel error + 0.1 x kernel MMD between a batch's latents and the prior |",
        "| prior | -3.00 | 2.00 | 0 | 3 |",
        "| measured | 0.12 | 2.34 | 0.05 | 3.20 |",
        "Reconstructions of the same faces: 21.46 dB PSNR, the mean over faces.",
    ):
        assert line in text.splitlines(), line
    (result,) = ModelCard(text).data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_type) == ("psnr", 21.456, "flwrlabs/celeba")
    assert result.dataset_name == "CelebA, first 16 faces of split valid"


def test_an_autoencoder_is_called_what_it_is(tmp_path):
    titles = {None: "plain", "moments": "matched"}
    for matching, name in titles.items():
        text = card(tmp_path, small_autoencoder(matching=matching), AUTOENCODER)
        assert f"# Latent Faces: {name} autoencoder" in text
        assert ("distance of the first four moments" in text) == (matching == "moments")
        assert ("| loss | mean squared pixel error |" in text) == (matching is None)


def test_celebas_terms_are_on_models_of_celeba(tmp_path):
    for dataset in ("flwrlabs/celeba", "path/to/celeba-close"):
        text = card(tmp_path, small_gan(), GAN, dataset)
        data = ModelCard(text).data
        assert (data.license, data.license_name) == ("other", "celeba-non-commercial-research")
        assert "celeba" in data.tags and "CelebA is for non-commercial research" in text
        assert data.datasets == (["flwrlabs/celeba"] if dataset.startswith("flwrlabs") else None)


@pytest.mark.parametrize("dataset", ["path/to/photographs", "user/portraits"])
def test_a_model_of_ones_own_photographs_has_none_of_them(dataset, tmp_path):
    text = card(tmp_path, small_autoencoder(matching="mmd"), AUTOENCODER, dataset)
    data = ModelCard(text).data
    assert data.license is None and "celeba" not in text.lower() and "celebrities" not in text
    assert "consent of the people" in text
    (result,) = data.eval_results
    name = "a local folder" if dataset.startswith("path") else dataset
    assert result.dataset_name == f"{name}, first 16 faces of split valid"
    chosen = ModelCard(card(tmp_path, small_gan(), {**GAN, "license": "cc-by-4.0"}, dataset)).data
    assert (chosen.license, chosen.license_name, chosen.license_link) == ("cc-by-4.0", None, None)


def test_a_note_stays_within_its_row(tmp_path):
    text = card(tmp_path, small_gan(), {**GAN, "data_note": "my | own\n\n# photographs"})
    assert "| data | my / own # photographs |" in text.splitlines()


@pytest.mark.parametrize("command", ["attribute_gan", "autoencoder"])
def test_a_card_names_no_folder_of_the_machine(command, tmp_path):
    """And gives the command that trains the model anew."""
    data = tmp_path / "secret/photographs"
    write_parquet(data / "data/train-00000-of-00001.parquet", range(16))
    write_parquet(data / "data/valid-00000-of-00001.parquet", range(16, 24))
    settings = ["--batch-size", "8", "--latent-size", "10", "--epochs", "1", "--hidden-size", "8", "--no-flip"]
    own = (
        ["--discrete-size", "5", "--channels", *["4"] * 5]
        if command == "attribute_gan"
        else ["--prior-mean", "-3", "--held-out", "4"]
    )
    folders = ["--output", str(tmp_path / "secret/run"), f"--cache-dir={tmp_path}/secret/cache"]
    main = attribute_gan.main if command == "attribute_gan" else autoencoder.main
    main(["--dataset", f"{data}/", *settings, *own, *folders])
    model = tmp_path / "secret/run/model"
    for path in model.iterdir():
        assert b"secret" not in path.read_bytes() and str(tmp_path).encode() not in path.read_bytes(), path.name
    text = (model / "README.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("python -m"))
    words = line.split()
    assert words[:3] == ["python", "-m", f"train.{command}"]
    given = " ".join(words)
    for setting in ("--dataset path/to/photographs", "--batch-size 8", "--latent-size 10", "--epochs 1", "--no-flip"):
        assert setting in given
    assert ("--channels 4 4 4 4 4" if command == "attribute_gan" else "--prior-mean -3") in given
    assert "--output" not in given and "--cache-dir" not in given and "--seed" not in given
