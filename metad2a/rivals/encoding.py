"""Architectures as vectors, for surrogates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metad2a.spaces.base import SearchSpace


def gene_rows(space: SearchSpace, archs: Sequence[Any]) -> np.ndarray:
    """Genes (n, G) of architectures."""
    return np.array([space.genes(arch) for arch in archs]).reshape(len(archs), len(space.gene_choices))


def one_hot(space: SearchSpace, genes: np.ndarray) -> np.ndarray:
    """Genes (n, G) as indicators (n, sum of choices)."""
    return np.concatenate(
        [genes[:, i, None] == np.arange(choices) for i, choices in enumerate(space.gene_choices)], axis=1
    ).astype(float)
