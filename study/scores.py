"""Scores of generated and reconstructed faces: what study.evaluate computes once it has images and features.

The Frechet and kernel distances, precision and recall are torch-fidelity's. Lower distances are better; precision,
recall, density and coverage are better when higher. `generated` and `real` are features (n, size) and (m, size).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm, t
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric


@dataclass(frozen=True)
class Score:
    """How a score is shown.

    Attributes:
        digits: after the decimal point.
        lower_is_better: as for distances.
        of_features: whether it says nothing without the network whose features it compares.
    """

    title: str
    digits: int = 2
    lower_is_better: bool = False
    of_features: bool = True


# The scores of a model's card and of the report's tables, in their order, as study.evaluate names them. A new one is an
# entry here, a function below, and its line in `study.evaluate.compare` or `score_reconstructions`.
SCORES = {
    "frechet_distance": Score("Frechet distance", digits=0, lower_is_better=True),
    "kernel_distance": Score("kernel distance", digits=1, lower_is_better=True),
    "precision": Score("precision"),
    "recall": Score("recall"),
    "density": Score("density"),
    "coverage": Score("coverage"),
    "psnr": Score("PSNR (dB)", of_features=False),
    "ssim": Score("SSIM", digits=3, of_features=False),
    "feature_distance": Score("feature distance", digits=1, lower_is_better=True),
}

# Nearest neighbours that make the balls of precision, recall, density and coverage, as in the papers.
PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5


def frechet_distance(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Squared Frechet distance of the Gaussians fitted to each (Heusel et al. 2017, arXiv:1706.08500).

    It depends on how many samples there are: compare equal counts only.
    """
    statistics = (fid_features_to_statistics(features.double()) for features in (generated, real))
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def kernel_distance(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Unbiased squared MMD under the cubic kernel (Binkowski et al. 2018, arXiv:1801.01401)."""
    size = min(len(generated), len(real), 1000)
    result = kid_features_to_metric(
        generated.double(), real.double(), kid_subsets=20, kid_subset_size=size, rng_seed=0, verbose=False
    )
    return result["kernel_inception_distance_mean"]


def precision_recall(generated: torch.Tensor, real: torch.Tensor) -> tuple[float, float]:
    """The share of generated faces among the real ones, and of real among generated (Kynkaanniemi et al. 2019,
    arXiv:1904.06991)."""
    result = prc_features_to_metric(
        generated, real, prc_neighborhood=PRECISION_NEIGHBOURS, prc_batch_size=10000, save_cpu_ram=False, verbose=False
    )
    return result["precision"], result["recall"]


def density_coverage(generated: torch.Tensor, real: torch.Tensor) -> tuple[float, float]:
    """Naeem et al. 2020, arXiv:2002.09797. Around each real face lies a ball that reaches to its fifth neighbour.

    Density counts in how many balls a generated face lies, over what is expected of real ones: 1 for equal
    distributions, and it may be more. Coverage is the share of balls that hold a generated face.
    """
    # The nearest neighbour of a face among all is itself.
    radius = torch.cdist(real, real).kthvalue(DENSITY_NEIGHBOURS + 1).values
    inside = torch.cdist(generated, real) < radius
    return inside.float().sum(1).mean().item() / DENSITY_NEIGHBOURS, inside.any(0).float().mean().item()


def mean_distance(points: torch.Tensor) -> float:
    """The mean Euclidean distance of two different points among (n, ...): the diversity of n faces."""
    return torch.pdist(points.flatten(1).float()).mean().item()


def nearest_distance(points: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance of each of (n, size) points from the nearest one of (m, size): (n,)."""
    return torch.cdist(points, among).min(1).values


def sharpness(images: torch.Tensor) -> float:
    """The mean difference of neighbouring pixels of images (n, 3, height, width) uint8, in grey levels."""
    x = images.float()
    return ((x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()).item() / 2


def ssim(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Structural similarity of each pair of images (n, 3, 64, 64) uint8 (Wang et al. 2004, its Gaussian window): (n,)."""
    options = {"channel_axis": 0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return torch.tensor(
        [structural_similarity(a, b, data_range=255, **options) for a, b in zip(reconstruction.numpy(), images.numpy())]
    )


def area(on: torch.Tensor, off: torch.Tensor) -> float:
    """Under the ROC curve of (n,) numbers against (m,)."""
    labels = np.repeat([True, False], [len(on), len(off)])
    return float(roc_auc_score(labels, torch.cat([on, off]).numpy()))


def area_and_interval(area: float, positives: int, negatives: int) -> dict[str, float | None]:
    """An area under the ROC curve, and the half width of its 95 % confidence interval (Hanley & McNeil 1982)."""
    two_positives, two_negatives = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area) + (positives - 1) * (two_positives - area**2) + (negatives - 1) * (two_negatives - area**2)
    ) / (positives * negatives)
    return {"mean": area, "interval": float(norm.ppf(0.975) * variance**0.5)}


def mean_and_interval(values: list[float]) -> dict[str, float | None]:
    """Mean, and the half width of its 95 % confidence interval by Student's distribution, None of a single value."""
    interval = None
    if len(values) > 1:
        interval = float(np.std(values, ddof=1) / len(values) ** 0.5 * t.ppf(0.975, len(values) - 1))
    return {"mean": float(np.mean(values)), "interval": interval}
