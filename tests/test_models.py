"""The networks: their layers, latents and attributes, and what is saved of them and loaded, from folders and the Hub."""

import copy
import json
import math
import pickle
import re
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from models import (
    AttributeDiscriminator,
    AttributeGenerator,
    Autoencoder,
    Discriminator,
    Generator,
    PerceptualAutoencoder,
    load,
)
from models.base import PretrainedModel
from models.blocks import error_and_gradient
from models.hub import one_line
from models.images import to_pil
from models.loading import build_empty
from tests.conftest import TINY
from tests.loopback_hub import REVOKED_TOKEN, TOKEN, Fault

FACE_MODELS = [name for name in TINY if "discriminator" not in name]


def trained(name: str) -> nn.Module:
    """A model in eval mode with statistics and gains in its batch normalisation, as training leaves them."""
    torch.manual_seed(0)
    model = TINY[name]()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 1.5)
        nn.init.uniform_(norm.running_mean, -0.5, 0.2)
    return model.eval()


def kinds(network: nn.Module) -> list[str]:
    leaves = [module for module in network.modules() if not list(module.children())]
    # Some convolutions are computed in ways of our own.
    return [next(base.__name__ for base in type(leaf).mro() if base.__module__.startswith("torch")) for leaf in leaves]


def test_layers_are_the_reports():
    up = ["ConvTranspose2d", "BatchNorm2d", "ReLU"]
    assert kinds(Generator()) == [*up, *up, *up, "ConvTranspose2d", "Tanh"]
    down = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds(Discriminator()) == ["Conv2d", "LeakyReLU", *down, *down, *down, "Conv2d"]
    assert {m.negative_slope for m in Discriminator().modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    down = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds(Autoencoder().encoder) == [*down, *down, *down, "Flatten", "Linear", "ReLU", "Linear"]
    top = ["Linear", "ReLU", "Linear", "ReLU", "Unflatten"]
    assert kinds(Autoencoder().decoder) == [*top, *up, *up, "ConvTranspose2d", "Tanh"]


def test_the_generators_first_layer_is_a_transposed_convolution():
    torch.manual_seed(0)
    layer = TINY["generator"]().layers[0][0]
    z = torch.randn(3, 10, 1, 1)
    assert torch.allclose(layer(z), nn.functional.conv_transpose2d(z, layer.weight), atol=1e-6)


def test_the_discriminators_last_halving_is_a_convolution_with_its_gradients(monkeypatch):
    """In bfloat16, in which alone it is computed otherwise; compared as float64."""
    monkeypatch.setattr(torch, "bfloat16", torch.float64)
    torch.manual_seed(0)
    layer, x = TINY["discriminator"]().double().layers[4][0], torch.randn(3, 16, 8, 8).double().requires_grad_()
    ours, stock = layer(x), nn.functional.conv2d(x, layer.weight, stride=2, padding=1)
    assert "View" not in type(stock.grad_fn).__name__ and type(ours.grad_fn) is not type(stock.grad_fn)
    torch.testing.assert_close(ours, stock)
    # The penalty on the gradient differentiates twice.
    first = [torch.autograd.grad(y.square().sum(), (x, layer.weight), create_graph=True) for y in (ours, stock)]
    second = [torch.autograd.grad(gradients[0].square().sum(), (x, layer.weight)) for gradients in first]
    for mine, theirs in zip([*first[0], *second[0]], [*first[1], *second[1]], strict=True):
        assert mine.abs().max() > 0.01
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_ranges_and_types(name, dtype):
    """Models of other precisions take what is given to them."""
    model, x = trained(name).to(dtype), torch.rand(2, 3, 64, 64)
    if name == "discriminator":
        assert model(x).shape == (2,) and model(x).dtype == dtype
        assert torch.equal(model.probability(x), model(x).sigmoid())
    elif name == "attribute-discriminator":
        logits, attributes = model(x, torch.ones(2, 2))
        assert logits.shape == (2,) and attributes.shape == (2, 2)
        assert logits.dtype == attributes.dtype == torch.float32
    else:
        z = model.sample_latent(2, seed=0)
        assert z.shape == (2, 10) and z.dtype == torch.float32
        y = model.decode(z)
        assert y.shape == (2, 3, 64, 64) and y.abs().max() <= 1 and y.dtype == dtype
        assert len(model.generate(2, seed=0)) == 2
        assert torch.equal(model(x), model.decode(model.encode(x))) if model.encodes else torch.equal(model(z), y)


PICTURE = Image.new("RGB", (64, 64))
ENCODER, GAN, ROW = TINY["autoencoder"](), TINY["generator"](), torch.zeros(10)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ENCODER.encode(PICTURE), "x is of type Image: .* as from_pil of latent_faces.images returns it"),
        (lambda: ENCODER.encode(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)), "x is of type torch.uint8"),
        (lambda: ENCODER.encode(torch.zeros(2, 3, 32, 32)), r"it must be \(n, 3, 64, 64\)"),
        (lambda: ENCODER.decode(np.zeros((2, 10))), "z is of type ndarray"),
        (lambda: ENCODER.decode(torch.zeros(2, 11)), r"z has shape \(2, 11\): it must be \(n, 10\)"),
        (lambda: GAN.encode(torch.zeros(2, 3, 64, 64)), "no encoder"),
        (lambda: GAN.interpolate(ROW, ROW[None]), r"end has shape \(1, 10\): it must be \(10\)"),
        (lambda: GAN.hold_bits(ROW, "...."), r"z has shape \(10,\): it must be \(n, 10\)"),
        (lambda: GAN.generate(1, attributes=["Hat"]), "attributes is of type list: it must be a dict by name"),
        (lambda: Generator("100"), "latent_size is '100': it must be a whole number, 1 or more"),
        (lambda: Generator(10, "4"), "discrete_size is '4'"),
        (lambda: Autoencoder(channels=(4, 4)), r"channels is \(4, 4\): it must be 3 numbers"),
        (lambda: ENCODER.with_prior_variance("2"), "prior_variance is '2': it must be a finite number"),
    ],
)
def test_what_a_model_cannot_take_is_refused_in_words(call, words):
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_notebooks_default_device_and_type_are_not_the_models():
    """No device is here but the CPU: on "meta" nothing can be computed."""
    model = TINY["perceptual-autoencoder"]().eval()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = [*model.main_directions(2), model.whiten(model.sample_latent(20)), load("gan").main_directions(2)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.device.type for tensor in found} == {"cpu"} and found[0].dtype == torch.float32


