import numpy as np
import pytest
import torch

from models import Autoencoder, Generator, interpolate
from models.latents import sample_bits, sample_normal

MODELS = [
    pytest.param(lambda: Generator(latent_size=10, discrete_size=4, hidden_size=4), id="gan"),
    pytest.param(
        lambda: Autoencoder(latent_size=10, hidden_size=8, channels=(4, 4, 4), prior_mean=-3), id="autoencoder"
    ),
]


@pytest.mark.parametrize("build", MODELS)
def test_a_seed_gives_the_same_latents_in_any_batch_size(build):
    model = build()
    sixteen = model.sample_latent(16, seed=7)
    for count in (0, 1, 3, 15):
        assert torch.equal(model.sample_latent(count, seed=7), sixteen[:count])
    assert not torch.equal(model.sample_latent(16, seed=8), sixteen)
    assert not torch.equal(model.sample_latent(16), model.sample_latent(16))


@pytest.mark.parametrize("build", MODELS)
def test_a_seed_gives_the_same_faces_in_any_batch_size(build):
    model = build().eval()
    sixteen = model.generate(16, seed=7)
    for other in (model.generate(5, seed=7), model.generate(16, seed=7, batch_size=3)):
        for one, two in zip(other, sixteen):
            difference = torch.tensor(list(one.tobytes())).int() - torch.tensor(list(two.tobytes())).int()
            assert difference.abs().max() <= 1


def test_draws_have_the_moments_they_are_asked_for():
    z = sample_normal(50_000, 4, seed=0, mean=-3, variance=2)
    assert z.mean().item() == pytest.approx(-3, abs=0.02)
    assert z.var().item() == pytest.approx(2, abs=0.02)
    bits = sample_bits(50_000, 4, seed=0)
    assert set(bits.unique().tolist()) == {-1, 1}
    assert bits.mean().item() == pytest.approx(0, abs=0.01)
    assert torch.corrcoef(torch.cat([z, bits], 1).T).fill_diagonal_(0).abs().max() < 0.02


def test_moving_the_mean_keeps_the_noise_and_the_bits():
    model = Generator(latent_size=10, discrete_size=4, hidden_size=4)
    here, there = model.sample_latent(8, seed=1), model.sample_latent(8, seed=1, mean=100)
    assert torch.allclose(there[:, :6] - here[:, :6], torch.tensor(100.0), atol=1e-4)
    assert torch.equal(there[:, 6:], here[:, 6:])


def test_the_prior_of_the_config_is_what_is_sampled():
    model = Autoencoder(latent_size=10, hidden_size=8, channels=(4, 4, 4), prior_mean=-3, prior_variance=0.5)
    z = model.sample_latent(20_000, seed=0)
    assert z.mean().item() == pytest.approx(-3, abs=0.02)
    assert z.var().item() == pytest.approx(0.5, abs=0.02)


def test_interpolation_is_straight_and_includes_its_ends():
    start, end = torch.randn(3, 10), torch.randn(3, 10)
    path = interpolate(start, end, 11)
    assert path.shape == (3, 11, 10)
    assert torch.allclose(path[:, 0], start) and torch.allclose(path[:, 10], end)
    assert torch.allclose(path[:, 3], start * 0.7 + end * 0.3, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"count": -1}, "count"),
        ({"count": 1.5}, "count is 1.5"),
        ({"count": "2"}, "count"),
        ({"count": 1, "seed": -1}, "seed"),
        ({"count": 1, "seed": (3, -1)}, "seed"),
        ({"count": 1, "seed": True}, "seed is True: it must be a whole number, 0 or more"),
        ({"count": 1, "seed": np.bool_(False)}, "seed"),
        ({"count": 1, "seed": torch.tensor(True)}, "seed"),
        ({"count": 1, "seed": 1.5}, "seed is 1.5"),
        ({"count": 1, "seed": np.float64(2)}, "seed"),
        ({"count": 1, "seed": torch.tensor(1.0)}, "seed"),
        ({"count": 1, "seed": "7"}, "seed is 7"),
        ({"count": 1, "seed": [[1, 2]]}, "seed"),
        ({"count": 1, "mean": "far"}, "mean is far"),
        ({"count": 1, "mean": 1e300}, "mean"),
        ({"count": 1, "variance": float("inf")}, "variance"),
        ({"count": 1, "mean": float("nan")}, "mean"),
        ({"count": 1, "variance": -1.0}, "variance"),
    ],
)
def test_a_bad_draw_says_what_is_wrong(arguments, word):
    with pytest.raises(ValueError, match=word):
        Generator(hidden_size=4).sample_latent(**arguments)


