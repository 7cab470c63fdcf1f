"""The trainers of both GANs."""

from typing import Any

import numpy as np
import torch
from torch import nn

from models import AttributeDiscriminator, AttributeGenerator, Discriminator, FaceModel, Generator
from models.latents import sample_bits, sample_normal

from . import distributed
from .data import Faces
from .loop import Averages, Trainer, falling, placed, seeded, start
from .losses import Attributes, discriminator_loss, generator_loss, judge, slow_start
from .record import Grid
from .settings import AVERAGES, TrainingError

# The random stream of (seed, step) that chooses the attributes that are told. Others draw latents and mirror faces.
_TELL_STREAM = 4

# How fast the running estimate of the attributes' shares moves: it averages over some thousand batches.
_SHARE_RATE = 0.001


class GANTrainer(Trainer):
    """Generator against discriminator: each step updates both once."""

    adam_betas = 0.5, 0.999  # The report's.

    def __init__(self, settings: Any, faces: Faces, held_out: torch.Tensor | None = None):
        self.settings, self.faces = settings, faces
        with seeded(settings.seed):
            generator, discriminator = self.build()
        self.generator: Any = placed(start(generator, settings), settings)
        self.discriminator: Any = placed(discriminator, settings)
        self.averages = Averages(self.generator)
        self.discriminator_optimizer, self.generator_optimizer = (
            torch.optim.Adam(network.parameters(), settings.learning_rate, self.adam_betas, fused=True)
            for network in (self.discriminator, self.generator)
        )

    def build(self) -> tuple[Any, Any]:
        """New generator and discriminator, with weights from torch's global random state."""
        settings = self.settings
        generator = Generator(settings.latent_size, settings.discrete_size, settings.hidden_size)
        return generator, Discriminator(settings.hidden_size)

    def parts(self) -> dict[str, Any]:
        names = "generator", "discriminator", "averages", "generator_optimizer", "discriminator_optimizer"
        return {name: getattr(self, name) for name in names}

    def begin_epoch(self, epoch: int) -> None:
        self.rate = self.learning_rate(epoch)
        self.discriminator_optimizer.param_groups[0]["lr"] = self.rate

    def learning_rate(self, epoch: int) -> float:
        return self.settings.learning_rate

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        z = distributed.mine(self.generator.sample_latent(self.settings.batch_size, seed=(self.settings.seed, step)))
        with self.settings.autocast:
            fake = self.generator(z)

            # Real and generated faces go through in separate batches, so that the discriminator cannot tell them apart
            # by the statistics of batch normalisation.
            self.discriminator.requires_grad_(True)
            loss_d = discriminator_loss(self.discriminator(images), self.discriminator(fake.detach()))
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss_d.backward()
        distributed.average_gradients(self.discriminator)
        self.discriminator_optimizer.step()

        # The generator's gradient passes through the discriminator, whose own gradient is not needed now.
        self.discriminator.requires_grad_(False)
        with self.settings.autocast:
            loss_g = generator_loss(self.discriminator(fake))
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss_g.backward()
        self.update_generator(step)
        return {"generator_loss": loss_g.detach(), "discriminator_loss": loss_d.detach()}

    def update_generator(self, step: int) -> None:
        """Update the generator from its gradients. One that was trained before waits for its new discriminator to learn."""
        share = 1.0 if self.settings.start_from is None else slow_start(step)
        if not share:
            return
        distributed.average_gradients(self.generator)
        self.generator_optimizer.param_groups[0]["lr"] = self.rate * share
        self.generator_optimizer.step()
        self.averages.update(self.generator)

    @torch.inference_mode()
    def end_epoch(self) -> tuple[dict[str, float], dict[str, Grid]]:
        model = self.model()
        return {}, {"samples": Grid(model.decode(model.sample_latent(64, seed=self.settings.seed)))}

    def model(self) -> FaceModel:
        return self.averages.model(self.settings.average)


