"""Problems whose accuracies are looked up in a benchmark's table."""

from functools import cached_property
from typing import Any

import search_spaces
from baselines.base import Problem
from baselines.cost import TABLE, Budget
from engine.errors import UserError, did_you_mean
from search_spaces.base import SearchSpace

# Dataset -> number of classes, of the tables of NAS-Bench-201's cells
NUM_CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120, "ninapro": 18, "darcy": 1}
SHORT, LONG = 12, 200  # epochs of the two accuracies that NAS-Bench-201 has
EVALUATIONS = 500  # that the budget pays for, where none is given: NAS-Bench-201's


class TableProblem(Problem):
    """NAS-Bench-201's cells: validation accuracy after 12 epochs to search by, test accuracy after 200 to report.

    Of 200 epochs the table has test accuracies alone, so that whoever looks at these is an oracle. Of NinaPro and Darcy
    (a score there) it has one figure a cell, which is both.

    Raises:
        UserError: there is no table of the dataset, or the budget is too small.
    """

    form = TABLE

    def __init__(self, dataset: str, space: SearchSpace, budget: Budget | None = None):
        known = space.known_accuracy(dataset)
        if known is None or dataset not in NUM_CLASSES:
            raise UserError(
                f"There is no table of {space.name} on {dataset!r}. {did_you_mean(dataset, NUM_CLASSES)}There are some "
                f"of nasbench201 on {', '.join(NUM_CLASSES)}; for images of your own use --form real."
            )
        self.final = known
        early = space.table["valid_12"].get(dataset)
        self.columns = {LONG: known}
        if early is not None:
            self.columns = {SHORT: dict(zip(known, early.tolist(), strict=True)), LONG: known}
        fidelities = tuple(self.columns)
        budget = budget or Budget(epochs=float(EVALUATIONS * fidelities[0]))
        super().__init__(dataset, space, NUM_CLASSES[dataset], fidelities, budget, (LONG,))

    @property
    def best(self) -> float:
        """The highest of all figures that can be reported."""
        return max(self.final.values())

    @property
    def protocol(self) -> str:
        """What searches look at and what is reported, in words."""
        if SHORT in self.columns:
            return (
                f"They look at validation accuracies after {SHORT} epochs; reported is the test accuracy of the choice "
                f"after {LONG}. An oracle looked at such test accuracies."
            )
        return "The table has one figure of each cell, so that whoever trains one sees what is reported: an oracle."

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        return [self.columns[epochs][self.space.to_text(arch)] for arch in archs]

    def judge(self, texts: list[str]) -> list[float]:
        return [self.final[text] for text in texts]

    def training_free(self, archs: list[Any]) -> list[float]:
        return [self.scores[self.space.to_text(arch)] for arch in archs]

    @cached_property
    def scores(self) -> dict[str, float]:
        """Published scores, by text; of a dataset that has none CIFAR-10's: they hardly depend on the images."""
        return self.space.training_free_scores(self.dataset)


def table_problem(dataset: str, search_space: str = "nasbench201", budget: Budget | None = None) -> TableProblem:
    """The problem of a dataset that a table knows.

    Raises:
        UserError: there is no table of it, or the budget is too small for an evaluation.
    """
    return TableProblem(dataset, search_spaces.get(search_space), budget)
