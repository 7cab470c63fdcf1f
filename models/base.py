"""What every model can do: load and save as a folder or a Hub repository, draw latents, make faces."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Never, Self

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from PIL import Image
from torch import nn

from . import latents, loading
from .images import IMAGE_SIZE, to_pil
from .latents import Seed

# Faces that are decoded at once. In larger batches tensors are so large that glibc asks the system for each anew.
GENERATE_BATCH_SIZE = 32

# How the mixin writes NumPy's numbers into a config. It would leave them out otherwise, without a word.
_CODERS = dict.fromkeys((np.generic, np.ndarray, tuple, list), (lambda value: np.asarray(value).tolist(), list))


class PretrainedModel(
    nn.Module, PyTorchModelHubMixin, library_name="latent-faces", pipeline_tag="unconditional-image-generation"
):
    """A network. The arguments of its constructor are its `config.json`; its weights are one safetensors file.

    A subclass with a `model_type` can be loaded once its module is imported: see kinds.py.

    Attributes:
        model_type: the class's name in config.json.
        crop: side of the centre square that training kept of each picture, as a share of the shorter side; None if not
            known.
    """

    model_type: ClassVar[str]
    crop: float | None = None

    _classes: ClassVar[dict[str, type["PretrainedModel"]]] = {}

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(coders=_CODERS, **options)
        if "model_type" in vars(cls):
            PretrainedModel._classes[cls.model_type] = cls

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments that make this model, as config.json holds them."""
        return dict(self._hub_mixin_config or {})  # type: ignore[arg-type]

    def _reconfigured(self, **arguments: Any) -> Self:
        """A copy in which some of the constructor's arguments, and the attributes of their names, have other values."""
        model = copy.deepcopy(self)
        model._hub_mixin_config = {**self.config, **arguments}
        for name, value in arguments.items():
            setattr(model, name, value)
        return model

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, *, config: dict[str, Any] | None = None, **options: Any
    ) -> str | None:
        """Write config.json, model.safetensors and, where there is none, a README.md into a folder."""
        config = {"model_type": self.model_type, **(config or self.config)}
        if self.crop is not None:
            config["crop"] = self.crop
        return super().save_pretrained(Path(save_directory).expanduser(), config=config, **options)

    @classmethod
    @torch.inference_mode(False)  # A model that is loaded within inference mode could not be trained.
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        map_location: str | torch.device = "cpu",
        **others: Never,
    ) -> Self:
        """The model of a folder or a Hub repository, in eval mode.

        It is stricter than the mixin's own method, which accepts a missing config.json, weights with unknown names, and
        pickles.

        Args:
            pretrained_model_name_or_path: a folder, the name of a bundled model, such as "gan", or of one on the Hub,
                "user/name"; the first of these that exists.
            map_location: the device to put it on.

        Raises:
            TypeError: there is no argument of that name.
            ValueError: there is no such model, it is of another class, or its files are damaged or do not fit.
            OSError: the Hub cannot be reached, and the model is not cached.
        """
        if others:
            raise TypeError(
                f"from_pretrained takes no {', '.join(others)}: it takes revision, token, cache_dir, local_files_only, "
                "force_download and map_location; for another dtype or device, call .to(...) of what it returns"
            )
        name, where = pretrained_model_name_or_path, str(pretrained_model_name_or_path)
        file = loading.find(name, revision, token, local_files_only, cache_dir=cache_dir, force_download=force_download)
        config = loading.read_config(file(loading.CONFIG_FILE), where)
        kind = cls._kind_of(config.pop("model_type", None), where)
        crop = config.pop("crop", None)
        if not (crop is None or (type(crop) in (int, float) and 0 < crop <= 1)):
            raise ValueError(f"config.json in {where} has crop {crop!r:.60}: it must be more than 0 and at most 1")
        model = loading.build_empty(kind, config, f"config.json of the {kind.model_type} in {where}")
        loading.load_weights(model, file(loading.WEIGHTS_FILE), where)
        model.crop = crop
        model.to(map_location).eval()
        return model

    @classmethod
    def _kind_of(cls, model_type: Any, where: str) -> type[Self]:
        """The class of this model_type: this one or a subclass."""
        if model_type == getattr(cls, "model_type", ...):
            return cls  # It may be a subclass of somebody's own, with the type of a class of ours.
        kind = PretrainedModel._classes.get(str(model_type))
        if kind is None:
            known = ", ".join(sorted(PretrainedModel._classes))
            raise ValueError(f"config.json in {where} has model_type {model_type!r:.60}: it must be one of {known}")
        if not issubclass(kind, cls):
            raise ValueError(f"{where} holds a model of {kind.__name__}: it must be of {cls.__name__}")
        return kind

    def _check_images(self, x: torch.Tensor) -> torch.Tensor:
        latents.check_floats("x", x, f"n, 3, {IMAGE_SIZE}, {IMAGE_SIZE}", "from_pil of latent_faces.images")
        return x.to(self.dtype)


