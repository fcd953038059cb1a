"""Cells of NAS-Bench-201 that compute the same function: the 15,625 cells form 4,930 classes.

Two cells are equal if they simplify to the same expression of the cell's input. Only edges on a way from input to
output count, and `none` is no edge. A skip connection passes on the terms of its input. The order of a sum does not
matter. The benchmark's authors count 6,466 classes, because they simplify less; each lies within one of these.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from metad2a.spaces.nasbench201.cells import CELL_EDGES, NONE, SKIP, all_cells

NUM_CLASSES = 4930
INPUT = "x"
Expression = tuple[str, ...]  # the sorted terms of a sum: the input, or an operation on a sum, as text


def expression(operations: Sequence[int]) -> Expression:
    """The output of a cell with these six operations as the terms of a sum; no terms if the input does not reach it."""
    values: list[Expression] = [(INPUT,), (), (), ()]
    for (node, source), operation in zip(CELL_EDGES, operations, strict=True):
        if operation != NONE and values[source]:
            terms = values[source] if operation == SKIP else (f"{operation}({'+'.join(values[source])})",)
            values[node] = tuple(sorted(values[node] + terms))
    return values[-1]


@cache
def equivalence_classes() -> np.ndarray:
    """(15625,) int64, the class of each cell of `all_cells`, numbered in the order of their first members."""
    numbers: dict[Expression, int] = {}
    return np.array([numbers.setdefault(expression(operations), len(numbers)) for operations in all_cells()])


def first_members() -> list[int]:
    """The first architecture of each class, (classes,)."""
    highest = np.maximum.accumulate(equivalence_classes())
    return np.flatnonzero(np.diff(highest, prepend=-1)).tolist()


def class_means(values: np.ndarray) -> np.ndarray:
    """Values (15625, ...) of the architectures to the mean of each class, (classes, ...)."""
    classes = equivalence_classes()
    sums = np.zeros((NUM_CLASSES, *values.shape[1:]), values.dtype)
    np.add.at(sums, classes, values)
    return sums / np.bincount(classes).astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))


def at_class_means(values: np.ndarray) -> np.ndarray:
    """Values (15625, ...) of the architectures, each replaced by the mean of its class."""
    return class_means(values)[equivalence_classes()]


def noise(values: np.ndarray) -> float:
    """Pooled standard deviation of values (15625,) within the classes: by how much equal functions differ."""
    squares = np.square(values - at_class_means(values)).sum()
    return float(np.sqrt(squares / (len(values) - NUM_CLASSES)))
