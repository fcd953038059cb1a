"""NASWOT: score networks as initialised, without training, and take the best of N."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from baselines.base import Method, Problem


@dataclass(frozen=True)
class Naswot(Method):
    """Score log|det K|, where K counts the rectified units that two images switch alike (Mellor et al., section 3).

    `samples` is N; the paper reports 10, 100 and 1,000. In a table the scores are published ones, the mean of a class
    of equal cells.
    """

    name: ClassVar[str] = "naswot"
    title: ClassVar[str] = "NASWOT"
    source: ClassVar[str] = "Mellor et al., ICML 2021"
    needs_scores: ClassVar[bool] = True
    follow_best: ClassVar[bool] = False

    samples: int = 100

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        archs = problem.sample(self.samples, rng)
        scores = problem.training_free(archs)
        order = sorted(range(len(archs)), key=lambda i: -scores[i])
        problem.choose(*(archs[i] for i in order))
