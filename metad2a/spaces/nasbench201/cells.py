"""The cells of NAS-Bench-201 as strings and as numbers of operations (Dong and Yang, ICLR 2020, section 2.1)."""

import re
from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np

from metad2a.core.errors import UserError

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP = OPERATIONS.index("none"), OPERATIONS.index("skip_connect")
# The published graphs' edge set: a cell edge's vertex leads to the next vertex and to the consumers of its node.
GRAPH_EDGES = ((0, 1), (1, 2), (1, 3), (1, 5), (2, 3), (2, 6), (3, 4), (3, 6), (4, 5), (5, 6), (6, 7))
CELL_EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (node, its input)
NUM_CELLS = len(OPERATIONS) ** len(CELL_EDGES)
IMAGE_SIZE = 32  # side in pixels of the images that its networks take
FIRST_OPERATION_TYPE = 2
TEMPLATE = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
PATTERN = re.compile(re.escape(TEMPLATE).replace(r"\{\}", r"([^~|]+)"))


def parse(arch: str) -> list[int]:
    """Numbers of the six operations of an architecture string. Raises a UserError if the string is malformed or names
    an unknown operation."""
    if (known := cells_by_string().get(arch)) is not None:
        return list(known)
    match = PATTERN.fullmatch(arch)
    if match is None:
        raise UserError(f"Not a NAS-Bench-201 architecture: {arch!r}. It has the form {TEMPLATE.format(*'abcdef')}")
    unknown = next(op for op in match.groups() if op not in OPERATIONS)
    raise UserError(f"Unknown operation {unknown!r} in {arch!r}: choose among {', '.join(OPERATIONS)}.")


def to_string(operations: Sequence[int]) -> str:
    """Architecture string of six operation numbers."""
    return TEMPLATE.format(*(OPERATIONS[op] for op in operations))


def all_cells() -> list[tuple[int, ...]]:
    """The operations of all 15,625 cells; cell i has i's digits to the base 5, first edge first."""
    return list(product(range(len(OPERATIONS)), repeat=len(CELL_EDGES)))


@cache
def cells_by_string() -> dict[str, tuple[int, ...]]:
    """The operations of all cells by their strings, in the order of `all_cells`."""
    first, *others = TEMPLATE.split("{}")
    edges = [[f"{name}{after}" for name in OPERATIONS] for after in others]
    return {first + "".join(parts): cell for parts, cell in zip(product(*edges), all_cells(), strict=True)}


@cache
def cell_rows() -> np.ndarray:
    """(15625, 6) int64, `all_cells` as an array."""
    edges = len(CELL_EDGES)
    return np.indices((len(OPERATIONS),) * edges).reshape(edges, -1).T


def nodes_before_output(operations: Sequence[int]) -> set[int]:
    """The nodes with a way to the output, node 3, which is one of them."""
    nodes = {3}
    for (node, source), operation in reversed(list(zip(CELL_EDGES, operations, strict=True))):
        if operation != NONE and node in nodes:
            nodes.add(source)
    return nodes


def live_operations(operations: Sequence[int]) -> list[int]:
    """The operations of a cell with `none` on the edges that are on no way from its input to its output."""
    edges = list(zip(CELL_EDGES, operations, strict=True))
    before, after = nodes_before_output(operations), {0}
    for (node, source), operation in edges:  # nodes come after their inputs
        if operation != NONE and source in after:
            after.add(node)
    return [operation if source in after and node in before else NONE for (node, source), operation in edges]


@cache
def learning_cells() -> np.ndarray:
    """(15625,) bool: which of `all_cells` have a convolution among their `live_operations`."""
    rows = cell_rows()
    linked = {edge: rows[:, i] != NONE for i, edge in enumerate(CELL_EDGES)}  # (node, its input) -> (15625,)
    after = {0: np.full(len(rows), True)}
    for node in (1, 2, 3):
        after[node] = np.any([linked[node, source] & after[source] for source in range(node)], axis=0)
    before = {3: np.full(len(rows), True)}
    for source in (2, 1, 0):
        before[source] = np.any([linked[node, source] & before[node] for node in range(source + 1, 4)], axis=0)
    learns = np.isin(rows, [i for i, name in enumerate(OPERATIONS) if name.startswith("nor_conv")])
    return np.any([learns[:, i] & after[u] & before[v] for i, (v, u) in enumerate(CELL_EDGES)], axis=0)
