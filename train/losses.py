"""Losses, each a scalar, and measurements of latents and reconstructions.

Everything is computed in float32, even where the networks run in bfloat16.
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .settings import TrainingError

# Scales of the inverse multiquadratic kernels, from the code of the Wasserstein autoencoder (Tolstikhin et al. 2018,
# arXiv:1711.01558): wide kernels pull far clouds together, narrow ones shape close clouds.
MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

NORMAL_KURTOSIS = 3.0


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of calling real faces real, plus that of calling generated faces generated."""
    # -log sigmoid(l) = softplus(-l), and -log(1 - sigmoid(l)) = softplus(l).
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of calling generated faces real: the non-saturating loss (Goodfellow et al. 2014)."""
    return F.softplus(-fake_logits.float()).mean()


def relativistic_loss(wanted_higher: torch.Tensor, wanted_lower: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of telling which logit of each pair is the higher one, for logits (n,) and (n,)."""
    return F.softplus(wanted_lower.float() - wanted_higher.float()).mean()


def gradient_penalty(discriminate: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Mean squared length of a discriminator's gradient at images (Mescheder et al. 2018, arXiv:1801.04406).

    Args:
        discriminate: from images (n, 3, 64, 64) in [-1, 1] to logits (n,).
    """
    images = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminate(images).sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def pixel_loss(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean squared error over pixels in [-1, 1]."""
    # Not F.mse_loss: its gradient is always channels first in memory, which slows the layers before it.
    return (reconstruction.float() - images.float()).square().mean()


def mmd(z: torch.Tensor, prior: torch.Tensor, variance: float) -> torch.Tensor:
    """Maximum mean discrepancy between a batch of latents and draws from the prior (Gretton et al. 2012).

    A sum of inverse multiquadratic kernels k(a, b) = c / (c + |a - b|^2), c = 2 * latent_size * variance * scale:
    2 * latent_size * variance is the mean squared distance between two draws from the prior. The estimator is unbiased:
    0 on average where both come from one distribution, and sometimes negative.

    Args:
        z: (n, latent_size) latents of a batch, n at least 2.
        prior: (n, latent_size) draws from the prior.
        variance: the prior's.
    """
    z, prior = z.float(), prior.float()
    count, size = z.shape
    z_z, prior_prior, z_prior = _squared_distances(z, z), _squared_distances(prior, prior), _squared_distances(z, prior)
    loss = z.new_zeros(())
    for scale in MMD_SCALES:
        c = 2 * size * variance * scale
        # A latent is at distance 0 from itself, where the kernel is 1: the unbiased mean leaves the diagonal out.
        within = sum(((c / (c + distances)).sum() - count) / (count * (count - 1)) for distances in (z_z, prior_prior))
        loss = loss + within - 2 * (c / (c + z_prior)).mean()
    return loss


def moments(z: torch.Tensor, mean: float, variance: float) -> torch.Tensor:
    """Squared distances of the first four moments of latents (n, latent_size) from those of N(mean, variance).

    The latents are standardised by the prior first, so that the moments of the prior are 0, 1, 0 and 3. Each squared
    distance is divided by the variance of that sample moment under the prior (1, 2, 15, 96), so that all four weigh the
    same, and averaged over the numbers of a latent.
    """
    standard = (z.float() - mean) / variance**0.5
    targets = ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, NORMAL_KURTOSIS, 96.0))
    return sum(((standard**power).mean(0) - target).square().mean() / spread for power, target, spread in targets)


def _squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # |a|^2 + |b|^2 - 2ab takes a single matrix product. `torch.cdist` takes a root, whose slope at 0 is infinite.
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
    return (squares - 2 * a @ b.T).clamp(min=0)


class PerceptualDistance(nn.Module):
    """Shift-tolerant LPIPS (Ghildyal & Liu 2022, arXiv:2207.13686), with its weights from a package of PyPI.

    It compares features of AlexNet, trained on ImageNet, place by place: a picture that is shifted by a pixel is near, a
    blurred one is far.

    Raises:
        TrainingError: the package is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # About escapes in the package's own strings.
                from stlpips_pytorch import stlpips
        except ImportError as error:
            raise TrainingError(
                f"AlexNet's features need {error.name}: pip install --group train (or do without, --perceptual-weight 0)"
            ) from error
        with torch.random.fork_rng(devices=[]):  # The package draws weights before it loads them.
            self.network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mean distance of the pairs of two batches of images (n, 3, 64, 64) in [-1, 1], a scalar."""
        return self.network(x, y).float().mean()


def psnr(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each image in dB, (n,), for images (n, 3, height, width) in [-1, 1]."""
    error = (reconstruction.float() - images.float()).square().flatten(1).mean(1)
    return 10 * torch.log10(2**2 / error)


def latent_moments(z: torch.Tensor) -> dict[str, float]:
    """Mean, variance, skewness and kurtosis of latents (n, latent_size): over the n faces, then averaged over the numbers.

    The kurtosis of a normal distribution is 3.
    """
    z = z.cpu().double()  # Apple's GPUs have no float64.
    deviation = z - z.mean(0)
    variance = deviation.square().mean(0)
    return {
        "latent_mean": z.mean().item(),
        "latent_variance": z.var(0).mean().item(),
        "latent_skewness": (deviation.pow(3).mean(0) / variance**1.5).mean().item(),
        "latent_kurtosis": (deviation.pow(4).mean(0) / variance**2).mean().item(),
    }
