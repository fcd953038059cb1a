"""The loop of `search` with a budget, beside the other methods."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem

TRANSFERRED = "imagenet16-120"  # its accuracies made the ranking


@dataclass(frozen=True)
class BudgetSearch(Method):
    """Trains the most promising cell by a surrogate that starts from the universal ranking, `trainings` times.

    It trains one cell of each class of equal cells, for the fewest epochs, and chooses the cell that the surrogate
    then ranks first. On the dataset that made the ranking, each cell's rank comes from a fit without that cell.

    Attributes:
        ranked: start from the ranking; otherwise the first cells are random.
    """

    name: ClassVar[str] = "budget"
    title: ClassVar[str] = "MetaD2A with a budget"
    source: ClassVar[str] = "this project"
    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    follow_best: ClassVar[bool] = False

    trainings: int = 100
    ranked: bool = True

    def search(self, problem: Problem, rng: np.random.Generator) -> dict[str, Any]:
        import torch

        from metad2a.core.environment import random_generator
        from metad2a.rankings.universal import load
        from metad2a.searches.budget.loop import learn, next_cell
        from metad2a.searches.budget.surrogate import Observation, Surrogate

        ranking = load().held_out() if problem.dataset == TRANSFERRED else load().of_classes()[0]
        surrogate = Surrogate(problem.space.features(), ranking.double() if self.ranked else None)
        archs = problem.space.all_architectures()
        cells, everything = [archs[number] for number in problem.space.cheapest_members()], torch.arange(len(ranking))
        observations: list[Observation] = []
        for _ in range(self.trainings):
            begun = [(o.cell, o.fidelity) for o in observations]
            generator = random_generator(int(rng.integers(2**31)))
            cell = next_cell(surrogate, observations, begun, 0, everything, generator)
            if cell is None:
                break
            observations.append(Observation(cell, 0, problem.evaluate(cells[cell])))
            learn(surrogate, observations)
            problem.choose(cells[int(surrogate.quality().argmax())])
        return {"hyperparameters": surrogate.hyperparameters}
