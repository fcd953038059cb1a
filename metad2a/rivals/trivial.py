"""Random search, and the best architectures of another dataset."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from metad2a.core.errors import UserError
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


@dataclass(frozen=True)
class Transfer(Method):
    """The best architectures of the table of `source_dataset`, after its full training."""

    name: ClassVar[str] = "transfer"
    title: ClassVar[str] = "best of the ImageNet16-120 table"
    source: ClassVar[str] = "trivial"
    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    follow_best: ClassVar[bool] = False

    source_dataset: str = "imagenet16-120"
    lent: int = 30

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if problem.dataset == self.source_dataset:
            raise UserError(f"{self.name} lends the best of {self.source_dataset}: it says nothing on itself.")

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        accuracy = problem.space.known_accuracy(self.source_dataset) or {}
        known = {problem.text_of(arch) for arch in problem.candidates() or ()}
        best = sorted(accuracy, key=lambda text: -accuracy[text])
        archs = [arch for arch in map(problem.space.from_text, best) if problem.text_of(arch) in known]
        problem.choose(*archs[: self.lent])
