"""Evaluation and the report, from the command line to the numbers, with small models and drawn faces."""

import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from models import Autoencoder, Generator
from study import evaluate, experiments, features, report
from study.evaluate import EvaluationSettings
from tests.conftest import WEIGHTS, draw_face
from train.errors import TrainingError

EXPERIMENTS = ("scores", "out-of-distribution", "densities", "bits", "attributes", "memorisation", "baselines")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of four small models with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    Generator(10, 5, 8).save_pretrained(folder / "gan")
    for name, options in {
        "autoencoder": {},
        "matched-autoencoder": {"matching": "mmd"},
        "shifted-autoencoder": {"matching": "mmd", "prior_mean": -3.0},
    }.items():
        Autoencoder(10, 16, (4, 4, 4), **options).save_pretrained(folder / name)
    shutil.copy(WEIGHTS / "index.json", folder)
    return folder


@pytest.fixture
def small(celeba, tmp_path):
    return [
        "--dataset",
        str(celeba),
        "--cache-dir",
        str(tmp_path),
        "--samples",
        "20",
        "--held-out",
        "8",
        "--held-out-split",
        "valid",
    ]


def test_a_model_is_scored(weights, small, tmp_path, capsys):
    output = tmp_path / "scores/matched.json"
    evaluate.main([str(weights / "matched-autoencoder"), *small, "--seeds", "2", "--output", str(output)])
    result = json.loads(output.read_text())
    assert set(result) == {"generated", "reconstructed", "latents", "prior", "protocol"}
    assert result["generated"]["frechet_distance"]["mean"] > 10
    assert result["protocol"]["reference"] == "first 20 faces of split train"
    assert result["protocol"]["features"] == "efficientnet-lite0"
    printed = capsys.readouterr().out
    assert "generated kernel distance" in printed and "reconstructed psnr" in printed and "(prior 2)" in printed


def test_a_gan_reconstructs_nothing(weights, small, tmp_path):
    output = tmp_path / "gan.json"
    evaluate.main([str(weights / "gan"), *small, "--seeds", "1", "--output", str(output)])
    assert set(json.loads(output.read_text())) == {"generated", "protocol"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is neither a folder here nor"),
        (["tests"], "tests holds no config.json: it is no saved model"),
        (["weights/gan", "--held-out-split", "exam"], "split 'exam'"),
        (["x", "--samples", "1"], "--samples is 1"),
    ],
)
def test_what_cannot_be_scored_is_named(arguments, message, small):
    with pytest.raises(TrainingError, match=message):
        evaluate.main([*small, *arguments])


def test_identical_sets_and_one_repeated_face():
    images = torch.cat([features_of(number) for number in range(30)])
    same = evaluate.compare(images, images)
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    repeated = evaluate.compare(images[:1].expand(30, -1), images)
    assert repeated["frechet_distance"] > 10 and repeated["recall"] < 0.2 and repeated["coverage"] < 0.6


def features_of(number: int) -> torch.Tensor:
    from models.images import crop

    return features.extract(crop(draw_face(number)), "efficientnet-lite0")


def test_the_edges_of_a_curve():
    curve = [
        {"mean": mean, "face_share": share} for mean, share in ((-4, 0.0), (-2, 1.0), (0, 1.0), (2, 0.8), (6, 0.4))
    ]
    assert experiments.edges(curve, prior_mean=0) == {"below": pytest.approx(3), "above": pytest.approx(5)}
    assert experiments.edges(curve[2:4], prior_mean=0) == {"below": None, "above": None}
    # Distances are from the prior's mean, to the first place where faces go, whether they come back or not.
    back = [*curve, {"mean": 8, "face_share": 1.0}, {"mean": 10, "face_share": 0.0}]
    assert experiments.edges(back, prior_mean=-2) == {"below": pytest.approx(1), "above": pytest.approx(7)}
    assert experiments.edges(curve, prior_mean=0, level=0.9) == {"below": pytest.approx(2.2), "above": pytest.approx(1)}
    unmeasured = [{"mean": mean, "face_share": None} for mean in (-1, 0, 1)]
    assert experiments.edges(unmeasured, prior_mean=0) == {"below": None, "above": None}


