"""What every model here can do: load and save as a folder or a Hub repository, draw latents, make faces."""

import hashlib
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from huggingface_hub import PyTorchModelHubMixin, constants, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from PIL import Image
from torch import nn

from . import latents
from .images import to_pil
from .inference import accelerate
from .latents import Seed


class PretrainedModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="latent-faces",
    pipeline_tag="unconditional-image-generation",
    license="other",
    license_name="celeba-non-commercial-research",
    license_link="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    tags=["faces", "celeba"],
):
    """A network whose constructor arguments are its `config.json` and whose weights are one safetensors file.

    `from_pretrained(folder_or_hub_id)` takes the usual `revision`, `token`, `cache_dir`, `local_files_only` and
    `map_location`, and returns the model in eval mode. Everything else it takes overrides the config.
    """

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _save_pretrained(self, save_directory: Path) -> None:
        # channels_last weights count as strided views, which safetensors refuses.
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        path = save_directory / constants.SAFETENSORS_SINGLE_FILE
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        config: dict | None = None,
        map_location: str | torch.device = "cpu",
        **arguments,
    ):
        """Stricter than the mixin's own, which takes class defaults where there is no config.json, leaves weights
        random whose names it does not know, and falls back to a pickle where there is no safetensors file."""
        if config is None:
            raise ValueError(f"{model_id} holds no {constants.CONFIG_NAME}: it is not a saved {cls.__name__}")
        if unknown := sorted(config.keys() - cls._hub_mixin_init_parameters.keys()):
            raise ValueError(f"{model_id} holds another model than {cls.__name__}, which knows no {', '.join(unknown)}")
        weights = Path(model_id, constants.SAFETENSORS_SINGLE_FILE)
        if not Path(model_id).is_dir():
            try:
                weights = hf_hub_download(
                    model_id,
                    constants.SAFETENSORS_SINGLE_FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            except RemoteEntryNotFoundError:
                raise ValueError(
                    f"{model_id} holds no {weights.name}, the only format of weights that is read"
                ) from None
            check_download(Path(weights))
        elif not weights.is_file():
            raise ValueError(f"{model_id} holds no {weights.name}, the only format of weights that is read")
        model = cls(**arguments)
        try:
            model.load_state_dict(safetensors.torch.load_file(weights), strict=True)
        except (RuntimeError, safetensors.SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"the weights in {model_id} do not fit {cls.__name__}({arguments}): {reason}") from error
        return model.to(map_location).eval()


class DamagedDownload(ValueError):
    """A file whose contents are not those that the Hub announced."""


def check_download(path: Path) -> None:
    """Compare a large file in the Hub's cache with its SHA-256, by which the cache names it.

    The client itself compares sizes only, so that a file with wrong bytes would load in silence.
    """
    name = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", name):  # Not where links are not to be had: there files keep their own names.
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != name:
                raise DamagedDownload(f"{path.name} is damaged: load it again with force_download=True")


class FaceModel(PretrainedModel):
    """A model that decodes latents into faces.

    The prior's numbers are attributes that come from the config, so that the loss, the sampler, the card and the
    page cannot disagree.

    Attributes:
        latent_size: numbers in one latent.
        prior_mean, prior_variance: of the normal distribution that latents are drawn from.
    """

    latent_size: int
    prior_mean: float
    prior_variance: float

    # The fastest on a CPU.
    generate_batch_size = 64

    @property
    def decoder_layers(self) -> nn.Sequential:
        """From latents (n, latent_size) to images (n, 3, 64, 64) in [-1, 1]."""
        raise NotImplementedError

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (n, latent_size) to images (n, 3, 64, 64) in [-1, 1]."""
        return self.decoder_layers(self._check_latent(z))

    def sample_latent(
        self, count: int, seed: Seed = None, mean: float | None = None, variance: float | None = None
    ) -> torch.Tensor:
        """Draw latents from the prior, or from a normal distribution of another mean or variance.

        The noise belongs to the seed: moving the mean moves the same faces.

        Args:
            count: how many.
            seed: 0 or more. The same seed gives the same latents, whatever `count` is.
            mean, variance: by default the prior's.

        Returns:
            (count, latent_size) float32 on the model's device.
        """
        mean, variance = self._prior_or(mean, variance)
        return latents.draw_normal(count, self.latent_size, seed, mean, variance).to(self.device)

    def interpolate(
        self, start: torch.Tensor, end: torch.Tensor, steps: int = 11, spherical: bool = False
    ) -> torch.Tensor:
        """A path of latents between two, (latent_size,) each: (steps, latent_size). See `latents.interpolate`.

        A spherical path turns around the prior's mean.
        """
        return latents.interpolate(start, end, steps, spherical, self.prior_mean)

    @torch.inference_mode()
    def generate(
        self,
        count: int,
        seed: Seed = None,
        mean: float | None = None,
        variance: float | None = None,
        batch_size: int | None = None,
    ) -> list[Image.Image]:
        """Draw latents as `sample_latent` does and decode them, `batch_size` at a time, into 64 x 64 PIL images.

        On a CPU with bfloat16 a pixel may be a grey level off from what `decode` gives, in exchange for the speed.
        """
        z = self._check_latent(self.sample_latent(count, seed, mean, variance))
        plain = self.training or self.device.type != "cpu" or self.dtype != torch.float32
        layers = self.decoder_layers if plain else accelerate(self.decoder_layers)
        batches = z.split(batch_size or self.generate_batch_size)
        return [face for batch in batches if len(batch) for face in to_pil(layers(batch))]

    def _prior_or(self, mean: float | None, variance: float | None) -> tuple[float, float]:
        return (
            self.prior_mean if mean is None else mean,
            self.prior_variance if variance is None else variance,
        )

    def _check_latent(self, z: torch.Tensor) -> torch.Tensor:
        if z.ndim != 2 or z.shape[1] != self.latent_size:
            raise ValueError(f"z has shape {tuple(z.shape)}: this model takes (n, {self.latent_size})")
        return z.to(self.dtype)


def check_prior(mean: float, variance: float) -> None:
    """Raise ValueError unless a normal distribution of this mean and variance can be a prior."""
    if not -1e6 < mean < 1e6:
        raise ValueError(f"prior_mean is {mean}: it must be a number between -1e6 and 1e6")
    if not 0 < variance < 1e6:
        raise ValueError(f"prior_variance is {variance}: it must be more than 0 and less than 1e6")