@pytest.mark.parametrize("kind, sizes", [(Autoencoder, (64, (4,) * 3)), (PerceptualAutoencoder, ((4,) * 4, (4,) * 5))])
def test_whitening_changes_latents_but_no_reconstruction(kind, sizes):
    torch.manual_seed(0)
    model, x = kind(10, *sizes, prior_mean=1.0, prior_variance=2.0).eval(), torch.rand(200, 3, 64, 64) * 2 - 1
    before = model(x)
    returned = model.whiten(model.encode(x))
    z = model.encode(x)
    torch.testing.assert_close(model(x), before, atol=1e-3, rtol=0)
    torch.testing.assert_close(returned.float(), z, atol=1e-2, rtol=0)
    torch.testing.assert_close(z.mean(0), torch.ones(10), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), 2 * torch.eye(10), atol=0.02, rtol=0)
    before = model(x[:2])  # Latents that are all alike, as of an encoder whose training failed.
    model.whiten(model.encode(x[:1]).expand(20, -1))
    torch.testing.assert_close(model(x[:2]), before, atol=1e-3, rtol=0)


def test_a_projection_discriminator_tells_a_face_from_the_same_with_other_attributes():
    """By a number that is linear in the attributes; its own logits of these do not depend on what is claimed."""
    torch.manual_seed(0)
    discriminator = AttributeDiscriminator(3, 4, 8)
    x, none = torch.rand(4, 3, 64, 64), torch.zeros(4, 3)
    base, seen = discriminator(x, none)
    effect = [discriminator(x, none + one)[0] - base for one in torch.eye(3)]
    logits, seen_again = discriminator(x, torch.tensor([[1.0, -1.0, 1.0]]).repeat(4, 1))
    assert torch.allclose(logits - base, effect[0] - effect[1] + effect[2], atol=1e-4)
    assert min(change.abs().max() for change in effect) > 1e-3
    assert torch.equal(seen, seen_again)


