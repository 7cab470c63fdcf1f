"""Train the GAN whose latent is half discrete: python -m train.gan --help"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch.optim.swa_utils import AveragedModel

from models import Discriminator, FaceModel, Generator

from . import distributed
from .data import open_faces
from .errors import TrainingError, run_command
from .loop import Trainer, train
from .losses import discriminator_loss, generator_loss
from .pictures import Grid
from .push import pushed_after
from .run import Run
from .settings import Settings, check_range
from .start import start


@dataclass(frozen=True)
class GANSettings(Settings):
    """The defaults are the report's."""

    output: Path = Path("runs/gan")
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 0.0002

    discrete_size: int = 50
    """How many of the latent's numbers are bits, -1 or +1; the others are normal."""

    hidden_size: int = 64
    """Channels of the generator's widest and the discriminator's first layer."""

    adam_betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates; 0.5 is DCGAN's."""

    head_start: int = 0
    """Steps in which the discriminator learns alone, before a generator that --start-from gave learns from it, over as
    many steps more and more. From a discriminator that knows little a good generator unlearns all that it knows."""

    generator_rate: float = 1.0
    """The generator's learning rate, as a share of the discriminator's (Heusel et al. 2017, arXiv:1706.08500)."""

    average: float = 0.995
    """The generator that is kept is a running average of the trained one's weights over some 1 / (1 - average)
    steps (Yazici et al. 2019, arXiv:1806.04498): training is the report's, its faces flicker less. 0 keeps the
    trained one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.discrete_size <= self.latent_size:
            raise TrainingError(
                f"--discrete-size is {self.discrete_size}: it must be between 0 and --latent-size ({self.latent_size})"
            )
        check_range("hidden_size", self.hidden_size, 1, 512)
        check_range("head_start", self.head_start, 0, 1_000_000_000)
        check_range("generator_rate", self.generator_rate, 0, 1000)
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise TrainingError(
                f"--adam-betas is {' '.join(map(str, self.adam_betas))}: both must be 0 or more and less than 1"
            )
        if not 0 <= self.average < 1:
            raise TrainingError(f"--average is {self.average}: it must be 0 or more and less than 1")


class GANTrainer(Trainer):
    """Generator against discriminator, one update of each a step.

    Args:
        settings: of the run.
    """

    settings: Any  # Of GANSettings, or of a class derived from it.

    def __init__(self, settings: GANSettings):
        self.settings = settings
        device = settings.torch_device
        # The weights come from the seed without touching the global state.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            generator, self.discriminator = self.build()
        self.generator: Any = start(generator, settings)
        self.generator.to(device).to(memory_format=torch.channels_last)
        self.discriminator.to(device).to(memory_format=torch.channels_last)
        distributed.synchronise_batch_norm(self.generator)
        distributed.synchronise_batch_norm(self.discriminator)
        self.averaged: Any = AveragedModel(
            self.generator, multi_avg_fn=running_average(settings.average), use_buffers=True
        ).eval()
        # Asked for at every step, which would wait for a GPU.
        self.averaged.n_averaged = self.averaged.n_averaged.cpu()
        if settings.compile:
            self.generator.layers.compile()
            self.discriminator.layers.compile()

        def adam(network: torch.nn.Module, rate: float) -> torch.optim.Adam:
            return torch.optim.Adam(network.parameters(), rate, settings.adam_betas, fused=True)

        self.discriminator_optimizer = adam(self.discriminator, settings.learning_rate)
        self.generator_optimizer = adam(self.generator, settings.learning_rate * settings.generator_rate)

    def build(self) -> tuple[Any, Any]:
        """Generator and discriminator, their weights drawn from torch's global state."""
        settings = self.settings
        generator = Generator(settings.latent_size, settings.discrete_size, settings.hidden_size)
        return generator, Discriminator(settings.hidden_size)

    def parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "averaged": self.averaged,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        z = distributed.mine(self.generator.sample_latent(self.settings.batch_size, seed=(self.settings.seed, step)))
        with self.settings.autocast:
            fake = self.generator(z)

            # Real and generated faces go through in batches of their own, so that batch normalisation does not
            # tell one from the other by the mixture.
            self.discriminator.requires_grad_(True)
            loss_d = discriminator_loss(self.discriminator(images), self.discriminator(fake.detach()))
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss_d.backward()
        distributed.average_gradients(self.discriminator)
        self.discriminator_optimizer.step()

        # The generator's gradient passes through the discriminator, whose own is not needed now.
        self.discriminator.requires_grad_(False)
        with self.settings.autocast:
            loss_g = generator_loss(self.discriminator(fake))
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss_g.backward()
        self.update_generator(step)
        return {"generator_loss": loss_g.detach(), "discriminator_loss": loss_d.detach()}

    def update_generator(self, step: int) -> None:
        """From its gradients, unless the discriminator still has its head start."""
        alone, (group,) = self.settings.head_start, self.generator_optimizer.param_groups
        if step < alone:
            return
        distributed.average_gradients(self.generator)
        rate = group["lr"]
        group["lr"] = rate * min(1, (step - alone + 1) / max(1, alone))
        self.generator_optimizer.step()
        group["lr"] = rate
        self.averaged.update_parameters(self.generator)

    @torch.inference_mode()
    def end_epoch(self) -> tuple[dict[str, float], dict[str, Grid]]:
        model = self.model()
        return {}, {"samples": Grid(model.decode(model.sample_latent(64, seed=self.settings.seed)))}

    def model(self) -> FaceModel:
        return self.averaged.module


def running_average(decay: float):
    """An average that forgets its first, random weights: with n updates behind it, it weighs at most the last n."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], updates: torch.Tensor) -> None:
        kept = min(decay, (1 + int(updates)) / (10 + int(updates)))
        for average, weight in zip(averages, weights):
            if average.is_floating_point():
                average.lerp_(weight, 1 - kept)
            else:  # Batch normalisation's count of batches.
                average.copy_(weight)

    return update


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(GANSettings, args=arguments, prog="python -m train.gan", description=__doc__)
    with (
        distributed.joined(settings.torch_device, settings.batch_size),
        pushed_after(settings),
        open_faces(settings) as faces,
        Run("gan", settings) as run,
    ):
        train(GANTrainer(settings), faces, run)


if __name__ == "__main__":
    run_command(main)
