"""The experiments of docs/report.md. Each takes models and faces and returns what goes into a JSON file."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from models import FaceModel
from models.alignment import FACE_PROBABILITY
from models.images import denormalise, normalise
from train.losses import latent_moments, psnr

from . import scores
from .evaluate import EvaluationSettings, compare, compare_draws, decode, encode, over_seeds
from .features import FACE_FEATURES, extract

# Means of the prior's distribution, or of the GAN's continuous half.
MEANS = (-100, -50, -30, -20, -15, -10, -7, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100)

MIXTURE_COMPONENTS = 10

# Pieces of a decoder that is affine wherever each of them is on for all or off for all.
RELUS = (nn.ReLU, nn.LeakyReLU)

# Generated faces nearer to a training face than 99 % of held-out faces are: 1 % of them by chance.
NEAR_QUANTILE = 0.01


@dataclass
class References:
    """The real faces that experiments compare with.

    Attributes:
        train, test: (n, 3, 64, 64) uint8.
        train_features: (n, size) of as many training faces as there are samples.
        train_face_features: (n, 256) of the same, or None to do without scores by face features.
    """

    train: torch.Tensor
    test: torch.Tensor
    train_features: torch.Tensor
    train_face_features: torch.Tensor | None = None


def out_of_distribution(
    model: FaceModel,
    faces: References,
    count: int,
    features: str,
    detect: Callable[[torch.Tensor], torch.Tensor] | None,
    means: tuple[float, ...] = MEANS,
    seed: int = 0,
) -> list[dict[str, float]]:
    """What becomes of `count` faces, with the same noise, as their latents' mean moves away from the prior's.

    Returns for each mean: the diversity (mean distance of two faces in pixels, as a root mean square in grey levels,
    and in features), the kernel distance to real faces, the share of pictures with a face (None without a detector),
    the share of values at the ends of the grey scale, where Tanh is flat, and the share of the first hidden layer's
    units that are on for all draws or off for all (None without a ReLU). The prior's own mean is among the means.
    """
    results = []
    for mean in sorted({*means, model.prior_mean}):
        z = model.sample_latent(count, seed=seed, mean=mean)
        with torch.inference_mode(), _frozen_units(model.decoder_layers) as frozen:
            x = model.decode(z)
        images = denormalise(x).cpu()
        seen = extract(images, features)
        results.append(
            {
                "mean": mean,
                "pixel_diversity": scores.mean_distance(images) / images[0].numel() ** 0.5,
                "feature_diversity": scores.mean_distance(seen),
                "kernel_distance": scores.kernel_distance(seen, faces.train_features),
                "face_share": None if detect is None else (detect(images) > FACE_PROBABILITY).float().mean().item(),
                "clipped": (x.abs() > 0.99).float().mean().item(),
                "frozen_units": frozen[0] if frozen else None,
            }
        )
    return results


@contextmanager
def _frozen_units(layers: nn.Sequential) -> Iterator[list[float]]:
    """Filled, as the layers run, with each ReLU's (or leaky ReLU's) share of units that are on for the whole batch or
    off for it."""
    shares: list[float] = []

    def look(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        on = (output > 0).float().mean(0)
        shares.append(((on == 0) | (on == 1)).float().mean().item())

    hooks = [module.register_forward_hook(look) for module in layers.modules() if isinstance(module, RELUS)]
    try:
        yield shares
    finally:
        for hook in hooks:
            hook.remove()


def edges(curve: list[dict[str, float]], prior_mean: float, level: float = 0.5) -> dict[str, float | None]:
    """How far below and above the prior's mean the face share first falls under a level, by linear interpolation; None
    where it does not, or was not measured."""
    result: dict[str, float | None] = {}
    for side, sign in (("below", -1), ("above", 1)):
        points = [(sign * (point["mean"] - prior_mean), point["face_share"]) for point in curve]
        points = sorted(point for point in points if point[0] >= 0)
        result[side] = None
        if any(share is None for _, share in points):
            continue
        for (near, high), (far, low) in itertools.pairwise(points):
            if high >= level > low:
                result[side] = near + (far - near) * (high - level) / (high - low)
                break
    return result


def densities(model: FaceModel, faces: References, settings: EvaluationSettings) -> dict[str, Any]:
    """Faces decoded from four distributions of latents, and what the latents of training faces are like.

    The four: the reports' N(0, 2) and N(-3, 2), and after the fact (ex-post density estimation, Ghosh et al. 2020,
    arXiv:1903.12436) a Gaussian and a mixture of ten fitted to the latents of the training faces.
    """
    z = encode(model, faces.train).double().numpy()
    mixture = GaussianMixture(MIXTURE_COMPONENTS, reg_covar=1e-4 * z.var(), random_state=0).fit(z)
    mean, covariance = z.mean(0), np.cov(z.T)
    # A number that the encoder does not use has no variance, nor have fewer faces than numbers one in all directions.
    covariance += 1e-6 * covariance.trace() / len(mean) * np.eye(len(mean))

    def gaussian(count: int, seed: int) -> torch.Tensor:
        draws = np.random.default_rng(seed).multivariate_normal(mean, covariance, count, method="cholesky")
        return torch.from_numpy(draws).float()

    def from_mixture(count: int, seed: int) -> torch.Tensor:
        mixture.random_state = seed
        return torch.from_numpy(mixture.sample(count)[0]).float()

    samplers = {
        "N(0, 2)": lambda count, seed: model.sample_latent(count, seed, mean=0, variance=2),
        "N(-3, 2)": lambda count, seed: model.sample_latent(count, seed, mean=-3, variance=2),
        "fitted Gaussian": gaussian,
        "fitted mixture": from_mixture,
    }
    result: dict[str, Any] = {"latents": latent_moments(torch.from_numpy(z)), "sampled": {}}
    if faces.train_face_features is not None:
        result["sampled_by_face_features"] = {}
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    scale = covariance.diagonal() ** 0.5
    correlations = (covariance / scale / scale[:, None])[np.triu_indices(len(mean), 1)]
    result["latents"] |= {
        # How far from 0 a number's mean lies, in its own standard deviations: the size of the guess's error.
        "mean_in_deviations": float(np.abs(mean / scale).mean()),
        "smallest_variance": float(scale.min() ** 2),
        "largest_variance": float(scale.max() ** 2),
        "mean_absolute_correlation": float(np.abs(correlations).mean()),
        "variance_in_10_directions": float(eigenvalues[:10].sum() / eigenvalues.sum()),
    }
    for name, sample in samplers.items():
        draws = [decode(model, sample(settings.samples, seed)) for seed in range(settings.seeds)]
        result["sampled"][name] = compare_draws(draws, faces.train_features, settings.features) | over_seeds(
            {"pixel_diversity": scores.mean_distance(images[:200]) / images[0].numel() ** 0.5} for images in draws
        )
        if faces.train_face_features is not None:
            result["sampled_by_face_features"][name] = compare_draws(draws, faces.train_face_features, FACE_FEATURES)
    return result


def bits(model: FaceModel, count: int, features: str) -> dict[str, Any]:
    """What one bit does: the faces before and after it is flipped, against a continuous number moved from -1 to +1.

    Distances are in features, and as a root mean square of pixels in grey levels.
    """
    z = model.sample_latent(count, seed=0)
    before = decode(model, z)
    seen = extract(before, features)

    def move(number: int) -> dict[str, float]:
        low, high = z.clone(), z.clone()
        low[:, number], high[:, number] = -1, 1
        one, other = decode(model, low), decode(model, high)
        return {
            "number": number,
            "pixels": (one.float() - other.float()).square().flatten(1).mean(1).sqrt().mean().item(),
            "features": (extract(one, features) - extract(other, features)).norm(dim=1).mean().item(),
        }

    halves = {
        "continuous": [move(number) for number in range(model.continuous_size)],
        "discrete": [move(number) for number in range(model.continuous_size, model.latent_size)],
    }
    return {
        "two faces": {
            "pixels": scores.mean_distance(before) / before[0].numel() ** 0.5,
            "features": scores.mean_distance(seen),
        },
        **halves,
    }


def survivals(
    models: dict[str, FaceModel],
    faces: References,
    train_features: torch.Tensor,
    labels: dict[str, tuple[np.ndarray, np.ndarray]],
    features: str,
) -> dict[str, Any]:
    """Whether attributes of held-out faces can still be told from their reconstructions.

    For each attribute a logistic regression on the features of training faces; its area under the ROC curve on
    held-out originals and on each autoencoder's reconstructions of them, with its interval over faces. 0.5 is chance.

    Args:
        train_features: (n, size) of all training faces.
        labels: name -> whether each training face, and each held-out one, has the attribute.
    """
    held_out = {"originals": extract(faces.test, features)}
    for name, model in models.items():
        held_out[name] = extract(decode(model, encode(model, faces.test)), features)
    result = {}
    for attribute, (in_train, in_test) in labels.items():
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
        probe.fit(train_features.numpy(), in_train)
        positives = int(np.sum(in_test))
        areas = {
            name: scores.area_and_interval(
                float(roc_auc_score(in_test, probe.decision_function(x.numpy()))), positives, len(in_test) - positives
            )
            for name, x in held_out.items()
        }
        result[attribute] = {"share": float(np.mean(in_train)), **areas}
    return result


def memorisation(
    models: dict[str, FaceModel], faces: References, count: int, features: str, train_features: torch.Tensor
) -> dict[str, Any]:
    """Distances in features from generated faces to the nearest training face, beside those of held-out faces.

    Args:
        train_features: (n, size) of all training faces.
    """
    held_out = scores.nearest_distance(extract(faces.test[:count], features), train_features)
    near = held_out.quantile(NEAR_QUANTILE).item()

    def row(distances: torch.Tensor) -> dict[str, float]:
        return {
            "median": distances.median().item(),
            "smallest": distances.min().item(),
            # 1 % by definition for held-out faces; all of the copies.
            "nearer_than_1_percent_of_held_out": (distances < near).float().mean().item(),
        }

    result = {"held-out faces": row(held_out)}
    result["copies of training faces"] = row(scores.nearest_distance(train_features[:count], train_features))
    for name, model in models.items():
        generated = extract(decode(model, model.sample_latent(count, seed=0)), features)
        result[name] = row(scores.nearest_distance(generated, train_features))
    return result


def baselines(faces: References, settings: EvaluationSettings, size: int = 100) -> dict[str, Any]:
    """What the same scores say of no network at all.

    PCA with as many numbers as a latent has, reconstructing held-out faces and, with normal numbers, generating; other
    training faces, the floor of every distance; and one training face repeated.
    """
    count = len(faces.train_features)
    flat = normalise(faces.train).flatten(1).numpy()
    size = min(size, len(flat) - 1)
    pca = PCA(size, svd_solver="randomized", random_state=0).fit(flat)

    def to_images(flat: np.ndarray) -> torch.Tensor:
        return denormalise(torch.from_numpy(flat).float().view(-1, *faces.train.shape[1:]))

    test = normalise(faces.test)
    reconstructed = torch.from_numpy(pca.inverse_transform(pca.transform(test.flatten(1).numpy()))).view_as(test)

    def pca_samples(seed: int) -> torch.Tensor:
        numbers = np.random.default_rng(seed).standard_normal((settings.samples, size))
        return to_images(pca.inverse_transform(numbers * pca.explained_variance_**0.5))

    draws = [pca_samples(seed) for seed in range(settings.seeds)]
    others = faces.train[count : 2 * count]

    def other_faces(network: str, real: torch.Tensor) -> dict[str, float]:
        return compare(extract(others, network), real[: len(others)])

    def one_face(network: str, real: torch.Tensor) -> dict[str, float]:
        return compare(extract(faces.train[:1], network).expand(count, -1).contiguous(), real)

    real = faces.train_features
    result: dict[str, Any] = {
        "PCA": {
            "psnr": scores.mean_and_interval(psnr(reconstructed.clamp(-1, 1), test).tolist()),
            "generated": compare_draws(draws, real, settings.features),
        },
        "other training faces": {
            **other_faces(settings.features, real),
            "pixel_diversity": scores.mean_distance(others[:200]) / others[0].numel() ** 0.5,
        },
        "one face repeated": one_face(settings.features, real),
    }
    if faces.train_face_features is not None:
        real = faces.train_face_features
        result["PCA"]["generated_by_face_features"] = compare_draws(draws, real, FACE_FEATURES)
        result["other training faces"]["by_face_features"] = other_faces(FACE_FEATURES, real)
        result["one face repeated"]["by_face_features"] = one_face(FACE_FEATURES, real)
    return result
