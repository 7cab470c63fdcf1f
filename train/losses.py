"""Losses, each a scalar; a discriminator's gradients, with warps of the faces it sees; and measurements.

Everything is computed in float32, even where the networks run in bfloat16.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from models import AttributeDiscriminator

from . import distributed
from .settings import TrainingError

# Scales of the inverse multiquadratic kernels, from the code of the Wasserstein autoencoder (Tolstikhin et al. 2018,
# arXiv:1711.01558): wide kernels pull far clouds together, narrow ones shape close clouds.
MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

# The gradient penalty costs as much as a step, so it is computed every 16 steps only, and weighs 16 times as much (lazy
# regularisation: Karras et al. 2020, arXiv:1912.04958).
PENALTY_EVERY = 16

# A new discriminator learns alone for this many steps before a trained network learns from it; over as many steps again
# the network's learning rate rises to its full value. From a discriminator that knows little, a good generator unlearns.
HEAD_START = 1000

# The random stream of (seed, step) that warps faces. Other streams draw latents, mirror faces and choose attributes.
_WARP_STREAM = 5

# Standard deviations of the angle in radians, of the shift as a share of the picture, and of the logarithm of the size.
_TURN, _SHIFT, _STRETCH = 0.15, 0.06, 0.12


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of calling real faces real, plus that of calling generated ones generated."""
    # -log sigmoid(l) = softplus(-l), and -log(1 - sigmoid(l)) = softplus(l).
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of calling generated faces real: the non-saturating loss (Goodfellow et al. 2014)."""
    return F.softplus(-fake_logits.float()).mean()


def relativistic_loss(wanted_higher: torch.Tensor, wanted_lower: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of telling which logit of each pair is the higher one, for logits (n,) and (n,)."""
    return F.softplus(wanted_lower.float() - wanted_higher.float()).mean()


class Attributes(NamedTuple):
    """The attributes of a batch of pairs, each of a real and a generated face; all tensors are (n, k)."""

    labels: torch.Tensor  # Of the real faces, -1 or +1.
    wanted: torch.Tensor  # What the generated faces were asked for, -1 or +1.
    # Which attributes the discriminator is told, bool. Both faces of a pair have the same values of these.
    told: torch.Tensor
    importance: torch.Tensor  # How much each wanted attribute counts in the generator's loss.


