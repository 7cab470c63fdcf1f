"""What several of the networks are made of."""

import itertools

import torch
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


@torch.no_grad()
def fold_whitening(
    encoding: nn.Module, decoding: nn.Module, z: torch.Tensor, mean: float, variance: float
) -> torch.Tensor:
    """Give latents a mean and a variance, uncorrelated, by the layers on both sides of them; nothing else changes.

    Args:
        encoding, decoding: the layer that makes latents, and the one that takes them.
        z: (n, latent_size) latents of many faces, n well over latent_size.

    Returns:
        The same latents as they are now, (n, latent_size) float64 on the CPU.
    """
    # In float64, which the GPU of a Mac has not, so on the CPU.
    exact = lambda tensor: tensor.cpu().double()
    z, size = exact(z), z.shape[1]
    covariance, centre = torch.cov(z.T), z.mean(0)
    # A number that the encoder does not use has no variance to scale; the ridge keeps it finite.
    ridge = 1e-6 * covariance.trace() / size * torch.eye(size, dtype=z.dtype)
    root = torch.linalg.cholesky(covariance + ridge) / variance**0.5
    # New latents are root^-1 (z - centre) + mean; the decoding layer undoes it.
    weight = exact(decoding.weight)
    decoding.bias.copy_(exact(decoding.bias) + weight @ (centre - root.sum(1) * mean))
    decoding.weight.copy_(weight @ root)
    encoding.bias.copy_(torch.linalg.solve(root, exact(encoding.bias) - centre) + mean)
    encoding.weight.copy_(torch.linalg.solve(root, exact(encoding.weight)))
    return torch.linalg.solve(root, (z - centre).T).T + mean
