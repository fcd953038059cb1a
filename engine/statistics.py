"""Figures about several runs."""

import numpy as np


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t); the half-width is 0 for a single value."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float(array.mean()), 0.0
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    error = array.std(ddof=1) / len(array) ** 0.5
    return float(array.mean()), float(stdtrit(len(array) - 1, 0.975) * error)
