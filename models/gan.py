"""The GAN whose latent is half continuous, half discrete."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from . import latents
from .base import FaceModel, PretrainedModel, check_prior
from .latents import Seed


class Generator(FaceModel):
    """Four transposed convolutions from a latent to a face, 1 -> 8 -> 16 -> 32 -> 64 pixels.

    The latent joins a continuous half (normal) and a discrete half (fair bits, -1 or +1). Layers after DCGAN
    (Radford et al. 2016, arXiv:1511.06434), whose 4 x 4 kernels with stride 2 and padding 1 double the side and
    leave no checkerboard; the first kernel is 8 x 8, so that four layers reach 64 pixels. The width halves as the
    side doubles, from 4 x hidden_size, which keeps the weights under 10 MB.

    Args:
        latent_size: numbers in one latent.
        discrete_size: how many of them are bits; they come last. 0 is a plain normal latent.
        hidden_size: channels of the widest picture, the one of 32 x 32.
        prior_mean, prior_variance: of the continuous half. The bits have mean 0 and variance 1.
    """

    # More would make tensors so large that glibc asks the system for each anew.
    generate_batch_size = 32

    def __init__(
        self,
        latent_size: int = 100,
        discrete_size: int = 50,
        hidden_size: int = 64,
        prior_mean: float = 0.0,
        prior_variance: float = 1.0,
    ):
        super().__init__()
        if latent_size < 1 or hidden_size < 1:
            raise ValueError(f"latent_size is {latent_size} and hidden_size {hidden_size}: both must be 1 or more")
        if not 0 <= discrete_size <= latent_size:
            raise ValueError(f"discrete_size is {discrete_size}: it must be between 0 and latent_size ({latent_size})")
        check_prior(prior_mean, prior_variance)
        self.latent_size, self.discrete_size = latent_size, discrete_size
        self.prior_mean, self.prior_variance = prior_mean, prior_variance

        def block(convolution: nn.ConvTranspose2d) -> nn.Sequential:
            return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))

        # No biases: the batch normalisation that follows would subtract them again.
        self.layers = nn.Sequential(
            block(_PixelConvTranspose2d(latent_size, 4 * hidden_size, 8, bias=False)),
            block(nn.ConvTranspose2d(4 * hidden_size, 2 * hidden_size, 4, 2, 1, bias=False)),
            block(nn.ConvTranspose2d(2 * hidden_size, hidden_size, 4, 2, 1, bias=False)),
            nn.ConvTranspose2d(hidden_size, 3, 4, 2, 1),
            nn.Tanh(),
        )
        self.apply(_initialise)

    @property
    def continuous_size(self) -> int:
        return self.latent_size - self.discrete_size

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (n, latent_size), the bits last, to images (n, 3, 64, 64) in [-1, 1]."""
        return self.layers(self._check_latent(z))

    @property
    def decoder_layers(self) -> nn.Sequential:
        return self.layers

    def sample_latent(
        self, count: int, seed: Seed = None, mean: float | None = None, variance: float | None = None
    ) -> torch.Tensor:
        """Draw latents; `mean` and `variance` are the continuous half's, the bits stay fair. See `FaceModel`."""
        mean, variance = self._prior_or(mean, variance)
        continuous = latents.draw_normal(count, self.continuous_size, seed, mean, variance)
        bits = latents.draw_bits(count, self.discrete_size, seed)
        return torch.cat([continuous, bits], dim=1).to(self.device)

    def interpolate(
        self,
        start: torch.Tensor,
        end: torch.Tensor,
        steps: int = 11,
        spherical: bool = False,
        discrete: Literal["relaxed", "switched", "held"] = "relaxed",
    ) -> torch.Tensor:
        """A path of latents between two, (latent_size,) each: (steps, latent_size).

        Args:
            spherical: the continuous half turns around the prior's mean instead of going straight.
            discrete: what the bits do on the way: "relaxed" passes through all values between -1 and +1, which no
                draw ever has; "switched" keeps those of `start` up to the middle and has those of `end` from there;
                "held" keeps those of `start`, so that the path ends at another face than `end`.
        """
        continuous = latents.interpolate(
            start[: self.continuous_size], end[: self.continuous_size], steps, spherical, self.prior_mean
        )
        first, last = start[self.continuous_size :], end[self.continuous_size :]
        if discrete == "relaxed":
            bits = latents.interpolate(first, last, steps)
        elif discrete == "switched":
            switched = torch.arange(steps, device=start.device) * 2 >= steps - 1
            bits = torch.where(switched[:, None], last, first)
        elif discrete == "held":
            bits = first.expand(steps, -1)
        else:
            raise ValueError(f"discrete is {discrete!r}: it must be 'relaxed', 'switched' or 'held'")
        return torch.cat([continuous, bits], dim=1)

    def hold_bits(self, z: torch.Tensor, bits: str) -> torch.Tensor:
        """Set some bits of latents (n, latent_size) to given values.

        Args:
            bits: a character for each bit, "+" or "-" to hold it at +1 or -1, "." to leave it as it was drawn.

        Returns:
            A new (n, latent_size).
        """
        if len(bits) != self.discrete_size or not set(bits) <= set("+-."):
            raise ValueError(f"bits is {bits!r}: it must be {self.discrete_size} characters, each '+', '-' or '.'")
        z = z.clone()
        for index, bit in enumerate(bits, start=self.continuous_size):
            if bit != ".":
                z[:, index] = 1 if bit == "+" else -1
        return z


