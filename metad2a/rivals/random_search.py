"""Random search: the best of random architectures after a few epochs each."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem


@dataclass(frozen=True)
class RandomSearch(Method):
    """Draw architectures evenly, `batch` at a time, until the budget is spent."""

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "random search"
    source: ClassVar[str] = "Bergstra and Bengio, JMLR 2012; Li and Talwalkar, UAI 2019"

    batch: int = 4

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        while True:
            problem.evaluate_all(problem.sample(self.batch, rng))
