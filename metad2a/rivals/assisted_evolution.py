"""Assisted regularized evolution (AREA): NASWOT's score picks the first population."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.rivals.base import Problem
from metad2a.rivals.evolution import RegularizedEvolution


@dataclass(frozen=True)
class AssistedEvolution(RegularizedEvolution):
    """Starts from the best `population` of `drawn` networks by score (Mellor et al., section 4.1, Algorithm 2)."""

    name: ClassVar[str] = "assisted-evolution"
    title: ClassVar[str] = "assisted evolution (AREA)"
    source: ClassVar[str] = "Mellor et al., ICML 2021"
    needs_scores: ClassVar[bool] = True

    drawn: int = 20

    def first(self, problem: Problem, rng: np.random.Generator) -> list[Any]:
        archs = problem.sample(self.drawn, rng)
        scores = problem.training_free(archs)
        return [archs[i] for i in sorted(range(len(archs)), key=lambda i: -scores[i])[: self.population]]
