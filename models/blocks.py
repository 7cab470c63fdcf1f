"""Layers that several networks share, and the gradient of a decoder's error."""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .speed import PixelConvTranspose2d


def normalised(convolution: nn.Conv2d | nn.ConvTranspose2d, activation: nn.Module) -> nn.Sequential:
    """A convolution, batch normalisation and an activation. The convolution needs no bias: it would be subtracted again."""
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), activation)


def rising(latent_size: int, channels: tuple[int, ...]) -> nn.Sequential:
    """Layers from latents (n, latent_size) to images (n, 3, 64, 64) in [-1, 1].

    Transposed convolutions with kernel 4, stride 2 and padding 1 double the side from 4 pixels on. The last layer sees
    features of 64 x 64 pixels; the last one of the report's generator sees 32 x 32.

    Args:
        channels: at 4, 8, 16, 32 and 64 pixels.
    """
    widths = itertools.pairwise(channels)
    doubling = [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False) for wide, narrow in widths]
    convolutions = [PixelConvTranspose2d(latent_size, channels[0], 4, bias=False), *doubling]
    blocks = [normalised(convolution, nn.ReLU(inplace=True)) for convolution in convolutions]
    return nn.Sequential(*blocks, nn.Conv2d(channels[-1], 3, 3, padding=1), nn.Tanh())


def falling(channels: tuple[int, ...], latent_size: int) -> nn.Sequential:
    """Layers from images (n, 3, 64, 64) to latents (n, latent_size): convolutions that halve the side.

    Args:
        channels: at 32, 16, 8 and 4 pixels.
    """
    blocks = [
        normalised(nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True))
        for narrow, wide in itertools.pairwise((3, *channels))
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels[-1] * 4 * 4, latent_size))


def initialise_convolution(module: nn.Module) -> None:
    """Draw DCGAN's initial weights of a convolution, N(0, 0.02 squared), and set its bias to 0; for `Module.apply`."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def error_and_gradient(
    layers: nn.Sequential, z: torch.Tensor, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the squared error of decoded latents, (n, 1), and its gradient with respect to them, (n, latent_size).

    It is computed layer by layer, since inference mode and exported models have no automatic differentiation.

    Args:
        layers: the layers of `rising`, perhaps after fully connected ones, in eval mode.
        z: (n, latent_size).
        images: (n, 3, 64, 64), what the layers should make of the latents.
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
                gradient = torch.where(y > 0, gradient, 0.0)  # Faster than a product, where it is exported.
            case nn.BatchNorm2d() | nn.SyncBatchNorm():
                scale = layer.weight / (layer.running_var + layer.eps).sqrt()
                gradient = gradient * scale[:, None, None]
            case nn.Conv2d():
                padding: Any = layer.padding  # Numbers; to a type checker it may be a word.
                gradient = F.conv_transpose2d(gradient, layer.weight, None, layer.stride, padding)
            case nn.ConvTranspose2d():
                gradient = F.conv2d(gradient, layer.weight, None, layer.stride, layer.padding)
            case nn.Linear():
                gradient = gradient.flatten(1) @ layer.weight
            case _:
                raise TypeError(f"{type(layer).__name__} has no gradient here")
    return half_squares(difference), gradient.flatten(1)


def half_squares(images: torch.Tensor) -> torch.Tensor:
    """Half the sum of the squares of each of images (n, 3, 64, 64), (n, 1)."""
    return images.square().sum((1, 2, 3))[:, None] / 2
