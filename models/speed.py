"""The same networks in less time, on the CPU: layers computed in ways of our own, and decoders for inference."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def has_fast_bf16() -> bool:
    """Whether this CPU computes bfloat16 in hardware; in software it is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


class PixelConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of one pixel, stride 1, no padding: computed as the matrix product that it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """(n, in) or (n, in, 1, 1) to (n, out, kernel, kernel), channels last in memory."""
        height, width = self.kernel_size
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1)
        y = (x.flatten(1) @ kernel).unflatten(1, (height, width, self.out_channels))
        return (y if self.bias is None else y + self.bias).permute(0, 3, 1, 2)


class HalvingConv2d(nn.Conv2d):
    """A convolution with 4 x 4 kernels, stride 2 and padding 1: on the CPU computed as one matrix product.

    On 8 x 8 pixels of 256 channels, forward and backward take a third of the library's time, whose gradient of the
    weights is slow where pictures are small and channels are many: see docs/performance.md.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in, side, side) to (n, out, side / 2, side / 2), on the CPU channels last in memory."""
        # Exported, it is the convolution that it is; and the compiler knows no functions with rules of their own.
        if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(x)
        windows = _Windows.apply(x)
        y = windows.flatten(3) @ self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return y.permute(0, 3, 1, 2)


class _Windows(torch.autograd.Function):
    """(n, channels, side, side) to its padded 4 x 4 windows at stride 2, (n, side / 2, side / 2, 4, 4 * channels).

    `torch.nn.functional.unfold` orders them channels first, and the gradient of `Tensor.unfold` is slow.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        return padded.unfold(1, 4, 2).unfold(2, 4, 2).permute(0, 1, 2, 4, 5, 3).flatten(4)

    @staticmethod
    def setup_context(ctx, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        """Nothing is kept: the map is linear."""

    @staticmethod
    def jvp(ctx, tangent: torch.Tensor) -> torch.Tensor:
        return _Windows.apply(tangent)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        count, side, _, _, row = gradient.shape
        # Two neighbouring pixels at a time: a window begins at every second one.
        pair = row // 2
        padded = gradient.new_zeros(count, 2 * side + 2, side + 1, pair)
        for y in range(4):
            for x in range(2):
                padded[:, y : y + 2 * side : 2, x : x + side] += gradient[:, :, :, y, x * pair : (x + 1) * pair]
        padded = padded.view(count, 2 * side + 2, 2 * side + 2, pair // 2)
        return padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def accelerate(layers: nn.Sequential) -> nn.Sequential:
    """Layers for inference that compute what these do.

    Each batch normalisation is folded into the transposed convolution before it, and pictures lie channels last in
    memory. All of it in float32: in bfloat16, rounding is seen, and far from the prior it makes other faces.

    Args:
        layers: in eval mode, on the CPU, in float32; sequences may be nested. Every transposed convolution but the
            last is followed by batch normalisation.

    Returns:
        A new sequence. The weights of its convolutions are copies, which do not follow later changes.
    """
    flat = [layer for layer in layers.modules() if not isinstance(layer, nn.Sequential)]
    result: list[nn.Module] = []
    for layer, following in zip(flat, [*flat[1:], None]):
        if isinstance(following, nn.BatchNorm2d):
            folded = fuse_conv_bn_eval(cast(nn.ConvTranspose2d, layer), following, transpose=True)
            result.append(folded.to(memory_format=torch.channels_last))
        elif isinstance(layer, nn.ConvTranspose2d):
            result += _as_convolution(layer)
        elif not isinstance(layer, nn.BatchNorm2d):
            result.append(layer)
    return nn.Sequential(*result)


# Along one side, a transposed convolution with kernel 4, stride 2 and padding 1 makes pixels 2i and 2i + 1 from the
# inputs i - 1, i and i + 1: (which of the two pixels, which of the three inputs, by which weight of the kernel).
_TAPS = ((0, 0, 3), (0, 1, 1), (1, 1, 2), (1, 2, 0))


def _as_convolution(transposed: nn.ConvTranspose2d) -> tuple[nn.Conv2d, nn.PixelShuffle]:
    """The same map as a convolution to the four pixels of each 2 x 2 block (Shi et al. 2016, arXiv:1609.05158).

    A transposed convolution to 3 channels leaves most of a vector register empty; 12 channels fill it.
    """
    channels_in, channels_out = transposed.in_channels, transposed.out_channels
    convolution = nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1)
    weight = transposed.weight.new_zeros(channels_out, 2, 2, channels_in, 3, 3)
    for pixel_y, y, kernel_y in _TAPS:
        for pixel_x, x, kernel_x in _TAPS:
            weight[:, pixel_y, pixel_x, :, y, x] = transposed.weight[:, :, kernel_y, kernel_x].T
    convolution.weight = nn.Parameter(weight.flatten(0, 2), requires_grad=False)
    convolution.bias = nn.Parameter(transposed.bias.repeat_interleave(4), requires_grad=False)
    return convolution.to(memory_format=torch.channels_last), nn.PixelShuffle(2)
