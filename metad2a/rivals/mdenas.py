"""MDENAS: each operation of each edge loses probability to those that trained less and are better.

`mdenas` measures each network by itself; `metad2a.rivals.mdenas_supernet` has shared weights, as in the paper.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem

if TYPE_CHECKING:
    import torch


class Multinomials:
    """A distribution over the values of each gene."""

    def __init__(self, choices: tuple[int, ...]):
        self.theta = [np.full(n, 1 / n) for n in choices]  # for each gene, probabilities (choices,)
        self.trained = [np.zeros(n, dtype=int) for n in choices]  # H_e, how often a measured network had the value
        self.accuracy = [np.zeros(n) for n in choices]  # H_a, the accuracy of the last such network; 0 without one

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
        """Update by one network: a value loses `alpha` to each better one that trained no more often (Algorithm 1)."""
        for gene, value in enumerate(genes):
            self.trained[gene][value] += 1
            self.accuracy[gene][value] = accuracy
        for theta, trained, accuracies in zip(self.theta, self.trained, self.accuracy, strict=True):
            loses = (trained[:, None] >= trained) & (accuracies[:, None] < accuracies)  # row to column
            for i, j in np.argwhere(loses):
                moved = min(alpha, theta[i])
                theta[i] -= moved
                theta[j] += moved
            theta /= theta.sum()  # so that rounding does not add up

    def state_dict(self) -> "dict[str, torch.Tensor]":
        """The attributes, for a checkpoint; every gene must have as many values."""
        import torch

        parts = {"theta": self.theta, "trained": self.trained, "accuracy": self.accuracy}
        return {name: torch.tensor(np.array(values)) for name, values in parts.items()}

    def load_state_dict(self, state: "dict[str, torch.Tensor]") -> None:
        for name, values in self.state_dict().items():
            if state[name].shape != values.shape:
                raise ValueError(f"{name} should be {tuple(values.shape)}")
            setattr(self, name, list(state[name].numpy().copy()))


@dataclass(frozen=True)
class Mdenas(Method):
    """Measures a network by itself in place of the paper's epoch of shared weights."""

    name: ClassVar[str] = "mdenas"
    title: ClassVar[str] = "MDENAS"
    source: ClassVar[str] = "Zheng et al., ICCV 2019"
    follow_best: ClassVar[bool] = False
    changes: ClassVar[str] = "each sample is a network measured by itself, not an epoch of shared weights"

    alpha: float = 0.01

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        multinomials = Multinomials(problem.space.gene_choices)
        while not multinomials.decided:
            arch = problem.nearest(multinomials.sample(rng))
            accuracy = problem.evaluate(arch)
            multinomials.learn(problem.space.genes(arch), accuracy, self.alpha)
            problem.choose(problem.nearest(multinomials.best()))
