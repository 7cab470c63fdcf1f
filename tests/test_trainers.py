"""What training does, in a few steps each: which way the losses go, and that every setting takes effect."""

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from models import AttributeDiscriminator, PerceptualAutoencoder
from models.images import crop, normalise
from tests.conftest import draw_face
from tests.test_train import SMALL_GAN
from train import autoencoders, gan, record
from train.attribute_gan import AttributeGANSettings
from train.autoencoder import AutoencoderSettings
from train.autoencoders import (
    AutoencoderTrainer,
    Float32Muon,
    PerceptualAutoencoderTrainer,
    fit_directions,
    fit_mixture,
)
from train.data import Batch
from train.gan import GANSettings
from train.generators import AttributeGANTrainer, GANTrainer, Shares
from train.loop import Averages, prepare
from train.losses import PENALTY_EVERY, Attributes, PerceptualDistance, draw_warps, judge, warp
from train.perceptual_autoencoder import PerceptualAutoencoderSettings

# Its weights take a second to load.
perceptual_distance = functools.cache(PerceptualDistance)

SMALL = {"batch_size": 16, "latent_size": 10, "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.cat([crop(draw_face(number)) for number in range(16)])


@pytest.fixture(scope="module")
def images(pixels) -> torch.Tensor:
    return normalise(pixels)


def gan_trainer(pixels: torch.Tensor, **settings) -> GANTrainer:
    small = {"hidden_size": 4, "discrete_size": 5, "learning_rate": 0.002}
    return GANTrainer(GANSettings(**{**SMALL, **small, **settings}), InMemory(pixels))


def autoencoder_trainer(pixels: torch.Tensor, **settings) -> AutoencoderTrainer:
    settings = {**SMALL, "hidden_size": 16, "epochs": 4, **settings}
    return AutoencoderTrainer(AutoencoderSettings(**settings), InMemory(pixels), pixels)


class InMemory:
    """As `Faces`, of a tensor; every fourth has a hat, every second smiles."""

    label_names = ("Hat", "Smiling")

    def __init__(self, pixels: torch.Tensor):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index) -> Batch:
        number = torch.arange(len(self.pixels))
        labels = torch.stack([(number % 4 == 0) * 2 - 1, (number % 2 == 0) * 2 - 1], dim=1).to(torch.int8)
        return Batch(self.pixels[index], labels[index])

    def all_labels(self) -> torch.Tensor:
        return self[:].labels

    def sample(self, count: int, seed: int) -> Batch:
        return self[:]


def attribute_gan_trainer(pixels: torch.Tensor, **settings) -> AttributeGANTrainer:
    small = {"hidden_size": 4, "discrete_size": 5, "channels": (4,) * 5, "learning_rate": 0.002}
    return AttributeGANTrainer(AttributeGANSettings(**{**SMALL, **small, **settings}), InMemory(pixels))


def perceptual_trainer(pixels: torch.Tensor, **settings) -> PerceptualAutoencoderTrainer:
    small = {"encoder_channels": (4,) * 4, "channels": (4,) * 5, "components": 2, "epochs": 4}
    settings = PerceptualAutoencoderSettings(**{**SMALL, **small, **settings})
    return PerceptualAutoencoderTrainer(settings, InMemory(pixels), pixels)


@pytest.fixture(scope="module", autouse=True)
def one_perceptual_distance():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoders, "PerceptualDistance", perceptual_distance)
        yield


def trained(trainer, images: torch.Tensor, steps: int) -> list[dict[str, float]]:
    """The losses of so many steps."""
    trainer.begin_epoch(1)
    labels = InMemory(images)[:].labels.float()
    return [{name: loss.item() for name, loss in trainer.step(images, step, labels).items()} for step in range(steps)]


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).clone()


# The GANs.

GANS = pytest.mark.parametrize("build", [gan_trainer, attribute_gan_trainer])


@torch.no_grad()
def logits(trainer: GANTrainer, images: torch.Tensor) -> tuple[float, float]:
    """What the discriminator says of faces and of what the generator makes."""
    fake = trainer.generator(trainer.generator.sample_latent(64, seed=5))
    said = [trainer.discriminator(faces) for faces in (images, fake)]
    real, fake = (answer[0] if isinstance(answer, tuple) else answer for answer in said)
    return real.mean().item(), fake.mean().item()


