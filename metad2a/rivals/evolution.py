"""Regularized evolution: the best of a few members has a child, and the oldest member dies."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem


def mutate(genes: Sequence[int], choices: Sequence[int], rng: np.random.Generator) -> list[int]:
    """A copy with one gene changed to another value."""
    child = list(genes)
    place = int(rng.integers(len(child)))
    child[place] = (child[place] + int(rng.integers(1, choices[place]))) % choices[place]
    return child


@dataclass(frozen=True)
class RegularizedEvolution(Method):
    """Sizes as NAS-Bench-201's authors set them for their benchmark."""

    name: ClassVar[str] = "evolution"
    title: ClassVar[str] = "regularized evolution"
    source: ClassVar[str] = "Real et al., AAAI 2019; sizes of Dong and Yang, ICLR 2020"

    population: int = 10
    tournament: int = 3

    def first(self, problem: Problem, rng: np.random.Generator) -> list[Any]:
        """The first population."""
        return problem.sample(self.population, rng)

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        space, first = problem.space, self.first(problem, rng)
        living = deque(zip(first, problem.evaluate_all(first), strict=True))
        while True:
            members = rng.choice(len(living), min(self.tournament, len(living)), replace=False)
            parent, _ = max((living[i] for i in members), key=lambda member: member[1])
            child = problem.nearest(mutate(space.genes(parent), space.gene_choices, rng), fresh=True)
            living.append((child, problem.evaluate(child)))
            living.popleft()


@dataclass(frozen=True)
class AssistedEvolution(RegularizedEvolution):
    """Starts from the best `population` of `drawn` networks by NASWOT's score (Mellor et al., Algorithm 2)."""

    name: ClassVar[str] = "assisted-evolution"
    title: ClassVar[str] = "assisted evolution (AREA)"
    source: ClassVar[str] = "Mellor et al., ICML 2021"
    needs_scores: ClassVar[bool] = True

    drawn: int = 20

    def first(self, problem: Problem, rng: np.random.Generator) -> list[Any]:
        archs = problem.sample(self.drawn, rng)
        scores = problem.training_free(archs)
        return [archs[i] for i in sorted(range(len(archs)), key=lambda i: -scores[i])[: self.population]]
