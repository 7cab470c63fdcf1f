"""The GAN whose bits have names: most of its discrete half are attributes that its training faces were labelled with."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from .base import FaceModel, PretrainedModel, Seed, check_names, check_prior, check_sizes
from .blocks import rising
from .latents import uniform_for_bits
from .speed import HalvingConv2d


class AttributeGenerator(FaceModel):
    """Five transposed convolutions and a convolution from a latent to a face, 1 -> 4 -> 8 -> 16 -> 32 -> 64 pixels.

    The latent joins a continuous half (normal) and a discrete one (-1 or +1): first a bit for each attribute, drawn as
    they occur together among the training faces, then free bits that are fair.

    Args:
        latent_size: numbers in one latent.
        discrete_size: how many of them are bits; they come last.
        attributes: the names of the first of these, in their order. Without any all bits are free.
        channels: at 4, 8, 16, 32 and 64 pixels.
        prior_mean, prior_variance: of the continuous half.
        affine: whether an affine map of the latent comes first.

    Attributes:
        attribute_bias, attribute_weight: (n,) and (n, n), below its diagonal: attribute i is +1 with the probability
            sigmoid(bias[i] + weight[i] @ those before it), a fully visible belief network (Neal 1992).
    """

    model_type = "attribute-generator"

    generate_batch_size = 32

    def __init__(
        self,
        latent_size: int = 100,
        discrete_size: int = 50,
        attributes: tuple[str, ...] = (),
        channels: tuple[int, int, int, int, int] = (256, 192, 128, 96, 32),
        prior_mean: float = 0.0,
        prior_variance: float = 1.0,
        affine: bool = False,
    ):
        super().__init__()
        check_sizes(latent_size=latent_size, **{"each of channels": min(channels)})
        if not 0 <= discrete_size <= latent_size:
            raise ValueError(f"discrete_size is {discrete_size}: it must be between 0 and latent_size ({latent_size})")
        check_names(attributes, most=discrete_size)
        check_prior(prior_mean, prior_variance)
        self.latent_size, self.discrete_size, self.attributes = latent_size, discrete_size, tuple(attributes)
        self.prior_mean, self.prior_variance, self.affine = prior_mean, prior_variance, affine
        self.layers = rising(latent_size, channels)
        count = len(attributes)
        self.attribute_bias, self.attribute_weight = nn.Buffer(torch.zeros(count)), nn.Buffer(torch.zeros(count, count))
        self.apply(_initialise)
        if affine:
            self.layers.insert(0, nn.Linear(latent_size, latent_size))

    @property
    def architecture(self) -> str:
        return f"{self.model_type}-affine" if self.affine else self.model_type

    @property
    def decoder_layers(self) -> nn.Sequential:
        return self.layers

    def _sample_bits(self, count: int, seed: Seed) -> torch.Tensor:
        """Bits (count, discrete_size), which change with the prior of attributes as little as they can."""
        uniform = uniform_for_bits(count, self.discrete_size, seed)
        bits = np.where(uniform < 0.5, np.float32(-1), np.float32(1))
        bias, weight = (x.cpu().double().numpy() for x in (self.attribute_bias, self.attribute_weight))
        for i in range(len(self.attributes)):
            logit = bias[i] + bits[:, :i].astype(np.float64) @ weight[i, :i]
            # u >= 1 - sigmoid(logit), without an exponential that overflows.
            bits[:, i] = np.where(uniform[:, i] >= 0.5 * (1 - np.tanh(logit / 2)), 1, -1)
        return torch.from_numpy(bits)

    def with_attributes(self, z: torch.Tensor, attributes: Mapping[str, float]) -> torch.Tensor:
        """Latents (n, latent_size) whose bits of these attributes are on (True or 1) or off (False or -1).

        What else is in a latent stays: the same faces with other attributes. Numbers between -1 and 1 are taken too,
        though training drew none.

        Raises:
            ValueError: it has no bit of that name, or a number is beyond -1 and 1.
        """
        z = self._check_latent(z).clone()
        for index, value in self._check_attributes(attributes, most=1).items():
            z[:, self.continuous_size + index] = value
        return z


class AttributeDiscriminator(PretrainedModel):
    """Four convolutions from a face and its attributes to the logit of their belonging together.

    A projection discriminator (Miyato & Koyama 2018, arXiv:1802.05637): the logit is linear in the attributes, with
    weights that depend on the face. Beside it, it tells the attributes from the face alone. No batch normalisation, so
    that its gradient is that of one face; how far the faces of a batch differ is one of its features, lest the generator
    make all alike.

    Args:
        attributes: how many.
        hidden_size: channels after the first layer; they double with each of the next three.
        features: numbers that the logits are computed from.
    """

    model_type = "attribute-discriminator"

    def __init__(self, attributes: int = 0, hidden_size: int = 64, features: int = 512):
        super().__init__()
        check_sizes(hidden_size=hidden_size, features=features)
        if attributes < 0:
            raise ValueError(f"attributes is {attributes}: it must be 0 or more")
        widths = [3, hidden_size, 2 * hidden_size, 4 * hidden_size, 8 * hidden_size]
        kinds = [nn.Conv2d, nn.Conv2d, nn.Conv2d, HalvingConv2d]
        convolutions = [
            kind(wide, narrow, 4, 2, 1, bias=kind is nn.Conv2d) for kind, wide, narrow in zip(kinds, widths, widths[1:])
        ]
        self.layers = nn.Sequential(
            *(layer for convolution in convolutions for layer in (convolution, nn.LeakyReLU(0.2, inplace=True))),
            nn.Flatten(),
            nn.Linear(widths[-1] * 4 * 4, features),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.deviation = BatchDeviation()
        self.realness = nn.Linear(features + 1, 1)
        self.projection = nn.Linear(attributes, features, bias=False) if attributes else None
        self.attributes = nn.Linear(features, attributes) if attributes else None
        for module in self.layers.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, 0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor, attributes: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, 3, 64, 64) in [-1, 1] and their attributes (n, attributes), -1 or +1, to logits.

        Without attributes the images are judged by themselves.

        Returns:
            Those of the pair being real (n,) and, of the images alone, of each attribute (n, attributes), in float32.
        """
        features = self.layers(self._check_images(x))
        deviation = self.deviation(features).expand(len(x), 1)
        logits = self.realness(torch.cat([features, deviation], dim=1)).flatten().float()
        if self.attributes is None or self.projection is None:
            return logits, logits.new_empty(len(x), 0)
        if attributes is not None:
            logits = logits + (self.projection(attributes.to(features.dtype)) * features).sum(1).float()
        return logits, self.attributes(features).float()


class BatchDeviation(nn.Module):
    """How far the features (n, k) of a batch differ: their standard deviation, averaged over the features, a scalar
    (minibatch standard deviation: Karras et al. 2018, arXiv:1710.10196)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.float().var(0, unbiased=False).add(1e-8).sqrt().mean().to(features.dtype)


def _initialise(module: nn.Module) -> None:
    """DCGAN's initial weights: N(0, 0.02 squared)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
