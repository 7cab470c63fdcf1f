import copy
import json
import math
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models import (
    AttributeDiscriminator,
    AttributeGenerator,
    Autoencoder,
    Discriminator,
    Generator,
    PerceptualAutoencoder,
    load,
    speed,
)
from models.base import PretrainedModel
from models.blocks import error_and_gradient
from models.hub import one_line
from models.images import from_pil, to_pil
from tests.loopback_hub import REVOKED_TOKEN, TOKEN, Fault

TINY = {
    "generator": lambda: Generator(latent_size=10, discrete_size=4, hidden_size=4, prior_mean=1.0),
    "discriminator": lambda: Discriminator(hidden_size=4),
    "autoencoder": lambda: Autoencoder(10, 8, (4, 4, 4), matching="moments", prior_mean=-3.0, prior_variance=0.5),
    "attribute-generator": lambda: AttributeGenerator(10, 5, ("Smiling", "Hat"), (4, 4, 4, 4, 4)),
    "attribute-discriminator": lambda: AttributeDiscriminator(2, 4, 8),
    "perceptual-autoencoder": lambda: PerceptualAutoencoder(
        10, (4, 4, 4, 4), (4, 4, 4, 4, 4), 3, ("Smiling", "Hat"), prior_mean=1.0
    ),
}


