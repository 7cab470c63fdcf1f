"""The experiments of docs/report.md. Each takes models and real faces and returns what goes into a JSON file."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import nn

from models import FaceModel
from models.images import denormalise, normalise
from train.losses import latent_moments

from . import attributes, scores
from .evaluate import evaluate, evaluate_attributes, over_seeds, score_draws
from .features import extract, features_of, has_face
from .protocol import EvaluationSettings, RealFaces, decode, encode

# The experiments, and the names of their results' files.
EXPERIMENTS = (
    *("scores", "out-of-distribution", "densities", "bits", "attributes", "memorisation", "baselines"),
    "named-attributes",
)

# Kinds of models that the reports have.
REPORTED = ("generator", "autoencoder")

# Means of the prior's distribution, or of the GAN's continuous half.
MEANS = (-100, -50, -30, -20, -15, -10, -7, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100)

DRAWS = 100

MIXTURE_COMPONENTS = 10

# A generated face is near if it is nearer to a training face than 99 % of held-out faces are. By chance, 1 % are near.
NEAR_QUANTILE = 0.01

# Attributes that most reconstructions should keep, and rare ones.
SURVIVING = ("Male", "Smiling", "Blond_Hair", "Bangs", "No_Beard", "Eyeglasses", "Wearing_Hat", "Wearing_Necktie")


def run(
    models: dict[str, FaceModel], real: RealFaces, settings: EvaluationSettings
) -> Iterator[tuple[str, dict[str, Any]]]:
    """All of EXPERIMENTS, one after the other: their names and results."""
    autoencoders = {name: model for name, model in models.items() if model.encodes}
    reported = {name: model for name, model in autoencoders.items() if model.model_type in REPORTED}
    with_bits = {name: model for name, model in models.items() if model.discrete_size}
    each = lambda experiment, models: {name: experiment(model, real, settings) for name, model in models.items()}
    yield "scores", each(evaluate, models)
    yield "out-of-distribution", each(out_of_distribution, models)
    yield "densities", each(densities, reported)
    yield "bits", {name: bits(model, draws(settings)) for name, model in with_bits.items()}
    yield "attributes", survivals(autoencoders, real, settings.features)
    yield "memorisation", memorisation(models, real, settings)
    yield "baselines", baselines(real, settings)
    yield "named-attributes", evaluate_attributes(models, real, settings)


def draws(settings: EvaluationSettings) -> int:
    """Faces at each mean, and of each latent whose numbers are moved one by one."""
    return min(settings.samples, DRAWS)


def out_of_distribution(model: FaceModel, real: RealFaces, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """What becomes of faces, with the same noise, as the mean of their latents moves away from the prior's.

    Returns for each of MEANS and the prior's: the diversity of the faces in grey levels; the kernel distance to real
    faces; the share of pictures with a face; the share of values at the ends of the grey scale, where Tanh is flat; and the
    share of the first hidden layer's units that are on for all draws or off for all (None without a ReLU).
    """
    results = []
    for mean in sorted({*MEANS, model.prior_mean}):
        x, frozen = _decode(model, model.sample_latent(draws(settings), seed=0, mean=mean))
        images = denormalise(x).cpu()
        seen = extract(images, settings.features)
        references = features_of(real.train, settings.features)[: settings.samples]
        results.append(
            {
                "mean": mean,
                "pixel_diversity": scores.diversity(images),
                "kernel_distance": scores.kernel_distance(seen, references),
                "face_share": has_face(images).float().mean().item(),
                "clipped": (x.abs() > 0.99).float().mean().item(),
                "frozen_units": frozen,
            }
        )
    return results


@torch.inference_mode()
def _decode(model: FaceModel, z: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Images in [-1, 1], and the share of the first hidden layer's units that are on for all of them or off for all."""
    activations: list[torch.Tensor] = []
    relu = next(module for module in model.decoder_layers.modules() if isinstance(module, nn.ReLU))
    with relu.register_forward_hook(lambda _module, _inputs, output: activations.append(output)):
        x = model.decode(z)
    on = (activations[0] > 0).float().mean(0)
    return x, ((on == 0) | (on == 1)).float().mean().item()


def edges(curve: list[dict[str, float]], prior_mean: float, level: float = 0.5) -> dict[str, float | None]:
    """How far below and above the prior's mean the share of faces first falls under a level, by linear interpolation;
    None where it does not."""

    def edge(sign: int) -> float | None:
        points = sorted((sign * (point["mean"] - prior_mean), point["face_share"]) for point in curve)
        for (near, high), (far, low) in itertools.pairwise(points):
            if near >= 0 and high >= level > low:
                return near + (far - near) * (high - level) / (high - low)
        return None

    return {"below": edge(-1), "above": edge(1)}


