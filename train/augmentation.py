"""Faces shown to a discriminator a little turned, moved and stretched, lest it learn the training faces by heart."""

import numpy as np
import torch
import torch.nn.functional as F

# Which of the random streams of (seed, step) warps faces; others draw latents, mirror faces and choose attributes.
_WARP_STREAM = 5

# Standard deviations: of the angle in radians, of the shift in shares of the picture, of the size's logarithm.
_TURN, _SHIFT, _STRETCH = 0.15, 0.06, 0.12


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