def logits(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a network makes of its input; the first, where that is more than one."""
    y = network(x)
    return y[0] if isinstance(y, tuple) else y


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
    assert kinds(Autoencoder().decoder) == [
        *["Linear", "ReLU", "Linear", "ReLU", "Unflatten"],
        *[*up, *up, "ConvTranspose2d", "Tanh"],
    ]


def test_the_generators_first_layer_is_a_transposed_convolution():
    layer = TINY["generator"]().layers[0][0]
    z = torch.randn(3, 10, 1, 1)
    assert torch.allclose(layer(z), nn.functional.conv_transpose2d(z, layer.weight), atol=1e-6)


def test_the_discriminators_last_halving_is_a_convolution_with_its_gradients():
    torch.manual_seed(0)
    x = torch.randn(3, 16, 8, 8, requires_grad=True)
    layer = TINY["discriminator"]().layers[4][0]
    ours, stock = layer(x), nn.functional.conv2d(x, layer.weight, stride=2, padding=1)
    assert type(layer) is not nn.Conv2d and torch.allclose(ours, stock, atol=1e-5)
    gradients = [torch.autograd.grad(y.square().sum(), (x, layer.weight)) for y in (ours, stock)]
    for mine, theirs in zip(*gradients):
        assert mine.abs().max() > 0.01 and torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [name for name in TINY if "discriminator" not in name])
def test_accelerated_layers_draw_what_the_layers_draw(kind):
    torch.manual_seed(0)
    model = TINY[kind]()
    for _ in range(100):  # Batch normalisation gets statistics to be folded.
        model.decode(model.sample_latent(64, seed=1))
    model.eval()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.uniform_(norm.bias, -0.5, 0.5)
    z = model.sample_latent(16, seed=0)
    x, y = model.decode(z), speed.accelerate(model.decoder_layers)(z)
    assert x.std() > 0.01 and torch.allclose(x, y, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Autoencoder(10, 64, (4, 4, 4), prior_mean=1.0, prior_variance=2.0),
        lambda: PerceptualAutoencoder(10, (4, 4, 4, 4), (4, 4, 4, 4, 4), prior_mean=1.0, prior_variance=2.0),
    ],
)
def test_whitening_changes_latents_but_no_reconstruction(model):
    torch.manual_seed(0)
    model = model().eval()
    x = torch.rand(200, 3, 64, 64) * 2 - 1
    before = model(x)
    model.whiten(model.encode(x))
    z = model.encode(x)
    assert torch.allclose(model(x), before, atol=1e-4)
    assert torch.allclose(z.mean(0), torch.ones(10), atol=1e-3)
    assert torch.allclose(torch.cov(z.T), 2 * torch.eye(10), atol=0.02)


def test_latents_that_are_all_alike_are_whitened():
    """As those of an encoder whose training failed."""
    model, x = TINY["autoencoder"](), torch.rand(20, 3, 64, 64) * 2 - 1
    before = model(x)
    model.whiten(model.encode(x[:1]).expand(20, -1))
    assert torch.allclose(model(x), before, atol=1e-3)


def test_shapes_and_ranges():
    generator, discriminator, autoencoder = (TINY[name]() for name in ("generator", "discriminator", "autoencoder"))
    x = generator(generator.sample_latent(2, seed=0))
    assert x.shape == (2, 3, 64, 64) and x.abs().max() <= 1
    assert discriminator(x).shape == (2,)
    assert torch.equal(discriminator.eval().probability(x), discriminator(x).sigmoid())
    assert autoencoder.encode(x).shape == (2, 10)
    assert autoencoder(x).shape == x.shape
    generator, discriminator, autoencoder = (build() for name, build in TINY.items() if "-" in name)
    z = generator.sample_latent(2, seed=0)
    x = generator(z)
    assert x.shape == (2, 3, 64, 64) and x.abs().max() <= 1
    logits, attributes = discriminator(x, z[:, 5:7])
    assert logits.shape == (2,) and attributes.shape == (2, 2)
    assert autoencoder.encode(x).shape == (2, 10)
    assert autoencoder(x).shape == x.shape


def test_a_projection_discriminator_tells_a_face_from_the_same_with_other_attributes():
    """By a number that is linear in the attributes, whose own logits do not depend on what is claimed."""
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
    model.attribute_bias[0] = math.log(9)
    model.attribute_weight[1, 0] = 4
    model.attribute_weight[0, 1] = 100  # Above the diagonal, where nothing is read.
    bits = model.sample_latent(20_000, seed=0)[:, 5:]
    assert set(bits.unique().tolist()) == {-1, 1}
    assert abs(((bits[:, 0] + 1) / 2).mean() - 0.9) < 0.01
    assert abs((bits[:, 0] == bits[:, 1]).float().mean() - 1 / (1 + math.exp(-4))) < 0.005
    assert bits[:, 2:].mean(0).abs().max() < 0.03
    assert torch.equal(model.sample_latent(7, seed=0)[:, 5:], bits[:7])


def test_without_a_prior_of_attributes_the_latents_are_the_plain_gans():
    plain, named = Generator(10, 5, 4), AttributeGenerator(10, 5, ("first", "second"), (4, 4, 4, 4, 4))
    assert torch.equal(plain.sample_latent(50, seed=3), named.sample_latent(50, seed=3))


def test_attributes_of_a_gan_are_bits_and_nothing_else_changes():
    model = TINY["attribute-generator"]().eval()
    z = model.sample_latent(6, seed=0)
    changed = model.with_attributes(z, {"Hat": True, "Smiling": False})
    assert torch.equal(changed[:, 6], torch.ones(6)) and torch.equal(changed[:, 5], -torch.ones(6))
    assert torch.equal(changed[:, [0, 1, 2, 3, 4, 7, 8, 9]], z[:, [0, 1, 2, 3, 4, 7, 8, 9]])
    assert torch.equal(model.sample_latent(6, seed=0), z)
    asked = model.generate(6, seed=0, attributes={"Hat": 1, "Smiling": -1})
    assert [face.tobytes() for face in asked] == [face.tobytes() for face in to_pil(model(changed))]


def test_attributes_of_an_autoencoder_are_directions():
    model = TINY["perceptual-autoencoder"]().eval()
    nn.init.normal_(model.directions)
    z = model.sample_latent(6, seed=0)
    changed = model.with_attributes(z, {"Hat": 2.5, "Smiling": False})
    assert torch.allclose(changed, z + 2.5 * model.directions[1] - model.directions[0], atol=1e-6)


@pytest.mark.parametrize("name", ["attribute-generator", "perceptual-autoencoder"])
@pytest.mark.parametrize(
    "attributes", [{"Beard": True}, {"Hat": "yes"}, {"Hat": float("nan")}, {"Hat": 1e9}, {"x" * 1000: 1}, {3: True}]
)
def test_attributes_that_there_are_not_are_named(name, attributes):
    with pytest.raises(ValueError, match="there is no attribute|Hat is") as error:
        TINY[name]().generate(1, seed=0, attributes=attributes)
    assert len(str(error.value)) < 200


def test_a_model_without_attributes_says_so():
    with pytest.raises(ValueError, match="no attribute 'Smiling': it knows none"):
        TINY["generator"]().generate(1, seed=0, attributes={"Smiling": True})


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


@pytest.mark.parametrize("name", ["generator", "autoencoder", "attribute-generator", "perceptual-autoencoder"])
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


def squared_errors(model: PerceptualAutoencoder, x: torch.Tensor) -> torch.Tensor:
    return (model(x) - x).square().mean((1, 2, 3))


def test_the_gradient_of_an_error_is_automatic_differentiations():
    torch.manual_seed(0)
    decoder = PerceptualAutoencoder(10, (4,) * 4, (8, 7, 6, 5, 4)).decoder
    for norm in (layer for layer in decoder.modules() if isinstance(layer, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 2)
    decoder.eval()
    z, images = torch.randn(3, 10, requires_grad=True), torch.rand(3, 3, 64, 64) * 2 - 1
    expected = (decoder(z) - images).square().sum((1, 2, 3)) / 2
    (slope,) = torch.autograd.grad(expected.sum(), z)
    with torch.inference_mode():
        error, gradient = error_and_gradient(decoder, z, images)
    torch.testing.assert_close(error[:, 0], expected)
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-4 * slope.abs().max().item())
    with pytest.raises(TypeError, match="LeakyReLU"):
        error_and_gradient(nn.Sequential(decoder, nn.LeakyReLU()), z, images)


def test_steps_of_encoding_bring_every_image_nearer():
    """Also one that is no face."""
    model = load("weights/perceptual-autoencoder").with_encoding_steps(4)
    torch.manual_seed(0)
    faces = from_pil(load("weights/attribute-gan").generate(6, seed=0))
    flat = torch.linspace(-1, 1, 3)[:, None, None, None].expand(3, 3, 64, 64)
    images = torch.cat([faces, faces.flip(2), -faces, flat, torch.rand(3, 3, 64, 64) * 2 - 1])
    errors = torch.stack([squared_errors(model.with_encoding_steps(steps), images) for steps in (0, 1, 4)])
    nearer = errors[1:] < errors[0]
    assert (errors.diff(dim=0) <= 0).all() and nearer[1].all()
    # A negative's first step may be too far: it is taken again, half as long.
    assert nearer[0, :12].all() and nearer[0, 18:].all()
    # In PSNR: a third of a decibel by the first step alone.
    gains = 10 * (errors[0] / errors)[:, :6].log10().mean(1)
    assert gains[1] > 0.3 and gains[2] > 0.5, gains
    in_float16 = squared_errors(model.half(), faces.half())
    assert 10 * (errors[0, :6] / in_float16).log10().mean() > gains[2] - 0.05


def test_steps_of_encoding_are_saved_and_left_out(tmp_path):
    torch.manual_seed(0)
    plain = TINY["perceptual-autoencoder"]().eval().requires_grad_(False)
    model, x = plain.with_encoding_steps(3), plain.decode(plain.sample_latent(2, seed=0))
    z = model.encode(x)
    assert plain.encoding_steps == 0 and (squared_errors(model, x) < 0.8 * squared_errors(plain, x)).all()
    model.save_pretrained(tmp_path / "three")
    loaded = load(tmp_path / "three")
    assert loaded.encoding_steps == 3 and torch.equal(loaded.encode(x), z)
    loaded.with_encoding_steps(0).save_pretrained(tmp_path / "none")
    assert torch.equal(load(tmp_path / "none").encode(x), plain.encode(x))
    assert torch.equal(loaded.with_encoding_steps(1).with_encoding_steps(3).encode(x), z)
    # Training goes by the encoder alone, and encoding changes no statistics of the decoder.
    statistics = [buffer.clone() for buffer in model.decoder.buffers()]
    torch.testing.assert_close(model.train().encode(x), plain.train().encode(x))
    torch.testing.assert_close(plain.train().with_encoding_steps(3).preconditioner, model.preconditioner)
    assert all(map(torch.equal, statistics, model.decoder.buffers()))
    nn.init.zeros_(plain.decoder[0].weight)  # As of a decoder whose training failed: no latent shows.
    torch.testing.assert_close(plain.eval().with_encoding_steps(1).encode(x), plain.encode(x))
    for steps in (-1, 51, 1.5, True, "4"):
        with pytest.raises(ValueError, match=f"encoding_steps is {steps}: it must be (a whole number, 0|50) or "):
            plain.with_encoding_steps(steps)


def test_another_mean_and_variance_move_and_stretch_the_mixture_as_a_whole():
    z, moved = mixture().sample_latent(50, seed=1), mixture().sample_latent(50, seed=1, mean=100, variance=16)
    assert torch.allclose(moved, (z - 5) * 2 + 100, atol=1e-4)
    assert torch.equal(mixture().sample_latent(3, seed=1, variance=0), torch.full((3, 4), 5.0))
    with pytest.raises(ValueError, match="variance"):
        mixture().sample_latent(3, variance=-1)
    with pytest.raises(ValueError, match="mean"):
        mixture().sample_latent(3, mean=float("nan"))


@pytest.mark.parametrize("name", TINY)
def test_what_is_saved_is_what_is_loaded(name, tmp_path):
    model = TINY[name]()
    model.to(memory_format=torch.channels_last).save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert not loaded.training
    assert {"config.json", "model.safetensors", "README.md"} == {path.name for path in tmp_path.iterdir()}
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("latent_size", "discrete_size", "prior_mean", "prior_variance"):
        assert getattr(loaded, key, None) == config.get(key, getattr(type(model), key, None))


def test_renamed_weights_are_refused(tmp_path):
    TINY["autoencoder"]().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {key.replace("encoder.0", "encoder.zero"): value for key, value in weights.items()},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(ValueError, match="do not fit Autoencoder.*encoder.zero"):
        Autoencoder.from_pretrained(tmp_path)


def test_another_models_weights_are_refused(tmp_path):
    TINY["autoencoder"]().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="another model than Generator"):
        Generator.from_pretrained(tmp_path)


def test_another_latent_size_is_refused(saved):
    with pytest.raises(ValueError, match="do not fit Generator.*size mismatch"):
        Generator.from_pretrained(saved("generator", latent_size=20))


@pytest.mark.parametrize(
    "others", [{"torch_dtype": "auto"}, {"subfolder": "model", "device_map": "auto"}, {"latent_size": 3}]
)
def test_an_argument_that_loading_has_not_is_named_beside_those_that_it_has(others, tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match=f"takes no {', '.join(others)}: it takes revision, .* map_location"):
        load(tmp_path, **others)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(missing, tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=missing):
        Generator.from_pretrained(tmp_path)


def test_a_pickle_is_refused(tmp_path):
    model = TINY["generator"]()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="only format"):
        Generator.from_pretrained(tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="do not fit"):
        Generator.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "build, word",
    [
        (lambda: Generator(latent_size=0), "latent_size"),
        (lambda: Generator(discrete_size=101), "discrete_size"),
        (lambda: Generator(prior_variance=0), "prior_variance"),
        (lambda: Discriminator(hidden_size=0), "hidden_size"),
        (lambda: Autoencoder(channels=(4, 4)), "channels"),
        (lambda: Autoencoder(matching="kl"), "matching"),
        (lambda: Autoencoder(prior_mean=float("nan")), "prior_mean"),
    ],
)
def test_an_impossible_network_is_refused(build, word):
    with pytest.raises(ValueError, match=word):
        build()


def test_what_is_no_tensor_of_pictures_is_refused_with_what_makes_one():
    encode = TINY["autoencoder"]().encode
    picture = Image.new("RGB", (64, 64))
    for x in (picture, np.asarray(picture), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(TypeError, match="from_pil"):
            encode(x)
    assert encode(from_pil(picture)).shape == (1, 10)
    with pytest.raises(TypeError, match="z is of type ndarray"):
        TINY["generator"]().decode(np.zeros((2, 10)))


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(n, 10\)"):
        TINY["generator"]()(torch.zeros(2, 11))
    with pytest.raises(ValueError, match="64"):
        TINY["autoencoder"]().encode(torch.zeros(2, 3, 32, 32))


def test_half_precision_models_take_float_latents():
    model = TINY["generator"]().to(torch.bfloat16).eval()
    assert len(model.generate(2, seed=0)) == 2


@pytest.fixture
def saved(tmp_path):
    """A function that saves a small model with values of its config.json replaced; they may be no JSON."""

    def save(name: str, **values) -> str:
        folder = tmp_path / name
        if not folder.exists():
            TINY[name]().save_pretrained(folder)
            (folder / "whole.json").write_bytes((folder / "config.json").read_bytes())
        config = {**json.loads((folder / "whole.json").read_text()), **values}
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
        return str(folder)

    return save


# What a config.json may hold instead of what belongs there.
OTHER_VALUES = [
    *(None, True, False, 0, -1, 50.0, 1.5, 1e308, float("nan"), float("inf"), 10**20, 10**400, -(10**9)),
    *("", "a", "50", "x" * 10_000, [], [1], [1, 2, 3], [1.0, 2, 3], [True, 1, 1], ["a", "b", "c"], [10**9] * 3, [[1]]),
    *({}, {"a": 1}),
]

# Of those, what each may be.
ALLOWED = {
    "discrete_size": [0],
    "prior_mean": [0, -1, 50.0, 1.5],
    "prior_variance": [50.0, 1.5],
    "matching": [None],
    "affine": [False],
    "encoding_steps": [0],
    "model_type": [None],  # Models saved before config.json named it have none.
    "crop": [None],
}
NOT_WITH_ATTRIBUTES = {"discrete_size": [], "model_type": []}


@pytest.mark.parametrize("name", TINY)
def test_a_value_that_a_config_cannot_have_is_named(name, saved):
    for key in (*json.loads(Path(saved(name), "config.json").read_text()), "crop"):
        for value in OTHER_VALUES:
            folder = saved(name, **{key: value})
            allowed = NOT_WITH_ATTRIBUTES.get(key, ALLOWED.get(key, [])) if "-" in name else ALLOWED.get(key, [])
            if any(value == other and type(value) is type(other) for other in allowed):
                PretrainedModel.from_pretrained(folder)
                continue
            with pytest.raises(ValueError) as error:
                PretrainedModel.from_pretrained(folder)
            said = str(error.value)
            assert key in said or "size mismatch" in said or "attributes has 2 names" in said, (key, value)
            assert len(said) < 700 and "\n" not in said, (key, value)


@pytest.mark.parametrize("name", TINY)
def test_a_value_that_a_config_lacks_is_named(name, saved):
    # Folders from before there were some do without them.
    later = {"model_type", "affine", "encoding_steps"}
    for key in json.loads(Path(saved(name), "config.json").read_text()).keys() - later:
        with pytest.raises(ValueError, match=f"lacks {key}|must be one of"):
            PretrainedModel.from_pretrained(saved(name, **{key: ...}))


def test_a_key_that_no_model_has_is_named(saved):
    with pytest.raises(ValueError, match="knows no depth, width"):
        load(saved("generator", depth=3, width=4))
    with pytest.raises(ValueError) as error:
        load(saved("generator", **{f"key {number} {'x' * 1000}": 0 for number in range(50)}))
    assert len(str(error.value)) < 700


class AllocatedNumbers(TorchDispatchMode):
    """How many numbers the largest tensor has that was made in memory meanwhile."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor) and x.device.type != "meta"]
        self.most = max(self.most, *(x.numel() for x in made), 0)
        return result


@pytest.mark.parametrize("key", ["latent_size", "hidden_size", "channels"])
def test_sizes_that_nobody_has_are_refused_before_anything_is_allocated(key, saved):
    name = "autoencoder" if key == "channels" else "generator"
    for power in range(5, 10):
        size = 10**power
        folder = saved(name, **{key: [size] * 3 if key == "channels" else size})
        with AllocatedNumbers() as allocated, pytest.raises(ValueError, match="size mismatch|no network that can be"):
            load(folder)
        assert allocated.most < 1000, size


@pytest.mark.parametrize(
    "content, word",
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"3", "no JSON object"),
        (b"[" * 90_000, "no JSON"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "no JSON|knows no|must be one of"),
        (b'{"latent_size": ' + b"9" * 50_000 + b"}", "no JSON"),
        (b" " * 1_000_000, "1,000,000 bytes"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_config_that_is_no_json_object_is_refused_in_words(content, word, tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=word) as error:
        load(tmp_path)
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def test_a_config_that_an_editor_marked_is_read(tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    content = (tmp_path / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + content)
    assert load(tmp_path).latent_size == 10


@pytest.mark.parametrize("value", ["unet", 3, ["generator"]])
def test_an_unknown_kind_of_model_is_refused(value, saved):
    with pytest.raises(
        ValueError, match="has model_type .*: it must be one of attribute-discriminator, .*autoencoder, .*"
    ):
        load(saved("generator", model_type=value))


def damaged(change) -> dict[str, torch.Tensor]:
    tensors = {name: tensor.clone() for name, tensor in TINY["generator"]().state_dict().items()}
    change(tensors)
    return tensors


def put(name: str, value: float):
    def change(tensors):
        tensors[name].view(-1)[3] = value

    return change


def convert(dtype: torch.dtype):
    def change(tensors):
        tensors.update({name: t.to(dtype) for name, t in tensors.items() if t.is_floating_point()})

    return change


@pytest.mark.parametrize(
    "change, word",
    [
        (put("layers.1.0.weight", float("nan")), "layers.1.0.weight holds values that are no numbers"),
        (put("layers.1.0.weight", float("inf")), "no numbers"),
        (put("layers.2.1.running_mean", float("-inf")), "layers.2.1.running_mean"),
        (put("layers.1.1.running_var", -0.5), "layers.1.1.running_var holds a negative variance"),
        (convert(torch.int8), "type I8"),
        (convert(torch.bool), "type BOOL"),
        (convert(torch.int64), "type I64"),
        (lambda tensors: tensors.pop("layers.3.bias"), "missing layers.3.bias"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "unknown extra"),
        (lambda tensors: tensors.clear(), "missing .* and 19 more"),
        (lambda tensors: tensors.update({"layers.3.bias": torch.zeros(4)}), "size mismatch of layers.3.bias"),
    ],
)
def test_weights_that_make_no_faces_are_refused(change, word, tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    save_file(damaged(change), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"do not fit Generator.*{word}") as error:
        load(tmp_path)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_loaded_as_float32(dtype, tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    save_file(damaged(convert(dtype)), tmp_path / "model.safetensors")
    assert {parameter.dtype for parameter in load(tmp_path).parameters()} == {torch.float32}


def test_a_header_that_is_larger_than_any_is_refused_unread(tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write((97_000_000).to_bytes(8, "little") + b"{")
        file.truncate(97_000_008)  # A hole: no space is taken.
    with pytest.raises(ValueError, match="header alone has 97,000,000 bytes"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_safetensors_file_is_refused(content, tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="do not fit Generator"):
        load(tmp_path)


def test_mutated_weights_load_or_are_refused(tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    path, random = tmp_path / "model.safetensors", np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(200):
        changed = bytearray(whole)
        for place in random.integers(0, 3000, 3):  # The header and what follows it.
            changed[place] = random.integers(256)
        path.write_bytes(changed)
        try:
            load(tmp_path)
        except ValueError as error:
            assert "do not fit Generator" in str(error) and len(str(error)) < 700


def test_each_absence_is_told_from_the_others(hub, tmp_path, monkeypatch):
    """A mistyped name, a missing revision or file, a private model, a folder that is not there."""
    monkeypatch.chdir(tmp_path)

    TINY["generator"]().save_pretrained(tmp_path / "model")
    hub.add_folder("model", "tester/gan", tmp_path / "model")
    hub.add_folder("model", "tester/secret", tmp_path / "model").private = True
    (tmp_path / "model/model.safetensors").unlink()
    hub.add_folder("model", "tester/half", tmp_path / "model")
    (tmp_path / "empty").mkdir()
    TINY["generator"]().save_pretrained(tmp_path / "run/model")
    assert load("tester/gan").latent_size == load("tester/secret", token=TOKEN).latent_size == 10
    for arguments, words in {
        ("tester/gam",): "there is no tester/gam on the Hub, or it is private",
        ("tester/gan", "v9"): "tester/gan has no revision v9",
        ("tester/secret", None, False): "no tester/secret on the Hub, or it is private and this token may not read it",
        ("tester/half",): "tester/half holds no model.safetensors",
        (str(tmp_path / "gone"),): f"{tmp_path}/gone is neither a folder here nor the name of a model on the Hub",
        ("./gone",): "./gone is neither a folder here",
        ("weights/gan/old",): "weights/gan/old is neither a folder here",
        ("weights/gan",): "weights/gan is neither a folder here nor the name of a model on the Hub, user/name",
        (Path("tester/gan"),): "tester/gan is neither a folder here",
        (
            "gam",
        ): "gam is neither a folder here nor the name of a model on the Hub, user/name, nor of a bundled one (gan, ",
        ("tester/a b",): "tester/a b is neither a folder here",
        ("run",): "run is a run: its model is run/model",
        (str(tmp_path / "empty"),): f"{tmp_path}/empty holds no config.json: it is no saved model",
    }.items():
        name, revision, token = (*arguments, None, None)[:3]
        with pytest.raises(ValueError) as error:
            load(name, revision=revision, token=token, cache_dir=tmp_path / "cache")
        assert words in str(error.value) and "\n" not in str(error.value)


def test_a_hub_that_is_away_is_no_fault_of_the_name(hub, tmp_path, monkeypatch):
    TINY["generator"]().save_pretrained(tmp_path / "model")
    hub.add_folder("model", "tester/gan", tmp_path / "model")
    with pytest.raises(OSError, match="config.json of tester/gan is not cached, and the Hub may not be asked"):
        load("tester/gan", local_files_only=True)
    hub.fault = "refuse"
    # The Hub's client would wait 23 seconds in all.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=pytest.fail))
    with pytest.raises(OSError, match="no folder tester/gan here, .* is not cached, and the Hub cannot be reached"):
        load("tester/gan")


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
    assert any(
        (model.discrete_size, *model.layers[-2].bias.tolist()) == (one.discrete_size, *one.layers[-2].bias.tolist())
        for one in pushed
    )
    hub.fault = "refuse"  # What was loaded is what is remembered.
    assert load("tester/gan").discrete_size == model.discrete_size


def test_a_password_in_the_hubs_address_is_told_to_nobody():
    error = OSError("no answer from https://me:secret@hub.example/api, nor from\nhttp://127.0.0.1:80/@x")
    assert one_line(error) == "no answer from https://hub.example/api, nor from http://127.0.0.1:80/@x"


def test_a_public_model_is_loaded_without_a_token_that_has_expired(hub, tmp_path, monkeypatch):
    TINY["generator"]().save_pretrained(tmp_path / "model")
    hub.add_folder("model", "tester/gan", tmp_path / "model")
    hub.add_folder("model", "tester/secret", tmp_path / "model").private = True
    monkeypatch.setenv("HF_TOKEN", REVOKED_TOKEN)
    with pytest.warns(UserWarning, match="invalid or has expired: log in anew .* tester/gan is public") as warned:
        assert load("tester/gan").latent_size == 10
    assert warned[0].filename == __file__ and REVOKED_TOKEN not in str(warned[0].message)
    with pytest.raises(ValueError, match="invalid or has expired: log in anew .* there is no tester/secret on the Hub"):
        load("tester/secret")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_default_type_changes_nothing_of_a_saved_model(dtype, tmp_path):
    """As notebooks set it for everything."""
    expected = {}
    for name, build in TINY.items():
        build().save_pretrained(tmp_path / name)
        model = PretrainedModel.from_pretrained(tmp_path / name)
        expected[name] = (
            model.generate(4, seed=0) if "discriminator" not in name else logits(model, torch.zeros(2, 3, 64, 64))
        )
    torch.set_default_dtype(dtype)
    try:
        for name, build in TINY.items():
            model = PretrainedModel.from_pretrained(tmp_path / name)
            assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
            if "discriminator" in name:
                assert torch.equal(logits(model, torch.zeros(2, 3, 64, 64, dtype=torch.float32)), expected[name])
                continue
            assert model.sample_latent(2, seed=0).dtype == torch.float32
            for face, other in zip(model.generate(4, seed=0), expected[name], strict=True):
                assert np.abs(np.asarray(face).astype(int) - np.asarray(other)).max() <= 1
            start, end = model.sample_latent(2, seed=0)
            assert model.decode(model.interpolate(start, end, 3, spherical=True)).dtype == torch.float32
            assert len(build().eval().generate(2, seed=0)) == 2  # One that has the default type.
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", TINY)
def test_models_are_copied_and_pickled(name):
    model = TINY[name]().eval()
    x = torch.randn(2, 10) if "generator" in name else torch.randn(2, 3, 64, 64)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(logits(other, x), logits(model, x))
        if "discriminator" not in name:
            assert other.generate(2, seed=0) == model.generate(2, seed=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", TINY)
def test_models_of_other_precisions_take_what_is_given_to_them(name, dtype):
    model = TINY[name]().to(dtype).eval()
    x = torch.rand(2, 3, 64, 64)
    if name == "discriminator":
        assert model(x).dtype == model.probability(x).dtype == dtype
        return
    if name == "attribute-discriminator":
        assert all(output.dtype == torch.float32 for output in model(x, torch.ones(2, 2)))
        return
    assert len(model.generate(2, seed=0)) == 2
    assert model.decode(torch.zeros(2, 10)).dtype == dtype
    if model.encodes:
        assert model(x).shape == x.shape


def test_latents_are_whitened_where_there_is_no_float64(monkeypatch):
    """As on a Mac's GPU, where a tensor is made float64 on the CPU or not at all."""
    double = torch.Tensor.double

    def to_cpu(tensor: torch.Tensor) -> torch.Tensor:
        moved = tensor.clone()
        moved.is_on_cpu = True
        return moved

    def refuse(tensor: torch.Tensor) -> torch.Tensor:
        if not hasattr(tensor, "is_on_cpu"):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return double(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", to_cpu)
    monkeypatch.setattr(torch.Tensor, "double", refuse)
    model, x = TINY["autoencoder"]().eval(), torch.rand(100, 3, 64, 64)
    model.whiten(model.encode(x))
    assert (model.encode(x).mean(0) - model.prior_mean).abs().max() < 1e-3
