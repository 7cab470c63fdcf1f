"""Layers that several networks share, some computed in faster ways than the library's, and a decoder's gradient."""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode


def normalised(convolution: nn.Conv2d | nn.ConvTranspose2d, activation: nn.Module) -> nn.Sequential:
    """A convolution, batch normalisation and an activation. The convolution needs no bias: it would be subtracted again."""
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), activation)


def rising(latent_size: int, channels: tuple[int, ...]) -> nn.Sequential:
    """Layers from latents (n, latent_size) to images (n, 3, 64, 64) in [-1, 1], with channels at 4, 8, 16, 32 and 64 pixels.

    Transposed convolutions with kernel 4, stride 2 and padding 1 double the side from 4 pixels on. The last layer sees
    features of 64 x 64 pixels; the last one of the report's generator sees 32 x 32.
    """
    widths = itertools.pairwise(channels)
    doubling = [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False) for wide, narrow in widths]
    convolutions = [PixelConvTranspose2d(latent_size, channels[0], 4, bias=False), *doubling]
    blocks = [normalised(convolution, nn.ReLU(inplace=True)) for convolution in convolutions]
    return nn.Sequential(*blocks, nn.Conv2d(channels[-1], 3, 3, padding=1), nn.Tanh())


def falling(channels: tuple[int, ...], latent_size: int) -> nn.Sequential:
    """Layers from images (n, 3, 64, 64) to latents (n, latent_size), with channels at 32, 16, 8 and 4 pixels."""
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

    It is computed layer by layer, since inference mode and exported models have no automatic differentiation. The layers
    are those of `rising`, perhaps after fully connected ones, in eval mode.
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


class PixelConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of one pixel, without stride, padding and bias, computed as a matrix product."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """(n, in) or (n, in, 1, 1) to (n, out, kernel, kernel), channels last in memory."""
        height, width = self.kernel_size
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1)
        return (x.flatten(1) @ kernel).unflatten(1, (height, width, self.out_channels)).permute(0, 3, 1, 2)


class HalvingConv2d(nn.Conv2d):
    """A convolution with 4 x 4 kernels, stride 2 and padding 1, which the CPU computes in bfloat16 as a matrix product.

    The library's gradient of the weights is slow where pictures are small and channels are many: see docs/performance.md.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in, side, side) to (n, out, side / 2, side / 2)."""
        if x.device.type != "cpu" or x.dtype != torch.bfloat16 or torch.compiler.is_compiling():
            return super().forward(x)
        y = _Windows.apply(x).flatten(3) @ self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return y.permute(0, 3, 1, 2)


class _Windows(torch.autograd.Function):
    """(n, channels, side, side) to its padded 4 x 4 windows at stride 2, (n, side / 2, side / 2, 4, 4 * channels).

    `torch.nn.functional.unfold` orders them channels first, and the gradient of `Tensor.unfold` is slow.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        return padded.unfold(1, 4, 2).unfold(2, 4, 2).permute(0, 1, 2, 4, 5, 3).flatten(4)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        count, side, _, _, row = gradient.shape
        # Two neighbouring pixels at a time: a window begins at every second one.
        pair = row // 2
        padded = gradient.new_zeros(count, 2 * side + 2, side + 1, pair)
        for y in range(4):
            for x in range(2):
                padded[:, y : y + 2 * side : 2, x : x + side] += gradient[:, :, :, y, x * pair : (x + 1) * pair]
        padded = padded.view(count, 2 * side + 2, 2 * side + 2, pair // 2)
        return padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


class Uninitialised(TorchFunctionMode):
    """Leaves out the functions of torch.nn.init. The weights of the network come from a file.

    On the meta device, drawing weights would import PyTorch's compiler, which takes a second.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)
