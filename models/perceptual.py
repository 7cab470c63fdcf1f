"""The perceptual autoencoder: wider than the reports', trained to look right, with a prior fitted to its latents."""

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import nn

from . import latents
from .base import FaceModel, Seed, check_channels
from .blocks import error_and_gradient, falling, half_squares, rising

# Each takes two to three times as long as decoding.
MOST_ENCODING_STEPS = 50

# Encoding: the step size, the relative ridge, and the number of samples for the mean curvature.
_STRIDE, _RIDGE, _DRAWS = 0.6, 0.03, 64


class PerceptualAutoencoder(FaceModel):
    """Four convolutions and a fully connected layer down to a latent, and five transposed ones up to a face.

    Before its last phase, training whitens the latents: over the training faces their numbers are then uncorrelated, with
    mean 0 and variance 1. Their distribution is still not Gaussian, so draws come from a mixture of Gaussians fitted to
    them (Ghosh et al. 2020, arXiv:1903.12436), stretched to the prior's variance.

    Args:
        latent_size: numbers in one latent.
        encoder_channels: at 32, 16, 8 and 4 pixels.
        channels: of the decoder, at 4, 8, 16, 32 and 64 pixels.
        components: of the mixture.
        attributes: the names of the directions.
        prior_mean, prior_variance: of the whole mixture.
        encoding_steps: how many steps `encode` takes from the encoder's latents towards those with the least error.

    Attributes:
        mixture_logits, mixture_means, mixture_roots: (components,), (components, latent_size) and (components,
            latent_size, latent_size): the logarithms of the components' shares, up to a constant, their means, and the
            lower triangular roots of their covariances.
        directions: (attributes, latent_size): the mean difference between the latents of faces with an attribute and
            faces without it, all other attributes being equal. `with_prior_variance` stretches them as it does draws.
        preconditioner: (latent_size, latent_size), where there are encoding steps: the inverse of the mean curvature of
            the squared pixel error. A step is its product with the error's gradient.
    """

    model_type = "perceptual-autoencoder"
    encodes = True
    preconditioner: torch.Tensor

    def __init__(
        self,
        latent_size: int = 100,
        encoder_channels: tuple[int, int, int, int] = (48, 96, 192, 256),
        channels: tuple[int, int, int, int, int] = (256, 192, 128, 96, 32),
        components: int = 20,
        attributes: tuple[str, ...] = (),
        prior_mean: float = 0.0,
        prior_variance: float = 1.0,
        encoding_steps: int = 0,
    ):
        super().__init__(latent_size, prior_mean, prior_variance, attributes=attributes)
        latents.whole_number("components", components, least=1)
        check_channels(4, encoder_channels=encoder_channels)
        check_channels(5, channels=channels)
        check_encoding_steps(encoding_steps)
        self.encoding_steps = encoding_steps
        self.encoder = falling(encoder_channels, latent_size)
        # The first layer undoes the whitening.
        self.decoder = nn.Sequential(nn.Linear(latent_size, latent_size), *rising(latent_size, channels))
        self.mixture_logits = nn.Buffer(torch.zeros(components))
        self.mixture_means = nn.Buffer(torch.zeros(components, latent_size))
        self.mixture_roots = nn.Buffer(torch.zeros(components, latent_size, latent_size))
        self.directions = nn.Buffer(torch.zeros(len(attributes), latent_size))
        self.register_buffer("preconditioner", torch.zeros(latent_size, latent_size) if encoding_steps else None)
        nn.init.constant_(self.mixture_means, prior_mean)
        nn.init.constant_(self.mixture_roots.diagonal(dim1=1, dim2=2), prior_variance**0.5)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) in [-1, 1] to latents (n, latent_size).

        In eval mode the encoder's latents take `encoding_steps` steps down the squared pixel error of their
        reconstructions (iterative amortised inference: Marino et al. 2018, arXiv:1807.09356). They are Gauss-Newton
        steps with a mean curvature in place of each face's own. No error grows: a step that went too far is taken again,
        half as long.
        """
        z = super().encode(x)
        if self.training or not self.encoding_steps:
            return z
        x = x.to(z)
        # The latent with the least error so far, and the error's gradient there.
        nearest, slope, least = z, torch.zeros_like(z), torch.full_like(z[:, :1], torch.inf)
        stride = torch.full_like(least, _STRIDE)
        for _ in range(self.encoding_steps):
            error, gradient = error_and_gradient(self.decoder, z, x)
            better = error < least
            nearest, slope = torch.where(better, z, nearest), torch.where(better, gradient, slope)
            least, stride = torch.where(better, error, least), torch.where(better, stride, stride / 2)
            z = nearest - stride * slope @ self.preconditioner
        return torch.where(half_squares(self.decoder(z) - x) < least, z, nearest)

    @torch.no_grad()
    def _fit_preconditioner(self) -> torch.Tensor:
        """The preconditioner, from how the decoder's pictures change with each number of 64 draws."""
        decode = copy.deepcopy(self.decoder).eval()
        unit = torch.eye(self.latent_size, dtype=torch.float64, device="cpu")
        curvature, change = torch.zeros_like(unit), 0.1 * unit.to(self.dtype).to(self.device)
        for z in self.sample_latent(_DRAWS, seed=0).to(self.dtype):
            slopes = (decode(z + change) - decode(z[None])).flatten(1).cpu().double() / 0.1
            curvature += slopes @ slopes.T / _DRAWS
        # Without a ridge, steps would go far in numbers that hardly show. Where training failed, none shows.
        ridge = (_RIDGE * curvature.trace() / self.latent_size).clamp(min=1e-6)
        # Contiguous, as it is once it is loaded: products with another layout are rounded otherwise.
        return torch.linalg.inv(curvature + ridge * unit).to(self.mixture_roots).contiguous()

    def with_encoding_steps(self, steps: int) -> Self:
        """A copy in which `encode` takes so many steps, from 0 to 50. Its draws and its decoder stay the same.

        Where there were none before, this takes ten seconds, since the preconditioner is fitted to the decoder.
        """
        check_encoding_steps(steps)
        model = self._reconfigured(encoding_steps=int(steps))
        if not steps:
            model.register_buffer("preconditioner", None)
        elif not self.encoding_steps:
            model.preconditioner = self._fit_preconditioner()
        return model

    def _sample_continuous(self, count: int, seed: Seed, mean: float, variance: float) -> torch.Tensor:
        """Draws from the mixture. Another mean or variance moves or stretches it as a whole."""
        latents.sample_normal(0, 1, 0, mean, variance)  # Raises ValueError if they are no such numbers.
        noise = latents.sample_normal(count, self.latent_size, seed)
        shares = self.mixture_logits.cpu().double().softmax(0).numpy()
        means, roots = self.mixture_means.cpu().float(), self.mixture_roots.cpu().float().tril()
        z = torch.empty_like(noise)
        # One face at a time, so that it does not depend on how many are drawn with it.
        for i, component in enumerate(latents.sample_indices(count, shares, seed)):
            z[i] = means[component] + roots[component] @ noise[i]
        stretch = (float(variance) / self.prior_variance) ** 0.5
        return (z - self.prior_mean) * stretch + float(mean)

    def with_prior_variance(self, variance: float) -> Self:
        """As of `FaceModel`. Directions are stretched as draws are."""
        model = super().with_prior_variance(variance)
        stretch = (model.prior_variance / self.prior_variance) ** 0.5
        model.mixture_means.sub_(self.prior_mean).mul_(stretch).add_(self.prior_mean)
        model.mixture_roots.mul_(stretch)
        model.directions.mul_(stretch)
        return model

    def with_attributes(self, z: torch.Tensor, attributes: Mapping[str, float]) -> torch.Tensor:
        """As of `FaceModel`: 1 or True adds the attribute's direction, the mean difference between faces with it and
        without it, and -1 or False subtracts it. Numbers go from -1e6 to 1e6."""
        z = self._check_latent(z).clone()
        for index, value in self._check_attributes(attributes).items():
            z = z + value * self.directions[index]
        return z


def check_encoding_steps(steps: int) -> None:
    if latents.whole_number("encoding_steps", steps) > MOST_ENCODING_STEPS:
        raise ValueError(f"encoding_steps is {steps}: it must be {MOST_ENCODING_STEPS} or less")
