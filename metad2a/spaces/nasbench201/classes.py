"""Cells of NAS-Bench-201 that compute the same function: the 15,625 cells form 4,930 classes.

Two cells are equal if they simplify to the same expression of the cell's input. Only edges on a way from input to
output count, and `none` is no edge. A skip connection passes on the terms of its input. The order of a sum does not
matter. The benchmark's authors count 6,466 classes, because they simplify less; each lies within one of these.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np

from metad2a.spaces.nasbench201.cells import CELL_EDGES, NONE, OPERATIONS, SKIP

NUM_CLASSES = 4930
INPUT = "x"
Expression = tuple[str, ...]  # the sorted terms of a sum: the input, or an operation on a sum, as text


def expression(operations: Sequence[int]) -> Expression:
    """The output of a cell with these six operations as the terms of a sum; no terms if the input does not reach it."""
    values: list[Expression] = [(INPUT,), (), (), ()]
    for (node, source), operation in zip(CELL_EDGES, operations, strict=True):
        values[node] = tuple(sorted(values[node] + _terms(operation, values[source])))
    return values[-1]


def _terms(operation: int, value: Expression) -> Expression:
    """The terms that an edge adds to the sum of its node, from the value of its input."""
    if operation == NONE or not value:
        return ()
    return value if operation == SKIP else (f"{operation}({'+'.join(value)})",)


@cache
def equivalence_classes() -> np.ndarray:
    """(15625,) int64, the class of each cell of `all_cells`, numbered in the order of their first members."""
    numbers: dict[Expression, int] = {}
    each = range(len(OPERATIONS))

    def edge(value: Expression) -> list[Expression]:
        return [_terms(operation, value) for operation in each]

    # As `expression` does, but the terms of each edge are made once for all cells that share them
    classes = []
    for first in (tuple(terms) for terms in edge((INPUT,))):
        for from_input, from_first in product(edge((INPUT,)), edge(first)):
            second = tuple(sorted(from_input + from_first))
            for a, b, c in product(edge((INPUT,)), edge(first), edge(second)):
                classes.append(numbers.setdefault(tuple(sorted(a + b + c)), len(numbers)))
    return np.array(classes)


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