@pytest.mark.parametrize(
    "seven", [np.int64(7), np.uint8(7), np.array(7), torch.tensor(7), torch.tensor(7, dtype=torch.int16)], ids=repr
)
def test_numbers_of_other_libraries_are_numbers(seven):
    model = Generator(latent_size=10, discrete_size=4, hidden_size=4)
    start, end = model.sample_latent(2, seed=7)
    assert torch.equal(model.sample_latent(seven, seed=seven), model.sample_latent(7, seed=7))
    assert torch.equal(model.sample_latent(1, seed=(1, seven)), model.sample_latent(1, seed=(1, 7)))
    assert torch.equal(model.interpolate(start, end, seven), model.interpolate(start, end, 7))
    assert len(model.eval().generate(seven, seed=seven, batch_size=seven)) == 7
    assert torch.equal(model.sample_latent(2, seed=0, mean=seven), model.sample_latent(2, seed=0, mean=7))


@pytest.mark.parametrize("several", [[3, 4], np.array([3, 4]), torch.tensor([3, 4])], ids=repr)
def test_a_seed_may_be_several_numbers(several):
    assert torch.equal(sample_normal(2, 4, several), sample_normal(2, 4, (3, 4)))


@pytest.mark.parametrize("steps", [1, 2.5, True])
def test_a_path_of_one_point_is_refused(steps):
    with pytest.raises(ValueError, match="steps"):
        interpolate(torch.zeros(4), torch.ones(4), steps)
    with pytest.raises(ValueError, match="batch_size"):
        Generator(10, 4, 4).eval().generate(2, batch_size=0)


def test_a_spherical_path_keeps_its_distance_from_the_centre():
    start, end = 10 * torch.nn.functional.normalize(torch.randn(2, 100)) - 3
    path = interpolate(start, end, 11, spherical=True, centre=-3)
    assert torch.allclose(path[0], start, atol=1e-5) and torch.allclose(path[10], end, atol=1e-5)
    assert torch.allclose((path + 3).norm(dim=1), torch.tensor(10.0), atol=1e-3)
    assert (interpolate(start, end)[5] + 3).norm() < 9
    angles = torch.cosine_similarity(path[:-1] + 3, path[1:] + 3).acos()
    assert angles.max() - angles.min() < 1e-3, "even steps"


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_a_spherical_path_between_ends_on_one_line_is_straight(factor):
    start = torch.randn(10)
    path = interpolate(start, factor * start, 5, spherical=True)
    assert torch.allclose(path, interpolate(start, factor * start, 5), atol=1e-4)


def test_the_path_of_a_model_turns_around_its_prior():
    model = Autoencoder(latent_size=10, hidden_size=8, channels=(4, 4, 4), prior_mean=-3)
    start, end = model.sample_latent(2, seed=0)
    assert torch.equal(model.interpolate(start, end, 5), interpolate(start, end, 5))
    assert torch.equal(model.interpolate(start, end, 5, spherical=True), interpolate(start, end, 5, True, -3.0))


def test_the_bits_of_a_path_are_relaxed_switched_or_held():
    model = Generator(latent_size=10, discrete_size=4, hidden_size=4)
    start, end = model.sample_latent(2, seed=1)
    assert (start[6:] != end[6:]).any()
    relaxed, switched, held = (
        model.interpolate(start, end, 4, discrete=discrete) for discrete in ("relaxed", "switched", "held")
    )
    for path in (relaxed, switched, held):
        assert torch.equal(path[:, :6], interpolate(start[:6], end[:6], 4))
        assert torch.equal(path[0], start)
    assert torch.equal(relaxed[:, 6:], interpolate(start[6:], end[6:], 4))
    assert torch.equal(switched[:, 6:], torch.stack([start, start, end, end])[:, 6:])
    assert torch.equal(held[:, 6:], start[6:].expand(4, -1))
    with pytest.raises(ValueError, match="'flipped'"):
        model.interpolate(start, end, discrete="flipped")


def test_bits_are_held():
    model = Generator(latent_size=10, discrete_size=4, hidden_size=4)
    z = model.sample_latent(8, seed=1)
    held = model.hold_bits(z, "+-..")
    assert (held[:, 6] == 1).all() and (held[:, 7] == -1).all()
    assert torch.equal(held[:, [0, 1, 2, 3, 4, 5, 8, 9]], z[:, [0, 1, 2, 3, 4, 5, 8, 9]])
    for bits in ("+-.", "+-.0", "+-..."):
        with pytest.raises(ValueError, match="4 characters"):
            model.hold_bits(z, bits)
