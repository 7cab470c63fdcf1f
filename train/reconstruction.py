"""What the training of every autoencoder has in common: its data, optimizers, pictures and measurements."""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from models import FaceModel, interpolate
from models.images import normalise

from . import distributed
from .data import Faces, open_faces, open_held_out
from .device import has_fast_bf16
from .errors import TrainingError
from .loop import Trainer, train
from .measure import latent_moments, psnr
from .muon import Float32Muon
from .pictures import Grid
from .push import pushed_after
from .run import Run
from .settings import Settings
from .start import start


@dataclass(frozen=True)
class ReconstructionSettings(Settings):
    learning_rate: float = 0.005
    """Of all optimizers in the first epoch; it falls to 0 along a cosine. The reports do not give it."""

    optimizer: Literal["muon", "adam"] = "muon"
    """Of the matrices of the fully connected layers; everything else is Adam's. Adam alone wants a learning rate of
    0.001."""

    freeze_batch_norm: bool = False
    """Leave batch normalisation as --start-from has it: what becomes of a face then depends on no other of its batch,
    in training as afterwards."""

    held_out_split: str = "valid"
    """Where the faces of the pictures and measurements come from. Where there is no such split, the first faces of
    the training split, at most a tenth of it, are kept out of training."""

    held_out: int = 500
    """How many of them, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out < 2:
            raise TrainingError(f"--held-out is {self.held_out}: it must be 2 or more")
        if self.freeze_batch_norm and self.start_from is None:
            raise TrainingError("--freeze-batch-norm leaves what a trained model has: give one with --start-from")


class ReconstructionTrainer(Trainer):
    """Trains a network that has `encoder`, `decoder`, `encode` and `decode`.

    Args:
        settings: of the run.
        held_out: (n, 3, 64, 64) uint8 faces that training does not see.
        faces: of the training set.
    """

    settings: Any  # Of a class derived from ReconstructionSettings.

    def __init__(self, settings: ReconstructionSettings, held_out: torch.Tensor, faces: Faces):
        self.settings, self.faces = settings, faces
        self.held_out = normalise(held_out.to(settings.torch_device))
        # The weights come from the seed without touching the global state.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.autoencoder: Any = start(self.build(), settings)
        self.autoencoder.to(settings.torch_device).to(memory_format=torch.channels_last)
        distributed.synchronise_batch_norm(self.autoencoder)
        if settings.compile:
            self.autoencoder.encoder.compile()
            self.autoencoder.decoder.compile()

        # Faces vary a lot along few directions and a little along many, which Adam learns one after the other. Muon
        # (Jordan et al. 2024, kellerjordan.github.io/posts/muon) gives every direction of a matrix the same step: the
        # matrices of the fully connected layers are its part, everything else is Adam's. Scaled to Adam's step size,
        # it takes Adam's learning rate (Liu et al. 2025, arXiv:2502.16982).
        rate, parameters = settings.learning_rate, list(self.autoencoder.parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        if settings.optimizer == "muon":
            matrices = [parameter for parameter in parameters if parameter.ndim == 2]
            parameters = [parameter for parameter in parameters if parameter.ndim != 2]
            self.optimizers["muon"] = (
                torch.optim.Muon(matrices, rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
                if has_fast_bf16(settings.torch_device)
                else Float32Muon(matrices, rate)
            )
        self.optimizers["adam"] = torch.optim.Adam(parameters, rate, fused=True)

    @abstractmethod
    def build(self) -> FaceModel:
        """The network, its weights drawn from torch's global state."""

    @abstractmethod
    def losses(
        self, images: torch.Tensor, z: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Each loss of a batch by its name, and what is minimised."""

    @property
    @abstractmethod
    def places(self) -> bool:
        """Whether what is kept is a copy whose latents `place` has moved."""

    @abstractmethod
    def place(self, model: Any) -> None:
        """Put the latents of a copy that is to be kept where its prior is."""

    def parts(self) -> dict[str, Any]:
        return {"autoencoder": self.autoencoder, **self.optimizers}

    def begin_epoch(self, epoch: int) -> None:
        self.autoencoder.train(not self.settings.freeze_batch_norm)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(epoch, self.settings.epochs)

    def learning_rate(self, epoch: int, epochs: int) -> float:
        progress = min(1, (epoch - 1) / epochs)
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        model = self.autoencoder
        with self.settings.autocast:
            z = model.encoder(images)  # By itself, where `encode` is more.
            reconstruction = model.decode(z)
        losses, loss = self.losses(images, z, reconstruction, step)
        model.zero_grad(set_to_none=True)
        loss.backward()
        distributed.average_gradients(model)
        for optimizer in self.optimizers.values():
            optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    @torch.inference_mode()
    def end_epoch(self) -> tuple[dict[str, float], dict[str, Grid]]:
        model, images = self.autoencoder.eval(), self.held_out
        raw = latent_moments(model.encoder(images))
        if self.places:
            # Nothing in a plain autoencoder's loss fixes where its latents lie or how far apart: draws from the prior
            # would all decode to one face, or to none. The kept model has its latents whitened, training does not.
            model = self.placed = copy.deepcopy(model)
            self.place(model)
        z = model.encode(images)
        reconstruction = model.decode(z)

        # Each original to the left of its reconstruction, four pairs a row.
        pairs = torch.stack([images[:16], reconstruction[:16]], dim=1).flatten(0, 1)
        # The report's order: a row begins at the second face of its pair and ends at the first.
        half = min(8, len(z) // 2)
        paths = interpolate(z[half : 2 * half], z[:half])
        grids = {
            "samples": Grid(model.decode(model.sample_latent(64, seed=self.settings.seed))),
            "reconstructions": Grid(pairs),
            "interpolations": Grid(model.decode(paths.flatten(0, 1)), columns=paths.shape[1]),
        }
        measured = {"held_out_psnr": psnr(reconstruction, images).mean().item(), **latent_moments(z)}
        if self.places:
            measured |= {f"raw_{key}": value for key, value in raw.items()}
        return measured, grids

    def latents(self, model: Any, most: int) -> torch.Tensor:
        """Of the first training faces, as many as there are and at most so many: (n, latent_size)."""
        device, count = self.settings.torch_device, min(most, self.faces.wait_for(most))
        parts = [slice(first, min(first + 500, count)) for first in range(0, count, 500)]
        return torch.cat([model.encoder(normalise(self.faces[part].to(device))) for part in parts])

    def model(self) -> FaceModel:
        return self.placed if self.places else self.autoencoder.eval()


def train_autoencoder(
    settings: Any, kind: str, trainer: Callable[[Any, torch.Tensor, Faces], ReconstructionTrainer]
) -> None:
    """Open the data and train.

    Args:
        settings: with `held_out_split` and `held_out`.
        kind: of the run.
        trainer: makes one of settings, held-out faces (n, 3, 64, 64) uint8, and the training faces.
    """
    with distributed.joined(settings.torch_device, settings.batch_size), pushed_after(settings):
        held_out = open_held_out(settings, settings.held_out_split, settings.held_out)
        # As it is: the record and the card tell of it.
        settings = replace(settings, held_out=len(held_out.faces), held_out_split=held_out.split)
        with open_faces(settings, held_out.skip) as faces, Run(kind, settings) as run:
            if faces.crop != held_out.crop:
                raise TrainingError(
                    f"the splits {settings.split!r} and {held_out.split!r} hold pictures of different sizes, and would "
                    "be cropped differently: give --crop"
                )
            train(trainer(settings, held_out.faces, faces), faces, run)