def test_attributes_are_drawn_as_they_occur_together():
    """The first with a probability of 0.9; the second is nearly always what the first is; the third is a fair bit."""
    model = AttributeGenerator(10, 5, ("first", "second"), (4, 4, 4, 4, 4))
    plain = Generator(10, 5, 4).sample_latent(50, seed=3)
    assert torch.equal(model.sample_latent(50, seed=3), plain)  # Without a prior of attributes.
    model.attribute_bias[0] = math.log(9)
    model.attribute_weight[1, 0] = 4
    model.attribute_weight[0, 1] = 100  # Above the diagonal, where nothing is read.
    bits = model.sample_latent(20_000, seed=0)[:, 5:]
    assert set(bits.unique().tolist()) == {-1, 1}
    assert abs(((bits[:, 0] + 1) / 2).mean() - 0.9) < 0.01
    assert abs((bits[:, 0] == bits[:, 1]).float().mean() - 1 / (1 + math.exp(-4))) < 0.005
    assert bits[:, 2:].mean(0).abs().max() < 0.03
    assert torch.equal(model.sample_latent(7, seed=0)[:, 5:], bits[:7])


@pytest.mark.parametrize("name", ["attribute-generator", "perceptual-autoencoder"])
def test_attributes_are_bits_of_a_gan_and_directions_of_an_autoencoder(name):
    model = trained(name)
    z = model.sample_latent(6, seed=0)
    expected, changes = z.clone(), {"Hat": 1, "Smiling": False}
    if model.encodes:
        nn.init.normal_(model.directions)
        changes["Hat"] = 2.5
        expected += 2.5 * model.directions[1] - model.directions[0]
    else:
        expected[:, 5], expected[:, 6] = -1, 1
    changed = model.with_attributes(z, changes)
    torch.testing.assert_close(changed, expected)
    assert torch.equal(model.sample_latent(6, seed=0), z)
    drawn = model.generate(6, seed=0, attributes=changes)
    assert [face.tobytes() for face in drawn] == [face.tobytes() for face in to_pil(model.decode(changed))]
    strange = {"Hat": np.bool_(True), "Smiling": torch.tensor(-1)}  # Another library's yes, and its number.
    assert torch.equal(model.with_attributes(z, strange), model.with_attributes(z, {"Hat": 1, "Smiling": False}))
    for wrong in ({"Beard": 1}, {"Hat": "yes"}, {"Hat": math.nan}, {"Hat": 1e9}, {"x" * 1000: 1}, {3: True}):
        with pytest.raises(ValueError, match="there is no attribute|Hat is") as error:
            model.generate(1, seed=0, attributes=wrong)
        assert len(str(error.value)) < 200
    with pytest.raises(ValueError, match="no attribute 'Hat': it knows none"):
        TINY["generator"]().generate(1, seed=0, attributes={"Hat": True})


@pytest.mark.parametrize("name", FACE_MODELS)
def test_main_directions_change_the_decoders_first_layer_most(name):
    """By its outputs for one number after another, and NumPy's singular values of them."""
    model, outputs = trained(name), []
    activation = next(layer for layer in model.decoder_layers.modules() if isinstance(layer, (nn.BatchNorm2d, nn.ReLU)))
    activation.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0].flatten(1).clone()))
    size = model.continuous_size
    with torch.no_grad():
        model.decode(torch.cat([torch.zeros(1, model.latent_size), torch.eye(model.latent_size)[:size]]))
    expected = np.linalg.svd((outputs[0][1:] - outputs[0][0]).T.numpy())[2][:3] * model.prior_variance**0.5
    directions = model.main_directions(3).numpy()
    assert not directions[:, size:].any() and (directions.max(1) == np.abs(directions).max(1)).all()
    signs = np.sign((directions[:, :size] * expected).sum(1, keepdims=True))
    assert np.abs(directions[:, :size] - signs * expected).max() < 1e-3
    assert Autoencoder(hidden_size=4).main_directions(6).shape == (6, 100)
    with pytest.raises(ValueError, match=f"count is {size + 1}: it must be between 1 and {size}"):
        model.main_directions(size + 1)


