"""The autoencoder: plain, or with its latents matched to a prior."""

from torch import nn

from .base import FaceModel, check_channels
from .blocks import normalised
from .latents import whole_number


class Autoencoder(FaceModel):
    """Three convolutions and two fully connected layers down to a latent, and the same mirrored up to a face.

    Kernels of 4 x 4 with stride 2 and padding 1 halve the side, 64 -> 32 -> 16 -> 8. Batch normalisation follows every
    convolution, and ReLU every layer but the latent one. Tanh ends the decoder.

    Args:
        latent_size: numbers in one latent.
        hidden_size: units of the fully connected layer between the convolutions and the latent.
        channels: after each convolution of the encoder; the decoder mirrors them.
        matching: how training matched the latents to the prior, "mmd" or "moments"; None for the plain autoencoder,
            which is whitened afterwards: see `whiten`.
        prior_mean, prior_variance: of the normal distribution that latents are drawn from, by default the report's N(0, 2).
    """

    model_type = "autoencoder"
    encodes = True

    def __init__(
        self,
        latent_size: int = 100,
        hidden_size: int = 512,
        channels: tuple[int, int, int] = (32, 64, 64),
        matching: str | None = None,
        prior_mean: float = 0.0,
        prior_variance: float = 2.0,
    ):
        super().__init__(latent_size, prior_mean, prior_variance)
        whole_number("hidden_size", hidden_size, least=1)
        check_channels(3, channels=channels)
        if matching not in (None, "mmd", "moments"):
            raise ValueError(f"matching is {str(matching)[:60]!r}: it must be 'mmd', 'moments' or None")
        self.matching = matching

        first, second, third = channels
        flat = third * 8 * 8
        block = lambda convolution: normalised(convolution, nn.ReLU(inplace=True))
        self.encoder = nn.Sequential(
            *block(nn.Conv2d(3, first, 4, 2, 1, bias=False)),
            *block(nn.Conv2d(first, second, 4, 2, 1, bias=False)),
            *block(nn.Conv2d(second, third, 4, 2, 1, bias=False)),
            nn.Flatten(),
            nn.Linear(flat, hidden_size),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_size, latent_size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, hidden_size),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_size, flat),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (third, 8, 8)),
            *block(nn.ConvTranspose2d(third, second, 4, 2, 1, bias=False)),
            *block(nn.ConvTranspose2d(second, first, 4, 2, 1, bias=False)),
            nn.ConvTranspose2d(first, 3, 4, 2, 1),
            nn.Tanh(),
        )
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights that keep the signal's size from layer to layer (He et al. 2015, arXiv:1502.01852).

        PyTorch's default shrinks the signal at each of the four fully connected layers, which costs the first epochs.
        """
        latent, picture = self.encoder[-1], self.decoder[-2]
        for module in self.modules():
            if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                continue
            fan: float = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose2d):
                # Its weight is (in, out, 4, 4), and with stride 2 each output pixel sums over a quarter of the kernel.
                fan = module.in_channels * module.weight[0, 0].numel() / 4
            # ReLU halves the mean square, which the factor of 2 makes good; no ReLU follows these two layers.
            gain = 1.0 if module in (latent, picture) else 2.0
            nn.init.normal_(module.weight, 0.0, (gain / fan) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
