"""Each score against cases whose value is known."""

import math

import numpy as np
import pytest
import torch

from study import scores


def normal(count: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_frechet_distance_has_its_closed_form():
    x = normal(20000, 4, 0)
    assert scores.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    shift = torch.tensor([3.0, 0, -1, 0])
    assert scores.frechet_distance(x + shift, x) == pytest.approx(10, abs=1e-3)
    # Between N(0, s^2) and N(0, 1) it is (s - 1)^2 for each number.
    assert scores.frechet_distance(3 * normal(20000, 4, 1), x) == pytest.approx(4 * 4, rel=0.03)


def test_kernel_distance_has_its_closed_form():
    x, y, shift = normal(200, 1, 0), normal(200, 1, 1), 1.5
    kernel = lambda one, other: (1 + one.double() @ other.double().T) ** 3
    among = lambda one: (kernel(one, one).sum() - kernel(one, one).trace()) / (200 * 199)  # Without the diagonal.
    assert scores.kernel_distance(x, y) == pytest.approx((among(x) + among(y) - 2 * kernel(x, y).mean()).item())
    # The expectations of (1 + ab)^3 for a and b of N(0, 1) and N(shift, 1).
    second, third = 1 + shift**2, shift**3 + 3 * shift
    shifted, between = 1 + 3 * shift**2 + 3 * second**2 + third**2, 1 + 3 * second
    many = [scores.kernel_distance(normal(200, 1, seed) + shift, normal(200, 1, 100 + seed)) for seed in range(10)]
    assert sum(many) / 10 == pytest.approx(4 + shifted - 2 * between, rel=0.2)


def test_precision_and_recall_are_shares():
    spread = 0.01 * normal(20, 2, 0)
    left, right, above = (spread + torch.tensor(centre) for centre in ((0.0, 0), (10, 0), (0, 10)))
    # Generated: a quarter where no real face is; real: a half where no generated one is.
    generated, real = torch.cat([left, left, left, above]), torch.cat([left, right])
    assert (scores.precision(generated, real), scores.recall(generated, real)) == (0.75, 0.5)


def test_density_and_coverage_by_hand():
    # Around 0, 1, ..., 9 the balls to the fifth neighbour have radii 5, 4, 3, 3, 3, 3, 3, 3, 4, 5.
    real = torch.arange(10.0)[:, None]
    generated = torch.tensor([[-4.5], [-2.5], [20.0]])
    # -4.5 lies in the ball of 0, -2.5 in those of 0 and 1, 20 in none: three in all, over five times three faces.
    assert scores.density(generated, real) == pytest.approx(3 / 5 / 3)
    assert scores.coverage(generated, real) == pytest.approx(0.2)


def test_distances_between_points():
    square = torch.tensor([[0.0, 0], [0, 3], [4, 0], [4, 3]])
    assert scores.mean_distance(square) == pytest.approx((3 + 4 + 5 + 5 + 4 + 3) / 6)
    assert scores.mean_distance(square[:1].expand(3, -1)) == 0
    greys = torch.tensor([10, 20, 50], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 4, 4)
    assert scores.diversity(greys) == pytest.approx((10 + 40 + 30) / 3)
    assert scores.nearest_distance(torch.tensor([[0.0, 1], [4, 0]]), square).tolist() == [1, 0]
    assert scores.feature_distance(square, square.flip(0)).tolist() == [5, 5, 5, 5]


def test_sharpness():
    stripes = torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    stripes[..., ::2] = 10  # Neighbours in a row differ by 10, in a column by 0.
    assert scores.sharpness(stripes) == pytest.approx(5) and scores.sharpness(stripes[..., :1].expand(1, 3, 4, 5)) == 0


def test_structural_similarity():
    # Of two flat images only the means differ: (2ab + c) / (a^2 + b^2 + c), c = (0.01 * 255)^2. In dark ones c counts.
    flat, c = torch.full((1, 3, 64, 64), 1, dtype=torch.uint8), 2.55**2
    assert scores.ssim(flat, flat + 3).item() == pytest.approx((2 * 1 * 4 + c) / (1**2 + 4**2 + c), abs=1e-3)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert scores.ssim(images, images).tolist() == [1, 1] and scores.ssim(255 - images, images).max() < -0.5


def test_peak_signal_to_noise_ratio():
    x = torch.full((2, 3, 64, 64), 100, dtype=torch.uint8)
    other = x.clone()
    other[0] += 51
    other[1, :, :32] += 51
    # The scale is 255 long, five times the error: 25 times its square is 14 dB, and half of the error 3 dB more.
    expected = 10 * math.log10(25)
    assert scores.psnr(other, x).tolist() == pytest.approx([expected, expected + 10 * math.log10(2)], abs=1e-3)


def test_an_area_under_the_curve_has_hanleys_interval():
    # Hanley & McNeil 1982, table II: an area of 0.893 with 51 abnormal and 58 normal images has a standard error of 0.032.
    assert scores.area_interval(0.893, 51, 58) / 1.96 == pytest.approx(0.0325, abs=0.0005)
    assert scores.area_interval(0.893, 30, 1000) > scores.area_interval(0.893, 1000, 30)
    # An area is the share of pairs in order.
    result = scores.area(np.array([3.0, 1.0]), np.array([0.0, 2.0]))
    assert result == {"mean": 0.75, "interval": scores.area_interval(0.75, 2, 2)}


def test_an_interval_is_students():
    result = scores.mean_and_interval([1.0, 2.0, 3.0])
    assert result == {"mean": 2.0, "interval": pytest.approx(4.303 / math.sqrt(3), rel=1e-3)}
    assert scores.mean_and_interval([1.0]) == {"mean": 1.0, "interval": None}  # JSON knows no NaN.