@GANS
def test_a_generator_learns_to_be_called_real(build, pixels, images):
    """The discriminator stands still. The second GAN's generator learns to be called more real than real faces."""
    trainer = build(pixels, **({} if build is gan_trainer else {"attribute_weight": 0.0}))
    trainer.discriminator_optimizer.step = lambda: None
    real, fake = logits(trainer, images)
    losses = trained(trainer, images, 45)
    real_after, fake_after = logits(trainer, images)
    assert fake_after - real_after > fake - real + 0.05
    assert losses[-1]["generator_loss"] < losses[0]["generator_loss"] - 0.02


@GANS
def test_a_discriminator_learns_to_tell_real_from_generated_and_attributes_from_each_other(build, pixels, images):
    trainer = build(pixels)
    trainer.generator_optimizer.step = lambda: None  # It stands still.
    losses = trained(trainer, images, 30)
    real, fake = logits(trainer, images)
    assert real > fake + 1 and losses[-1]["discriminator_loss"] < losses[0]["discriminator_loss"] / 2
    if build is attribute_gan_trainer:
        assert losses[-1]["attribute_loss"] < 0.6  # Of chance alone it is 0.63: half smile, a quarter has a hat.


@GANS
def test_a_trained_generator_waits_for_its_discriminator_and_then_learns_slowly(
    build, pixels, images, tmp_path, monkeypatch
):
    """Adam's first steps are as long as the learning rate. The generator's are 0 while the discriminator learns alone, then
    half of the rate, then all of it."""
    build(pixels).generator.save_pretrained(tmp_path)
    monkeypatch.setattr("train.losses.HEAD_START", 2)
    trainer = build(pixels, start_from=str(tmp_path), learning_rate=0.001)
    trainer.begin_epoch(1)
    labels, moved = InMemory(images)[:].labels.float(), []
    for step in range(4):
        before = weights(trainer.generator), weights(trainer.discriminator)
        trainer.step(images, step, labels)
        moved.append((weights(trainer.generator) - before[0]).abs().max().item())
        discriminator_moved = (weights(trainer.discriminator) - before[1]).abs().median().item()
        assert discriminator_moved == pytest.approx(0.001, rel=0.05) if step == 0 else discriminator_moved > 0
    assert moved[:2] == [0, 0] and moved[2:] == pytest.approx([0.0005, 0.001], rel=0.1)


@pytest.mark.parametrize("number, width", [(0, 0.025), (1, 0.05), (2, 0.1)])
def test_an_average_remembers_its_share_of_the_training(number, width):
    """Where each weight is the number of its step, the average is a mean step, which tells the average's width."""
    layer = nn.Linear(1, 1, bias=False)
    averages = Averages(layer)
    for step in range(1, 2001):
        nn.init.constant_(layer.weight, step)
        averages.update(layer)
    # A density (p + 1) s^p on [0, 1] has the mean (p + 1) / (p + 2) and the variance (p + 1) / ((p + 2)^2 (p + 3)).
    mean = averages.model(width).weight.item() / 2000
    power = (2 * mean - 1) / (1 - mean)
    assert ((power + 1) / ((power + 2) ** 2 * (power + 3))) ** 0.5 == pytest.approx(width, rel=0.02)
    assert averages.each[number].module is averages.model(width)


def test_a_gans_picture_is_of_the_same_latents_after_every_epoch(pixels, images):
    trainer = gan_trainer(pixels, seed=3)
    trained(trainer, images, 2)
    measured, grids = trainer.end_epoch()
    assert measured == {} and grids.keys() == {"samples"}
    expected = trainer.model()(trainer.model().sample_latent(64, seed=3))
    assert torch.equal(grids["samples"].faces, expected.detach()) and grids["samples"].columns == 8


# The GAN with named bits.


def latents_and_what_is_told(trainer, images, labels, monkeypatch):
    """The generator's latents in ten steps, and what the discriminator was told of real and of generated faces."""
    latents, told = [], []
    forward, judge = trainer.generator.forward, trainer.discriminator.forward
    monkeypatch.setattr(trainer.generator, "forward", lambda z: latents.append(z.clone()) or forward(z))
    monkeypatch.setattr(trainer.discriminator, "forward", lambda x, known: told.append(known) or judge(x, known))
    trainer.begin_epoch(1)
    for step in range(1, 11):
        trainer.step(images, step, labels)
    return torch.stack(latents), torch.stack(told[::2]), torch.stack(told[1::2])


