"""Once-for-All MobileNetV3 (Cai et al., ICLR 2020): 5 stages of 2 to 4 layers, kernel 3/5/7, expansion 3/4/6.

An architecture is a dict `{'ks': [20], 'e': [20], 'd': [5]}`: kernel and expansion of each of the 5 x 4 layers, and
depth of each stage. Layers beyond a stage's depth are inactive, so several encodings are the same network. The
canonical form gives inactive layers the smallest kernel and expansion.
"""

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metad2a.core.errors import UserError, describe
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.ofa_mbv3.cost import cost_table
from metad2a.spaces.ofa_mbv3.layers import (
    CHOICES,
    DEPTHS,
    EXPANSIONS,
    FIRST_OPERATION_TYPE,
    IMAGE_SIZE,
    KERNELS,
    MAX_DEPTH,
    NUM_LAYERS,
    NUM_STAGES,
    SMALLEST,
    Arch,
)

if TYPE_CHECKING:
    import torch
    import torch.nn as nn

    from metad2a.graphs.batch import GraphBatch


def _arch(*positions: Sequence[int]) -> Arch:
    """The architecture with these positions among the choices of kernels, expansions and depths."""
    return {
        name: [choices[i] for i in row] for (name, (choices, _)), row in zip(CHOICES.items(), positions, strict=True)
    }


