"""The cells of NAS-Bench-201 as strings and as numbers of operations (Dong and Yang, ICLR 2020, section 2.1)."""

import re

from metad2a.core.errors import UserError

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# The published graphs' edge set: a cell edge's vertex leads to the next vertex and to the consumers of its node.
GRAPH_EDGES = ((0, 1), (1, 2), (1, 3), (1, 5), (2, 3), (2, 6), (3, 4), (3, 6), (4, 5), (5, 6), (6, 7))
CELL_EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (node, its input)
FIRST_OPERATION_TYPE = 2
TEMPLATE = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
PATTERN = re.compile(re.escape(TEMPLATE).replace(r"\{\}", r"([^~|]+)"))
IMAGE_SIZE = 32  # side in pixels of the images that its networks take


def parse(arch: str) -> list[int]:
    """Numbers of the six operations of an architecture string.

    Raises:
        UserError: the string is malformed or names an unknown operation.
    """
    match = PATTERN.fullmatch(arch)
    if match is None:
        raise UserError(f"Not a NAS-Bench-201 architecture: {arch!r}. It has the form {TEMPLATE.format(*'abcdef')}")
    unknown = [op for op in match.groups() if op not in OPERATIONS]
    if unknown:
        raise UserError(f"Unknown operation {unknown[0]!r} in {arch!r}: choose among {', '.join(OPERATIONS)}.")
    return [OPERATIONS.index(op) for op in match.groups()]


def to_string(operations: list[int]) -> str:
    """Architecture string of six operation numbers."""
    return TEMPLATE.format(*(OPERATIONS[op] for op in operations))
