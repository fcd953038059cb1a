"""Figures about several runs or candidates."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Figures = TypeVar("Figures", float, np.ndarray)


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t); the half-width is 0 for a single value."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float(array.mean()), 0.0
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    error = array.std(ddof=1) / len(array) ** 0.5
    return float(array.mean()), float(stdtrit(len(array) - 1, 0.975) * error)


def share_interval(percent: float, count: int) -> tuple[float, float]:
    """The 95 % interval (Wilson's score) of a share in percent among `count` cases."""
    share, z = percent / 100, 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def nondominated(points: Sequence[tuple[float, float]]) -> list[int]:
    """The Pareto front: numbers of the points (cost, value) that no other point beats in both, cheapest first.

    Of equal points it has the first.
    """
    best, front = -math.inf, []
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[number][1] > best:
            best = points[number][1]
            front.append(number)
    return front


def sampling_variance(percent: Figures, count: Figures) -> Figures:
    """Variance (points^2) of an accuracy (%) on `count` images, or of arrays of both; one right and one wrong image are
    added."""
    share = (percent / 100 * count + 1) / (count + 2)
    return 1e4 * share * (1 - share) / count
