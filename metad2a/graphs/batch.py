"""A batch of directed acyclic graphs as tensors.

Dimensions: B graphs, N vertices (0..N-1 in topological order).
"""

from dataclasses import dataclass
from typing import Any

import torch

INPUT_TYPE = 0
OUTPUT_TYPE = 1


@dataclass(frozen=True)
class GraphBatch:
    """B graphs of up to N vertices; entries beyond a graph's own vertices are zero."""

    types: torch.Tensor  # (B, N) long: 0 input, 1 output, the rest operations
    adj: torch.Tensor  # (B, N, N) bool, `adj[b, u, v]` is the edge u > v; edges go from lower to higher numbers
    num_vertices: torch.Tensor  # (B,) long

    def __len__(self) -> int:
        return len(self.types)

    def __getitem__(self, index: Any) -> "GraphBatch":
        """The graphs that a slice, a mask or an index tensor selects."""
        return GraphBatch(self.types[index], self.adj[index], self.num_vertices[index])

    @property
    def max_n(self) -> int:
        return self.types.shape[1]

    def to(self, device: torch.device | str) -> "GraphBatch":
        return GraphBatch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))

    def equal(self, other: "GraphBatch") -> bool:
        """True if both batches hold the same graphs in the same order."""
        return all(map(torch.equal, vars(self).values(), vars(other).values()))

    @staticmethod
    def from_lists(types: list[list[int]], edges: list[list[tuple[int, int]]], max_n: int) -> "GraphBatch":
        """Build a batch from each graph's vertex types and its edges (u, v)."""
        type_rows = torch.zeros(len(types), max_n, dtype=torch.long)
        adj = torch.zeros(len(types), max_n, max_n, dtype=torch.bool)
        for b, (row, pairs) in enumerate(zip(types, edges, strict=True)):
            type_rows[b, : len(row)] = torch.tensor(row)
            if pairs:
                u, v = torch.tensor(pairs).T
                adj[b, u, v] = True
        return GraphBatch(type_rows, adj, torch.tensor([len(row) for row in types], dtype=torch.long))

    @staticmethod
    def cat(batches: list["GraphBatch"]) -> "GraphBatch":
        return GraphBatch(*map(torch.cat, zip(*(vars(batch).values() for batch in batches), strict=True)))


def is_single_source_single_sink(graphs: GraphBatch) -> torch.Tensor:
    """Check the DAG rules of both search spaces (D-VAE's `is_valid_DAG`); returns (B,) bool.

    A graph passes if vertex 0 is its only input, its last vertex is its only output, and every other vertex has an
    incoming and an outgoing edge.
    """
    number = torch.arange(graphs.max_n, device=graphs.types.device)
    last = (graphs.num_vertices - 1)[:, None]  # (B, 1)
    present = number <= last  # (B, N)
    is_input, is_output = number == 0, number == last
    types_ok = (((graphs.types == INPUT_TYPE) == is_input) & ((graphs.types == OUTPUT_TYPE) == is_output)) | ~present
    has_in = graphs.adj.any(dim=1) | is_input
    has_out = graphs.adj.any(dim=2) | is_output
    forward_only = ~torch.tril(graphs.adj).flatten(1).any(dim=1)
    return (types_ok & ((has_in & has_out) | ~present)).all(dim=1) & forward_only & (graphs.num_vertices > 1)
