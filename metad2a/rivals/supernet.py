"""A weight-sharing supernet of NAS-Bench-201: every edge of every cell has all operations (Dong and Yang, 2020).

Dimensions: B images, K classes, C channels, H x W pixels, E = 6 edges, O = 5 operations.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.spaces.nasbench201.cells import CELL_EDGES, OPERATIONS
from metad2a.spaces.nasbench201.network import KERNEL_SIZES, Skeleton, operation

NUM_EDGES, NUM_OPERATIONS = len(CELL_EDGES), len(OPERATIONS)


@dataclass(frozen=True)
class Mixture:
    """Weights of operations and edges, the same in all cells."""

    operations: torch.Tensor  # (E, O)
    edges: torch.Tensor | None = None  # (E,), None for 1 each
    paths: tuple[int, ...] | None = None  # the only operation of each edge to compute (E,); None for all operations


def path(operations: list[int], device: torch.device | str = "cpu") -> Mixture:
    """The mixture with a single operation on each edge."""
    weights = F.one_hot(torch.tensor(operations, device=device), NUM_OPERATIONS).float()
    return Mixture(weights, paths=tuple(operations))


def shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Channels (B, C, H, W) reordered: the first channel of each of `groups` equal groups, then the second ones."""
    B, C, H, W = x.shape
    return x.view(B, groups, C // groups, H, W).transpose(1, 2).reshape(B, C, H, W)


class MixedEdge(nn.Module):
    """All operations between two nodes; they see 1 / `share` of the channels, and the other channels bypass them
    (PC-DARTS, section 3.1)."""

    def __init__(self, channels: int, share: int = 1):
        super().__init__()
        self.share, self.seen = share, channels // share
        self.layers = nn.ModuleList(
            nn.Identity() if name == "none" else operation(name, self.seen) for name in OPERATIONS
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):  # an affine scale would hide an operation's weight
                module.affine = False
                module.register_parameter("weight", None)
                module.register_parameter("bias", None)

    def forward(self, x: torch.Tensor, rectified: torch.Tensor, mixture: Mixture, edge: int) -> torch.Tensor:
        """A node (B, C, H, W) and, for convolutions, its ReLU (B, C, H, W) -> the edge's output (B, C, H, W)."""
        weights, chosen = mixture.operations[edge], mixture.paths
        seen, seen_rectified = x[:, : self.seen], rectified[:, : self.seen]
        total = torch.zeros_like(seen)
        for number, name in enumerate(OPERATIONS):
            if chosen is not None and chosen[edge] != number:
                continue
            if name != "none":
                value = self.layers[number](seen_rectified if name in KERNEL_SIZES else seen)
                total = total + weights[number] * value
        if chosen is not None:  # the other weights sum to 0, but have a gradient (GDAS, equation 6)
            total = total + (weights.sum() - weights[chosen[edge]])
        if self.share > 1:
            total = shuffle(torch.cat((total, x[:, self.seen :]), dim=1), self.share)
        return total if mixture.edges is None else mixture.edges[edge] * total


class MixedCell(nn.Module):
    """A cell with all operations on its edges."""

    def __init__(self, channels: int, share: int = 1):
        super().__init__()
        self.edges = nn.ModuleList(MixedEdge(channels, share) for _ in CELL_EDGES)

    def forward(self, x: torch.Tensor, mixture: Mixture) -> torch.Tensor:
        """(B, C, H, W) -> the same."""
        values, rectified = [x], [F.relu(x)]
        for node in (1, 2, 3):
            total = torch.zeros_like(x)
            for edge, (target, source) in enumerate(CELL_EDGES):
                if target == node:
                    total = total + self.edges[edge](values[source], rectified[source], mixture, edge)
            values.append(total)
            rectified.append(F.relu(total))
        return values[-1]


class Supernet(Skeleton):
    """The network of all architectures; batch norm uses the statistics of the batch, also in evaluation."""

    def __init__(self, num_classes: int, channels: int, cells_per_stage: int, share: int = 1):
        super().__init__(lambda count: MixedCell(count, share), num_classes, channels, cells_per_stage)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None

    def forward(self, images: torch.Tensor, mixture: Mixture) -> torch.Tensor:  # type: ignore[override]
        """Normalised images (B, 3, 32, 32) -> logits (B, K)."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x, mixture) if isinstance(block, MixedCell) else block(x)
        return self.classify(x)
