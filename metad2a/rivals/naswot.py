"""NASWOT as a search: random networks, ranked by `metad2a.rivals.naswot_score` before any training."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem


@dataclass(frozen=True)
class Naswot(Method):
    """The best of `samples` random networks by their score (Mellor et al., section 3); the paper has 10, 100 and 1,000.

    In a table the scores are published ones, averaged over each class of equal cells.
    """

    name: ClassVar[str] = "naswot"
    title: ClassVar[str] = "NASWOT"
    source: ClassVar[str] = "Mellor et al., ICML 2021"
    needs_scores: ClassVar[bool] = True
    follow_best: ClassVar[bool] = False

    samples: int = 100

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        ranked: list[tuple[float, Any]] = []
        for arch in problem.sample(self.samples, rng):
            ranked.append((problem.training_free([arch])[0], arch))
            ranked.sort(key=lambda pair: pair[0], reverse=True)
            problem.choose(*(arch for _, arch in ranked))
