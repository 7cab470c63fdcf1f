"""Scores of generated and reconstructed faces, given images or features of them: `SCORES` lists them.

`generated` and `real` are features (n, size) and (m, size).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import norm, t
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from models.images import normalise
from train import losses

# A mean, and half the width of its interval, which is None for a single value.
Interval = dict[str, float | None]

# Nearest neighbours that make the balls of precision, recall, density and coverage, as in the papers.
PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5


def frechet_distance(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Squared Frechet distance of the Gaussians fitted to each. It depends on how many samples there are: compare equal
    counts only."""
    statistics = (fid_features_to_statistics(features.double()) for features in (generated, real))
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def kernel_distance(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Unbiased squared MMD under the cubic kernel."""
    size = min(len(generated), len(real), 1000)
    result = kid_features_to_metric(
        generated.double(), real.double(), kid_subsets=20, kid_subset_size=size, rng_seed=0, verbose=False
    )
    return result["kernel_inception_distance_mean"]


def precision(generated: torch.Tensor, real: torch.Tensor) -> float:
    """The share of generated faces that lie among the real ones."""
    return _precision_recall(generated, real)["precision"]


def recall(generated: torch.Tensor, real: torch.Tensor) -> float:
    """The share of real faces that lie among the generated ones."""
    return _precision_recall(generated, real)["recall"]


def _precision_recall(generated: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    return prc_features_to_metric(
        generated, real, prc_neighborhood=PRECISION_NEIGHBOURS, prc_batch_size=10000, save_cpu_ram=False, verbose=False
    )


def density(generated: torch.Tensor, real: torch.Tensor) -> float:
    """In how many balls around real faces a generated face lies on average, divided by what is expected of real faces:
    1 for equal distributions, and it may be more."""
    return _in_balls(generated, real).float().sum(1).mean().item() / DENSITY_NEIGHBOURS


def coverage(generated: torch.Tensor, real: torch.Tensor) -> float:
    """The share of balls around real faces that hold a generated face."""
    return _in_balls(generated, real).any(0).float().mean().item()


def _in_balls(generated: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Whether each generated face lies in the ball around each real one, (n, m). A ball reaches to the fifth neighbour
    among the real faces."""
    # The nearest neighbour of a face among all is itself.
    radius = torch.cdist(real, real).kthvalue(DENSITY_NEIGHBOURS + 1).values
    return torch.cdist(generated, real) < radius


def mean_distance(points: torch.Tensor) -> float:
    """The mean Euclidean distance of two different points among (n, ...)."""
    return torch.pdist(points.flatten(1).float()).mean().item()


def diversity(images: torch.Tensor) -> float:
    """How far two of the images (n, 3, height, width) uint8 are apart on average: the root mean squared difference of
    their pixels, in grey levels."""
    return mean_distance(images) / images[0].numel() ** 0.5


def nearest_distance(points: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance of each of (n, size) points from the nearest one of (m, size): (n,)."""
    return torch.cdist(points, among).min(1).values


def sharpness(images: torch.Tensor) -> float:
    """The mean difference of neighbouring pixels of images (n, 3, height, width) uint8, in grey levels."""
    x = images.float()
    return ((x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()).item() / 2


def psnr(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each pair of images (n, 3, 64, 64) uint8, in dB: (n,)."""
    return losses.psnr(normalise(reconstruction), normalise(images))


def ssim(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Structural similarity of each pair of images (n, 3, 64, 64) uint8, with the paper's Gaussian window: (n,)."""
    options = {"channel_axis": 0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return torch.tensor(
        [structural_similarity(a, b, data_range=255, **options) for a, b in zip(reconstruction.numpy(), images.numpy())]
    )


def feature_distance(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance of each pair of features (n, size): (n,)."""
    return (reconstruction - images).norm(dim=1)


def area(on: np.ndarray, off: np.ndarray) -> Interval:
    """The area under the ROC curve of the numbers on (n,) against off (m,), as `mean_and_interval` gives it; 0.5 is
    chance."""
    mean = float(roc_auc_score(np.repeat([True, False], [len(on), len(off)]), np.concatenate([on, off])))
    return {"mean": mean, "interval": area_interval(mean, len(on), len(off))}


def area_interval(area: float, positives: int, negatives: int) -> float:
    """The half width of the 95 % confidence interval of an area under the ROC curve (Hanley & McNeil 1982)."""
    two_positives, two_negatives = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area) + (positives - 1) * (two_positives - area**2) + (negatives - 1) * (two_negatives - area**2)
    ) / (positives * negatives)
    return float(norm.ppf(0.975) * variance**0.5)


def mean_and_interval(values: Iterable[float] | torch.Tensor) -> Interval:
    """Mean, and the half width of its 95 % confidence interval by Student's distribution, None for a single value."""
    numbers = np.array([float(value) for value in values])
    interval = None
    if len(numbers) > 1:
        interval = float(numbers.std(ddof=1) / len(numbers) ** 0.5 * t.ppf(0.975, len(numbers) - 1))
    return {"mean": float(numbers.mean()), "interval": interval}


@dataclass(frozen=True)
class Score:
    """A score of models.

    Attributes:
        title: in tables and on cards.
        function: of generated faces, their features (n, size) and those of real faces (m, size) to a number. Of
            reconstructed faces, reconstructions and originals, images (n, 3, 64, 64) uint8 or features (n, size), to (n,).
        paper: the paper that the score is from; empty if there is none.
        of: what it scores.
        by: what its function takes.
        digits: shown after the decimal point.
        lower_is_better: as for distances.
    """

    title: str
    function: Callable[[torch.Tensor, torch.Tensor], Any]
    paper: str = ""
    of: Literal["generated", "reconstructed"] = "generated"
    by: Literal["features", "images"] = "features"
    digits: int = 2
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        """Of a column: the title, and an arrow that points to better scores."""
        return f"{self.title} {'↓' if self.lower_is_better else '↑'}"


# In the order of tables and cards. An entry here is all that a new score takes: study.evaluate computes and prints it,
# and study.report shows it in tables and on cards.
SCORES = {
    "frechet_distance": Score(
        "Frechet distance", frechet_distance, "Heusel et al. 2017, arXiv:1706.08500", digits=0, lower_is_better=True
    ),
    "kernel_distance": Score(
        "kernel distance", kernel_distance, "Binkowski et al. 2018, arXiv:1801.01401", digits=1, lower_is_better=True
    ),
    "precision": Score("precision", precision, "Kynkaanniemi et al. 2019, arXiv:1904.06991"),
    "recall": Score("recall", recall, "Kynkaanniemi et al. 2019, arXiv:1904.06991"),
    "density": Score("density", density, "Naeem et al. 2020, arXiv:2002.09797"),
    "coverage": Score("coverage", coverage, "Naeem et al. 2020, arXiv:2002.09797"),
    "psnr": Score("PSNR (dB)", psnr, of="reconstructed", by="images"),
    "ssim": Score("SSIM", ssim, "Wang et al. 2004", "reconstructed", "images", digits=3),
    "feature_distance": Score("feature distance", feature_distance, of="reconstructed", digits=1, lower_is_better=True),
}


def of(kind: str) -> dict[str, Score]:
    """The scores of "generated" or of "reconstructed" faces."""
    return {name: score for name, score in SCORES.items() if score.of == kind}