def test_a_step_asks_for_some_attributes_of_the_real_face_and_the_others_of_another(pixels, images, monkeypatch):
    trainer = attribute_gan_trainer(pixels, told=0.3, penalty=0.0)
    labels = trainer.faces[:].labels.float()
    z, told, told_of_generated = latents_and_what_is_told(trainer, images, labels, monkeypatch)
    wanted, others = z[:, :, 5:7], labels.roll(1, 0)
    assert torch.equal(told, told_of_generated), "faces are told apart by how they look alone"
    is_told = told != 0
    assert is_told.float().mean().item() == pytest.approx(0.3, abs=0.06)
    assert torch.equal(told[is_told], labels.expand_as(told)[is_told])
    assert torch.equal(wanted, torch.where(is_told, labels, others)) and (labels != others).any()
    assert set(z[:, :, 7:].unique().tolist()) == {-1, 1}, "the other bits are free"


def test_of_classes_all_or_none_are_asked_for(pixels, images, monkeypatch):
    """A face of two classes, or of none, is nothing that could be learned."""
    trainer = attribute_gan_trainer(pixels, told=0.3, penalty=0.0)
    labels = torch.where(torch.arange(len(images))[:, None] % 2 == torch.arange(2), 1.0, -1.0)
    z, told, _ = latents_and_what_is_told(trainer, images, labels, monkeypatch)
    assert (z[:, :, 5:7].sum(2) == 0).all()
    assert {*(told != 0).sum(2).unique().tolist()} == {0, 2}


def test_the_penalty_is_half_the_squared_slope_at_real_and_generated_faces_and_makes_up_for_its_interval(images):
    """Its part of the discriminator's gradient is that of its definition, differentiated automatically."""
    torch.manual_seed(0)
    discriminator = AttributeDiscriminator(0, 4)
    made = images.flip(0).neg()

    def gradient(penalty: float, step: int) -> torch.Tensor:
        settings = GANSettings(**{**SMALL, "discrete_size": 5})
        told = SimpleNamespace(penalty=penalty, warped=0.0, seed=0, autocast=settings.autocast)
        judge(discriminator, told, step, images, made)
        return torch.cat([parameter.grad.flatten() for parameter in discriminator.parameters()])

    added = gradient(3.0, PENALTY_EVERY) - gradient(0.0, PENALTY_EVERY)
    assert all(torch.equal(gradient(3.0, step), gradient(0.0, step)) for step in (1, 8, 15, 17))
    discriminator.zero_grad()
    for shown in (images, made):
        x = shown.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(discriminator(x)[0].sum(), x, create_graph=True)
        (3.0 / 2 * slope.square().sum((1, 2, 3)).mean()).backward()
    every_step = [parameter.grad for parameter in discriminator.parameters()]
    expected = torch.cat([(torch.zeros(1) if grad is None else grad).flatten() for grad in every_step])
    torch.testing.assert_close(added, PENALTY_EVERY * expected, rtol=1e-3, atol=1e-4)


def test_the_generator_is_asked_for_what_is_told_alone_and_the_more_the_rarer(images):
    """Here the discriminator reads attributes off the mean of each colour. The gradient is taken at the generator's faces."""

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x, known=None):
            return x.new_zeros(len(x)) + 0 * x.sum((1, 2, 3)), self.scale * x.mean((2, 3))[:, :2]

    autocast = GANSettings(**SMALL, discrete_size=5).autocast
    settings = SimpleNamespace(penalty=0.0, warped=0.0, seed=0, autocast=autocast, attribute_weight=5.0)
    labels = torch.ones(len(images), 2)
    told = torch.zeros(len(images), 2, dtype=torch.bool)
    told[0, 0] = told[1, 1] = True
    importance = torch.tensor([1.0, 3.0]).expand(len(images), 2)
    made = torch.zeros_like(images)
    losses, _, gradient = judge(Reads(), settings, 1, images, made, Attributes(labels, labels, told, importance))
    slope = gradient.sum((2, 3))  # By the mean of each colour; of -log(sigmoid(0)) it is -1/2.
    assert slope[0].tolist() == pytest.approx([-0.5 * 5 / 2, 0, 0]) and slope[1].tolist() == pytest.approx(
        [0, -0.5 * 5 * 3 / 2, 0]
    )
    assert slope[2:].abs().max() == 0
    assert losses["shown_attribute_loss"].item() == pytest.approx(np.log(2) * (1 + 3) / 2)


