"""Depth and width of a cell (Shu et al., ICLR 2020, "Understanding Architectures Learnt by Cell-based NAS")."""

from collections.abc import Sequence

from metad2a.spaces.nasbench201.cells import CELL_EDGES, NONE, OPERATIONS, live_operations

CONVOLUTIONS = {OPERATIONS.index(name) for name in ("nor_conv_1x1", "nor_conv_3x3")}


def live_edges(operations: Sequence[int]) -> list[tuple[int, int, int]]:
    """Edges (node, its input, operation) on a way from the cell's input to its output."""
    return [(*edge, op) for edge, op in zip(CELL_EDGES, live_operations(operations), strict=True) if op != NONE]


def depth_and_width(operations: Sequence[int]) -> tuple[int, float]:
    """The number of edges on the longest way from input to output, and the number of nodes connected to the input.

    A node counts as the share of its incoming edges that come from the input. Only edges on a way from input to output
    count, so the result is (0, 0) for a cell that passes nothing on.
    """
    edges = live_edges(operations)
    longest = {0: 0}
    width = 0.0
    for node in (1, 2, 3):
        sources = [source for target, source, _ in edges if target == node]
        if sources:
            longest[node] = 1 + max(longest[source] for source in sources)
            width += sources.count(0) / len(sources)
    return longest.get(3, 0), width


def convolutions(operations: Sequence[int]) -> int:
    """The number of convolutions on a way from input to output."""
    return sum(op in CONVOLUTIONS for _, _, op in live_edges(operations))