def densities(model: FaceModel, real: RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    """Scores of faces decoded from four distributions of latents, and moments of the latents of training faces.

    The four are the reports' N(0, 2) and N(-3, 2), and a Gaussian and a mixture of ten Gaussians that are fitted to the
    latents of training faces (ex-post density estimation, Ghosh et al. 2020, arXiv:1903.12436).
    """
    z = encode(model, real.train).double().numpy()
    mixture = GaussianMixture(MIXTURE_COMPONENTS, reg_covar=1e-4 * z.var(), random_state=0).fit(z)
    mean, covariance = z.mean(0), np.cov(z.T)
    # Without this, latents with an unused number, or fewer faces than numbers, have no Cholesky decomposition.
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
    # How far from 0 the mean of each number lies, in standard deviations of that number.
    off = float(np.abs(mean / covariance.diagonal() ** 0.5).mean())
    result: dict[str, Any] = {"latents": latent_moments(torch.from_numpy(z)) | {"mean_in_deviations": off}}
    for name, sample in samplers.items():
        drawn = [decode(model, sample(settings.samples, seed)) for seed in range(min(settings.seeds, 3))]
        for part, its in score_draws(drawn, {"sampled": real.train}, settings).items():
            result.setdefault(part, {})[name] = its
        result["sampled"][name] |= over_seeds({"pixel_diversity": scores.diversity(images[:200])} for images in drawn)
    return result


def bits(model: FaceModel, count: int) -> dict[str, Any]:
    """How much a face changes when one bit is flipped, or one continuous number goes from -1 to 1, for each number of the
    latent, and how much two faces differ: as a root mean square of pixels, in grey levels."""
    z = model.sample_latent(count, seed=0)

    def change(number: int) -> float:
        low, high = z.clone(), z.clone()
        low[:, number], high[:, number] = -1, 1
        difference = decode(model, low).float() - decode(model, high).float()
        return difference.square().flatten(1).mean(1).sqrt().mean().item()

    return {
        "two faces": scores.diversity(decode(model, z)),
        "continuous": [change(number) for number in range(model.continuous_size)],
        "discrete": [change(number) for number in range(model.continuous_size, model.latent_size)],
    }


def survivals(models: dict[str, FaceModel], real: RealFaces, features: str) -> dict[str, Any]:
    """Whether attributes of held-out faces can still be told from their reconstructions, by classifiers that learned
    from training faces: the area under the ROC curve on the originals, and on each autoencoder's reconstructions."""
    labels = {name: real.labels[name] for name in SURVIVING if name in real.labels}
    classifiers = attributes.fit_classifiers(labels, (features,), real)
    seen = {name: extract(decode(model, encode(model, real.held_out)), features) for name, model in models.items()}
    result = {}
    for attribute, classifier in classifiers.items():
        _, on = labels[attribute]
        logits = {name: classifier.logits(its) for name, its in seen.items()}
        areas = {name: scores.area(its[on], its[~on]) for name, its in logits.items()}
        result[attribute] = {"share": classifier.share, "originals": classifier.area, **areas}
    return result


def memorisation(models: dict[str, FaceModel], real: RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    """Distances in features from generated faces to the nearest training face, beside those of held-out faces."""
    train = features_of(real.train, settings.features)
    held_out = scores.nearest_distance(features_of(real.held_out, settings.features), train)
    count, near = len(held_out), held_out.quantile(NEAR_QUANTILE).item()

    def row(distances: torch.Tensor) -> dict[str, float]:
        return {
            "median": distances.median().item(),
            "nearer_than_1_percent_of_held_out": (distances < near).float().mean().item(),
        }

    result = {
        "held-out faces": row(held_out),
        "copies of training faces": row(scores.nearest_distance(train[:count], train)),
    }
    for name, model in models.items():
        generated = extract(decode(model, model.sample_latent(count, seed=0)), settings.features)
        result[name] = row(scores.nearest_distance(generated, train))
    return result


def baselines(real: RealFaces, settings: EvaluationSettings, size: int = 100) -> dict[str, Any]:
    """The same scores of what no network made: draws and reconstructions by PCA with `size` numbers; other training faces,
    the floor of every distance; and one training face, repeated."""
    flat = normalise(real.train).flatten(1).numpy()
    size = min(size, len(flat) - 1)
    pca = PCA(size, svd_solver="randomized", random_state=0).fit(flat)

    def to_images(flat: np.ndarray) -> torch.Tensor:
        return denormalise(torch.from_numpy(flat).float().view(-1, *real.train.shape[1:]))

    reconstructed = to_images(pca.inverse_transform(pca.transform(normalise(real.held_out).flatten(1).numpy())))

    def pca_samples(seed: int) -> torch.Tensor:
        numbers = np.random.default_rng(seed).standard_normal((settings.samples, size))
        return to_images(pca.inverse_transform(numbers * pca.explained_variance_**0.5))

    drawn = [pca_samples(seed) for seed in range(settings.seeds)]
    repeated = real.train[:1].expand(settings.samples, -1, -1, -1)
    others: dict[str, Any] = score_draws([real.train[settings.samples : 2 * settings.samples]], real.compared, settings)
    others["pixel_diversity"] = scores.diversity(real.train[settings.samples : settings.samples + 200])
    psnr = scores.mean_and_interval(scores.psnr(reconstructed, real.held_out))
    return {
        "PCA": score_draws(drawn, real.compared, settings) | {"psnr": psnr},
        "other training faces": others,
        "one face repeated": score_draws([repeated], real.compared, settings),
    }
