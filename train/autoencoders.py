"""The trainers of the autoencoders, and what is fitted to their latents."""

import copy
from abc import abstractmethod
from typing import Any, cast

import numpy as np
import torch

from models import AttributeDiscriminator, Autoencoder, FaceModel, PerceptualAutoencoder, interpolate
from models.images import normalise

from . import distributed
from .data import Faces
from .distributed import has_fast_bf16
from .loop import Averages, Trainer, falling, placed, seeded, start
from .losses import PerceptualDistance, judge, latent_moments, mmd, moments, pixel_loss, psnr, slow_start
from .record import Grid
from .settings import TrainingError

# Faces that go through a network at once, where no gradient is needed.
AT_ONCE = 500

# How many faces' latents whiten a model: for a covariance of 100 numbers, twenty faces a number.
WHITENING_FACES = 2000

# How many faces' latents a mixture and directions are fitted to: after an epoch, and for good.
FITTED_FACES, LAST_FITTED_FACES = 10_000, 30_000

# The model's learning rate in the adversarial epochs; the discriminator's is twice that. Both fall to 0 over the last
# three fifths of these epochs.
ADVERSARIAL_RATE = 0.0001

# The coefficients and the number of iterations in PyTorch's Muon (Jordan et al. 2024,
# kellerjordan.github.io/posts/muon).
_A, _B, _C, _STEPS = 3.4445, -4.7750, 2.0315, 5


