import math

import pytest
import torch
import torch.nn.functional as F

from train.losses import discriminator_loss, generator_loss, latent_moments, mmd, moments, relativistic_loss


def normal(count: int, seed: int, mean: float = 0.0, variance: float = 2.0) -> torch.Tensor:
    return torch.randn(count, 100, generator=torch.Generator().manual_seed(seed)) * variance**0.5 + mean


def test_the_gans_losses_are_binary_cross_entropies():
    real, fake = torch.randn(2, 32, generator=torch.Generator().manual_seed(0)) * 2
    entropy, ones = F.binary_cross_entropy_with_logits, torch.ones(32)
    torch.testing.assert_close(discriminator_loss(real, fake), entropy(real, ones) + entropy(fake, 0 * ones))
    torch.testing.assert_close(generator_loss(fake), entropy(fake, ones))
    assert torch.isfinite(discriminator_loss(torch.tensor([-1e4]), torch.tensor([1e4])))


def test_a_relativistic_loss_compares_pair_by_pair():
    higher, lower = torch.tensor([2.0, -1.0, 1e4]), torch.tensor([1.0, 1.0, -1e4])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2)) + 0) / 3
    assert relativistic_loss(higher, lower).item() == pytest.approx(expected, rel=1e-5)


def test_mmd_agrees_with_the_sum_over_pairs():
    """Over pairs of different latents, so that it is unbiased."""
    z, prior = normal(5, 0), normal(5, 1, mean=1.0)
    kernel = lambda a, b: sum(400 * s / (400 * s + (a - b).square().sum()) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))
    different = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = (
        sum(kernel(z[i], z[j]) + kernel(prior[i], prior[j]) for i, j in different) / 20
        - 2 * sum(kernel(z[i], prior[j]) for i in range(5) for j in range(5)) / 25
    )
    assert mmd(z, prior, 2.0).item() == pytest.approx(expected.item(), abs=1e-4)


def test_moments_weigh_alike_and_see_the_kurtosis():
    assert 4096 * moments(normal(4096, 0), 0.0, 2.0).item() == pytest.approx(4, abs=0.8)  # 1 each, for a mean of 4096.
    uniform = (torch.rand(4096, 100, generator=torch.Generator().manual_seed(0)) - 0.5) * (12 * 2) ** 0.5
    assert moments(uniform, 0.0, 2.0) > 10 * moments(normal(4096, 0), 0.0, 2.0)


def test_latent_moments_of_a_known_distribution():
    expected = {"latent_mean": -3, "latent_variance": 2, "latent_skewness": 0, "latent_kurtosis": 3}
    assert latent_moments(normal(20_000, 0, mean=-3, variance=2)) == pytest.approx(expected, abs=0.02)
