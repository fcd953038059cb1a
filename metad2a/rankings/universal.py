"""A ranking of NAS-Bench-201 that is the same for every dataset of photographs, with its uncertainty.

What is shipped was made by `python -m metad2a.rankings.fit_universal`, which says from what.

Dimensions: K classes of equal cells (4,930), R meta-trainings, A architectures (15,625).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from typing_extensions import TypedDict

from metad2a.core.files import ASSETS, load_torch
from metad2a.core.schema import FLOATS, TensorOf, check
from metad2a.spaces.base import random_parts
from metad2a.spaces.nasbench201.classes import NUM_CLASSES, equivalence_classes

FORMAT = "metad2a-universal-1"
SHIPPED = ASSETS / "nasbench201" / "universal.pt"
PREDICTS = "accuracy on ImageNet16-120 after 200 epochs, noise removed"
SEEDS = (333, 334, 335, 336, 337)  # of the meta-trainings; each leaves out a part of the cells for validation

_Rows = Annotated[torch.Tensor, TensorOf(FLOATS, (len(SEEDS), NUM_CLASSES))]
_File = TypedDict("_File", dict.fromkeys(("mean", "deviation", "partial"), _Rows))  # type: ignore[misc]


@dataclass(frozen=True)
class Universal:
    """The ranking of each meta-training.

    Attributes:
        mean, deviation: (R, K) accuracies on ImageNet16-120 (%) without their noise, and their uncertainty (points).
        partial: (R, K) the means before the cells that validated were learned from, too.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    partial: torch.Tensor

    def of_classes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation (K,) of each class of equal cells, all meta-trainings together."""
        spread = (self.deviation.square() + self.mean.var(0, correction=0)).mean(0).sqrt()
        return self.mean.mean(0), spread

    def scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation (A,) of each architecture."""
        mean, deviation = self.of_classes()
        return mean[equivalence_classes()], deviation[equivalence_classes()]

    def held_out(self) -> torch.Tensor:
        """(K,) the accuracy of each class as predicted without it: cross-validation."""
        values = torch.empty(NUM_CLASSES)
        for part, cells in enumerate(random_parts(NUM_CLASSES, len(SEEDS))):
            row = next(row for row, seed in enumerate(SEEDS) if seed % len(SEEDS) == part)
            values[cells] = self.partial[row, cells]
        return values


def load(path: str | Path = SHIPPED) -> Universal:
    """Read a file of `python -m metad2a.rankings.fit_universal`.

    Raises:
        UserError: it is missing, damaged or of another kind.
    """
    hint = "Make it with: python -m metad2a.rankings.fit_universal TARGET"
    value = check(path, load_torch(path, hint), _File, "a universal ranking", hint, FORMAT)
    return Universal(**value)