class AttributeGANTrainer(GANTrainer):
    """Generator against discriminator, both updated from one pass of the faces through it. Each label becomes a bit."""

    needs_labels = True
    adam_betas = 0.5, 0.99

    def __init__(self, settings: Any, faces: Faces, held_out: torch.Tensor | None = None):
        self.labels = faces.label_names
        if len(self.labels) > settings.discrete_size:
            raise TrainingError(
                f"--discrete-size is {settings.discrete_size}: {settings.dataset} has {len(self.labels)} labels, a bit each"
            )
        super().__init__(settings, faces)
        self.shares = Shares(len(self.labels)).to(settings.torch_device)
        self.prior_is_fitted = False

    def build(self) -> tuple[AttributeGenerator, AttributeDiscriminator]:
        settings = self.settings
        generator = AttributeGenerator(settings.latent_size, settings.discrete_size, self.labels, settings.channels)
        return generator, AttributeDiscriminator(len(self.labels), settings.hidden_size)

    def parts(self) -> dict[str, Any]:
        return {**super().parts(), "shares": self.shares}

    def learning_rate(self, epoch: int) -> float:
        return self.settings.learning_rate * falling(2 * (epoch - 1) / self.settings.epochs - 1)

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        settings = self.settings
        all_labels = distributed.gather(labels)
        told = self._told(all_labels, step)
        wanted = torch.where(told, all_labels, all_labels.roll(1, 0))  # The batch is in random order.
        self.shares.update(all_labels)
        told, wanted = distributed.mine(told), distributed.mine(wanted)
        with settings.autocast:
            made = self.generator(self._latents(wanted, step))
        attributes = Attributes(labels, wanted, told, self.shares.importance(wanted))
        losses, seen, gradient = judge(self.discriminator, settings, step, images, made, attributes)
        self.discriminator_optimizer.step()
        self.generator.zero_grad(set_to_none=True)
        seen.backward(gradient)
        self.update_generator(step)
        return losses

    def _latents(self, wanted: torch.Tensor, step: int) -> torch.Tensor:
        """Latents (n, latent_size) with the wanted attributes (n, k)."""
        settings, seed = self.settings, (self.settings.seed, step)
        # Not by `sample_latent`: it reads the prior of the attributes, which would wait for a GPU.
        numbers = sample_normal(settings.batch_size, self.generator.continuous_size, seed)
        bits = sample_bits(settings.batch_size, settings.discrete_size, seed)[:, wanted.shape[1] :]
        numbers, bits = (distributed.mine(part).to(wanted.device) for part in (numbers, bits))
        return torch.cat([numbers, wanted, bits], dim=1)

    def _told(self, labels: torch.Tensor, step: int) -> torch.Tensor:
        """Which labels (n, k) of a batch the discriminator is told, (n, k) bool. Where each face has exactly one label, the
        labels are classes: of these, a face's are all told or none."""
        random = np.random.default_rng([self.settings.seed, step, _TELL_STREAM])
        told = torch.from_numpy(random.random(labels.shape) < self.settings.told).to(labels.device)
        is_class = ((labels > 0).sum(1) == 1).all()
        return torch.where(is_class, told[:, :1], told)

    def end_epoch(self) -> tuple[dict[str, float], dict[str, Grid]]:
        if not self.prior_is_fitted:  # After the first epoch all faces have arrived.
            fit_attributes(self.generator, self.faces.all_labels())
            # The averages too: they would only approach the generator's prior.
            for name, buffer in self.generator.named_buffers(recurse=False):
                for width in AVERAGES:
                    getattr(self.averages.model(width), name).copy_(buffer)
            self.prior_is_fitted = True
        return super().end_epoch()


class Shares(nn.Module):
    """Running estimates of the share of faces that have each attribute: `share`, (attributes,), between 0 and 1."""

    def __init__(self, attributes: int):
        super().__init__()
        self.share = nn.Buffer(torch.full((attributes,), 0.5))

    def update(self, labels: torch.Tensor) -> None:
        """Add a batch's labels (n, attributes), -1 or +1."""
        self.share.lerp_((labels + 1).mean(0) / 2, _SHARE_RATE)

    def importance(self, wanted: torch.Tensor) -> torch.Tensor:
        """How much each wanted attribute, -1 or +1, counts in the generator's loss: (n, attributes) for that shape.

        It is 1 where half of the faces have the wanted value, and grows with the root of the value's rareness. If all
        counted alike, a rare attribute would be asked for so seldom that its bit would be learned last.
        """
        share = torch.where(wanted > 0, self.share, 1 - self.share)
        return (0.5 / share.clamp(min=0.005)).sqrt()


@torch.no_grad()
def fit_attributes(model: AttributeGenerator, rows: torch.Tensor) -> None:
    """Make the model draw attributes as they occur together in rows (n, attributes) of -1 or +1, those of the training
    faces, by a logistic regression of each on those before it."""
    from sklearn.linear_model import LogisticRegression  # Takes a second to import.

    values = rows.cpu().numpy()
    model.attribute_weight.zero_()
    for i in range(values.shape[1]):
        on = values[:, i] > 0
        share = (on.sum() + 0.5) / (len(on) + 1)  # Never 0 or 1, which have no logit.
        bias = np.log(share / (1 - share))
        if i and 0 < on.sum() < len(on):
            regression = LogisticRegression(max_iter=1000).fit(values[:, :i], on)
            bias = regression.intercept_[0]
            model.attribute_weight[i, :i] = torch.from_numpy(regression.coef_[0])
        model.attribute_bias[i] = float(bias)
