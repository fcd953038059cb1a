"""NAS-Bench-201 (Dong and Yang, ICLR 2020): cells of four nodes, one of five operations on each edge.

An architecture is its string, for example
`|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|`.
Its graph puts the operations on vertices 1..6, in the order of the string, between an input and an output.
"""

from collections.abc import Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from metad2a.core.errors import UserError, did_you_mean
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.nasbench201 import cells, tables
from metad2a.spaces.nasbench201.classes import equivalence_classes
from metad2a.spaces.nasbench201.cost import cost, costs_of_all

if TYPE_CHECKING:
    import torch
    import torch.nn as nn

    from metad2a.graphs.batch import GraphBatch


class NASBench201(SearchSpace):
    name = "nasbench201"
    max_n = 8
    num_vertex_type = cells.FIRST_OPERATION_TYPE + len(cells.OPERATIONS)
    size = cells.NUM_CELLS
    results_folder = ""
    published_epoch = 400
    image_size = cells.IMAGE_SIZE
    task_sizes = (20, 20)
    ranking_shipped = True
    tuples_shipped = True
    benchmark_classes = MappingProxyType({"imagenet16-120": 120})
    gene_choices = (len(cells.OPERATIONS),) * len(cells.CELL_EDGES)

    def encode(self, archs: list[str]) -> "GraphBatch":
        import torch

        from metad2a.graphs.batch import GraphBatch

        B = len(archs)
        types = torch.zeros(B, self.max_n, dtype=torch.long)
        types[:, 1:-1] = torch.tensor([cells.parse(arch) for arch in archs]).view(-1, 6) + cells.FIRST_OPERATION_TYPE
        types[:, -1] = 1
        adj = torch.zeros(self.max_n, self.max_n, dtype=torch.bool)
        u, v = torch.tensor(cells.GRAPH_EDGES).T
        adj[u, v] = True
        return GraphBatch(types, adj.expand(B, -1, -1), torch.full((B,), self.max_n))

    def valid(self, graphs: "GraphBatch") -> "torch.Tensor":
        from metad2a.graphs.batch import is_single_source_single_sink

        operations = graphs.types[:, 1:-1] >= cells.FIRST_OPERATION_TYPE
        return is_single_source_single_sink(graphs) & (graphs.num_vertices == self.max_n) & operations.all(dim=1)

    def decode(self, graphs: "GraphBatch") -> list[str | None]:
        rows = (graphs.types[:, 1:-1] - cells.FIRST_OPERATION_TYPE).tolist()
        return [cells.to_string(row) if ok else None for row, ok in zip(rows, self.valid(graphs).tolist(), strict=True)]

    def sample(self, n: int, rng: "torch.Generator") -> list[str]:
        import torch

        return [self.architectures[i] for i in torch.randint(self.size, (n,), generator=rng).tolist()]

    def to_text(self, arch: str) -> str:
        return cells.to_string(cells.parse(arch))

    def from_text(self, text: str) -> str:
        return self.to_text(text.strip())

    @cached_property
    def architectures(self) -> list[str]:
        """The strings of `metad2a.spaces.nasbench201.cells.all_cells`."""
        return list(cells.cells_by_string())

    def cost(self, arch: str, num_classes: int) -> dict[str, float]:
        flops, params = cost(arch, num_classes)
        return {"flops": flops / 1e6, "params": params / 1e6}

    def costs_of_all(self, num_classes: int) -> dict[str, np.ndarray]:
        return {name: values / 1e6 for name, values in costs_of_all(num_classes).items()}

    def network(self, arch: str, num_classes: int) -> "nn.Module":
        from metad2a.spaces.nasbench201.network import NASBench201Network

        return NASBench201Network(arch, num_classes)

    def evaluator(self, options: Any) -> Any:
        from metad2a.spaces.nasbench201.evaluator import TrainingEvaluator

        return TrainingEvaluator(self, options)

    def known_accuracy(self, dataset: str, epochs: int = 200) -> dict[str, float] | None:
        """Test accuracy after 200 epochs, or validation accuracy after 12."""
        known = self.table.get({200: "test_200", 12: "valid_12"}.get(epochs, ""), {})
        if epochs == 200 and dataset in tables.NASBENCH360_NAMES:
            known = tables.nasbench360()
        if dataset not in known:
            return None
        return dict(zip(self.architectures, known[dataset].tolist(), strict=True))

    def classes_of_equals(self) -> np.ndarray:
        return equivalence_classes()

    def can_learn(self, arch: str) -> bool:
        return any(cells.OPERATIONS[op].startswith("nor_conv") for op in cells.live_operations(cells.parse(arch)))

    def all_can_learn(self) -> np.ndarray:
        return cells.learning_cells()

    def features(self) -> "dict[str, torch.Tensor]":
        """`paths`, `operations` and `scores`, see `metad2a.spaces.nasbench201.cell_features`."""
        from metad2a.spaces.nasbench201.cell_features import published_features

        return published_features()

    def training_free_scores(self, dataset: str) -> dict[str, float]:
        """NASWOT's published scores on `dataset`, or on CIFAR-10 if `dataset` has none."""
        scores = tables.nwot()
        return dict(zip(self.architectures, scores.get(dataset, scores["cifar10"]).tolist(), strict=True))

    def device_latency(self, device: str) -> dict[str, float]:
        """Measured by the authors of HELP (Lee et al., NeurIPS 2021)."""
        known = tables.device_latency()
        if device not in known:
            guess = did_you_mean(device, list(known))
            raise UserError(f"--device-latency {device!r} is none of the measured devices: {', '.join(known)}. {guess}")
        return dict(zip(self.architectures, known[device].tolist(), strict=True))

    @cached_property
    def table(self) -> dict[str, dict[str, np.ndarray]]:
        """See `metad2a.spaces.nasbench201.tables.accuracy`."""
        return tables.accuracy()

    def genes(self, arch: str) -> list[int]:
        """Numbers of the operations."""
        return cells.parse(arch)

    def from_genes(self, genes: Sequence[int]) -> str:
        return cells.to_string(genes)

    def drawing(self, arch: str) -> tuple[list[str], list[tuple[int, int, str]]]:
        names = [cells.OPERATIONS[op] for op in cells.parse(arch)]
        edges = [(u, v, name) for (v, u), name in zip(cells.CELL_EDGES, names, strict=True)]
        return ["input", "1", "2", "output"], [edge for edge in edges if edge[2] != "none"]
