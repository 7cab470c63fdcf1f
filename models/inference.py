"""A decoder that draws the same faces in less time, on the CPU."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def has_fast_bf16() -> bool:
    """Whether this CPU computes bfloat16 in hardware; in software it is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def accelerate(layers: nn.Sequential) -> nn.Sequential:
    """Layers for inference that compute what these do.

    Each batch normalisation is folded into the transposed convolution before it, and pictures lie channels last in
    memory. Where the hardware has bfloat16, the folded convolutions that enlarge use it; the last one, after which
    rounding would be seen, keeps float32. docs/performance.md says what that gains and what it changes.

    Args:
        layers: in eval mode, on the CPU, in float32; sequences may be nested. Every transposed convolution but the
            last is followed by batch normalisation.

    Returns:
        A new sequence. The weights of its convolutions are copies, which do not follow later changes.
    """
    flat = [layer for layer in layers.modules() if not isinstance(layer, nn.Sequential)]
    result: list[nn.Module] = []
    for layer, following in pairwise([*flat, None]):
        if isinstance(following, nn.BatchNorm2d):
            folded = fuse_conv_bn_eval(layer, following, transpose=True).to(memory_format=torch.channels_last)
            result.append(_InBfloat16(folded) if layer.stride == (2, 2) and has_fast_bf16() else folded)
        elif isinstance(layer, nn.ConvTranspose2d):
            result += _as_convolution(layer)
        elif not isinstance(layer, nn.BatchNorm2d):
            result.append(layer)
    return nn.Sequential(*result)


class _InBfloat16(nn.Module):
    """A layer that computes in bfloat16 and takes and returns float32."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer.bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.bfloat16()).float()


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