@pytest.fixture(scope="module")
def real(celeba, tmp_path_factory):
    settings = EvaluationSettings(dataset=str(celeba), cache_dir=tmp_path_factory.mktemp("cache"), samples=20, seeds=1)
    real = settings.real_faces(100)
    return experiments.References(
        real.train, real.held_out.faces[:8], features.extract(real.train[:20], settings.features)
    ), settings


def test_far_out_units_freeze_and_faces_become_alike(weights, real):
    model = Autoencoder.from_pretrained(weights / "matched-autoencoder")
    near, far = experiments.out_of_distribution(model, real[0], 10, real[1].features, None, means=(0, 1000))
    assert near["frozen_units"] < 0.3 and far["frozen_units"] > 0.9
    assert far["feature_diversity"] < near["feature_diversity"] and far["face_share"] is None


def test_frozen_and_clipped_shares_of_a_decoder_made_by_hand(real):
    model = Autoencoder(10, 16, (4, 4, 4), prior_mean=-0.5).eval()
    first, last = model.decoder[0], model.decoder[-2]
    with torch.no_grad():
        # Of the sixteen units of the first layer eight are always on, four always off, and four are numbers of the latent.
        first.weight.zero_()
        first.weight[12:, :4] = torch.eye(4)
        first.bias.copy_(torch.tensor([1.0] * 8 + [-1.0] * 4 + [0.0] * 4))
        # Red lies at one end of the scale, green at the other, blue in the middle.
        last.weight.zero_()
        last.bias.copy_(torch.tensor([9.0, -9.0, 0.0]))
    low, prior, near, far = experiments.out_of_distribution(
        model, real[0], 30, real[1].features, lambda images: torch.arange(len(images)) / 30, means=(-90, 0, 90)
    )
    assert [point["mean"] for point in (low, prior, near, far)] == [-90, -0.5, 0, 90]  # The prior's is among them.
    assert [point["frozen_units"] for point in (low, near, far)] == [1, 0.75, 1]
    assert [point["clipped"] for point in (low, near, far)] == pytest.approx([2 / 3] * 3)
    assert near["pixel_diversity"] == 0
    # A face is over 0.9: 28 and 29 thirtieths are.
    assert near["face_share"] == pytest.approx(2 / 30)


def test_diversity_is_in_grey_levels(real, monkeypatch):
    model = Autoencoder(10, 16, (4, 4, 4)).eval()
    shade = torch.tensor([0.0, 10, 40]) / 127.5
    monkeypatch.setattr(model, "decode", lambda z: model.decoder_layers(z) * 0 + shade[:, None, None, None])
    (point,) = experiments.out_of_distribution(model, real[0], 3, real[1].features, None, means=(0,))
    assert point["pixel_diversity"] == pytest.approx((10 + 30 + 40) / 3, abs=0.5)


def test_fitted_densities_are_nearer_than_shifted_ones(real):
    """With an autoencoder that was whitened, its own Gaussian is N(0, 2)."""
    torch.manual_seed(0)
    model = Autoencoder(10, 16, (4, 4, 4)).eval()
    model.whiten(evaluate.encode(model, real[0].train))
    result = experiments.densities(model, real[0], real[1])
    assert result["latents"]["latent_variance"] == pytest.approx(2, rel=0.05)
    assert result["latents"]["mean_in_deviations"] < 0.01
    assert set(result["sampled"]) == {"N(0, 2)", "N(-3, 2)", "fitted Gaussian", "fitted mixture"}
    fitted, same = result["sampled"]["fitted Gaussian"], result["sampled"]["N(0, 2)"]
    assert fitted["pixel_diversity"]["mean"] == pytest.approx(same["pixel_diversity"]["mean"], rel=0.3)


def test_densities_of_fewer_faces_than_numbers(real):
    faces, settings = real
    few = experiments.References(faces.train[:30], faces.test, faces.train_features)
    with torch.no_grad():
        model = Autoencoder(40, 16, (4, 4, 4)).eval()
        model.encoder[-1].weight[0] = model.encoder[-1].bias[0] = 0  # And one number is dead.
    result = experiments.densities(model, few, settings)
    assert result["sampled"]["fitted Gaussian"]["frechet_distance"]["mean"] > 0
    assert np.isfinite(list(result["latents"].values())).sum() >= 5