def test_a_rare_value_counts_by_the_root_of_its_rareness():
    shares = Shares(2)
    rows = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    for _ in range(6000):
        shares.update(rows)
    on, off = shares.importance(torch.tensor([[1.0, 1.0], [-1.0, -1.0]])).tolist()
    assert on == pytest.approx([2**0.5, (2 / 3) ** 0.5], rel=0.01)
    assert off == pytest.approx([(2 / 3) ** 0.5, 2**0.5], rel=0.01)


def test_bits_are_drawn_as_the_training_faces_have_them(pixels, images):
    """Whoever has a hat smiles. This holds from the first epoch on, and for every average."""
    trainer = attribute_gan_trainer(pixels.repeat(10, 1, 1, 1), average=0.1)
    for _ in range(2):
        trained(trainer, images, 5)
        trainer.end_epoch()
        hat, smiling = trainer.model().sample_latent(4000, seed=0)[:, 5:7].T
        assert (smiling > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
        assert (hat > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
        assert (smiling[hat > 0] > 0).float().mean() > 0.95


# Autoencoders.


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_an_autoencoder_learns_to_reconstruct(optimizer, pixels, images):
    trainer = autoencoder_trainer(pixels, optimizer=optimizer)
    losses = trained(trainer, images, 20)
    assert losses[-1].keys() == {"pixel_loss"}
    assert losses[-1]["pixel_loss"] < losses[0]["pixel_loss"] / 2


@pytest.mark.parametrize("match", ["mmd", "moments"])
def test_matched_latents_move_to_the_prior(match, pixels, images):
    trainer = autoencoder_trainer(pixels, match=match, match_weight=10.0, prior_mean=-3.0)
    losses = trained(trainer, images, 25)
    z = trainer.autoencoder.encode(images)
    assert z.mean().item() == pytest.approx(-3, abs=0.5)
    if match == "moments":  # The kernels of a batch of 16 are slower to find the variance.
        assert z.var(0).mean().item() == pytest.approx(2, abs=0.7)
    trainer.end_epoch()
    assert trainer.model() is trainer.autoencoder, "latents are matched, and not whitened"
    assert losses[-1]["matching_loss"] < losses[0]["matching_loss"] / 2


@pytest.mark.parametrize("name, weight", [("matching", "match_weight"), ("perceptual", "perceptual_weight")])
def test_a_weight_weighs_its_loss_beside_that_of_the_pixels(name, weight, pixels, images):
    build = perceptual_trainer if name == "perceptual" else functools.partial(autoencoder_trainer, prior_mean=-3.0)
    trainer = build(pixels, **{weight: 3.0})
    trainer.begin_epoch(1)
    z = trainer.autoencoder.encoder(images)
    losses, total = trainer.losses(images, z, trainer.autoencoder.decode(z), 0)
    assert total.item() == pytest.approx((losses["pixel_loss"] + 3 * losses[f"{name}_loss"]).item())
    assert losses[f"{name}_loss"] > 1e-3


@pytest.mark.parametrize("has_fast_bf16, kind", [(True, torch.optim.Muon), (False, Float32Muon)])
def test_muon_has_the_matrices_and_adam_the_rest(has_fast_bf16, kind, pixels, monkeypatch):
    """PyTorch's Muon computes in bfloat16, where a step takes most of a minute if that is emulated."""
    monkeypatch.setattr(autoencoders, "has_fast_bf16", lambda device: has_fast_bf16)
    trainer = autoencoder_trainer(pixels)
    assert type(trainer.optimizers["muon"]) is kind
    shapes = {
        name: [parameter.ndim for group in optimizer.param_groups for parameter in group["params"]]
        for name, optimizer in trainer.optimizers.items()
    }
    assert shapes["muon"] == [2, 2, 2, 2] and 2 not in shapes["adam"]
    assert len(shapes["adam"]) + 4 == len(list(trainer.autoencoder.parameters()))


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_muon_in_float32_is_pytorchs_but_for_rounding(shape):
    """Checkpoints of either load into the other."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=random)
    gradients = torch.randn(6, *shape, generator=random)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    options = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = Float32Muon([ours], 0.1, **options), torch.optim.Muon([theirs], 0.1, **options)
    for number, gradient in enumerate(gradients):
        if number == 3:
            states = [optimizer.state_dict() for optimizer in optimizers]
            for optimizer, other in zip(optimizers, reversed(states)):
                optimizer.load_state_dict(other)
        for parameter, optimizer in zip((ours, theirs), optimizers):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


def test_a_plain_autoencoder_is_kept_whitened_or_as_it_was_trained(pixels, images):
    whitened, raw = autoencoder_trainer(pixels), autoencoder_trainer(pixels, whiten=False)
    for trainer in (whitened, raw):
        trained(trainer, images, 5)
    told, plainly = whitened.end_epoch()[0], raw.end_epoch()[0]
    with torch.no_grad():
        z = whitened.model().encode(images)
        assert z.mean(0).abs().max() < 1e-2 and z.var(0).mean().item() == pytest.approx(2, rel=0.01)
        torch.testing.assert_close(whitened.model()(images), raw.model()(images), rtol=0, atol=1e-3)
    assert told["latent_variance"] == pytest.approx(2, rel=0.01) and abs(told["latent_mean"]) < 1e-2
    assert told["raw_latent_variance"] == pytest.approx(plainly["latent_variance"], rel=1e-4)
    assert "raw_latent_variance" not in plainly
    assert raw.model() is raw.autoencoder and whitened.model() is not whitened.autoencoder


def test_a_perceptual_autoencoder_learns_both_distances(pixels, images):
    trainer = perceptual_trainer(pixels, perceptual_weight=0.5, learning_rate=0.01)
    losses = trained(trainer, images, 8)
    for name, none in trainer.losses(images, images, images, 0)[0].items():
        assert losses[-1][name] < losses[0][name] * 0.9 and none < 1e-6, name
    assert trained(perceptual_trainer(pixels, perceptual_weight=0.0), images, 1)[0].keys() == {"pixel_loss"}


@pytest.fixture
def small_adversary(monkeypatch):
    """A discriminator of few channels, from which models learn soon and fast."""
    monkeypatch.setattr(autoencoders, "AttributeDiscriminator", lambda: AttributeDiscriminator(0, 8))
    monkeypatch.setattr("train.losses.HEAD_START", 1)
    monkeypatch.setattr(autoencoders, "ADVERSARIAL_RATE", 0.003)


def adversarial_trainer(pixels: torch.Tensor, **settings) -> PerceptualAutoencoderTrainer:
    """In its first epoch already."""
    shares = {"perceptual_share": 0.0, "adversarial_share": 1.0, "perceptual_weight": 0.0}
    trainer = perceptual_trainer(pixels, **{**shares, "channels": (8,) * 5, "warped": 0.0, **settings})
    trainer.begin_epoch(1)
    return trainer


def test_a_perceptual_autoencoder_goes_through_three_phases(pixels, images, small_adversary):
    trainer = perceptual_trainer(pixels, epochs=6, perceptual_share=0.33, adversarial_share=0.5)
    names = []
    for epoch in range(1, 7):
        trainer.begin_epoch(epoch)
        names.append({*trainer.step(images, epoch)})
        assert trainer.autoencoder.training == (epoch <= 2), "batch normalisation learns at first alone"
    assert trainer.discriminator_optimizer.param_groups[0]["lr"] == 2 * trainer.learning_rate(6)
    adversarial = {"generator_loss", "discriminator_loss", "pixel_loss"}
    assert names == [{"pixel_loss", "perceptual_loss"}] * 2 + [{"pixel_loss"}] + [adversarial] * 3
    rates = [trainer.learning_rate(epoch) for epoch in range(1, 7)]
    assert rates == pytest.approx([0.002, 0.0015, 0.0005, 0.003, 0.003, 0.00176], rel=0.01)
    shortened = perceptual_trainer(pixels, epochs=6, perceptual_share=0.33, adversarial_share=0.5)
    shortened.begin_epoch(5)  # As if it had been resumed, and there had been more epochs before.
    assert shortened.autoencoder.mixture_means.abs().max() > 0.1


def test_draws_become_what_the_discriminator_learned_to_call_real(pixels, images, small_adversary, monkeypatch):
    monkeypatch.setattr("train.losses.HEAD_START", 30)
    trainer = adversarial_trainer(pixels, pixel_weight=0.0)
    model = trainer.autoencoder

    @torch.no_grad()
    def called_real(x: torch.Tensor) -> float:
        return trainer.discriminator(x)[0].mean().item()

    def drawn() -> torch.Tensor:
        return model.decode(model.sample_latent(50, seed=5)).detach()

    before = weights(model)
    for step in range(15):  # Of two halves of the batch each.
        trainer.step(images, step)
    assert torch.equal(weights(model), before) and torch.equal(weights(trainer.trained()), before)
    first, most = called_real(drawn()), called_real(images)
    assert most > first + 1
    trainer.discriminator_optimizer.step = lambda: None  # It stands still from now on.
    monkeypatch.setattr(autoencoders, "slow_start", lambda step: 1.0)
    for step in range(15, 40):
        trainer.step(images, step)
    assert called_real(drawn()) > (first + most) / 2
    assert not torch.equal(weights(trainer.trained()), before)


def test_reconstructions_are_held_while_draws_learn(pixels, images, small_adversary):
    """With a weight on pixels, reconstructions are nearer than without. Without, the encoder stays as it is."""
    errors = []
    for weight in (0.0, 1000.0):
        trainer = adversarial_trainer(pixels, pixel_weight=weight)
        encoder = weights(trainer.autoencoder.encoder)
        for step in range(10):
            trainer.step(images, step)
        errors.append((trainer.autoencoder(images) - images).square().mean().item())
        assert torch.equal(weights(trainer.autoencoder.encoder), encoder) == (weight == 0)
    assert errors[1] < 0.9 * errors[0]


def test_draws_stay_where_latents_lay_when_the_discriminator_came(pixels, images, small_adversary):
    """Draws that followed the latents would drive them away."""
    trainer = adversarial_trainer(pixels, prior_variance=2.0)
    model = trainer.autoencoder
    before, z = model.sample_latent(3000, seed=0), model.encoder(images)
    torch.testing.assert_close(before.mean(0), z.mean(0), atol=0.1, rtol=0)
    assert z.var(0).mean().item() == pytest.approx(1, rel=0.05)  # Some have no variance.
    with torch.no_grad():
        model.encoder[-1].bias.add_(3)
    trainer.step(images, 0)  # Of the discriminator alone.
    trainer.begin_epoch(2)
    kept = trainer.fitted(model)
    assert torch.equal(model.sample_latent(3000, seed=0), before) and torch.equal(
        kept.encode(images), model.encode(images)
    )
    # The kept model draws as wide as asked for.
    torch.testing.assert_close(kept.sample_latent(3000, seed=0), 2**0.5 * before)


def test_a_shift_by_whole_pixels_mirrors_what_lies_beyond_the_edge(images):
    right, down = 5, 3
    warps = torch.tensor([[[1.0, 0, 2 * right / 64], [0, 1, 2 * down / 64]]]).repeat(len(images), 1, 1)
    columns, rows = ([*range(shift, 64), *range(63, 63 - shift, -1)] for shift in (right, down))
    torch.testing.assert_close(warp(images, warps), images[:, :, rows][:, :, :, columns], atol=1e-4, rtol=0)


def test_a_share_of_the_faces_is_warped_each_in_its_own_way():
    warps, again, others = (draw_warps(1000, 0.3, seed) for seed in ((0, 1), (0, 1), (0, 2)))
    as_they_are = (warps == torch.eye(2, 3)).flatten(1).all(1)
    assert (~as_they_are).float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert len(warps[~as_they_are].unique(dim=0)) == (~as_they_are).sum()
    assert torch.equal(warps, again) and not torch.equal(warps, others)
    assert (draw_warps(50, 0.0, (0, 1)) == torch.eye(2, 3)).all()
    # A turn and a stretch, no shear, and nearly all of the face stays in the picture.
    (a, b), (c, d) = warps[:, :, :2].permute(1, 2, 0)
    torch.testing.assert_close(a, d)
    torch.testing.assert_close(b, -c)
    assert warps[:, :, 2].abs().max() < 0.7 and (a * d - b * c).sqrt().log2().abs().max() < 1


def test_real_and_generated_faces_are_warped_alike(pixels, images, monkeypatch):
    trainer = attribute_gan_trainer(pixels, penalty=0.0, warped=1.0)
    discriminator = trainer.parts()["discriminator"]
    warped, seen, judge = [], [], discriminator.forward
    monkeypatch.setattr("train.losses.warp", lambda x, by: warped.append((x, by)) or warp(x, by))
    monkeypatch.setattr(discriminator, "forward", lambda x, known: seen.append(x) or judge(x, known))
    trained(trainer, images, 1)
    (real, by), (made, by_too) = warped
    assert torch.equal(real, images) and torch.equal(by, by_too) and torch.equal(by, draw_warps(16, 1.0, (0, 0)))
    torch.testing.assert_close(seen, [warp(real, by), warp(made, by)])


def test_the_perceptual_distance_is_the_packages_and_minds_a_blur_more_than_a_shift():
    from stlpips_pytorch.stlpips import LPIPS

    distance = perceptual_distance()
    faces = normalise(torch.cat([crop(draw_face(number, (178, 218))) for number in range(8)]))
    shifted, blurred = faces.roll(1, -1), nn.functional.avg_pool2d(faces, 5, 1, 2)
    assert distance(faces, faces).item() == pytest.approx(0, abs=1e-6)
    pixels = [(faces - other).square().mean().item() for other in (shifted, blurred)]
    assert pixels[0] > pixels[1] and distance(faces, shifted) < distance(faces, blurred)
    network = LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    theirs = network((faces + 1) / 2, (blurred + 1) / 2, normalize=True)  # It takes [0, 1] then.
    assert distance(faces, blurred).item() == pytest.approx(theirs.mean().item(), rel=1e-4)


def test_a_direction_is_what_one_attribute_changes_all_others_being_equal():
    """One number of the latents tells who smiles, another who has a hat. Whoever has a hat smiles more often."""
    random = torch.Generator().manual_seed(0)
    hat = torch.rand(4000, generator=random) < 0.3
    smiling = torch.rand(4000, generator=random) < torch.where(hat, 0.9, 0.4)
    rows = torch.stack([smiling, hat], dim=1) * 2.0 - 1
    z = torch.randn(4000, 3, generator=random)
    z[:, 0] += 1.5 * smiling
    z[:, 1] -= 0.5 * hat
    model = PerceptualAutoencoder(3, (4,) * 4, (4,) * 5, 2, ("Smiling", "Hat"))
    fit_directions(model, z, rows)
    expected = torch.tensor([[1.5, 0, 0], [0, -0.5, 0]])
    assert torch.allclose(model.directions, expected, atol=0.15)


def test_the_mixture_is_that_of_the_latents():
    random = torch.Generator().manual_seed(0)
    z = torch.randn(3000, 3, generator=random)
    z[:1000] = z[:1000] * 0.5 + 4
    model = PerceptualAutoencoder(3, (4,) * 4, (4,) * 5, 2)
    fit_mixture(model, z, seed=0)
    first = int(model.mixture_means[:, 0].argmax())
    shares = model.mixture_logits.softmax(0)
    assert shares[first].item() == pytest.approx(1 / 3, abs=0.02)
    assert torch.allclose(model.mixture_means[first], torch.full((3,), 4.0), atol=0.1)
    root = model.mixture_roots[first]
    assert torch.allclose(root @ root.T, 0.25 * torch.eye(3), atol=0.05)
    drawn = model.sample_latent(3000, seed=0)
    assert (drawn[:, 0] > 2).float().mean().item() == pytest.approx(1 / 3, abs=0.03)


def test_originals_are_left_of_reconstructions_and_paths_go_from_a_pairs_second_face_to_its_first(pixels, images):
    """The encoder sees the number of a face, and the decoder draws it as a grey."""
    trainer = autoencoder_trainer(pixels, prior_mean=0.0)
    model = trainer.autoencoder
    model.encode = lambda x: torch.arange(16.0)[: len(x), None].expand(-1, 10)
    model.decode = lambda z: (z[:, 0, None, None, None] / 100).expand(-1, 3, 64, 64)
    grids = trainer.end_epoch()[1]
    faces, columns = grids["reconstructions"]
    assert columns == 8 and torch.equal(faces[0::2], images)
    assert faces[1::2, 0, 0, 0].tolist() == pytest.approx([number / 100 for number in range(16)])
    faces, columns = grids["interpolations"]
    assert columns == 11 and len(faces) == 88
    greys = (faces[:, 0, 0, 0] * 100).reshape(8, 11)
    assert greys[0].tolist() == pytest.approx([8, 7.2, 6.4, 5.6, 4.8, 4, 3.2, 2.4, 1.6, 0.8, 0], abs=1e-4)
    assert greys[:, 0].tolist() == pytest.approx([8, 9, 10, 11, 12, 13, 14, 15], abs=1e-4)
    assert greys[:, -1].tolist() == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7], abs=1e-4)


# Learning rates and seeds.


@pytest.mark.parametrize(
    "build, rates",
    [
        (gan_trainer, [0.01] * 8),
        (attribute_gan_trainer, [0.01] * 5 + [0.00853553, 0.005, 0.00146447]),
        (autoencoder_trainer, [0.01, 0.00961940, 0.00853553, 0.00691342, 0.005, 0.00308658, 0.00146447, 0.000380602]),
    ],
)
def test_a_learning_rate_stays_or_falls_along_a_cosine(build, rates, pixels):
    trainer = build(pixels, learning_rate=0.01, epochs=8)
    assert [trainer.learning_rate(epoch) for epoch in range(1, 9)] == pytest.approx(rates, rel=1e-5)
    trainer.begin_epoch(7)
    optimizers = trainer.optimizers.values() if build is autoencoder_trainer else [trainer.discriminator_optimizer]
    for optimizer in optimizers:
        assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(rates[6], rel=1e-5)]


@pytest.mark.parametrize("build", [gan_trainer, autoencoder_trainer, attribute_gan_trainer, perceptual_trainer])
def test_the_weights_come_from_the_seed_alone(build, pixels):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, again, other = (build(pixels, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    networks = [name for name, part in one.parts().items() if isinstance(part, nn.Module) and [*part.parameters()]]
    for name in networks:
        first, second, third = (weights(trainer.parts()[name]) for trainer in (one, again, other))
        assert torch.equal(first, second) and not torch.equal(first, third)


def test_every_draw_of_every_step_and_seed_has_a_seed_of_its_own(pixels, images, small_adversary, monkeypatch):
    matched = functools.partial(autoencoder_trainer, prior_mean=0.0)
    warping = functools.partial(adversarial_trainer, warped=0.5)
    make = np.random.default_rng
    for build in (gan_trainer, matched, attribute_gan_trainer, warping):
        trainers, seeds = [build(pixels, seed=seed) for seed in (0, 1)], []
        with monkeypatch.context() as patch:
            patch.setattr(np.random, "default_rng", lambda seed, seeds=seeds: seeds.append((*seed,)) or make(seed))
            for trainer in trainers:
                trainer.begin_epoch(1)
                for step in range(2):
                    trainer.step(prepare(pixels, trainer.settings, step), step, trainer.faces[:].labels.float())
        drawn = [seed for seed in seeds if len(seed) == 3]  # Of run, step and stream.
        assert len({*drawn}) == len(drawn) >= 8, build


# The loop.


def test_a_run_sees_every_face_once_a_pass_shuffled_and_mirrored_anew(arguments, tmp_path, monkeypatch):
    """And logs the losses of every step."""

    def seen(name: str, *words: str) -> torch.Tensor:
        batches: list[torch.Tensor] = []

        def step(self, images, number, labels):
            batches.append(images.clone())
            return {"a_loss": torch.tensor(100.0 + number), "b_loss": torch.tensor(-float(number))}

        monkeypatch.setattr(GANTrainer, "step", step)
        gan.main([*arguments(SMALL_GAN, name), "--passes", "2", *words])
        return torch.cat(batches)

    plain, flipped = seen("plain", "--no-flip"), seen("flipped")
    orders = [tuple(face.numpy().tobytes() for face in one_pass) for one_pass in plain.split(48)]
    assert len({*orders[0]}) == 48 and {frozenset(order) for order in orders} == {frozenset(orders[0])}
    assert len({*orders}) == 4
    flips = [torch.equal(one, other.flip(-1)) for one, other in zip(flipped, plain)]
    assert all(flip or torch.equal(one, other) for flip, one, other in zip(flips, flipped, plain))
    assert 66 <= sum(flips) <= 126
    assert len({tuple(flips[first : first + 8]) for first in range(0, 192, 8)}) > 18
    lines = [json.loads(line) for line in (tmp_path / "plain/metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["a_loss"], line["b_loss"]) for line in lines if "seconds" not in line] == [
        (number + 1, 100 + number, -number) for number in range(24)
    ]
    assert [line["images_seen"] for line in lines if "seconds" in line] == [96, 192]


# Pictures.


def test_a_loss_curve_shows_the_losses_over_the_steps(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    steps = [{"step": 1, "generator_loss": 3.0, "discriminator_loss": 1.0, "images_seen": 8}]
    steps += [{"step": 4, "generator_loss": 2.0, "discriminator_loss": 1.5, "images_seen": 16}]
    record.save_loss_curve([*steps, {"step": 4, "seconds": 9.0}], tmp_path / "loss.png")
    (axes,) = figures[0].axes
    curves = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert curves == {"generator": ([1, 4], [3.0, 2.0]), "discriminator": ([1, 4], [1.0, 1.5])}
    assert [line.get_color() for line in axes.lines] == ["tab:blue", "tab:red"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss") and not axes.yaxis_inverted()
