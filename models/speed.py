"""Layers of the library computed in faster ways, with the same results."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode


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
