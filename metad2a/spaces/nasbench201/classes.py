"""Cells of NAS-Bench-201 that compute the same function: the 15,625 are 4,930 classes.

Two cells are equal when simplifying gives the same expression of the cell's input: an edge `none` is no edge, an edge
from a node that nothing reaches or to one that nothing leaves is none either, a skip connection hands on the terms of
its input, and the order of a sum does not matter. (An operation has weights of its own on each edge, so that a sum of
two equal ones is not twice the one.)

The benchmark's authors count 6,466: their text form keeps a `none` within a sum and does not open a sum that is
skipped into another. Each of their classes lies within one of these.
"""

from collections.abc import Sequence
from functools import cache

import torch

from metad2a.spaces.nasbench201.cells import CELL_EDGES, NONE, SKIP, all_cells

NUM_CLASSES = 4930
INPUT = "x"
Expression = tuple[str, ...]  # the sorted terms of a sum: the input, or an operation on a sum, as text


def expression(operations: Sequence[int]) -> Expression:
    """The output of a cell as the terms of a sum, none where the input does not reach it.

    Args:
        operations: numbers of its six operations, as of `cells.parse`.
    """
    values: list[Expression] = [(INPUT,), (), (), ()]
    for (node, source), operation in zip(CELL_EDGES, operations, strict=True):
        if operation != NONE and values[source]:
            terms = values[source] if operation == SKIP else (f"{operation}({'+'.join(values[source])})",)
            values[node] = tuple(sorted(values[node] + terms))
    return values[-1]


@cache
def equivalence_classes() -> torch.Tensor:
    """(15625,) long, the class of each architecture in the order of `NASBench201.architectures`.

    Classes are numbered in the order of their first members.
    """
    numbers: dict[Expression, int] = {}
    return torch.tensor([numbers.setdefault(expression(operations), len(numbers)) for operations in all_cells()])


def first_members() -> list[int]:
    """The first architecture of each class, (classes,)."""
    highest = equivalence_classes().cummax(0).values
    return highest.diff(prepend=torch.tensor([-1])).nonzero()[:, 0].tolist()


def class_means(values: torch.Tensor) -> torch.Tensor:
    """The mean of each class, (classes, ...), of values (15625, ...) of the architectures."""
    classes = equivalence_classes()
    sizes = classes.bincount()
    sums = values.new_zeros(len(sizes), *values.shape[1:]).index_add_(0, classes, values)
    return sums / sizes.view(-1, *[1] * (values.dim() - 1))


def at_class_means(values: torch.Tensor) -> torch.Tensor:
    """Values (15625, ...) of the architectures, each replaced by the mean of its class."""
    return class_means(values)[equivalence_classes()]


def noise(values: torch.Tensor) -> float:
    """Pooled standard deviation of values (15625,) within the classes: what equal functions differ by."""
    classes = equivalence_classes()
    squares = (values - at_class_means(values)).square().sum()
    return float((squares / (len(values) - int(classes.max()) - 1)).sqrt())
