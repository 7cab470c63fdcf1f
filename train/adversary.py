"""A discriminator beside a network that makes faces: trained on what that makes, and telling it how to do better."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from models import AttributeDiscriminator

from . import distributed
from .augmentation import draw_warps, warp
from .losses import gradient_penalty, relativistic_loss
from .settings import check_range


class Attributes(NamedTuple):
    """Of a batch of real faces, each of which is compared with a made one.

    Attributes:
        labels: (n, k), -1 or +1, of the real faces.
        wanted: (n, k), likewise, of the made ones.
        told: (n, k) bool, where the two agree, and the discriminator is told: the same of both faces, so that they are
            told apart by how they look alone.
        weight: of the losses by which the discriminator learns to tell attributes, and the maker to show those told.
    """

    labels: torch.Tensor
    wanted: torch.Tensor
    told: torch.Tensor
    weight: float


@dataclass(frozen=True, kw_only=True)
class AdversarySettings:
    """Goes before a class derived from `ComputeSettings`."""

    hidden_size: int = 64
    """Channels of the discriminator's first layer; they double with each of the next three."""

    warped: float = 0.0
    """Share of the faces, real and generated ones alike, that the discriminator sees turned, moved and stretched a
    little, lest it learn the training faces by heart."""

    penalty: float = 0.5
    """Of the squared gradient of the discriminator, at real and at generated faces."""

    penalty_every: int = 16
    """Steps from one penalty, which costs as much as a step, to the next; it weighs as many times more."""

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        check_range("hidden_size", self.hidden_size, 1, 512)
        check_range("warped", self.warped, 0, 1)
        check_range("penalty", self.penalty, 0, 1000)
        check_range("penalty_every", self.penalty_every, 1, 100_000)


def judge(
    discriminator: AttributeDiscriminator,
    settings: Any,
    step: int,
    images: torch.Tensor,
    made: torch.Tensor,
    attributes: Attributes | None = None,
) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Compute the discriminator's gradients, and from the same pass the gradient at the faces that were made.

    Each real face is compared with a made one, and neither judged by itself (Jolicoeur-Martineau 2019,
    arXiv:1807.00734); with penalties on the gradients at both that has a place to settle, and leaves out no faces
    (Huang et al. 2024, arXiv:2501.05441).

    Args:
        settings: of `AdversarySettings` and `ComputeSettings`.
        images, made: (n, 3, 64, 64) in [-1, 1].
        attributes: where the faces have some.

    Returns:
        The losses; the made faces as they were seen, and the gradient of the maker's loss at them.
    """
    seen = made
    if settings.warped:
        warps = draw_warps(settings.batch_size, settings.warped, (settings.seed, step))
        warps = distributed.mine(warps).to(images.device)
        images, seen = warp(images, warps), warp(made, warps)
    # A leaf, so that the maker's gradient is taken at its pictures, by a loss of its own.
    shown = seen.detach().float().requires_grad_(True)
    known = attributes and attributes.labels * attributes.told
    with settings.autocast:
        real_logits, real_attributes = discriminator(images, known)
        made_logits, made_attributes = discriminator(shown, known)
    losses = {
        "generator_loss": relativistic_loss(made_logits, real_logits),
        "discriminator_loss": relativistic_loss(real_logits, made_logits),
    }
    maker_loss, discriminator_loss = losses.values()
    if attributes:
        labels, wanted, told, weight = attributes
        asked = F.binary_cross_entropy_with_logits(made_attributes, (wanted + 1) / 2, reduction="none")
        losses["attribute_loss"] = F.binary_cross_entropy_with_logits(real_attributes, (labels + 1) / 2)
        losses["shown_attribute_loss"] = (asked * told).sum() / told.sum().clamp(min=1)
        discriminator_loss = discriminator_loss + weight * losses["attribute_loss"]
        maker_loss = maker_loss + weight * losses["shown_attribute_loss"]

    (gradient,) = torch.autograd.grad(maker_loss, shown, retain_graph=True)
    discriminator.zero_grad(set_to_none=True)
    discriminator_loss.backward()
    if settings.penalty and step % settings.penalty_every == 0:
        weight = settings.penalty / 2 * settings.penalty_every
        for pictures in (images, shown):
            with settings.autocast:
                penalty = gradient_penalty(lambda x: discriminator(x, known)[0], pictures)
            (weight * penalty).backward()
    return {name: value.detach() for name, value in losses.items()}, seen, gradient.to(seen.dtype)
