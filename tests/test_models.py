import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models import Autoencoder, Discriminator, Generator, speed

TINY = {
    "generator": lambda: Generator(latent_size=10, discrete_size=4, hidden_size=4, prior_mean=1.0),
    "discriminator": lambda: Discriminator(hidden_size=4),
    "autoencoder": lambda: Autoencoder(10, 8, (4, 4, 4), matching="moments", prior_mean=-3.0, prior_variance=0.5),
}


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


@pytest.mark.parametrize("kind", ["generator", "autoencoder"])
def test_accelerated_layers_draw_what_the_layers_draw(kind):
    torch.manual_seed(0)
    model = TINY[kind]()
    for _ in range(3):  # Batch normalisation gets statistics to be folded.
        model.decode(model.sample_latent(64, seed=1))
    model.eval()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.uniform_(norm.bias, -0.5, 0.5)
    z = model.sample_latent(16, seed=0)
    x, y = model.decode(z), speed.accelerate(model.decoder_layers)(z)
    assert x.std() > 0.01 and torch.allclose(x, y, atol=1e-5)


def test_whitening_changes_latents_but_no_reconstruction():
    torch.manual_seed(0)
    model = Autoencoder(10, 64, (4, 4, 4), prior_mean=1.0, prior_variance=2.0).eval()
    x = torch.rand(200, 3, 64, 64) * 2 - 1
    before = model(x)
    model.whiten(model.encode(x))
    z = model.encode(x)
    assert torch.allclose(model(x), before, atol=1e-4)
    assert torch.allclose(z.mean(0), torch.ones(10), atol=1e-3)
    assert torch.allclose(torch.cov(z.T), 2 * torch.eye(10), atol=0.02)


def test_shapes_and_ranges():
    generator, discriminator, autoencoder = (build() for build in TINY.values())
    x = generator(generator.sample_latent(2, seed=0))
    assert x.shape == (2, 3, 64, 64) and x.abs().max() <= 1
    assert discriminator(x).shape == (2,)
    assert torch.equal(discriminator.eval().probability(x), discriminator(x).sigmoid())
    assert autoencoder.encode(x).shape == (2, 10)
    assert autoencoder(x).shape == x.shape


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


def test_another_latent_size_is_refused(tmp_path):
    TINY["generator"]().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="do not fit Generator.*size mismatch"):
        Generator.from_pretrained(tmp_path, latent_size=20)


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


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(n, 10\)"):
        TINY["generator"]()(torch.zeros(2, 11))
    with pytest.raises(ValueError, match="64"):
        TINY["autoencoder"]().encode(torch.zeros(2, 3, 32, 32))


def test_half_precision_models_take_float_latents():
    model = TINY["generator"]().to(torch.bfloat16).eval()
    assert len(model.generate(2, seed=0)) == 2
