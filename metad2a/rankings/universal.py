"""A ranking of NAS-Bench-201, with its uncertainty, that is the same for every dataset of photographs.

`python -m metad2a.rankings.fit_universal` made the shipped file; its description says from what.

Dimensions: K classes of equal cells (4,930), R meta-trainings.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from metad2a.core.arrays import ArrayOf, read_arrays
from metad2a.core.files import ASSETS
from metad2a.spaces.base import random_parts
from metad2a.spaces.nasbench201.classes import NUM_CLASSES

FORMAT = "metad2a-universal-1"
SHIPPED = ASSETS / "nasbench201" / "universal.npz"
SCORE = "score on ImageNet16-120"
PREDICTS = "the accuracy (%) on ImageNet16-120 after 200 epochs that the ranking expects, noise removed"
SEEDS = (333, 334, 335, 336, 337)  # of the meta-trainings; each leaves out some cells for validation

ROWS = ArrayOf(np.floating, (len(SEEDS), NUM_CLASSES))


@dataclass(frozen=True)
class Universal:
    """The rankings of all meta-trainings, each (R, K)."""

    mean: np.ndarray  # accuracies on ImageNet16-120 without noise, %
    deviation: np.ndarray  # their uncertainty, points
    partial: np.ndarray  # the means before the meta-training learned from the validation cells, too

    def of_classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (K,) of each class of equal cells, over all meta-trainings."""
        between = self.mean.var(0, dtype=np.float64).astype(self.mean.dtype)
        return self.mean.mean(0), np.sqrt((np.square(self.deviation) + between).mean(0))

    def held_out(self) -> np.ndarray:
        """Accuracy (K,) of each class, predicted without that class: cross-validation."""
        values = np.empty(NUM_CLASSES, np.float32)
        for part, cells in enumerate(map(np.asarray, random_parts(NUM_CLASSES, len(SEEDS)))):
            row = next(row for row, seed in enumerate(SEEDS) if seed % len(SEEDS) == part)
            values[cells] = self.partial[row, cells]
        return values


def load(path: str | Path = SHIPPED) -> Universal:
    """Read a file of `python -m metad2a.rankings.fit_universal`."""
    hint = "Make it with: python -m metad2a.rankings.fit_universal TARGET"
    schema = {field.name: ROWS for field in fields(Universal)}
    return Universal(**read_arrays(path, schema, "a universal ranking", hint, FORMAT))