def mixture() -> PerceptualAutoencoder:
    """Two components at 10 and at -10, three to one, the first correlated; as a whole of mean 5, as its prior says."""
    model = PerceptualAutoencoder(4, (4, 4, 4, 4), (4, 4, 4, 4, 4), 2, ("Hat",), 5.0, 4.0)
    model.mixture_logits.copy_(torch.tensor([math.log(3.0), 0.0]))
    model.mixture_means.copy_(torch.tensor([[10.0] * 4, [-10.0] * 4]))
    model.mixture_roots[0] = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    model.mixture_roots[1] = torch.eye(4) * 3
    return model


def test_latents_are_drawn_from_the_mixture():
    z = mixture().sample_latent(20_000, seed=0)
    first = z[:, 0] > 0
    assert abs(first.float().mean() - 0.75) < 0.01
    assert torch.allclose(z[first].mean(0), torch.full((4,), 10.0), atol=0.05)
    expected = torch.eye(4)
    expected[0, 1] = expected[1, 0] = 0.8
    assert torch.allclose(torch.cov(z[first].T), expected, atol=0.05)
    assert torch.allclose(torch.cov(z[~first].T), 9 * torch.eye(4), atol=0.5)
    assert torch.equal(mixture().sample_latent(7, seed=0), z[:7])
    moved = mixture().sample_latent(50, seed=0, mean=100, variance=16)
    assert torch.allclose(moved, (z[:50] - 5) * 2 + 100, atol=1e-4)
    assert torch.equal(mixture().sample_latent(3, seed=1, variance=0), torch.full((3, 4), 5.0))
    for wrong in ({"variance": -1}, {"mean": math.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            mixture().sample_latent(3, **wrong)


@pytest.mark.parametrize("name", FACE_MODELS)
def test_another_prior_variance_is_that_of_draws_and_nothing_else(name, tmp_path):
    model = mixture().eval() if name == "perceptual-autoencoder" else TINY[name]().eval()
    if name == "perceptual-autoencoder":
        model.directions.uniform_(1, 2)
    model.with_prior_variance(9).save_pretrained(tmp_path)
    wider, size = load(tmp_path), model.continuous_size
    assert wider.prior_variance == 9 and model.prior_variance != 9
    z, far = model.sample_latent(50, seed=1), wider.sample_latent(50, seed=1)
    stretch = 3 / model.prior_variance**0.5
    expected = model.prior_mean + stretch * (z[:, :size] - model.prior_mean)
    torch.testing.assert_close(far[:, :size], expected)
    assert torch.equal(z[:, size:], far[:, size:])
    torch.testing.assert_close(wider.sample_latent(50, seed=1, variance=model.prior_variance), z)
    assert torch.equal(wider.decode(z), model.decode(z))
    if name == "perceptual-autoencoder":
        torch.testing.assert_close(wider.directions, stretch * model.directions)
    with pytest.raises(ValueError, match="prior_variance is 0"):
        model.with_prior_variance(0)


def test_the_gradient_of_an_error_is_automatic_differentiations():
    decoder = trained("perceptual-autoencoder").decoder
    nn.init.normal_(decoder[-2].weight, std=0.3)  # So that Tanh bends.
    z, images = torch.randn(3, 10, requires_grad=True), torch.rand(3, 3, 64, 64) * 2 - 1
    expected = (decoder(z) - images).square().sum((1, 2, 3)) / 2
    (slope,) = torch.autograd.grad(expected.sum(), z)
    with torch.inference_mode():
        error, gradient = error_and_gradient(decoder, z, images)
    torch.testing.assert_close(error[:, 0], expected)
    assert slope.abs().max() > 0.01
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-4 * slope.abs().max().item())
    with pytest.raises(TypeError, match="LeakyReLU"):
        error_and_gradient(nn.Sequential(decoder, nn.LeakyReLU()), z, images)


def test_steps_of_encoding_are_saved_and_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("models.perceptual._DRAWS", 8)
    torch.manual_seed(0)
    plain = TINY["perceptual-autoencoder"]().eval().requires_grad_(False)
    model, x = plain.with_encoding_steps(3), plain.decode(plain.sample_latent(2, seed=0))
    z, errors = model.encode(x), lambda model: (model(x) - x).square().mean((1, 2, 3))
    assert plain.encoding_steps == 0 and (errors(model) < 0.8 * errors(plain)).all()
    model.save_pretrained(tmp_path / "three")
    loaded = load(tmp_path / "three")
    assert loaded.encoding_steps == 3 and torch.equal(loaded.encode(x), z)
    loaded.with_encoding_steps(0).save_pretrained(tmp_path / "none")
    assert torch.equal(load(tmp_path / "none").encode(x), plain.encode(x))
    assert torch.equal(loaded.with_encoding_steps(1).with_encoding_steps(3).encode(x), z)
    # No error grows: a step that goes too far is taken again, half as long, until one brings the image nearer.
    model.preconditioner.mul_(1000)
    assert torch.equal(model.with_encoding_steps(1).encode(x), plain.encode(x))
    assert (errors(model.with_encoding_steps(20)) < errors(plain)).all()
    # Training goes by the encoder alone, and encoding changes no statistics of the decoder.
    statistics = [buffer.clone() for buffer in model.decoder.buffers()]
    torch.testing.assert_close(model.train().encode(x), plain.train().encode(x))
    assert all(map(torch.equal, statistics, model.decoder.buffers()))
    nn.init.zeros_(plain.decoder[0].weight)  # As of a decoder whose training failed: no latent shows.
    torch.testing.assert_close(plain.eval().with_encoding_steps(1).encode(x), plain.encode(x))
    for steps in (-1, 51, 1.5, True, "4"):
        with pytest.raises(ValueError, match=f"encoding_steps is {steps!r}: it must be (a whole number, 0|50) or "):
            plain.with_encoding_steps(steps)


def output(model: nn.Module) -> torch.Tensor:
    """What a model makes of a fixed input; the first, where that is more than one."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 10) if isinstance(model, (Generator, AttributeGenerator)) else (2, 3, 64, 64)
    y = model(torch.rand(shape, generator=generator, dtype=torch.float32))
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("name", TINY)
def test_what_is_saved_copied_or_pickled_is_the_same_model(name, tmp_path):
    model = trained(name)
    model.crop = 0.75
    model.to(memory_format=torch.channels_last).save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors", "README.md"} == {path.name for path in tmp_path.iterdir()}
    config = json.loads((tmp_path / "config.json").read_text())
    others = [type(model).from_pretrained(tmp_path), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    torch.set_default_dtype(torch.float64)  # As notebooks set it for everything.
    try:
        others.append(PretrainedModel.from_pretrained(tmp_path))
        drawn = others[-1].generate(2, seed=0) if name in FACE_MODELS else None
    finally:
        torch.set_default_dtype(torch.float32)
    assert config.pop("model_type") == model.model_type and config.pop("crop") == 0.75
    for other in others:
        assert type(other) is type(model) and not other.training and other.crop == 0.75
        assert {tensor.dtype for tensor in other.parameters()} == {torch.float32}
        torch.testing.assert_close(output(other), output(model))
        assert json.loads(json.dumps(other.config)) == config
    if drawn:
        assert [face.tobytes() for face in drawn] == [face.tobytes() for face in model.generate(2, seed=0)]


def test_numpys_sizes_are_saved_under_the_home_folder_and_loaded_by_somebodys_own_class(tmp_path, monkeypatch):
    """And for training, though within inference mode."""

    class Own(AttributeGenerator):
        pass

    monkeypatch.setenv("HOME", str(tmp_path))
    channels, variance = tuple(np.full(5, 4)), np.float32(2)
    AttributeGenerator(np.int64(10), 5, ("Hat",), channels, prior_variance=variance).save_pretrained("~/model")
    with torch.inference_mode():
        model = Own.from_pretrained("~/model")
    assert type(model) is Own and model.attributes == ("Hat",) and model.prior_variance == 2
    model(model.sample_latent(2)).sum().backward()
    with pytest.raises(ValueError, match="holds a model of AttributeGenerator: it must be of Autoencoder"):
        Autoencoder.from_pretrained(tmp_path / "model")


def test_an_argument_that_loading_has_not_is_named_beside_those_that_it_has():
    with pytest.raises(TypeError, match="takes no subfolder, torch_dtype: it takes revision, .* map_location"):
        load("gan", subfolder="model", torch_dtype="auto")


def refused(words: str, name: str | Path, **options) -> None:
    """Loading ends with an error of one line that has these words."""
    with pytest.raises(ValueError, match=words) as error:
        PretrainedModel.from_pretrained(name, **options)
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)


@pytest.fixture
def saved(tmp_path):
    """A function that saves a small model with values of its config.json replaced; they may be no JSON."""

    def save(name: str, **values) -> str:
        TINY[name]().save_pretrained(tmp_path / name)
        path = tmp_path / name / "config.json"
        config = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
        return str(tmp_path / name)

    return save


# What a config.json may hold instead of what belongs there: a whole number, a number, numbers, names, a word, a crop.
OTHER_VALUES = {
    ("generator", "latent_size"): [True, 0, 50.0, 10**20, "50", [50]],
    ("generator", "discrete_size"): [None, -1, 11],
    ("generator", "prior_variance"): [None, 0, 1e308, float("nan"), 10**400, "1", {"a": 1}],
    ("autoencoder", "channels"): [None, 4, "x" * 10_000, [4, 4], [4.0, 4, 4], [10**9] * 3, [[4]] * 3],
    ("autoencoder", "matching"): [True, "kl", ["mmd"]],
    ("attribute-generator", "attributes"): [None, "Hat", [1, 2], ["Hat"] * 2, ["Hat"] * 10, [""], ["a\nb"]],
    ("attribute-generator", "channels"): [[4] * 30_000],
    ("perceptual-autoencoder", "encoding_steps"): [True, -1, 51, 1.5],
    ("generator", "crop"): [0, True, 1.5, "1", float("nan")],
}


@pytest.mark.parametrize("name, key", OTHER_VALUES)
def test_a_value_that_a_config_lacks_or_cannot_have_is_named(name, key, saved):
    PretrainedModel.from_pretrained(saved(name, crop=None))
    for value in (*OTHER_VALUES[name, key], *[...] * (key != "crop")):
        refused(key, saved(name, **{key: value}))


@pytest.mark.parametrize(
    "config, words",
    [
        ({"depth": 3, "width": 4}, "has an unknown 'depth, width': it takes latent_size, discrete_size, "),
        ({f"\x1b[31m{number} {'x' * 1000}": 0 for number in range(50)}, r"has an unknown '\\x1b\[31m0 x"),
        ({"model_type": "unet\n"}, r"model_type 'unet\\n': it must be one of attribute-discriminator, .*autoencoder"),
        ({"latent_size": 20}, "do not fit Generator.*size mismatch of layers.0.0.weight"),
        (b"{", "no JSON"),
        (b"[]", "no JSON object"),
        (b"[" * 90_000, "no JSON"),
        (b" " * 1_000_000, "1,000,000 bytes"),
        (b"\xef\xbb\xbf{}", "has model_type None"),  # A mark, which some editors write, is no damage.
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_config_of_another_model_or_of_none_is_refused_in_words(config, words, saved):
    folder = saved("generator", **config if isinstance(config, dict) else {})
    if isinstance(config, bytes):
        Path(folder, "config.json").write_bytes(config)
    refused(words, folder)


def test_sizes_that_nobody_has_are_refused_before_anything_is_allocated(saved):
    refused("size mismatch", saved("generator", hidden_size=10**5))
    network = build_empty(Generator, {**TINY["generator"]().config, "latent_size": 10**9}, "here")
    assert all(tensor.is_meta for tensor in network.state_dict().values())


def put(name: str, value: float):
    return lambda tensors: tensors[name].view(-1)[3:4].fill_(value)


def convert(dtype: torch.dtype):
    return lambda tensors: tensors.update({name: t.to(dtype) for name, t in tensors.items() if t.is_floating_point()})


@pytest.mark.parametrize(
    "change, word",
    [
        (put("layers.1.0.weight", float("nan")), "layers.1.0.weight holds values that are no numbers"),
        (put("layers.1.1.running_var", -0.5), "layers.1.1.running_var holds a negative variance"),
        (convert(torch.int8), "type I8"),
        (lambda tensors: tensors.pop("layers.3.bias"), "missing 'layers.3.bias'"),
        (lambda tensors: tensors.update({"e\n\x1b": torch.zeros(1)}), r"unknown 'e\\n\\x1b'"),
        (lambda tensors: tensors.update({"layers.3.bias": torch.zeros(4)}), "size mismatch of layers.3.bias"),
        *[(convert(dtype), None) for dtype in (torch.float16, torch.bfloat16, torch.float64)],
    ],
)
def test_weights_fit_to_the_last_name_or_are_refused(change, word, tmp_path):
    """Those of other precisions are loaded as float32."""
    TINY["generator"]().save_pretrained(tmp_path)
    tensors = {name: tensor.clone() for name, tensor in TINY["generator"]().state_dict().items()}
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    if word is None:
        assert {parameter.dtype for parameter in load(tmp_path).parameters()} == {torch.float32}
        return
    refused(f"do not fit Generator.*{word}", tmp_path)


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    path, random = tmp_path / "model.safetensors", np.random.default_rng(0)
    whole, pointer = path.read_bytes(), b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
    for content, words in {
        **dict.fromkeys((b"", b"\0" * 7, b"\x02\0\0\0\0\0\0\0{}", whole[:-100]), ""),
        b"PK\x03\x04" + bytes(100): "does not begin with b'PK",
        pointer: "does not begin with b'version https://git-lfs.*: git lfs pull fetches the file",
    }.items():
        path.write_bytes(content)
        refused(f"do not fit Generator.*{words}", tmp_path)
    for _ in range(50):
        changed = bytearray(whole)
        for place in random.integers(0, 3000, 3):  # The header and what follows it.
            changed[place] = random.integers(256)
        path.write_bytes(changed)
        with suppress(ValueError):
            load(tmp_path)
    path.rename(tmp_path / "pytorch_model.bin")
    refused("holds no model.safetensors, the only format", tmp_path)


@pytest.fixture
def pushed(hub, tmp_path):
    """The Hub with a model, and the model's folder."""
    TINY["generator"]().save_pretrained(tmp_path / "model")
    hub.add_folder("model", "tester/gan", tmp_path / "model")
    hub.add_folder("model", "tester/secret", tmp_path / "model").private = True
    hub.add_folder("model", "tester/gated", tmp_path / "model").gated = True
    return hub


def test_each_absence_is_told_from_the_others(pushed, tmp_path, monkeypatch):
    """A mistyped name, a missing revision or file, a private model, a folder that is not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model/model.safetensors").unlink()
    pushed.add_folder("model", "tester/half", tmp_path / "model")
    (tmp_path / "empty").mkdir()
    TINY["generator"]().save_pretrained(tmp_path / "run/model")
    assert load("tester/gan", revision="").latent_size == load("tester/secret", token=TOKEN).latent_size == 10
    folder = "name a folder, a bundled model"
    for arguments, words in {
        ("tester/gam",): "there is no tester/gam on the Hub, or it is private",
        ("tester/gan", "v9"): "tester/gan has no revision v9",
        ("tester/secret", None, False): "no tester/secret on the Hub, or it is private and this token may not read it",
        ("tester/half",): "tester/half holds no model.safetensors",
        ("tester/gated",): "tester/gated is gated: ask for access on its page on the Hub",
        (str(tmp_path / "gone"),): f"there is no model {tmp_path}/gone: {folder}",
        ("weights/gan",): f"there is no model weights/gan: {folder}",
        (Path("tester/gan"),): f"there is no model tester/gan: {folder}",
        ("gam",): f"there is no model gam: {folder} (gan, ",
        ("tester/a b",): f"there is no model tester/a b: {folder}",
        ("run",): "run is a run: its model is run/model",
        (str(tmp_path / "empty"),): f"{tmp_path}/empty holds no config.json: it is no saved model",
    }.items():
        name, revision, token = (*arguments, None, None)[:3]
        refused(re.escape(words), name, revision=revision, token=token, cache_dir=tmp_path / "cache")
    # Weights of another library, which may be huge, are not downloaded.
    pushed.repository("model", "tester/gan").commit({"config.json": b'{"model_type": "bert"}'})
    pushed.requests.clear()
    refused("config.json in tester/gan has model_type 'bert': it must be one of", "tester/gan")
    assert pushed.requests and not any("safetensors" in path for _, path in pushed.requests)


def test_a_hub_that_is_away_is_asked_once_and_then_the_cache(pushed, monkeypatch):
    # The Hub's client would wait 23 seconds in all.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=pytest.fail))
    missing = "no folder tester/gan here, config.json of tester/gan is not cached, and the Hub cannot be asked for it"
    with pytest.raises(OSError, match=missing):
        load("tester/gan", local_files_only=True)
    pushed.fault = "refuse"
    with pytest.raises(OSError, match=missing):
        load("tester/gan")
    pushed.fault = None
    expected = load("tester/gan").state_dict()
    for fault in ("refuse", "503"):
        pushed.fault = fault
        assert all(map(torch.equal, load("tester/gan").state_dict().values(), expected.values()))
        with pytest.raises(OSError):
            load("tester/gan", force_download=True)


def test_a_busy_hub_is_waited_for_where_nothing_is_cached(pushed, monkeypatch):
    pushed.fault = "429"
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: setattr(pushed, "fault", None))
    assert load("tester/gan").config == TINY["generator"]().config


@pytest.mark.parametrize("number", range(1, 7))
def test_config_and_weights_are_of_one_commit_whenever_somebody_pushes(hub, tmp_path, number):
    pushed = [Generator(10, 4, 4), Generator(10, 6, 4)]
    for index, model in enumerate(pushed):
        nn.init.constant_(model.layers[-2].bias, index)
        model.save_pretrained(tmp_path / str(index))
    repository = hub.add_folder("model", "tester/gan", tmp_path / "0")

    class Push(Fault):
        """Somebody pushes just before a request is answered."""

        def strikes(self, request: str) -> bool:
            self.seen += 1
            if self.seen == number:
                files = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()}
                repository.commit(files)
            return False

    hub.fault = Push("none")
    model = load("tester/gan")
    told = lambda model: (model.discrete_size, *model.layers[-2].bias.tolist())
    assert told(model) in map(told, pushed)
    hub.fault = "refuse"  # What was loaded is what is remembered.
    assert load("tester/gan").discrete_size == model.discrete_size


def test_a_public_model_is_loaded_without_a_token_that_has_expired(pushed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", REVOKED_TOKEN)
    with pytest.warns(UserWarning, match="invalid or has expired: log in anew .* tester/gan is public") as warned:
        assert load("tester/gan").latent_size == 10
    assert warned[0].filename == __file__ and REVOKED_TOKEN not in str(warned[0].message)
    refused("invalid or has expired: log in anew .* there is no tester/secret on the Hub", "tester/secret")
    for token in ("hf_…", ""):  # No request can hold these.
        with pytest.warns(UserWarning, match="tester/gan is public"):
            load("tester/gan", token=token)
        refused("invalid or has expired", "tester/secret", token=token)
    assert load("tester/secret", token=f"{TOKEN}\n").latent_size == 10


def test_a_password_in_the_hubs_address_is_told_to_nobody():
    error = OSError("no answer from https://me:secret@hub.example/api, nor from\nhttp://127.0.0.1:80/@x")
    assert one_line(error) == "no answer from https://hub.example/api, nor from http://127.0.0.1:80/@x"
