"""Latent vectors: seeded draws, and paths between them.

Draws come from NumPy's PCG64 on the CPU, so that a seed gives the same faces on every device. Row i of a draw depends on
the seed and on i alone, so that a seed gives the same faces in any batch size, which `torch.randn` does not.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
import torch

# A seed: one whole number, Python's or another library's, or several, such as (run's seed, step). With None each draw is
# another one.
Seed = SupportsIndex | Sequence[SupportsIndex] | None

# Each kind of draw has a stream of its own, so that another number of bits does not change the normal numbers. (Training
# mirrors faces by stream 1.)
_NORMAL_STREAM, _BITS_STREAM, _INDEX_STREAM = 0, 2, 3


def sample_normal(count: int, size: int, seed: Seed, mean: float = 0.0, variance: float = 1.0) -> torch.Tensor:
    """Independent normal numbers, (count, size) float32. A seed has the same noise at any mean and variance."""
    mean, variance = finite("mean", mean), finite("variance", variance)
    if variance < 0:
        raise ValueError(f"variance is {variance:g}: it must be 0 or more")
    noise = _generator(seed, _NORMAL_STREAM).standard_normal((whole_number("count", count), size), dtype=np.float32)
    return torch.from_numpy(noise).mul_(variance**0.5).add_(mean)


def sample_bits(count: int, size: int, seed: Seed) -> torch.Tensor:
    """Independent fair bits, (count, size) float32, each -1 or +1: mean 0 and variance 1, like a standard normal."""
    return torch.from_numpy(np.where(uniform_for_bits(count, size, seed) < 0.5, np.float32(-1), np.float32(1)))


def uniform_for_bits(count: int, size: int, seed: Seed) -> np.ndarray:
    """Uniform numbers in [0, 1), (count, size) float32. Where one is 0.5 or more, a fair bit is +1."""
    return _generator(seed, _BITS_STREAM).random((whole_number("count", count), size), dtype=np.float32)


def sample_indices(count: int, shares: np.ndarray, seed: Seed) -> np.ndarray:
    """Independent draws of an index into `shares`, (count,); each share is the probability of its index."""
    uniform = _generator(seed, _INDEX_STREAM).random(whole_number("count", count))
    return np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right")


def interpolate(
    start: torch.Tensor, end: torch.Tensor, steps: int = 11, spherical: bool = False, centre: float = 0.0
) -> torch.Tensor:
    """A path from `start` to `end`, both included.

    Args:
        start, end: (..., latent_size).
        steps: points on the path, 2 or more. The report uses 11.
        spherical: along the great circle around `centre` instead of the straight line. Normal draws in many dimensions
            lie near a sphere around their mean; the straight line leaves it (White 2016, arXiv:1609.04468).
        centre: the prior's mean.

    Returns:
        (..., steps, latent_size).
    """
    steps = whole_number("steps", steps, least=2)
    share = torch.linspace(0, 1, steps, dtype=torch.result_type(start, 0.5), device=start.device).unsqueeze(-1)
    start, end = start.unsqueeze(-2), end.unsqueeze(-2)
    if not spherical:
        return start * (1 - share) + end * share
    start, end = start - centre, end - centre
    cosine = torch.cosine_similarity(start, end, dim=-1).clamp(-1, 1).unsqueeze(-1)
    length = start.norm(dim=-1, keepdim=True) * end.norm(dim=-1, keepdim=True)
    # Ends on one line through the centre have no single circle: they get the straight line.
    on_one_line, angle = (cosine.abs() > 1 - 1e-5) | (length == 0), cosine.acos()
    sine = torch.where(on_one_line, 1, angle.sin())
    first = torch.where(on_one_line, 1 - share, ((1 - share) * angle).sin() / sine)
    second = torch.where(on_one_line, share, (share * angle).sin() / sine)
    return start * first + end * second + centre


def _generator(seed: Any, stream: int) -> np.random.Generator:
    if seed is None:
        return np.random.default_rng()
    parts = list(seed) if np.ndim(seed) == 1 else [seed]
    return np.random.default_rng([*(whole_number("seed", part) for part in parts), stream])


def finite(name: str, value: SupportsFloat) -> float:
    """A number of Python or another library, as float; a ValueError unless float32 can hold it."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= torch.finfo(torch.float32).max:
        raise ValueError(f"{name} is {value!r:.60}: it must be a finite number")
    return number


def check_floats(name: str, x: Any, shape: str, source: str) -> None:
    """Raise TypeError unless x is a tensor of floats, as `source` makes them, and ValueError unless it has a shape such as
    "n, 3, 64, 64", in which words stand for any number."""
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
        raise TypeError(f"{name} is of type {kind}: it must be a tensor of floats, as {source} returns it")
    sizes = shape.split(", ")
    if len(sizes) != x.ndim or any(size.isdigit() and int(size) != own for size, own in zip(sizes, x.shape)):
        raise ValueError(f"{name} has shape {tuple(x.shape)}: it must be ({shape})")


def is_bool(value: Any) -> bool:
    """Whether a value is true or false, Python's or another library's."""
    return isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == torch.bool


def whole_number(name: str, value: SupportsIndex, least: int = 0) -> int:
    """A whole number of Python or another library, as int; a ValueError unless it is `least` or more.

    True and False are no numbers here.
    """
    try:
        number = None if is_bool(value) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name} is {value!r:.60}: it must be a whole number, {least} or more")
    return number