class FaceModel(PretrainedModel):
    """A model that decodes latents into faces.

    The prior's numbers come from the config, so that the loss, the sampler, the card and the page cannot disagree.

    Attributes:
        latent_size: numbers in one latent.
        discrete_size: how many of them are bits, -1 or +1; they come last.
        attributes: the names that `with_attributes` takes, such as "Smiling".
        prior_mean, prior_variance: of the normal distribution of the continuous numbers.
        encodes: whether it has `encode`, from images to latents.
        encoder, decoder: of a model that encodes. The encoder ends with a linear layer, and the decoder begins with one.
        layers: of a model that does not encode; from latents to images.
    """

    encodes: ClassVar[bool] = False
    encoder: nn.Sequential
    decoder: nn.Sequential
    layers: nn.Sequential

    def __init__(
        self,
        latent_size: int,
        prior_mean: float,
        prior_variance: float,
        discrete_size: int = 0,
        attributes: Sequence[str] = (),
    ):
        super().__init__()
        latents.whole_number("latent_size", latent_size, least=1)
        if latents.whole_number("discrete_size", discrete_size) > latent_size:
            raise ValueError(f"discrete_size is {discrete_size}: it must be latent_size ({latent_size}) or less")
        names = {name for name in attributes if 0 < len(name) <= 100 and name.isprintable()}
        if isinstance(attributes, str) or len(names) < len(attributes):
            raise ValueError(f"attributes is {attributes!s:.60}: it must be names, all different and printable")
        check_prior(prior_mean, prior_variance)
        self.latent_size, self.discrete_size, self.attributes = latent_size, discrete_size, tuple(attributes)
        self.prior_mean, self.prior_variance = prior_mean, prior_variance

    if TYPE_CHECKING:  # A type checker takes a module's result for anything.

        def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    @property
    def continuous_size(self) -> int:
        """How many numbers of a latent are continuous; they come first."""
        return self.latent_size - self.discrete_size

    @property
    def decoder_layers(self) -> nn.Sequential:
        """From latents (n, latent_size) to images (n, 3, 64, 64) in [-1, 1]."""
        return self.decoder if self.encodes else self.layers

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (n, latent_size) to images (n, 3, 64, 64) in [-1, 1]."""
        return self.decoder_layers(self._check_latent(z))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) in [-1, 1] to latents (n, latent_size), where the model `encodes`."""
        if not self.encodes:
            raise NotImplementedError(f"{type(self).__name__} has no encoder")
        return self.encoder(self._check_images(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) to their reconstructions, where the model `encodes`; otherwise latents (n, latent_size)
        to images."""
        return self.decode(self.encode(x) if self.encodes else x)

    @torch.no_grad()
    def whiten(self, z: torch.Tensor) -> torch.Tensor:
        """Change the coordinates of latents so that their numbers are uncorrelated and have the prior's mean and variance.

        The layers on both sides of the latent take the change up: reconstructions stay the same. A draw from the prior
        is then a draw from a Gaussian fitted to the latents (Ghosh et al. 2020, arXiv:1903.12436).

        Args:
            z: (n, latent_size) latents of many faces, n well over latent_size.

        Returns:
            The same faces' new latents, (n, latent_size) float64 on the CPU.
        """
        exact = lambda tensor: tensor.cpu().double()  # The GPU of a Mac has no float64.
        z, encoding, decoding = exact(z), self.encoder[-1], self.decoder[0]
        covariance, centre = torch.cov(z.T), z.mean(0)
        # A number that the encoder does not use has variance 0. The ridge keeps its scale finite, even if all have.
        scale = (covariance.trace() / self.latent_size).clamp(min=1e-2)
        ridge = 1e-6 * scale * torch.eye(self.latent_size, dtype=z.dtype, device=z.device)
        root = torch.linalg.cholesky(covariance + ridge) / self.prior_variance**0.5
        # New latents are root^-1 (z - centre) + prior_mean, which the decoding layer undoes.
        weight = exact(decoding.weight)
        decoding.bias.copy_(exact(decoding.bias) + weight @ (centre - root.sum(1) * self.prior_mean))
        decoding.weight.copy_(weight @ root)
        encoding.bias.copy_(torch.linalg.solve(root, exact(encoding.bias) - centre) + self.prior_mean)
        encoding.weight.copy_(torch.linalg.solve(root, exact(encoding.weight)))
        return torch.linalg.solve(root, (z - centre).T).T + self.prior_mean

    def sample_latent(
        self, count: int, seed: Seed = None, mean: float | None = None, variance: float | None = None
    ) -> torch.Tensor:
        """Latents drawn from the prior, (count, latent_size) float32 on the model's device.

        Args:
            count: how many.
            seed: 0 or more, or several such numbers; None for another draw each time. The same seed gives the same
                latents, whatever `count` is, and the same noise, whatever the mean and variance are.
            mean, variance: of the continuous numbers; by default the prior's. Bits stay as they are.

        Raises:
            ValueError: one of these is no such number.
        """
        mean = self.prior_mean if mean is None else mean
        variance = self.prior_variance if variance is None else variance
        continuous = self._sample_continuous(count, seed, mean, variance)
        return torch.cat([continuous, self._sample_bits(count, seed)], dim=1).to(self.device)

    def _sample_continuous(self, count: int, seed: Seed, mean: float, variance: float) -> torch.Tensor:
        return latents.sample_normal(count, self.continuous_size, seed, mean, variance)

    def _sample_bits(self, count: int, seed: Seed) -> torch.Tensor:
        return latents.sample_bits(count, self.discrete_size, seed)

    def with_prior_variance(self, variance: float) -> Self:
        """A copy that draws latents with another variance by default. It decodes each latent to the same face.

        Raises:
            ValueError: the variance is not more than 0 and less than 1e6.
        """
        check_prior(self.prior_mean, variance)
        return self._reconfigured(prior_variance=float(variance))

    def with_encoding_steps(self, steps: int) -> Self:
        """A copy in which `encode` takes so many steps towards an image, where the model can take some."""
        raise NotImplementedError(f"{type(self).__name__} takes no encoding steps")

    def with_attributes(self, z: torch.Tensor, attributes: Mapping[str, float]) -> torch.Tensor:
        """Latents (n, latent_size) of the same faces with other attributes, by name: True, False or a number.

        Raises:
            ValueError: there is no attribute of that name, or it cannot have that value.
        """
        self._check_attributes(attributes)
        return z.clone()

    def interpolate(
        self,
        start: torch.Tensor,
        end: torch.Tensor,
        steps: int = 11,
        spherical: bool = False,
        discrete: Literal["relaxed", "switched", "held"] = "relaxed",
    ) -> torch.Tensor:
        """A path (steps, latent_size) between two latents, (latent_size,) each. See `latents.interpolate`.

        Args:
            spherical: the continuous numbers turn around the prior's mean instead of going straight.
            discrete: what the bits do. "relaxed" passes through the values between -1 and +1, which no draw has.
                "switched" changes from the bits of `start` to those of `end` in the middle. "held" keeps the bits of
                `start`, so that the path ends at another face than `end`.
        """
        for name, z in (("start", start), ("end", end)):
            latents.check_floats(name, z, f"{self.latent_size}", "a row of what sample_latent")
        steps, size = latents.whole_number("steps", steps, least=2), self.continuous_size
        continuous = latents.interpolate(start[:size], end[:size], steps, spherical, self.prior_mean)
        first, last = start[size:], end[size:]
        if discrete == "relaxed":
            bits = latents.interpolate(first, last, steps)
        elif discrete == "switched":
            bits = torch.stack([first] * (steps // 2) + [last] * (steps - steps // 2))
        elif discrete == "held":
            bits = first.expand(steps, -1)
        else:
            raise ValueError(f"discrete is {discrete!r}: it must be 'relaxed', 'switched' or 'held'")
        return torch.cat([continuous, bits], dim=1)

    def hold_bits(self, z: torch.Tensor, bits: str) -> torch.Tensor:
        """Latents (n, latent_size) with some bits set.

        Args:
            bits: a character for each bit: "+" or "-" sets it to +1 or -1, "." leaves it as it is.

        Raises:
            ValueError: they are not so many such characters.
        """
        if len(bits) != self.discrete_size or not set(bits) <= set("+-."):
            raise ValueError(f"bits is {bits!r}: it must be {self.discrete_size} characters, each '+', '-' or '.'")
        z = self._check_latent(z).clone()
        for index, bit in enumerate(bits, start=self.continuous_size):
            if bit != ".":
                z[:, index] = 1 if bit == "+" else -1
        return z

    @torch.inference_mode()
    def generate(
        self,
        count: int,
        seed: Seed = None,
        mean: float | None = None,
        variance: float | None = None,
        batch_size: int = GENERATE_BATCH_SIZE,
        attributes: Mapping[str, float] | None = None,
    ) -> list[Image.Image]:
        """Draw latents as `sample_latent` does and decode them into 64 x 64 PIL images.

        Args:
            count, seed, mean, variance: as of `sample_latent`.
            batch_size: how many to decode at once.
            attributes: as of `with_attributes`.
        """
        z = self.with_attributes(self.sample_latent(count, seed, mean, variance), attributes or {})
        batches = z.split(latents.whole_number("batch_size", batch_size, least=1))
        return [face for batch in batches if len(batch) for face in to_pil(self.decode(batch))]

    @torch.no_grad()
    def main_directions(self, count: int = 6) -> torch.Tensor:
        """The directions in which latents change the output of the decoder's first layer most, as in GANSpace (Härkönen
        et al. 2020, arXiv:2004.02546): (count, latent_size), the strongest first.

        Each is as long as a standard deviation of the prior and leaves the bits as they are. They are orthogonal. The
        number of the largest size is positive.

        Args:
            count: from 1 to `continuous_size`.
        """
        if not 1 <= latents.whole_number("count", count) <= self.continuous_size:
            raise ValueError(f"count is {count}: it must be between 1 and {self.continuous_size}")
        layers = [layer for layer in self.decoder_layers.modules() if not isinstance(layer, nn.Sequential)]
        first = itertools.takewhile(lambda layer: isinstance(layer, (nn.Linear, nn.ConvTranspose2d)), layers)
        units = torch.eye(self.latent_size, dtype=self.dtype, device=self.device)[: self.continuous_size]
        outputs = nn.Sequential(*first)(torch.cat([torch.zeros_like(units[:1]), units])).flatten(1)
        changes = (outputs[1:] - outputs[0]).cpu().double()
        found = torch.linalg.eigh(changes @ changes.T).eigenvectors.T.flip(0)[:count]
        found *= found.gather(1, found.abs().argmax(1, keepdim=True)).sign() * self.prior_variance**0.5
        return nn.functional.pad(found.float(), (0, self.discrete_size)).to(self.device)

    def _check_latent(self, z: torch.Tensor) -> torch.Tensor:
        latents.check_floats("z", z, f"n, {self.latent_size}", "sample_latent")
        return z.to(self.dtype)

    def _check_attributes(self, attributes: Mapping[str, float], most: float = 1e6) -> dict[int, float]:
        """The values by each attribute's index; an error unless all are known and lie between -most and most."""
        if not isinstance(attributes, Mapping):
            raise TypeError(f"attributes is of type {type(attributes).__name__}: it must be a dict by name")
        values = {}
        for name, value in attributes.items():
            if name not in self.attributes:
                known = f"it knows {', '.join(self.attributes)}" if self.attributes else "it knows none"
                raise ValueError(f"there is no attribute {name!r:.60}: {known}")
            number = latents.finite(name, value)
            if latents.is_bool(value):
                number = 2 * number - 1
            if abs(number) > most:
                raise ValueError(f"{name} is {number:g}: it must be true, false, or between {-most:g} and {most:g}")
            values[self.attributes.index(name)] = number
        return values


def check_prior(mean: float, variance: float) -> None:
    """Raise ValueError unless a normal distribution of this mean and variance can be a prior."""
    if not -1e6 < latents.finite("prior_mean", mean) < 1e6:
        raise ValueError(f"prior_mean is {mean}: it must be between -1e6 and 1e6")
    if not 0 < latents.finite("prior_variance", variance) < 1e6:
        raise ValueError(f"prior_variance is {variance}: it must be more than 0 and less than 1e6")


def check_channels(count: int, **channels: Sequence[int]) -> None:
    """Raise ValueError unless each is so many whole numbers of 1 or more."""
    for name, sizes in channels.items():
        if len(sizes) != count:
            raise ValueError(f"{name} is {sizes!s:.60}: it must be {count} numbers")
        for size in sizes:
            latents.whole_number(name, size, least=1)
