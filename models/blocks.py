"""What several of the networks are made of."""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
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


def error_and_gradient(
    layers: nn.Sequential, z: torch.Tensor, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the squared error of what the layers make of latents, (n, 1), and its gradient there, (n, latent_size).

    Computed layer by layer: automatic differentiation is at rest in inference mode, and no part of an exported model.

    Args:
        layers: as of `rising`, perhaps after others that are fully connected, in eval mode.
        z: (n, latent_size).
        images: (n, 3, 64, 64), what the layers should make of them.
    """
    passed, x = [], z
    for layer in layers.modules():
        if not isinstance(layer, nn.Sequential):
            x = layer(x)
            passed.append((layer, x))
    gradient = difference = x - images
    for layer, y in reversed(passed):
        match layer:
            case nn.Tanh():
                gradient = gradient * (1 - y.square())
            case nn.ReLU():
                gradient = gradient * (y > 0)
            case nn.BatchNorm2d() | nn.SyncBatchNorm():
                scale = layer.weight / (layer.running_var + layer.eps).sqrt()
                gradient = gradient * scale[:, None, None]
            case nn.Conv2d():
                padding: Any = layer.padding  # Numbers: no layer of ours has the word that it may be.
                gradient = F.conv_transpose2d(gradient, layer.weight, None, layer.stride, padding)
            case nn.ConvTranspose2d():
                gradient = F.conv2d(gradient, layer.weight, None, layer.stride, layer.padding)
            case nn.Linear():
                gradient = gradient.flatten(1) @ layer.weight
            case _:
                raise TypeError(f"no gradient is known of {type(layer).__name__}")
    return half_squares(difference), gradient.flatten(1)


def half_squares(images: torch.Tensor) -> torch.Tensor:
    """Half the sum of the squares of each of images (n, 3, 64, 64), (n, 1)."""
    return images.square().sum((1, 2, 3))[:, None] / 2