class Discriminator(PretrainedModel):
    """Five convolutions from a face to the logit of its being real, 64 -> 32 -> 16 -> 8 -> 4 -> 1 pixels.

    The report's closing sigmoid is in `probability` and, for training, inside the loss: a cross-entropy that is
    computed from logits does not overflow.

    Args:
        hidden_size: channels after the first layer; they double with each of the next three, as in DCGAN.
    """

    def __init__(self, hidden_size: int = 64):
        super().__init__()
        if hidden_size < 1:
            raise ValueError(f"hidden_size is {hidden_size}: it must be 1 or more")

        def block(channels_in: int, channels_out: int, convolution: type[nn.Conv2d] = nn.Conv2d) -> nn.Sequential:
            return nn.Sequential(
                convolution(channels_in, channels_out, 4, 2, 1, bias=False),
                nn.BatchNorm2d(channels_out),
                nn.LeakyReLU(0.2, inplace=True),
            )

        self.layers = nn.Sequential(
            nn.Conv2d(3, hidden_size, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            block(hidden_size, 2 * hidden_size),
            block(2 * hidden_size, 4 * hidden_size),
            block(4 * hidden_size, 8 * hidden_size, _HalvingConv2d),
            nn.Conv2d(8 * hidden_size, 1, 4, 1, 0),
        )
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) in [-1, 1] to logits (n,)."""
        return self.layers(x).flatten()

    def probability(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) in [-1, 1] to the probability of each being real, (n,) in [0, 1]."""
        return self(x).sigmoid()


class _PixelConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of one pixel, stride 1, no padding: computed as the matrix product that it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in) or (n, in, 1, 1) to (n, out, kernel, kernel), channels last in memory."""
        height, width = self.kernel_size
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1)
        y = (x.flatten(1) @ kernel).view(len(x), height, width, self.out_channels)
        return (y if self.bias is None else y + self.bias).permute(0, 3, 1, 2)


class _HalvingConv2d(nn.Conv2d):
    """A convolution with 4 x 4 kernels, stride 2 and padding 1: on the CPU computed as one matrix product.

    On 8 x 8 pixels of 256 channels, forward and backward take a third of the library's time, whose gradient of the
    weights is slow where pictures are small and channels are many: see docs/performance.md.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, in, side, side) to (n, out, side / 2, side / 2), on the CPU channels last in memory."""
        if x.device.type != "cpu":
            return super().forward(x)
        windows = _Windows.apply(x)
        y = windows.flatten(3) @ self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return y.permute(0, 3, 1, 2)


class _Windows(torch.autograd.Function):
    """(n, channels, side, side) to its padded 4 x 4 windows at stride 2, (n, side / 2, side / 2, 4, 4 * channels).

    `torch.nn.functional.unfold` orders them channels first, and the gradient of `Tensor.unfold` is slow.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        return padded.unfold(1, 4, 2).unfold(2, 4, 2).permute(0, 1, 2, 4, 5, 3).flatten(4)

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


def _initialise(module: nn.Module) -> None:
    """DCGAN's initial weights: N(0, 0.02 squared), and for the gains of the batch normalisation around 1."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
