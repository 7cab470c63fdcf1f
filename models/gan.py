"""The GAN with a latent that is half continuous, half discrete."""

import torch
from torch import nn

from .base import FaceModel, PretrainedModel
from .blocks import HalvingConv2d, PixelConvTranspose2d, initialise_convolution, normalised
from .latents import whole_number


class Generator(FaceModel):
    """Four transposed convolutions from a latent to a face, 1 -> 8 -> 16 -> 32 -> 64 pixels.

    The latent joins a continuous half (normal) and a discrete half (fair bits, -1 or +1). The layers are DCGAN's (Radford
    et al. 2016, arXiv:1511.06434): kernels of 4 x 4 with stride 2 and padding 1 double the side without a checkerboard.
    The first kernel is 8 x 8, so that four layers reach 64 pixels. The channels halve as the side doubles, from
    4 x hidden_size, which keeps the weights under 10 MB.

    Args:
        latent_size: numbers in one latent.
        discrete_size: how many of them are bits; they come last.
        hidden_size: channels at 32 x 32 pixels.
        prior_mean, prior_variance: of the continuous half. The bits have mean 0 and variance 1.
    """

    model_type = "generator"

    def __init__(
        self,
        latent_size: int = 100,
        discrete_size: int = 50,
        hidden_size: int = 64,
        prior_mean: float = 0.0,
        prior_variance: float = 1.0,
    ):
        super().__init__(latent_size, prior_mean, prior_variance, discrete_size)
        whole_number("hidden_size", hidden_size, least=1)
        block = lambda convolution: normalised(convolution, nn.ReLU(inplace=True))
        self.layers = nn.Sequential(
            block(PixelConvTranspose2d(latent_size, 4 * hidden_size, 8, bias=False)),
            block(nn.ConvTranspose2d(4 * hidden_size, 2 * hidden_size, 4, 2, 1, bias=False)),
            block(nn.ConvTranspose2d(2 * hidden_size, hidden_size, 4, 2, 1, bias=False)),
            nn.ConvTranspose2d(hidden_size, 3, 4, 2, 1),
            nn.Tanh(),
        )
        self.apply(_initialise)


class Discriminator(PretrainedModel):
    """Five convolutions from a face to the logit of the face being real, 64 -> 32 -> 16 -> 8 -> 4 -> 1 pixels.

    The last sigmoid of the report's network is in `probability` and, for training, inside the loss: a cross-entropy
    computed from logits does not overflow.

    Args:
        hidden_size: channels after the first layer; they double with each of the next three, as in DCGAN.
    """

    model_type = "discriminator"

    def __init__(self, hidden_size: int = 64):
        super().__init__()
        whole_number("hidden_size", hidden_size, least=1)
        block = lambda convolution: normalised(convolution, nn.LeakyReLU(0.2, inplace=True))
        self.layers = nn.Sequential(
            nn.Conv2d(3, hidden_size, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            block(nn.Conv2d(hidden_size, 2 * hidden_size, 4, 2, 1, bias=False)),
            block(nn.Conv2d(2 * hidden_size, 4 * hidden_size, 4, 2, 1, bias=False)),
            block(HalvingConv2d(4 * hidden_size, 8 * hidden_size, 4, 2, 1, bias=False)),
            nn.Conv2d(8 * hidden_size, 1, 4, 1, 0),
        )
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) in [-1, 1] to logits (n,)."""
        return self.layers(self._check_images(x)).flatten()

    def probability(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) in [-1, 1] to the probability of each being real, (n,) in [0, 1]."""
        return self(x).sigmoid()


def _initialise(module: nn.Module) -> None:
    """DCGAN's initial weights; of the gains of batch normalisation, N(1, 0.02 squared)."""
    initialise_convolution(module)
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
