"""Problems whose accuracies are looked up in a table that is shipped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metad2a import spaces
from metad2a.core.errors import UserError, did_you_mean
from metad2a.rivals.base import Problem
from metad2a.rivals.cost import TABLE, Budget
from metad2a.rivals.encoding import gene_rows
from metad2a.spaces.base import SearchSpace

SHORT, LONG = 12, 200  # epochs of the two accuracies that NAS-Bench-201 has
EVALUATIONS = 500  # of the fewest epochs, that the budget of a search over cells pays for: NAS-Bench-201's
SUBNETS = 340  # that the budget of a search over subnets pays for: NSGANetV2's
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120, "ninapro": 18, "darcy": 1}  # of the tables of cells
SIZES = {f"imagenet-{size}": size for size in (128, 160, 192, 224)}  # side in pixels, of the tables of subnets


@dataclass(frozen=True)
class Table:
    """Accuracies of architectures of a space on a dataset.

    Attributes:
        dataset, space, num_classes: of what.
        columns: epochs -> text of an architecture -> accuracy (%), the same ones for each; the fewest epochs first.
        oracle: the epochs whose accuracies are test accuracies.
        budget: of a search, where none is given.
        protocol: what searches look at and what is reported, in words.
    """

    dataset: str
    space: SearchSpace
    num_classes: int
    columns: dict[int, dict[str, float]]
    oracle: tuple[int, ...]
    budget: Budget
    protocol: str


class TableProblem(Problem):
    """A table to search: the accuracy after the most epochs is what is reported.

    Raises:
        UserError: the budget is too small for an evaluation.
    """

    form = TABLE

    def __init__(self, table: Table, budget: Budget | None = None):
        self.columns, self.protocol = table.columns, table.protocol
        self.final = table.columns[max(table.columns)]
        budget = budget or table.budget
        super().__init__(table.dataset, table.space, table.num_classes, tuple(table.columns), budget, table.oracle)

    @property
    def best(self) -> float:
        """The highest of all figures that can be reported."""
        return max(self.final.values())

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        return [self.columns[epochs][self.space.to_text(arch)] for arch in archs]

    def judge(self, texts: list[str]) -> list[float]:
        return [self.final[text] for text in texts]

    @cached_property
    def archs(self) -> list[Any]:
        """All architectures of the table."""
        return [self.space.from_text(text) for text in self.final]

    def candidates(self) -> list[Any]:
        return self.archs

    def sample(self, n: int, rng: np.random.Generator) -> list[Any]:
        return [self.archs[i] for i in rng.integers(len(self.archs), size=n)]

    def nearest(self, genes: Sequence[int], fresh: bool = False) -> Any:
        arch = self.space.from_genes(genes)
        if self.space.to_text(arch) in self.final:
            return arch
        differences = np.abs(self._genes - np.array(self.space.genes(arch))).sum(1)
        if fresh:
            known = {text for text, _ in self.measured}
            differences = np.where([text in known for text in self.final], differences.max() + 1, differences)
        return self.archs[int(differences.argmin())]

    @cached_property
    def _genes(self) -> np.ndarray:
        return gene_rows(self.space, self.archs)

    @property
    def scores_networks(self) -> bool:
        return self.space.architectures is not None

    def training_free(self, archs: list[Any]) -> list[float]:
        return [self.scores[self.space.to_text(arch)] for arch in archs]

    @cached_property
    def scores(self) -> dict[str, float]:
        """Published scores, by text; of a dataset that has none CIFAR-10's: they hardly depend on the images."""
        return self.space.training_free_scores(self.dataset)


def table_of_cells(dataset: str, space: SearchSpace) -> Table:
    """NAS-Bench-201's: validation accuracy after 12 epochs to search by, test accuracy after 200 to report.

    Of 200 epochs there are test accuracies alone, so that whoever looks at these is an oracle. Of NinaPro and Darcy
    there is one figure a cell, which is both.
    """
    final = space.known_accuracy(dataset) or {}
    early = space.known_accuracy(dataset, SHORT)
    if early is None:
        columns = {LONG: final}
        protocol = "The table has one figure of each cell, so that whoever trains one sees what is reported: an oracle."
    else:
        columns = {SHORT: early, LONG: final}
        protocol = (
            f"They look at validation accuracies after {SHORT} epochs; reported is the test accuracy of the choice "
            f"after {LONG}. An oracle looked at such test accuracies."
        )
    budget = Budget(epochs=float(EVALUATIONS * min(columns)))
    return Table(dataset, space, CLASSES[dataset], columns, (LONG,), budget, protocol)


def table_of_subnets(dataset: str, space: SearchSpace) -> Table:
    """Subnets of the published MobileNetV3 supernet on ImageNet: nothing is trained, so that they cost no epochs."""
    from metad2a.spaces.ofa_mbv3.table import NUM_CLASSES, measured

    known = measured()
    rows = known.rows(SIZES[dataset]).tolist()
    column = {space.to_text(known.archs[row]): float(known.accuracy[row]) for row in rows}
    protocol = (
        f"They choose among {len(column)} subnets whose ImageNet top-1 with the supernet's weights is known; what they "
        "see is what is reported, so that all are oracles."
    )
    budget = Budget(evaluations=SUBNETS)
    return Table(dataset, space.sized(SIZES[dataset]), NUM_CLASSES, {0: column}, (0,), budget, protocol)


TABLES: dict[str, tuple[tuple[str, ...], Callable[[str, SearchSpace], Table]]] = {
    "nasbench201": (tuple(CLASSES), table_of_cells),
    "ofa_mbv3": (tuple(SIZES), table_of_subnets),
}


def table_problem(dataset: str, search_space: str = "nasbench201", budget: Budget | None = None) -> TableProblem:
    """The problem of a dataset that a table of the space knows.

    Raises:
        UserError: there is no table of it, or the budget is too small for an evaluation.
    """
    datasets, make = TABLES.get(search_space, ((), table_of_cells))
    if dataset not in datasets:
        known = "; ".join(f"{', '.join(names)} ({space})" for space, (names, _) in TABLES.items())
        raise UserError(
            f"There is no table of {search_space} on {dataset!r}. {did_you_mean(dataset, datasets)}There are some of: "
            f"{known}."
        )
    return TableProblem(make(dataset, spaces.get(search_space)), budget)