class ReconstructionTrainer(Trainer):
    """Trains a network that has `encoder`, `decoder`, `encode` and `decode`."""

    needs_held_out = True

    def __init__(self, settings: Any, faces: Faces, held_out: torch.Tensor | None = None):
        self.settings, self.faces = settings, faces
        self.held_out = normalise(cast(torch.Tensor, held_out).to(settings.torch_device))
        with seeded(settings.seed):
            self.autoencoder: Any = placed(start(self.build(), settings), settings)
        self.kept = self.autoencoder

        # Faces vary a lot along few directions and a little along many, and Adam learns these one after the other. Muon
        # (Jordan et al. 2024, kellerjordan.github.io/posts/muon) makes the same step in every direction of a matrix. It
        # updates the matrices of the fully connected layers, and Adam everything else. Scaled to Adam's step size, Muon
        # takes Adam's learning rate (Liu et al. 2025, arXiv:2502.16982).
        rate, parameters = settings.learning_rate, list(self.autoencoder.parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        if settings.optimizer == "muon":
            matrices = [parameter for parameter in parameters if parameter.ndim == 2]
            parameters = [parameter for parameter in parameters if parameter.ndim != 2]
            kind = torch.optim.Muon if has_fast_bf16(settings.torch_device) else Float32Muon
            self.optimizers["muon"] = kind(matrices, rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        self.optimizers["adam"] = torch.optim.Adam(parameters, rate, fused=True)

    @abstractmethod
    def build(self) -> FaceModel:
        """The new network, with weights from torch's global random state."""

    @abstractmethod
    def losses(
        self, images: torch.Tensor, z: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Each loss of a batch by its name, and the sum that is minimised."""

    def fitted(self, model: Any) -> Any:
        """The model to keep: the trained one, or a copy of it with its latents where its prior is."""
        return model

    def trained(self) -> Any:
        """The trained network, as it stands."""
        return self.autoencoder

    def parts(self) -> dict[str, Any]:
        return {"autoencoder": self.autoencoder, **self.optimizers}

    def begin_epoch(self, epoch: int) -> None:
        self.autoencoder.train()
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(epoch)

    def learning_rate(self, epoch: int) -> float:
        return self.settings.learning_rate * falling((epoch - 1) / self.settings.epochs)

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        model = self.autoencoder
        with self.settings.autocast:
            z = model.encoder(images)  # `encode` may go on from there.
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
        trained, images = self.trained().eval(), self.held_out
        model = self.kept = self.fitted(trained)
        z = torch.cat([model.encode(part) for part in images.split(AT_ONCE)])
        reconstruction = torch.cat([model.decode(part) for part in z.split(AT_ONCE)])

        # Each original is left of its reconstruction, with four pairs in a row.
        pairs = torch.stack([images[:16], reconstruction[:16]], dim=1).flatten(0, 1)
        # In the report's order, a row begins at the second face of its pair and ends at the first.
        half = min(8, len(z) // 2)
        paths = interpolate(z[half : 2 * half], z[:half])
        grids = {
            "samples": Grid(model.decode(model.sample_latent(64, seed=self.settings.seed))),
            "reconstructions": Grid(pairs),
            "interpolations": Grid(model.decode(paths.flatten(0, 1)), columns=paths.shape[1]),
        }
        measured = {"held_out_psnr": psnr(reconstruction, images).mean().item(), **latent_moments(z)}
        if model is not trained:
            raw = torch.cat([trained.encoder(part) for part in images.split(AT_ONCE)])
            measured |= {f"raw_{key}": value for key, value in latent_moments(raw).items()}
        return measured, grids

    @torch.no_grad()
    def latents(self, model: Any, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (n, latent_size) of `most` training faces drawn at random, or all, and their labels (n, k), -1 or 1."""
        pixels, labels = self.faces.sample(most, self.settings.seed)
        device = self.settings.torch_device
        return torch.cat([model.encoder(normalise(part.to(device))) for part in pixels.split(AT_ONCE)]), labels

    def model(self) -> FaceModel:
        return self.kept


class AutoencoderTrainer(ReconstructionTrainer):
    """Trains on pixel error, and for a matched autoencoder on the distance of its latents from the prior too."""

    def build(self) -> Autoencoder:
        settings = self.settings
        prior = {name: getattr(settings, name) for name in ("prior_mean", "prior_variance")}
        return Autoencoder(
            settings.latent_size,
            settings.hidden_size,
            matching=settings.match if settings.is_matched else None,
            **{name: value for name, value in prior.items() if value is not None},
        )

    def losses(
        self, images: torch.Tensor, z: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        model, settings = self.autoencoder, self.settings
        losses = {"pixel_loss": pixel_loss(reconstruction, images)}
        if not settings.is_matched:
            return losses, losses["pixel_loss"]
        if model.matching == "mmd":
            prior = model.sample_latent(settings.batch_size, seed=(settings.seed, step))
            losses["matching_loss"] = mmd(distributed.gather(z), prior, model.prior_variance)
        else:
            losses["matching_loss"] = moments(distributed.gather(z), model.prior_mean, model.prior_variance)
        return losses, losses["pixel_loss"] + settings.match_weight * losses["matching_loss"]

    def fitted(self, model: Autoencoder) -> Autoencoder:
        if not self.settings.whiten or self.settings.is_matched:
            return model
        # Nothing in a plain autoencoder's loss fixes where its latents lie or how far apart: draws from the prior would
        # all decode to one face, or to no face. So the latents of the kept copy are whitened.
        model = copy.deepcopy(model)
        model.whiten(self.latents(model, WHITENING_FACES)[0])
        return model


class PerceptualAutoencoderTrainer(ReconstructionTrainer):
    """Trains on pixel error: in the first epochs with a perceptual distance, in the last with a discriminator of draws.
    A prior is fitted to the latents before the last phase, and directions after each epoch."""

    def __init__(self, settings: Any, faces: Faces, held_out: torch.Tensor | None = None):
        self.labels = faces.label_names
        self.distance = PerceptualDistance().to(settings.torch_device) if settings.perceptual_weight else None
        super().__init__(settings, faces, held_out)
        with seeded(settings.seed):
            self.discriminator: Any = placed(AttributeDiscriminator(), settings)
        self.averages = Averages(self.autoencoder)
        self.adversarial_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), betas=(0.5, 0.99), fused=True)
            for network in (self.autoencoder, self.discriminator)
        )
        self.epoch = settings.epochs

    def build(self) -> PerceptualAutoencoder:
        settings = self.settings
        sizes = settings.latent_size, settings.encoder_channels, settings.channels, settings.components
        return PerceptualAutoencoder(*sizes, self.labels)

    def parts(self) -> dict[str, Any]:
        names = "averages", "discriminator", "adversarial_optimizer", "discriminator_optimizer"
        return super().parts() | {name: getattr(self, name) for name in names}

    @property
    def phase(self) -> str:
        return self.settings.phase(self.epoch)

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        super().begin_epoch(epoch)
        if self.phase != "perceptual":
            # With fixed statistics of batch normalisation, a face's latent does not depend on the rest of its batch.
            self.autoencoder.eval()
        if self.phase == "adversarial":
            if not self.discriminator_optimizer.state:  # The phase begins.
                self.fit_draws()
            self.rate = self.learning_rate(epoch)
            # How many steps the discriminator has learned. On a GPU, reading it waits.
            self.learned = max((int(state["step"]) for state in self.discriminator_optimizer.state.values()), default=0)
            self.discriminator_optimizer.param_groups[0]["lr"] = 2 * self.rate

    def learning_rate(self, epoch: int) -> float:
        before = self.settings.reconstruction_epochs
        if epoch <= before:
            return self.settings.learning_rate * falling((epoch - 1) / before)
        return ADVERSARIAL_RATE * falling(((epoch - before - 1) / (self.settings.epochs - before) - 0.4) / 0.6)

    def fit_draws(self) -> None:
        """Fit the mixture that the discriminator sees draws from, once. If it were fitted again, the latents would spread
        without end: the decoder learns to make faces of wide draws, and the encoder follows the decoder."""
        model = self.autoencoder
        fit_mixture(model, model.whiten(self.latents(model, LAST_FITTED_FACES)[0]), self.settings.seed)
        model.load_state_dict(distributed.from_main(model.state_dict()))
        self.averages = Averages(model)

    def losses(
        self, images: torch.Tensor, z: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        losses = {"pixel_loss": pixel_loss(reconstruction, images)}
        if self.distance is None or self.phase != "perceptual":
            return losses, losses["pixel_loss"]
        # The distance costs most of a step, so half of the batch is compared. The batch is in random order.
        some = slice(max(1, len(images) // 2))
        with self.settings.autocast:
            losses["perceptual_loss"] = self.distance(reconstruction[some], images[some])
        return losses, losses["pixel_loss"] + self.settings.perceptual_weight * losses["perceptual_loss"]

    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        if self.phase != "adversarial":
            return super().step(images, step)
        # With a discriminator, many small steps get further than few large ones.
        for part, some in enumerate(images.chunk(2)):
            losses = self.adversarial_step(some, 2 * step + part)
        return losses

    def adversarial_step(self, images: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        """One update: the discriminator learns to tell draws from these images, and the model learns from the
        discriminator, and to reconstruct half of the images."""
        settings, model = self.settings, self.autoencoder
        held = images[: max(1, len(images) // 2)]
        count = len(images) * distributed.size()
        drawn = model.sample_latent(count, seed=(settings.seed, step), variance=settings.prior_variance)
        with settings.autocast:
            made = model.decode(torch.cat([distributed.mine(drawn), model.encoder(held).float()]))
        losses, seen, gradient = judge(self.discriminator, settings, step, images, made[: len(images)])
        self.discriminator_optimizer.step()
        losses["pixel_loss"] = pixel_loss(made[len(images) :], held)
        share = slow_start(self.learned)
        self.learned += 1
        if share:
            model.zero_grad(set_to_none=True)
            # The gradient of this sum at `seen` is the one that the discriminator gave.
            ((seen * gradient).sum() + settings.pixel_weight * losses["pixel_loss"]).backward()
            distributed.average_gradients(model)
            self.adversarial_optimizer.param_groups[0]["lr"] = self.rate * share
            self.adversarial_optimizer.step()
            self.averages.update(model)
        return {name: value.detach() for name, value in losses.items()}

    def trained(self) -> PerceptualAutoencoder:
        return self.averages.model(self.settings.average) if self.phase == "adversarial" else self.autoencoder

    def fitted(self, model: PerceptualAutoencoder) -> PerceptualAutoencoder:
        settings, is_last = self.settings, self.epoch == self.settings.epochs
        model = copy.deepcopy(model)
        z, labels = self.latents(model, LAST_FITTED_FACES if is_last else FITTED_FACES)
        if self.phase != "adversarial":
            z = model.whiten(z)
            fit_mixture(model, z, settings.seed)
        if model.attributes:
            fit_directions(model, z, labels)
        model = model.with_prior_variance(settings.prior_variance)
        return model.with_encoding_steps(settings.encoding_steps) if is_last else model


@torch.no_grad()
def fit_mixture(model: PerceptualAutoencoder, z: torch.Tensor, seed: int) -> None:
    """Make the model draw latents as those of training faces, (n, latent_size), lie: fit its mixture of Gaussians, each
    with a covariance of its own."""
    from sklearn.mixture import GaussianMixture  # Takes a second to import.

    components = len(model.mixture_logits)
    if len(z) < components:
        raise TrainingError(f"--components is {components}: there are {len(z)} faces only")
    # float32 halves the time. Variances are about 1; `reg_covar` keeps small components' variances away from 0.
    mixture = GaussianMixture(components, reg_covar=1e-2, tol=1e-2, random_state=seed % 2**32)
    mixture.fit(z.cpu().float().numpy())
    model.mixture_logits.copy_(torch.from_numpy(np.log(mixture.weights_ + 1e-12)))
    model.mixture_means.copy_(torch.from_numpy(mixture.means_))
    model.mixture_roots.copy_(torch.linalg.cholesky(torch.from_numpy(mixture.covariances_)))


@torch.no_grad()
def fit_directions(model: PerceptualAutoencoder, z: torch.Tensor, rows: torch.Tensor) -> None:
    """Fit how each attribute changes a latent, by a linear regression of latents (n, latent_size) on all attributes of the
    same faces together, rows (n, attributes) of -1 or +1."""
    rows = rows.cpu().double()
    centred = rows - rows.mean(0)
    # An attribute that no face has, or that others imply, has no effect of its own: the ridge leaves it at 0.
    ridge = 1e-3 * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype)
    effects = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ z.cpu().double())
    model.directions.copy_(2 * effects)  # From -1 to +1.


class Float32Muon(torch.optim.Muon):
    """PyTorch's Muon without weight decay, and with its matrix products in float32 instead of bfloat16.

    A CPU without bfloat16 units computes these a hundred times slower in bfloat16: a step of the autoencoder would take
    most of a minute. Checkpoints of either load into the other.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalise(parameter.grad.lerp(momentum, group["momentum"]))
                parameter.add_(update, alpha=-0.2 * group["lr"] * max(parameter.shape) ** 0.5)


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix (n, m) with about the same singular vectors, and singular values of 0.7 to 1.2 but for the smallest.

    Each iteration replaces X by (a + b G + c G^2) X, where G = X X^T. The factors commute with G and are multiplied with
    each other first, so that the larger matrix is multiplied twice and not ten times.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalise(matrix.T).T
    matrix = matrix / matrix.norm().clamp(min=1e-7)
    gram = matrix @ matrix.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(_STEPS):
        factor = torch.addmm(gram, gram, gram, beta=_B, alpha=_C) + _A * identity
        product = factor @ product
        gram = factor @ gram @ factor
    return product @ matrix
