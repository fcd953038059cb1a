"""Problems with accuracies from a shipped table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metad2a import spaces
from metad2a.core.budget import Budget
from metad2a.core.errors import UserError, did_you_mean
from metad2a.rivals import TABLE
from metad2a.rivals.base import Problem
from metad2a.rivals.surrogates import gene_rows
from metad2a.spaces.base import SearchSpace

SHORT, LONG = 12, 200  # epochs of the two accuracies in NAS-Bench-201
EVALUATIONS = 500  # of the fewest epochs, for the default budget of a search over cells: NAS-Bench-201's
SUBNETS = 340  # evaluations of a search over subnets by default: NSGANetV2's
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120, "ninapro": 18, "darcy": 1}  # of the tables of cells
SIZES = {f"imagenet-{size}": size for size in (128, 160, 192, 224)}  # side in pixels, of the tables of subnets


@dataclass(frozen=True)
class Table:
    """Accuracies of architectures of a space on a dataset."""

    dataset: str
    space: SearchSpace
    num_classes: int
    columns: dict[int, dict[str, float]]  # epochs, fewest first -> the same texts of architectures -> accuracy (%)
    oracle: tuple[int, ...]  # the epochs with test accuracies
    budget: Budget  # of a search by default
    protocol: str  # what searches see and what is reported, in words


class TableProblem(Problem):
    """A table to search; reports show the accuracy after the most epochs, at most `best`."""

    form = TABLE

    def __init__(self, table: Table, budget: Budget | None = None):
        self.columns, self.protocol = table.columns, table.protocol
        self.final = table.columns[max(table.columns)]
        self.scores_networks = table.space.architectures is not None
        about = (table.dataset, table.space, table.num_classes, tuple(table.columns))
        super().__init__(*about, budget or table.budget, table.oracle)
        self.best = max(self.final.values())

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
        differences = np.abs(self.gene_rows - np.array(self.space.genes(arch))).sum(1)
        if fresh:
            measured = {text for text, _ in self.measured}
            differences = np.where([text in measured for text in self.final], differences.max() + 1, differences)
        return self.archs[int(differences.argmin())]

    @cached_property
    def gene_rows(self) -> np.ndarray:
        """Genes (n, G) of all architectures."""
        return gene_rows(self.space, self.archs)

    def training_free(self, archs: list[Any]) -> list[float]:
        return [self.scores[self.space.to_text(arch)] for arch in archs]

    @cached_property
    def scores(self) -> dict[str, float]:
        """Published scores by text; they hardly depend on the images, so CIFAR-10's serve datasets without any."""
        return self.space.training_free_scores(self.dataset)


def table_of_cells(dataset: str, space: SearchSpace) -> Table:
    """NAS-Bench-201: searches see validation accuracies after 12 epochs; reports show test accuracies after 200.

    After 200 epochs the table knows only test accuracies, so a search that looks at them is an oracle. NinaPro and
    Darcy have one figure for each cell, which serves as both.
    """
    final = space.known_accuracy(dataset) or {}
    early = space.known_accuracy(dataset, SHORT)
    columns = {LONG: final}
    protocol = "The table has one figure for each cell: a search that trains sees the reported figure, as an oracle."
    if early is not None:
        columns = {SHORT: early, LONG: final}
        protocol = (
            f"They look at validation accuracies after {SHORT} epochs; reported is the test accuracy of the choice "
            f"after {LONG}. An oracle looked at such test accuracies."
        )
    budget = Budget(epochs=float(EVALUATIONS * min(columns)))
    return Table(dataset, space, CLASSES[dataset], columns, (LONG,), budget, protocol)


def table_of_subnets(dataset: str, space: SearchSpace) -> Table:
    """Subnets of the published MobileNetV3 supernet on ImageNet; nothing is trained, so they cost no epochs."""
    from metad2a.spaces.ofa_mbv3.table import NUM_CLASSES, measured

    subnets = measured()
    rows = subnets.rows(SIZES[dataset]).tolist()
    column = {space.to_text(subnets.archs[row]): float(subnets.accuracy[row]) for row in rows}
    protocol = (
        f"They choose among {len(column)} subnets with known ImageNet top-1 (supernet weights). Searches see the "
        "reported figure, so all are oracles."
    )
    budget = Budget(evaluations=SUBNETS)
    return Table(dataset, space.sized(SIZES[dataset]), NUM_CLASSES, {0: column}, (0,), budget, protocol)


TABLES: dict[str, tuple[tuple[str, ...], Callable[[str, SearchSpace], Table]]] = {
    "nasbench201": (tuple(CLASSES), table_of_cells),
    "ofa_mbv3": (tuple(SIZES), table_of_subnets),
}


def table_of(dataset: str, search_space: str = "nasbench201") -> Table:
    """The table of a space on a dataset. Raises a UserError if there is none."""
    datasets, make = TABLES.get(search_space, ((), table_of_cells))
    if dataset not in datasets:
        tables = "; ".join(f"{', '.join(names)} ({space})" for space, (names, _) in TABLES.items())
        raise UserError(
            f"There is no table of {search_space} on {dataset!r}. {did_you_mean(dataset, datasets)}There are tables "
            f"of: {tables}."
        )
    return make(dataset, spaces.get(search_space))


def table_problem(dataset: str, search_space: str = "nasbench201", budget: Budget | None = None) -> TableProblem:
    """The problem of a table. Raises a UserError if there is none, or the budget is too small for one evaluation."""
    return TableProblem(table_of(dataset, search_space), budget)
