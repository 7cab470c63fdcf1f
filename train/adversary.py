"""What adversarial training is made of: a discriminator's step, the faces it is shown, and averages of what learns from it."""

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

# Steps from one gradient penalty, which costs as much as a step, to the next; it weighs as many times more (lazy
# regularisation: Karras et al. 2020, arXiv:1912.04958).
PENALTY_EVERY = 16

# Steps that a new discriminator learns alone before a trained network learns from it, over as many steps more and more.
# A good generator unlearns all that it knows from a discriminator that knows little.
HEAD_START = 1000

# Which of the random streams of (seed, step) warps faces; others draw latents, mirror faces and choose attributes.
_WARP_STREAM = 5

# Standard deviations: of the angle in radians, of the shift in shares of the picture, of the size's logarithm.
_TURN, _SHIFT, _STRETCH = 0.15, 0.06, 0.12


class Attributes(NamedTuple):
    """Of a batch of real faces, each of which is compared with a generated one.

    Attributes:
        labels: (n, k), -1 or +1, of the real faces.
        wanted: (n, k), likewise, of the generated ones.
        told: (n, k) bool, where the two agree and the discriminator is told. It is told the same of both faces, so that
            nothing but their looks tells them apart.
        importance: (n, k), how much each of the wanted attributes counts in the generator's loss.
        weight: of the loss by which the discriminator learns to tell attributes, and of the generator's to show those
            that are told.
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
    """Compute the discriminator's gradients, and in the same pass the gradient at the generated faces.

    The loss compares each real face with a generated one (Jolicoeur-Martineau 2019, arXiv:1807.00734). With gradient
    penalties at both it converges, and keeps variety (Huang et al. 2024, arXiv:2501.05441).

    Args:
        settings: of the run: `seed`, `autocast`, `penalty` and `warped`.
        images, made: (n, 3, 64, 64) in [-1, 1], of several processes the share of this one.
        attributes: where the faces have some.

    Returns:
        The losses; the generated faces as they were seen; the gradient of the generator's loss there.
    """
    seen = made
    if settings.warped:
        count = len(images) * distributed.size()
        warps = distributed.mine(draw_warps(count, settings.warped, (settings.seed, step))).to(images.device)
        images, seen = warp(images, warps), warp(made, warps)
    # A leaf, so that the generator's gradient is taken at its pictures, by a loss of its own.
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
        # Of several processes the mean of the losses is to be that of the whole batch.
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
    """The share of its learning rate at which a trained network learns from a new discriminator, in a step from 0."""
    return min(1.0, max(0.0, (step - HEAD_START + 1) / HEAD_START))


def draw_warps(count: int, share: float, seed: tuple[int, int]) -> torch.Tensor:
    """(count, 2, 3) maps from the pixels of a warped picture to where they are taken from, on the CPU.

    Args:
        share: of the pictures that are warped. Below some 0.8 a generator does not learn to make warped ones, since
            many real ones are seen as they are (Karras et al. 2020, arXiv:2006.06676).
        seed: of the run, and the step.
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
    """Images (n, 3, 64, 64) by maps (n, 2, 3); what lies beyond an edge is mirrored."""
    grid = F.affine_grid(warps, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


class Averages(nn.Module):
    """Averages of a network's weights over its training so far, one for each of `AVERAGES`.

    Each weighs the weights after step s by a power of s (Karras et al. 2024, arXiv:2312.02696), and so remembers the same
    share of a training however long it is.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.each = nn.ModuleList(
            AveragedModel(network, multi_avg_fn=_power_average(width), use_buffers=True) for width in AVERAGES
        ).requires_grad_(False)
        for averaged in self.each:  # Asked for at every step, which would wait for a GPU.
            averaged.n_averaged = averaged.n_averaged.cpu()
        self.eval()

    def begin(self, network: nn.Module) -> None:
        """Begin anew, with the weights as they are."""
        for averaged in self.each:
            averaged.module.load_state_dict(network.state_dict())
            averaged.n_averaged.zero_()

    def update(self, network: nn.Module) -> None:
        """Take in the weights after another step."""
        for averaged in self.each:
            averaged.update_parameters(network)

    def model(self, width: float) -> Any:
        """The network with the average whose width is one of `AVERAGES`, in eval mode."""
        return self.each[AVERAGES.index(width)].module


def _power_average(width: float) -> Any:
    # The power p at which the weights s ** p of steps up to t have a standard deviation of width * t, which is
    # sqrt((p + 1) / ((p + 2)^2 (p + 3))): the largest root of a cubic.
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
