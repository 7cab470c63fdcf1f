"""Draws that belong to their seed, and the paths between latents."""

import numpy as np
import pytest
import torch

from models import Generator, interpolate
from models.latents import sample_bits, sample_indices, sample_normal
from tests.conftest import TINY

gan, autoencoder = TINY["generator"], TINY["autoencoder"]


@pytest.mark.parametrize("build", [gan, autoencoder])
def test_a_seed_gives_the_same_latents_and_faces_in_any_batch_size(build):
    model = build().eval()
    z, faces = model.sample_latent(16, seed=7), model.generate(16, seed=7)
    for count in (0, 1, 15):
        assert torch.equal(model.sample_latent(count, seed=7), z[:count])
    assert not torch.equal(model.sample_latent(16, seed=8), z)
    assert not torch.equal(model.sample_latent(16), model.sample_latent(16))
    for others in (model.generate(5, seed=7), model.generate(16, seed=7, batch_size=3)):
        for one, other in zip(faces, others):
            assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1


def test_draws_have_the_moments_they_are_asked_for():
    z = sample_normal(50_000, 4, seed=0, mean=-3, variance=2)
    bits = sample_bits(50_000, 4, seed=0)
    assert set(bits.unique().tolist()) == {-1, 1}
    own = autoencoder().sample_latent(50_000, seed=0)  # By the prior of its config.
    for x, mean, variance in ((z, -3, 2), (bits, 0, 1), (own, -3, 0.5)):
        assert (x.mean(0) - mean).abs().max() < 0.02 and (x.var(0) - variance).abs().max() < 0.05
    assert torch.corrcoef(torch.cat([z, bits], 1).T).fill_diagonal_(0).abs().max() < 0.02
    shares = np.bincount(sample_indices(50_000, np.array([0.2, 0, 0.7, 0.1]), seed=0)) / 50_000
    assert shares == pytest.approx([0.2, 0, 0.7, 0.1], abs=0.01)


def test_a_seeds_draws_stay_what_they_are():
    """Links to faces and the browser's own draws rely on them: numpy's, from one stream for each kind."""
    stream = lambda number: np.random.default_rng([5, number])
    assert np.array_equal(sample_normal(3, 4, 5), stream(0).standard_normal((3, 4), np.float32))
    assert np.array_equal(sample_bits(3, 4, 5) == 1, stream(2).random((3, 4), np.float32) >= 0.5)
    assert np.array_equal(sample_indices(9, np.array([0.5, 0.5]), 5), stream(3).random(9) >= 0.5)


