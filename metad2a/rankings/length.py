"""A ranking of NAS-Bench-201's cells for a length of training: how many images the training looks at.

The best cell after 200 epochs of 50,000 images is not the best after a few minutes on 500 images.
`python -m metad2a.rankings.fit_length` made the shipped file from real trainings (`trainings.csv`) and from the
benchmark's tables after 12 and 200 epochs. All functions work on NumPy arrays.

Dimensions: K classes of equal cells (4,930), G lengths of the grid.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from metad2a.core.arrays import ArrayOf, read_arrays
from metad2a.core.files import ASSETS
from metad2a.spaces.nasbench201.classes import NUM_CLASSES

FORMAT = "metad2a-length-1"
SHIPPED = ASSETS / "nasbench201" / "length.npz"
TRAININGS = ASSETS / "nasbench201" / "trainings.csv"
SCORE = "points above the average cell"
PREDICTS = "the accuracy that the ranking expects after this training, relative to the average cell, in points"
FROM, TO, STEP = 2.5, 7.0, 0.25  # of the grid: logarithms (base 10) of the images that a training looks at
GRID = np.arange(FROM, TO + STEP / 2, STEP)
WHOLE = TO  # 200 epochs of 50,000 images, from which on the universal ranking holds


@dataclass(frozen=True)
class LengthRanking:
    """Expected accuracies on the grid of lengths."""

    mean: np.ndarray  # (G, K), points above the average cell
    deviation: np.ndarray  # (G, K), their standard deviations
    growth: np.ndarray  # (G,), points that the average cell has gained since the shortest length

    def predict(self, seen: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Score and standard deviation (K,) in points after trainings that look at `seen` images: one number, or (K,).

        With a number for each cell the score includes what a longer training brings.
        """
        place = (np.log10(np.maximum(seen, 1)) - FROM) / STEP
        place = np.clip(place, 0, len(GRID) - 1)
        low = np.minimum(place.astype(int) if isinstance(place, np.ndarray) else int(place), len(GRID) - 2)
        share = place - low
        cells = np.arange(self.mean.shape[1])
        mean, deviation = (
            (1 - share) * table[low, cells] + share * table[low + 1, cells] for table in (self.mean, self.deviation)
        )
        if np.ndim(seen):
            mean = mean + np.interp(place, np.arange(len(GRID)), self.growth)
        return mean, deviation


@cache
def load(path: str | Path = SHIPPED) -> LengthRanking:
    """Read a file of `python -m metad2a.rankings.fit_length`. Raises a UserError if it is missing or damaged."""
    hint = "Make it with: python -m metad2a.rankings.fit_length TRAININGS TARGET"
    cells = ArrayOf(np.floating, (len(GRID), NUM_CLASSES))
    schema = {"mean": cells, "deviation": cells, "growth": ArrayOf(np.floating, (len(GRID),))}
    arrays = read_arrays(path, schema, "a ranking by length", hint, FORMAT)
    return LengthRanking(**{name: array.astype(np.float64) for name, array in arrays.items()})