def judge(
    discriminator: AttributeDiscriminator,
    settings: Any,
    step: int,
    images: torch.Tensor,
    made: torch.Tensor,
    attributes: Attributes | None = None,
) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Compute the discriminator's gradients and, in the same pass, the gradient at the generated faces.

    The loss compares each real face with a generated one (Jolicoeur-Martineau 2019, arXiv:1807.00734). With gradient
    penalties at both (Mescheder et al. 2018, arXiv:1801.04406), training converges and keeps variety (Huang et al. 2024,
    arXiv:2501.05441).

    Args:
        settings: of the run: `seed`, `autocast`, `penalty`, `warped` and, with attributes, `attribute_weight`.
        images, made: real and generated faces (n, 3, 64, 64) in [-1, 1]; with several processes, this process's rows.
        attributes: None for the perceptual autoencoder, whose draws have none.

    Returns:
        The losses by name, the generated faces as the discriminator saw them, and the gradient of the generator's loss at
        those.
    """
    seen = made
    if settings.warped:
        count = len(images) * distributed.size()
        warps = distributed.mine(draw_warps(count, settings.warped, (settings.seed, step))).to(images.device)
        images, seen = warp(images, warps), warp(made, warps)
    # Detached: the generator's gradient is taken at these pictures, and the caller passes it on.
    shown = seen.detach().float().requires_grad_(True)
    known = attributes and attributes.labels * attributes.told
    with settings.autocast:
        real_logits, real_attributes = discriminator(images, known)
        made_logits, made_attributes = discriminator(shown, known)
    losses = {
        "generator_loss": relativistic_loss(made_logits, real_logits),
        "discriminator_loss": relativistic_loss(real_logits, made_logits),
    }
    generator_loss, discriminator_loss = losses.values()
    if attributes:
        labels, wanted, told, importance = attributes
        asked = F.binary_cross_entropy_with_logits(made_attributes, (wanted + 1) / 2, reduction="none")
        # With several processes, the mean of their losses must be the loss of the whole batch.
        entries = distributed.total(told.sum().float()).clamp(min=1) / distributed.size()
        losses["attribute_loss"] = F.binary_cross_entropy_with_logits(real_attributes, (labels + 1) / 2)
        losses["shown_attribute_loss"] = (asked * importance * told).sum() / entries
        discriminator_loss = discriminator_loss + settings.attribute_weight * losses["attribute_loss"]
        generator_loss = generator_loss + settings.attribute_weight * losses["shown_attribute_loss"]

    (gradient,) = torch.autograd.grad(generator_loss, shown, retain_graph=True)
    discriminator.zero_grad(set_to_none=True)
    discriminator_loss.backward()
    if settings.penalty and step % PENALTY_EVERY == 0:
        weight = settings.penalty / 2 * PENALTY_EVERY
        for pictures in (images, shown):
            x = pictures.detach().requires_grad_(True)
            with settings.autocast:
                (slope,) = torch.autograd.grad(discriminator(x, known)[0].sum(), x, create_graph=True)
                squared_length = slope.float().square().sum((1, 2, 3)).mean()
            (weight * squared_length).backward()
    distributed.average_gradients(discriminator)
    return {name: value.detach() for name, value in losses.items()}, seen, gradient.to(seen.dtype)


def slow_start(step: int) -> float:
    """The share of its learning rate at which a trained network learns from a new discriminator, 0 to 1, by the number of
    steps that the discriminator has learned."""
    return min(1.0, max(0.0, (step - HEAD_START + 1) / HEAD_START))


def draw_warps(count: int, share: float, seed: tuple[int, int]) -> torch.Tensor:
    """Affine maps (count, 2, 3) from the pixels of a warped picture to the places they are taken from, on the CPU.

    A share of the pictures is warped. Up to some 0.8, a generator does not learn to make warped pictures, because it sees
    enough real ones as they are (Karras et al. 2020, arXiv:2006.06676).
    """
    random = np.random.default_rng([*seed, _WARP_STREAM])
    angle, right, down, size = random.standard_normal((4, count)) * [[_TURN], [_SHIFT * 2], [_SHIFT * 2], [_STRETCH]]
    scale = np.exp(size)
    warps = np.array([
        [scale * np.cos(angle), -scale * np.sin(angle), right],
        [scale * np.sin(angle), scale * np.cos(angle), down],
    ])  # fmt: skip
    chosen = random.random(count) < share
    warps = np.where(chosen, warps, np.eye(2, 3)[:, :, None])
    return torch.from_numpy(warps.transpose(2, 0, 1).astype(np.float32))


def warp(images: torch.Tensor, warps: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, 64, 64) warped by maps (n, 2, 3); what lies beyond an edge is mirrored."""
    grid = F.affine_grid(warps, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


def pixel_loss(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean squared error over pixels in [-1, 1]."""
    # Not F.mse_loss: its gradient is always channels first in memory, which slows the layers before it.
    return (reconstruction.float() - images.float()).square().mean()


def mmd(z: torch.Tensor, prior: torch.Tensor, variance: float) -> torch.Tensor:
    """Maximum mean discrepancy between a batch of latents and draws from the prior, both (n, latent_size), with n at least
    2 (Gretton et al. 2012).

    A sum of inverse multiquadratic kernels k(a, b) = c / (c + |a - b|^2), c = 2 * latent_size * variance * scale:
    2 * latent_size * variance, with the prior's variance, is the mean squared distance between two draws from the prior.
    The estimator is unbiased: 0 on average where both come from one distribution, and sometimes negative.
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
    """Squared distances of the first four moments of latents (n, latent_size) from the moments of N(mean, variance).

    The latents are standardised by the prior first. Each squared distance is divided by the variance of that sample moment
    under the prior, so that all four weigh the same, and averaged over the numbers of a latent.
    """
    standard = (z.float() - mean) / variance**0.5
    targets = ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0))
    return sum(((standard**power).mean(0) - target).square().mean() / spread for power, target, spread in targets)


def _squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # |a|^2 + |b|^2 - 2ab takes a single matrix product. `torch.cdist` takes a root, whose slope at 0 is infinite.
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
    return (squares - 2 * a @ b.T).clamp(min=0)


class PerceptualDistance(nn.Module):
    """Shift-tolerant LPIPS (Ghildyal & Liu 2022, arXiv:2207.13686), with its weights from a package of PyPI.

    It compares features of AlexNet, trained on ImageNet, place by place: a picture that is shifted by a pixel is near, a
    blurred one is far.
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
    variance = deviation.square().mean(0).clamp(min=1e-12)  # Where a number is always the same, both moments are 0.
    return {
        "latent_mean": z.mean().item(),
        "latent_variance": z.var(0).mean().item(),
        "latent_skewness": (deviation.pow(3).mean(0) / variance**1.5).mean().item(),
        "latent_kurtosis": (deviation.pow(4).mean(0) / variance**2).mean().item(),
    }
