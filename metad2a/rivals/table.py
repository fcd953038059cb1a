"""Problems with accuracies from a shipped table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from metad2a.spaces.nasbench201 import tasks

SHORT, LONG = 12, 200  # epochs of the two accuracies in NAS-Bench-201
EVALUATIONS = 500  # of the fewest epochs, for the default budget of a search over cells: NAS-Bench-201's
SUBNETS = 340  # evaluations of a search over subnets by default: NSGANetV2's
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120, "ninapro": 18, "darcy": 1}  # of the tables of cells
CLASSES |= {"class_scene": 47, "class_object": 75, "room_layout": 9, "jigsaw": 1000}  # TransNAS-Bench-101's outputs
CLASSES |= {"segmentsemantic": 17, "normal": 3, "autoencoder": 3}
PROTOCOL = {
    True: f"They look at validation accuracies; reported is the test accuracy of the choice after {LONG} epochs.",
    False: "The table has one figure for each cell: a search that trains sees the reported figure, as an oracle.",
}  # by whether there are test accuracies beside those that a search sees
SIZES = {f"imagenet-{size}": size for size in (128, 160, 192, 224)}  # side in pixels, of the tables of subnets


@dataclass(frozen=True)
class Table:
    """Accuracies of architectures of a space on a dataset.

    A table of functions has one architecture of each class of equal ones; `equals` leads from the others to it.
    """

    dataset: str
    space: SearchSpace
    num_classes: int
    columns: dict[int, dict[str, float]]  # epochs, fewest first -> the same texts of architectures -> accuracy (%)
    final: dict[str, float]  # what is reported (%), of at least these architectures
    oracle: tuple[int, ...]  # the epochs at which a search sees what is reported
    budget: Budget  # of a search by default
    protocol: str  # what searches see and what is reported, in words
    equals: Mapping[str, str] = field(
        default_factory=dict
    )  # text of an architecture -> text of the equal one in the table


class TableProblem(Problem):
    """A table to search; reports show the `final` accuracies, at most `best`."""

    form = TABLE

    def __init__(self, table: Table, budget: Budget | None = None):
        self.columns, self.protocol, self.equals, self.final = table.columns, table.protocol, table.equals, table.final
        self.known = table.columns[max(table.columns)]
        self.scores_networks = table.space.architectures is not None
        about = (table.dataset, table.space, table.num_classes, tuple(table.columns))
        super().__init__(*about, budget or table.budget, table.oracle)
        self.best = max(self.final[text] for text in self.known)

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        return [self.columns[epochs][self.text_of(arch)] for arch in archs]

    def text_of(self, arch: Any) -> str:
        text = self.space.to_text(arch)
        return self.equals.get(text, text)

    def judge(self, texts: list[str]) -> list[float]:
        return [self.final[self.equals.get(text, text)] for text in texts]

    @cached_property
    def archs(self) -> list[Any]:
        """All architectures of the table."""
        return [self.space.from_text(text) for text in self.known]

    def candidates(self) -> list[Any]:
        return self.archs

    def sample(self, n: int, rng: np.random.Generator) -> list[Any]:
        return [self.archs[i] for i in rng.integers(len(self.archs), size=n)]

    def nearest(self, genes: Sequence[int], fresh: bool = False) -> Any:
        arch = self.space.from_genes(genes)
        if self.text_of(arch) in self.known:
            return arch
        differences = np.abs(self.gene_rows - np.array(self.space.genes(arch))).sum(1)
        if fresh:
            measured = {text for text, _ in self.measured}
            differences = np.where([text in measured for text in self.known], differences.max() + 1, differences)
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


def functions_of(space: SearchSpace, known: np.ndarray) -> tuple[list[int], dict[str, str]]:
    """Numbers of the cheapest architecture of each function with a known figure (A,) that can learn, and the text of
    each function's cheapest architecture by the texts of all its architectures."""
    archs, cheapest = space.all_architectures(), [i for i in space.cheapest_members() if known[i]]
    classes = np.asarray(space.classes_of_equals()).tolist()
    names = {classes[i]: archs[i] for i in cheapest}
    equals = {arch: names[c] for arch, c in zip(archs, classes, strict=True) if c in names}
    return [i for i in cheapest if space.can_learn(archs[i])], equals


def table_of_cells(dataset: str, space: SearchSpace, functions: bool = True) -> Table:
    """Functions of NAS-Bench-201's cells: on the image sets searches see validation accuracies, and reports show test
    accuracies. The other tasks have one figure for each cell, which serves as both.

    Functions that cannot learn are left out. Without `functions`, cells count, and repeats of a function are new.
    """
    archs, seen = space.all_architectures(), tasks.values(dataset)
    assert seen is not None
    known = np.isfinite(seen)
    numbers, equals = functions_of(space, known) if functions else (np.flatnonzero(known).tolist(), {})
    everything = {arch: value for arch, value in zip(archs, seen.tolist(), strict=True) if value == value}
    columns = {LONG: {archs[i]: everything[archs[i]] for i in numbers}}
    if early := space.known_accuracy(dataset, SHORT):
        columns = {SHORT: {text: early[text] for text in columns[LONG]}} | columns
    tested = dataset in tasks.PHOTOGRAPHS
    final = (space.known_accuracy(dataset) if tested else None) or everything
    protocol = PROTOCOL[tested] + (f" Equal cells count once: {len(numbers):,} functions." if functions else "")
    budget = Budget(epochs=float(EVALUATIONS * min(columns)))
    return Table(dataset, space, CLASSES[dataset], columns, final, () if tested else (LONG,), budget, protocol, equals)


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
    return Table(dataset, space.sized(SIZES[dataset]), NUM_CLASSES, {0: column}, column, (0,), budget, protocol)


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
