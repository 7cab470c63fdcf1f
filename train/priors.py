"""Distributions fitted to what training faces have, kept with a model's weights and drawn from by it."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from models import AttributeGenerator, PerceptualAutoencoder

from .errors import TrainingError


@torch.no_grad()
def fit_attributes(model: AttributeGenerator, rows: torch.Tensor) -> None:
    """Let the model draw attributes as they occur together: a logistic regression of each on those before it.

    Args:
        rows: (n, attributes), -1 or +1, of the training faces.
    """
    values = rows.cpu().numpy()
    model.attribute_weight.zero_()
    for i in range(values.shape[1]):
        on = values[:, i] > 0
        share = (on.sum() + 0.5) / (len(on) + 1)  # Never 0 or 1, of which there is no logit.
        bias = np.log(share / (1 - share))
        if i and 0 < on.sum() < len(on):
            regression = LogisticRegression(max_iter=1000).fit(values[:, :i], on)
            bias = regression.intercept_[0]
            model.attribute_weight[i, :i] = torch.from_numpy(regression.coef_[0])
        model.attribute_bias[i] = float(bias)


@torch.no_grad()
def fit_mixture(model: PerceptualAutoencoder, z: torch.Tensor, seed: int) -> None:
    """Let the model draw latents as they lie: a mixture of Gaussians, each of a covariance of its own.

    Args:
        z: (n, latent_size) latents of training faces.

    Raises:
        TrainingError: fewer than components.
    """
    components = len(model.mixture_logits)
    if len(z) < components:
        raise TrainingError(f"--components is {components}: there are {len(z)} faces only")
    # float32 halves the time. The variances are about 1, and the ridge keeps those of small components from 0.
    mixture = GaussianMixture(components, reg_covar=1e-2, tol=1e-2, random_state=seed % 2**32)
    mixture.fit(z.cpu().float().numpy())
    model.mixture_logits.copy_(torch.from_numpy(np.log(mixture.weights_ + 1e-12)))
    model.mixture_means.copy_(torch.from_numpy(mixture.means_))
    model.mixture_roots.copy_(torch.linalg.cholesky(torch.from_numpy(mixture.covariances_)))


@torch.no_grad()
def fit_directions(model: PerceptualAutoencoder, z: torch.Tensor, rows: torch.Tensor) -> None:
    """Learn what each attribute changes in a latent: a linear regression of latents on all attributes together.

    Args:
        z: (n, latent_size) latents of training faces.
        rows: (n, attributes), -1 or +1, of the same faces.
    """
    rows = rows.cpu().double()
    centred = rows - rows.mean(0)
    # An attribute that no face has, or that others imply, has no effect of its own; the ridge leaves it at 0.
    ridge = 1e-3 * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype)
    effects = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ z.cpu().double())
    model.directions.copy_(2 * effects)  # From -1 to +1.
