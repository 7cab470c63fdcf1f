"""How far apart two pictures look, as a loss to train by."""

import warnings

import torch
from torch import nn

from .errors import TrainingError


class PerceptualDistance(nn.Module):
    """Shift-tolerant LPIPS (Ghildyal & Liu 2022, arXiv:2207.13686), whose weights come in a package of PyPI.

    Features of AlexNet, trained on ImageNet, are compared place by place. A picture that is a pixel aside is near, a
    blurred one is far.

    Raises:
        TrainingError: the package is not there.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of escapes in its own strings.
                from stlpips_pytorch import stlpips
        except ImportError as error:
            raise TrainingError(
                f"AlexNet's features need {error.name}: pip install --group train (or do without, --perceptual-weight 0)"
            ) from error
        with torch.random.fork_rng(devices=[]):  # It draws weights before it loads them.
            self.network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mean distance of two batches of images (n, 3, 64, 64) in [-1, 1], pair by pair: a scalar."""
        return self.network(x, y).float().mean()