def test_another_mean_moves_the_same_noise_and_leaves_the_bits():
    here, there = gan().sample_latent(8, seed=1), gan().sample_latent(8, seed=1, mean=101)
    assert torch.allclose(there[:, :6] - here[:, :6], torch.tensor(100.0), atol=1e-4)
    assert torch.equal(there[:, 6:], here[:, 6:])
    # Nor do other halves: the bits are the first ones of the seed's, whatever the number of normal ones.
    assert torch.equal(Generator(4, 4, 4).sample_latent(8, seed=1), here[:, 6:])


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"count": -1}, "count is -1: it must be a whole number, 0 or more"),
        ({"count": "2"}, "count is '2': it must be"),
        ({"seed": (3, -1)}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"seed": np.float64(2)}, "seed is "),
        ({"seed": [[1, 2]]}, "seed is"),
        ({"mean": "7"}, "mean is '7': it must be a finite number"),
        ({"mean": 1e300}, "mean is 1e"),
        ({"variance": float("inf")}, "variance is inf"),
        ({"variance": -1.0}, "variance is -1: it must be 0 or more"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_a_bad_draw_says_what_is_wrong(arguments, word):
    with pytest.raises(ValueError, match=word):
        gan().generate(**{"count": 1, **arguments})


@pytest.mark.parametrize("seven", [np.uint8(7), np.array(7), torch.tensor(7, dtype=torch.int16)], ids=repr)
def test_numbers_of_other_libraries_are_numbers(seven):
    model = gan()
    start, end = model.sample_latent(2, seed=7)
    assert torch.equal(model.sample_latent(seven, seed=seven), model.sample_latent(7, seed=7))
    assert torch.equal(model.sample_latent(2, seed=0, mean=seven), model.sample_latent(2, seed=0, mean=7))
    assert torch.equal(model.interpolate(start, end, seven), model.interpolate(start, end, 7))
    assert len(model.generate(seven, seed=seven, batch_size=seven)) == 7
    for several in ([3, seven], np.array([3, 7]), torch.tensor([3, 7])):
        assert torch.equal(sample_normal(2, 4, several), sample_normal(2, 4, (3, 7)))


def test_a_straight_path_includes_its_ends_and_has_even_steps():
    start, end = torch.randn(3, 10), torch.randn(3, 10)
    path = interpolate(start, end, 11)
    assert path.shape == (3, 11, 10)
    assert torch.allclose(path[:, 0], start) and torch.allclose(path[:, 10], end)
    assert torch.allclose(path[:, 3], start * 0.7 + end * 0.3, atol=1e-6)
    assert interpolate(torch.tensor([0]), torch.tensor([10]), 5).flatten().tolist() == [0, 2.5, 5, 7.5, 10]
    with pytest.raises(ValueError, match="steps is 1"):
        interpolate(start, end, 1)


def test_a_spherical_path_turns_evenly_around_its_centre():
    start, end = 10 * torch.nn.functional.normalize(torch.randn(2, 100)) - 3
    path = interpolate(start, end, 11, spherical=True, centre=-3)
    assert torch.allclose(path[0], start, atol=1e-5) and torch.allclose(path[10], end, atol=1e-5)
    assert torch.allclose((path + 3).norm(dim=1), torch.tensor(10.0), atol=1e-3)
    angles = torch.cosine_similarity(path[:-1] + 3, path[1:] + 3).acos()
    assert angles.max() - angles.min() < 1e-3
    for factor in (1.0, 2.0, -1.0, 0.0):  # Ends on one line through the centre.
        straight = interpolate(start, factor * start, 5)
        assert torch.allclose(interpolate(start, factor * start, 5, spherical=True), straight, atol=1e-4)
    model = autoencoder()  # Its prior's mean is the centre.
    start, end = model.sample_latent(2, seed=0)
    assert torch.equal(model.interpolate(start, end, 5, spherical=True), interpolate(start, end, 5, True, -3.0))


def test_the_bits_of_a_path_are_relaxed_switched_or_held():
    model = gan()
    start, end = model.sample_latent(2, seed=1)
    assert (start[6:] != end[6:]).any()
    expected = {
        "relaxed": torch.stack([start + (end - start) * step / 3 for step in range(4)])[:, 6:],
        "switched": torch.stack([start, start, end, end])[:, 6:],
        "held": start[6:].expand(4, -1),
    }
    for discrete, bits in expected.items():
        path = model.interpolate(start, end, 4, discrete=discrete)
        assert torch.equal(path[:, :6], interpolate(start[:6], end[:6], 4))
        torch.testing.assert_close(path[:, 6:], bits)
    assert torch.equal(model.interpolate(start, end, 3, discrete="switched")[1, 6:], end[6:])
    with pytest.raises(ValueError, match="'flipped'"):
        model.interpolate(start, end, discrete="flipped")


def test_bits_are_held():
    model = gan()
    z = model.sample_latent(8, seed=1)
    held = model.hold_bits(z, "+-..")
    assert (held[:, 6] == 1).all() and (held[:, 7] == -1).all()
    assert torch.equal(held[:, [*range(6), 8, 9]], z[:, [*range(6), 8, 9]])
    assert torch.equal(z, model.sample_latent(8, seed=1))
    for bits in ("+-.", "+-.0", "+-..."):
        with pytest.raises(ValueError, match="4 characters"):
            model.hold_bits(z, bits)