class OFAMobileNetV3(SearchSpace):
    name = "ofa_mbv3"
    max_n = NUM_LAYERS + 2
    num_vertex_type = FIRST_OPERATION_TYPE + len(DEPTHS) * len(KERNELS) * len(EXPANSIONS)
    size = (len(KERNELS) * len(EXPANSIONS)) ** NUM_LAYERS * len(DEPTHS) ** NUM_STAGES
    results_folder = "ofa_mbv3"
    published_epoch = 120
    image_size = IMAGE_SIZE
    fixed_size = False
    task_sizes = (10, 990)
    ranks_when_generating = True
    ranking_shipped = True
    tuples_shipped = False
    adds_up = True
    gene_choices = (len(DEPTHS),) * NUM_STAGES + (len(KERNELS),) * NUM_LAYERS + (len(EXPANSIONS),) * NUM_LAYERS

    def layer_types(self, archs: list[Arch]) -> np.ndarray:
        """Vertex types of the layers (B, 20) int64."""
        rows = [self._check(a) for a in archs]
        kernel = np.array([[KERNELS.index(k) for k in a["ks"]] for a in rows], int).reshape(-1, NUM_LAYERS)
        expand = np.array([[EXPANSIONS.index(e) for e in a["e"]] for a in rows], int).reshape(-1, NUM_LAYERS)
        depth = np.array([[d - DEPTHS[0] for d in a["d"]] for a in rows], int).reshape(-1, NUM_STAGES)
        return FIRST_OPERATION_TYPE + 9 * depth.repeat(MAX_DEPTH, 1) + 3 * kernel + expand

    def of_layer_types(self, types: np.ndarray) -> list[Arch | None]:
        """The inverse of `layer_types`, None for layers that are no architecture."""
        operations = types.astype(int) - FIRST_OPERATION_TYPE  # (B, 20)
        depth = (operations // 9).reshape(-1, NUM_STAGES, MAX_DEPTH)
        known = ((operations >= 0) & (types < self.num_vertex_type)).all(1)
        agree = (depth == depth[:, :, :1]).all((1, 2))
        return [
            _arch([op // 3 % 3 for op in row], [op % 3 for op in row], [op // 9 for op in row[::MAX_DEPTH]])
            if ok
            else None
            for row, ok in zip(operations.tolist(), (known & agree).tolist(), strict=True)
        ]

    def encode(self, archs: list[Arch]) -> "GraphBatch":
        import torch

        return self.graphs(torch.from_numpy(self.layer_types(archs)))

    def graphs(self, layers: "torch.Tensor") -> "GraphBatch":
        """The chains of layers with these vertex types (B, 20)."""
        import torch
        from torch.nn.functional import pad

        from metad2a.graphs.batch import GraphBatch

        B, chain = len(layers), torch.diag(torch.ones(self.max_n - 1, dtype=torch.bool), 1)
        types = pad(pad(layers.long(), (1, 0)), (0, 1), value=1)
        return GraphBatch(types, chain.expand(B, -1, -1), torch.full((B,), self.max_n))

    def valid(self, graphs: "GraphBatch") -> "torch.Tensor":
        from metad2a.graphs.batch import is_single_source_single_sink

        operations = graphs.types[:, 1:-1] - FIRST_OPERATION_TYPE  # (B, 20)
        depth = operations.div(9, rounding_mode="floor").unflatten(1, (NUM_STAGES, MAX_DEPTH))
        agree = (depth == depth[:, :, :1]).flatten(1).all(dim=1)
        whole = (graphs.num_vertices == self.max_n) & (operations >= 0).all(dim=1)
        return is_single_source_single_sink(graphs) & whole & agree

    def decode(self, graphs: "GraphBatch") -> list[Arch | None]:
        archs = self.of_layer_types(graphs.types[:, 1:-1].cpu().numpy())
        return [arch if ok else None for arch, ok in zip(archs, self.valid(graphs).tolist(), strict=True)]

    def sample(self, n: int, rng: "torch.Generator") -> list[Arch]:
        import torch

        kernel = torch.randint(len(KERNELS), (n, NUM_LAYERS), generator=rng)
        expand = torch.randint(len(EXPANSIONS), (n, NUM_LAYERS), generator=rng)
        depth = torch.randint(len(DEPTHS), (n, NUM_STAGES), generator=rng)
        return [_arch(*row) for row in zip(kernel.tolist(), expand.tolist(), depth.tolist(), strict=True)]

    def canonical(self, arch: Arch) -> Arch:
        """The same network with inactive layers at the smallest kernel and expansion."""
        arch = self._check(arch)
        active = [layer < depth for depth in arch["d"] for layer in range(MAX_DEPTH)]
        return {
            "ks": [k if on else KERNELS[0] for k, on in zip(arch["ks"], active, strict=True)],
            "e": [e if on else EXPANSIONS[0] for e, on in zip(arch["e"], active, strict=True)],
            "d": list(arch["d"]),
        }

    def vertex_features(self) -> "torch.Tensor":
        """One-hots of kernel, expansion and both, 0 for an inactive layer; and of the depth at first layers."""
        import torch
        from torch.nn.functional import one_hot, pad

        operation = torch.arange(self.num_vertex_type - FIRST_OPERATION_TYPE)
        layer = torch.arange(NUM_LAYERS)[:, None] % MAX_DEPTH
        depth = operation.div(9, rounding_mode="floor")
        active, first = (layer < depth + DEPTHS[0])[..., None], (layer == 0)[..., None]  # (20, 27 or 1, 1)
        choices = [one_hot(operation % 9 // 3, 3), one_hot(operation % 3, 3), one_hot(operation % 9, 9)]
        parts = [torch.cat(choices, 1) * active, one_hot(depth, 3) * first]
        inner = torch.cat([part.expand(NUM_LAYERS, -1, -1) for part in parts], 2).double()
        return pad(inner, (0, 0, FIRST_OPERATION_TYPE, 0, 1, 1))

    def genes(self, arch: Arch) -> list[int]:
        """Depths, kernels and expansions, in this order, inactive layers at the smallest."""
        arch = self.canonical(arch)
        return [CHOICES[name][0].index(value) for name in ("d", "ks", "e") for value in arch[name]]

    def from_genes(self, genes: Sequence[int]) -> Arch:
        return self.canonical(_arch(genes[NUM_STAGES:-NUM_LAYERS], genes[-NUM_LAYERS:], genes[:NUM_STAGES]))

    def supernet_sizes(self, supernet: str) -> dict[str, float]:
        from metad2a.spaces.ofa_mbv3.supernet import read_supernet

        config = read_supernet(supernet)["config"]
        return {"image_size": config.image_size, "width_mult": config.width_mult}

    def cost(self, arch: Arch, num_classes: int) -> dict[str, float]:
        flops, params = self.costs([arch], num_classes)[:, 0].tolist()
        return {"flops": flops, "params": params}

    def costs(self, archs: list[Arch], num_classes: int) -> np.ndarray:
        """(2, n) float64, `cost` of n architectures: multiply-accumulates and parameters, both in millions."""
        fixed, layers = cost_table(num_classes, self.image_size, self.width_mult)
        operations = self.layer_types(archs) - FIRST_OPERATION_TYPE  # (n, 20)
        depth = operations // 9 + DEPTHS[0]
        layer = np.arange(NUM_LAYERS)
        chosen = layers[:, layer, operations % 9 // 3, operations % 3]  # (2, n, 20)
        active = layer % MAX_DEPTH < depth
        return (fixed[:, None] + (chosen * active).sum(-1)) / 1e6

    def smallest_cost(self, num_classes: int) -> dict[str, float]:
        return self.cost(SMALLEST, num_classes)

    def network(self, arch: Arch, num_classes: int) -> "nn.Module":
        from metad2a.spaces.ofa_mbv3.supernet import SupernetConfig, build_supernet, subnet

        return subnet(build_supernet(SupernetConfig(num_classes, self.width_mult)), arch)

    def evaluator(self, options: Any) -> Any:
        from metad2a.spaces.ofa_mbv3.evaluator import SubnetEvaluator

        return SubnetEvaluator(options)

    def drawing(self, arch: Arch) -> tuple[list[str], list[tuple[int, int, str]]]:
        arch = self.canonical(arch)
        active = [i for i in range(NUM_LAYERS) if i % MAX_DEPTH < arch["d"][i // MAX_DEPTH]]
        nodes = ["input", *(f"{arch['ks'][i]}x{arch['ks'][i]} e{arch['e'][i]}" for i in active), "output"]
        return nodes, [(u, u + 1, "") for u in range(len(nodes) - 1)]

    def to_text(self, arch: Arch) -> str:
        return str(self.canonical(arch))

    def from_text(self, text: str) -> Arch:
        try:
            arch = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise UserError(f"Not an OFA MobileNetV3 architecture: {describe(text)}.") from error
        return self._check(arch)

    @staticmethod
    def _check(arch: Any) -> Arch:
        for key, (choices, length) in CHOICES.items():
            values = arch.get(key) if isinstance(arch, dict) else None
            whole = isinstance(values, list) and len(values) == length
            if not whole or not all(type(value) is int and value in choices for value in values):
                raise UserError(
                    f"Not an OFA MobileNetV3 architecture: {describe(str(arch))}. '{key}' must be {length} numbers "
                    f"among {choices}."
                )
        return arch
