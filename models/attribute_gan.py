"""The GAN with named bits: most of its discrete half are attributes that its training faces were labelled with."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from .base import FaceModel, PretrainedModel, Seed, check_channels
from .blocks import HalvingConv2d, initialise_convolution, rising
from .latents import uniform_for_bits, whole_number


class AttributeGenerator(FaceModel):
    """Five transposed convolutions and a convolution from a latent to a face, 1 -> 4 -> 8 -> 16 -> 32 -> 64 pixels.

    The latent joins a continuous half (normal) and a discrete half (-1 or +1). The discrete half begins with a bit for each
    attribute; these are drawn as the attributes occur together among the training faces. The others are fair.

    Args:
        latent_size: numbers in one latent.
        discrete_size: how many of them are bits; they come last.
        attributes: the names of the first bits.
        channels: at 4, 8, 16, 32 and 64 pixels.
        prior_mean, prior_variance: of the continuous half.

    Attributes:
        attribute_bias, attribute_weight: (n,) and (n, n), read below its diagonal: attribute i is +1 with probability
            sigmoid(bias[i] + weight[i] @ the attributes before it), a fully visible belief network (Neal 1992).
    """

    model_type = "attribute-generator"

    def __init__(
        self,
        latent_size: int = 100,
        discrete_size: int = 50,
        attributes: tuple[str, ...] = (),
        channels: tuple[int, int, int, int, int] = (256, 192, 128, 96, 32),
        prior_mean: float = 0.0,
        prior_variance: float = 1.0,
    ):
        super().__init__(latent_size, prior_mean, prior_variance, discrete_size, attributes)
        check_channels(5, channels=channels)
        if len(attributes) > discrete_size:
            raise ValueError(f"attributes has {len(attributes)} names: there are only {discrete_size} bits")
        self.layers = rising(latent_size, channels)
        count = len(attributes)
        self.attribute_bias, self.attribute_weight = nn.Buffer(torch.zeros(count)), nn.Buffer(torch.zeros(count, count))
        self.apply(initialise_convolution)

    def _sample_bits(self, count: int, seed: Seed) -> torch.Tensor:
        """Bits (count, discrete_size). Another prior of the attributes changes few of a seed's bits."""
        uniform = uniform_for_bits(count, self.discrete_size, seed)
        bits = np.where(uniform < 0.5, np.float32(-1), np.float32(1))
        bias, weight = (x.cpu().double().numpy() for x in (self.attribute_bias, self.attribute_weight))
        for i in range(len(self.attributes)):
            logit = bias[i] + bits[:, :i].astype(np.float64) @ weight[i, :i]
            # uniform >= 1 - sigmoid(logit), without an exponential that overflows.
            bits[:, i] = np.where(uniform[:, i] >= 0.5 * (1 - np.tanh(logit / 2)), 1, -1)
        return torch.from_numpy(bits)

    def with_attributes(self, z: torch.Tensor, attributes: Mapping[str, float]) -> torch.Tensor:
        """As of `FaceModel`: the bits of these attributes are set to 1 (True), -1 (False) or a number between, though none
        was drawn in training."""
        z = self._check_latent(z).clone()
        for index, value in self._check_attributes(attributes, most=1).items():
            z[:, self.continuous_size + index] = value
        return z


class AttributeDiscriminator(PretrainedModel):
    """Four convolutions from a face and its attributes to the logit of the pair being real.

    A projection discriminator (Miyato & Koyama 2018, arXiv:1802.05637): the logit is linear in the attributes, with
    weights that depend on the face. A second output predicts the attributes from the face alone. There is no batch
    normalisation, so that each face has a gradient of its own. One feature is how far the faces of a batch differ: it
    keeps the generator from making all alike.

    Args:
        attributes: how many.
        hidden_size: channels after the first layer; they double with each of the next three.
        features: how many numbers the logits are computed from.
    """

    model_type = "attribute-discriminator"

    def __init__(self, attributes: int = 0, hidden_size: int = 64, features: int = 512):
        super().__init__()
        whole_number("attributes", attributes)
        whole_number("hidden_size", hidden_size, least=1)
        whole_number("features", features, least=1)
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
        """Logits of images (n, 3, 64, 64) in [-1, 1] with attributes (n, attributes), -1 or +1, or without any.

        Returns:
            The logits of being real (n,), and the logits of each attribute (n, attributes) by the image alone, in float32.
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
    """The standard deviation of features (n, k) across a batch, averaged over the features: a scalar.

    Minibatch standard deviation: Karras et al. 2018, arXiv:1710.10196.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.float().var(0, unbiased=False).add(1e-8).sqrt().mean().to(features.dtype)