def test_a_bit_that_does_nothing_changes_nothing():
    torch.manual_seed(0)
    model = Generator(6, 3, 4).eval()
    with torch.no_grad():
        model.layers[0][0].weight[4] = 0
    result = experiments.bits(model, 4, "efficientnet-lite0")
    assert [move["number"] for move in result["discrete"]] == [3, 4, 5]
    dead, alive = result["discrete"][1], result["discrete"][0]
    assert dead["pixels"] == dead["features"] == 0 and alive["pixels"] > 0


def test_an_attribute_that_reconstruction_destroys_is_at_chance(real):
    faces, settings = real
    train = faces.train.clone()
    dark = np.arange(len(train)) % 2 == 0  # An attribute that features show: every other face is nearly black.
    train[dark] //= 8
    test, dark_test = faces.test.clone(), np.arange(len(faces.test)) % 2 == 0
    test[dark_test] //= 8
    blind = Autoencoder(10, 16, (4, 4, 4)).eval()
    with torch.no_grad():
        blind.decoder[0].weight.zero_()  # All latents become one face.
    result = experiments.survivals(
        {"blind": blind},
        experiments.References(train, test, faces.train_features),
        features.extract(train, settings.features),
        {"dark": (dark, dark_test)},
        settings.features,
    )
    assert result["dark"]["share"] == 0.5
    assert (result["dark"]["originals"]["mean"], result["dark"]["blind"]["mean"]) == (1.0, 0.5)
    assert result["dark"]["originals"]["interval"] == 0 < result["dark"]["blind"]["interval"]


def test_copies_of_training_faces_are_found(weights, real):
    faces, settings = real
    everything = features.extract(faces.train, settings.features)
    models = {"gan": Generator.from_pretrained(weights / "gan")}
    result = experiments.memorisation(models, faces, 8, settings.features, everything)
    assert result["copies of training faces"]["median"] < 0.1
    assert result["copies of training faces"]["nearer_than_1_percent_of_held_out"] == 1
    assert result["gan"]["median"] > result["held-out faces"]["median"] > 1


def test_baselines_are_in_order(real):
    result = experiments.baselines(*real, size=10)
    others, repeated = result["other training faces"], result["one face repeated"]
    assert others["frechet_distance"] < repeated["frechet_distance"] and others["recall"] > repeated["recall"]
    assert result["PCA"]["psnr"]["mean"] > 10 and result["PCA"]["generated"]["frechet_distance"]["mean"] > 0


def test_a_face_is_detected_and_noise_is_not():
    detect = features.face_detector()
    noise = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gan = Generator.from_pretrained("weights/gan")
    faces = evaluate.decode(gan, gan.sample_latent(4, seed=0))
    assert detect(noise).tolist() == [0, 0, 0, 0]
    assert detect(faces).min() > experiments.FACE_PROBABILITY


def test_the_report_is_written_from_its_results(weights, small, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "face_detector", lambda: None)
    folder = tmp_path / "docs"
    animated = weights / "matched-autoencoder/README.md"
    animated.write_text(animated.read_text() + "\n## Training\n\n![Losses](loss.png)\n\n![Faces](epochs.webp)\n")
    report.main([*small, "--seeds", "2", "--draws", "3", "--weights", str(weights), "--output", str(folder), "--cards"])
    results = {path.stem for path in (folder / "results").iterdir()}
    assert results == {*EXPERIMENTS}
    distance = json.loads((folder / "results/scores.json").read_text())["gan"]["generated"]["frechet_distance"]
    assert f"{distance['mean']:.0f} ± {distance['interval']:.0f}" in (folder / "report.md").read_text()
    assert {path.name for path in folder.glob("*.svg")} == {"bits.svg", "out-of-distribution-curves.svg"}
    card = ModelCard.load(animated)
    assert card.text.rstrip().endswith("## Training\n\n![Losses](loss.png)\n\n![Faces](epochs.webp)")
    psnr = json.loads((folder / "results/scores.json").read_text())["matched-autoencoder"]["reconstructed"]["psnr"][
        "mean"
    ]
    assert f"| PSNR (dB), reconstructed faces | {psnr:.2f} ±" in card.text
    assert [entry.metric_value for entry in card.data.eval_results if entry.metric_type == "psnr"] == [round(psnr, 3)]
