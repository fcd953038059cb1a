"""MDENAS: a probability for each operation of each edge, moved from what trained more and is still worse."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem


class Multinomials:
    """A distribution over the values of each gene, and what is known of them.

    Attributes:
        theta: for each gene, probabilities (choices,).
        trained: how often each value was in a network that was measured, H_e.
        accuracy: of the latest of these, H_a; 0 where there was none.
    """

    def __init__(self, choices: tuple[int, ...]):
        self.theta = [np.full(n, 1 / n) for n in choices]
        self.trained = [np.zeros(n, dtype=int) for n in choices]
        self.accuracy = [np.zeros(n) for n in choices]

    def sample(self, rng: np.random.Generator) -> list[int]:
        """A value of each gene."""
        return [int(rng.choice(len(theta), p=theta)) for theta in self.theta]

    def best(self) -> list[int]:
        """The likeliest value of each gene."""
        return [int(theta.argmax()) for theta in self.theta]

    @property
    def decided(self) -> bool:
        """Whether every gene has a value of probability 0.99."""
        return all(theta.max() >= 0.99 for theta in self.theta)

    def learn(self, genes: list[int], accuracy: float, alpha: float) -> None:
        """Update by one network: of two values that one loses which trained as often and is worse (Algorithm 1).

        Args:
            alpha: what it loses, or all that it has.
        """
        for gene, value in enumerate(genes):
            self.trained[gene][value] += 1
            self.accuracy[gene][value] = accuracy
        for theta, trained, found in zip(self.theta, self.trained, self.accuracy, strict=True):
            loses = (trained[:, None] >= trained) & (found[:, None] < found)  # the row's to the column's
            for i, j in np.argwhere(loses):
                moved = min(alpha, theta[i])
                theta[i] -= moved
                theta[j] += moved
            theta /= theta.sum()  # so that rounding does not add up


@dataclass(frozen=True)
class Mdenas(Method):
    """In a table a network that is measured alone stands for the epoch of shared weights that the paper trains."""

    name: ClassVar[str] = "mdenas"
    title: ClassVar[str] = "MDENAS"
    source: ClassVar[str] = "Zheng et al., ICCV 2019"
    follow_best: ClassVar[bool] = False
    changes: ClassVar[str] = "each sample is a network measured by itself, not an epoch of shared weights"

    alpha: float = 0.01

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        known = Multinomials(problem.space.gene_choices)
        while not known.decided:
            arch = problem.nearest(known.sample(rng))
            accuracy = problem.evaluate(arch)
            known.learn(problem.space.genes(arch), accuracy, self.alpha)
            problem.choose(problem.nearest(known.best()))
