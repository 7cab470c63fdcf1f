"""What several of the networks are made of."""

import itertools

from torch import nn

from .speed import PixelConvTranspose2d


def rising(latent_size: int, channels: tuple[int, ...]) -> nn.Sequential:
    """From latents (n, latent_size) to images (n, 3, 64, 64) in [-1, 1].

    Transposed convolutions with kernel 4, stride 2 and padding 1 double the side from 4 pixels on. The report's
    generator makes colours straight from 32 x 32; here the last layer sees features at the picture's own 64 x 64.

    Args:
        channels: at 4, 8, 16, 32 and 64 pixels.
    """
    widths = itertools.pairwise(channels)
    # No biases: the batch normalisation that follows would subtract them again.
    doubling = [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False) for wide, narrow in widths]
    convolutions = [PixelConvTranspose2d(latent_size, channels[0], 4, bias=False), *doubling]
    blocks = [
        nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))
        for convolution in convolutions
    ]
    return nn.Sequential(*blocks, nn.Conv2d(channels[-1], 3, 3, padding=1), nn.Tanh())


def falling(channels: tuple[int, ...], latent_size: int) -> nn.Sequential:
    """From images (n, 3, 64, 64) to latents (n, latent_size), by convolutions that halve the side.

    Args:
        channels: at 32, 16, 8 and 4 pixels.
    """
    widths = list(zip((3, *channels), channels))
    blocks = [
        nn.Sequential(
            nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, inplace=True)
        )
        for narrow, wide in widths
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels[-1] * 4 * 4, latent_size))
