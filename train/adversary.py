"""Adversarial training: a discriminator's gradients, random warps of the faces it sees, and averages of weights."""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel

from models import AttributeDiscriminator

from . import distributed
from .losses import gradient_penalty, relativistic_loss
from .settings import AVERAGES

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


class Attributes(NamedTuple):
    """The attributes of a batch of pairs, each of a real and a generated face.

    Attributes:
        labels: (n, k), -1 or +1, the attributes of the real faces.
        wanted: (n, k), -1 or +1, the attributes that the generated faces were asked for.
        told: (n, k) bool, which attributes the discriminator is told. The two faces of a pair agree in these, so that
            nothing but their looks tells them apart.
        importance: (n, k), how much each wanted attribute counts in the generator's loss.
        weight: the weight of both attribute losses: of the discriminator, to recognise attributes, and of the generator,
            to show those that are told.
    """

    labels: torch.Tensor
    wanted: torch.Tensor
    told: torch.Tensor
    importance: torch.Tensor
    weight: float


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
    penalties at both, training converges and keeps variety (Huang et al. 2024, arXiv:2501.05441).

    Args:
        settings: of the run: `seed`, `autocast`, `penalty` and `warped`.
        images, made: real and generated faces (n, 3, 64, 64) in [-1, 1]; with several processes, the share of this one.
        attributes: None where the data set has no labels.

    Returns:
        The losses by name, the generated faces as the discriminator saw them, and the gradient of the generator's loss at
        those.
    """
    seen = made
    if settings.warped:
        count = len(images) * distributed.size()
        warps = distributed.mine(draw_warps(count, settings.warped, (settings.seed, step))).to(images.device)
        images, seen = warp(images, warps), warp(made, warps)
    # A leaf: the generator has a loss of its own, and its gradient is taken at these pictures.
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
        labels, wanted, told, importance, weight = attributes
        asked = F.binary_cross_entropy_with_logits(made_attributes, (wanted + 1) / 2, reduction="none")
        # With several processes, the mean of their losses is to be the loss of the whole batch.
        entries = distributed.total(told.sum().float()).clamp(min=1) / distributed.size()
        losses["attribute_loss"] = F.binary_cross_entropy_with_logits(real_attributes, (labels + 1) / 2)
        losses["shown_attribute_loss"] = (asked * importance * told).sum() / entries
        discriminator_loss = discriminator_loss + weight * losses["attribute_loss"]
        generator_loss = generator_loss + weight * losses["shown_attribute_loss"]

    (gradient,) = torch.autograd.grad(generator_loss, shown, retain_graph=True)
    discriminator.zero_grad(set_to_none=True)
    discriminator_loss.backward()
    if settings.penalty and step % PENALTY_EVERY == 0:
        weight = settings.penalty / 2 * PENALTY_EVERY
        for pictures in (images, shown):
            with settings.autocast:
                penalty = gradient_penalty(lambda x: discriminator(x, known)[0], pictures)
            (weight * penalty).backward()
    distributed.average_gradients(discriminator)
    return {name: value.detach() for name, value in losses.items()}, seen, gradient.to(seen.dtype)


def slow_start(step: int) -> float:
    """The share of its learning rate at which a trained network learns from a new discriminator, 0 to 1, by the number of
    steps that the discriminator has learned."""
    return min(1.0, max(0.0, (step - HEAD_START + 1) / HEAD_START))


def draw_warps(count: int, share: float, seed: tuple[int, int]) -> torch.Tensor:
    """Affine maps (count, 2, 3) from the pixels of a warped picture to the places they are taken from, on the CPU.

    Args:
        share: how many of the pictures are warped. Up to some 0.8, a generator does not learn to make warped pictures,
            because it sees enough real ones as they are (Karras et al. 2020, arXiv:2006.06676).
        seed: that of the run, and the step.
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


class Averages(nn.Module):
    """Averages of a network's weights over its training so far, one for each width in `AVERAGES`.

    An average weighs the weights after step s by a power of s (Karras et al. 2024, arXiv:2312.02696). So it remembers the
    same share of a training, however long that is.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.each = nn.ModuleList(
            AveragedModel(network, multi_avg_fn=_power_average(width), use_buffers=True) for width in AVERAGES
        ).requires_grad_(False)
        for averaged in self.each:  # On the CPU, since it is read at every step and that would wait for a GPU.
            averaged.n_averaged = averaged.n_averaged.cpu()
        self.eval()

    def begin(self, network: nn.Module) -> None:
        """Begin anew from the network's weights as they are."""
        for averaged in self.each:
            averaged.module.load_state_dict(network.state_dict())
            averaged.n_averaged.zero_()

    def update(self, network: nn.Module) -> None:
        """Add the network's weights after another step."""
        for averaged in self.each:
            averaged.update_parameters(network)

    def model(self, width: float) -> Any:
        """The network with the averaged weights of one of the widths in `AVERAGES`, in eval mode."""
        return self.each[AVERAGES.index(width)].module


def _power_average(width: float) -> Any:
    # Steps s up to t, weighed by s ** p, have the standard deviation t * sqrt((p + 1) / ((p + 2)^2 (p + 3))). It is
    # t * width where p is the largest root of this cubic.
    power = np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max()

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], updates: torch.Tensor) -> None:
        kept = (1 - 1 / (int(updates) + 1)) ** (power + 1)
        for average, weight in zip(averages, weights):
            if average.is_floating_point():
                average.lerp_(weight, 1 - kept)
            else:  # Batch normalisation's count of batches.
                average.copy_(weight)

    return update
