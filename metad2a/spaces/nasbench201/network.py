"""The network of a NAS-Bench-201 architecture (Dong and Yang, ICLR 2020, section 2.1): a 3x3 convolution, three stages
of N = 5 equal cells with C = 16, 32 and 64 channels, a residual block of stride 2 between the stages, global average
pooling and a linear classifier.

Dimensions: B images, K classes, C channels, H x W pixels.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.spaces.nasbench201.cells import CELL_EDGES, OPERATIONS, nodes_before_output, parse
from metad2a.spaces.nasbench201.cost import CELLS_PER_STAGE, FIRST_CHANNELS, KERNEL_SIZES, NUM_STAGES


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch normalisation. The benchmark's `nor_conv` has a ReLU before them."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


def operation(name: str, channels: int) -> nn.Module:
    """The layer of an operation, without the ReLU of a convolution, which the cell applies."""
    if name in KERNEL_SIZES:
        return conv_bn(channels, channels, KERNEL_SIZES[name])
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Identity()  # skip_connect; `none` is never called


class Cell(nn.Module):
    """Four nodes, each the sum of the operations on its incoming edges; node 0 is the input, 3 the output. A node's
    ReLU is computed once for all its convolutions. Edges to a node that does not reach the output have parameters, as
    in the benchmark, but are neither computed nor trained."""

    def __init__(self, operations: Sequence[int], channels: int):
        super().__init__()
        names = [OPERATIONS[number] for number in operations]
        self.layers = nn.ModuleList(operation(name, channels) for name in names)
        self.convolves = [name in KERNEL_SIZES for name in names]
        live = nodes_before_output(operations)
        self.inputs: dict[int, list[tuple[int, int]]] = {node: [] for node in sorted(live - {0})}
        for edge, ((node, source), name) in enumerate(zip(CELL_EDGES, names, strict=True)):
            if node not in live:
                self.layers[edge].requires_grad_(False)
            elif name != "none":
                self.inputs[node].append((edge, source))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same."""
        values, rectified = {0: x}, {}
        for node, inputs in self.inputs.items():
            total = None
            for edge, source in inputs:
                if self.convolves[edge] and source not in rectified:
                    rectified[source] = F.relu(values[source])
                value = self.layers[edge]((rectified if self.convolves[edge] else values)[source])
                total = value if total is None else total + value
            values[node] = x * 0 if total is None else total
        return values[3]


class Reduction(nn.Module):
    """The residual block between two stages: twice the channels, half the side."""

    def __init__(self, c_in: int):
        super().__init__()
        self.conv_a = conv_bn(c_in, 2 * c_in, 3, stride=2)
        self.conv_b = conv_bn(2 * c_in, 2 * c_in, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, 2 * c_in, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 2C, H/2, W/2)."""
        return self.downsample(x) + self.conv_b(F.relu(self.conv_a(F.relu(x))))


class Skeleton(nn.Module):
    """A network around its cells, with PyTorch's initial weights, as the benchmark trains it. `cell` makes a cell for a
    number of channels; `channels` are those of the first stage."""

    def __init__(
        self,
        cell: Callable[[int], nn.Module],
        num_classes: int,
        channels: int = FIRST_CHANNELS,
        cells_per_stage: int = CELLS_PER_STAGE,
    ):
        super().__init__()
        self.stem = conv_bn(3, channels, 3)
        blocks: list[nn.Module] = []
        for stage in range(NUM_STAGES):
            if stage:
                blocks.append(Reduction(channels))
                channels *= 2
            blocks += [cell(channels) for _ in range(cells_per_stage)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, 32, 32) -> logits (B, K)."""
        return self.classify(self.blocks(self.stem(images)))

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """The last cell's output (B, 64, 8, 8) -> logits (B, K)."""
        return self.classifier(F.relu(self.norm(x)).mean(dim=(2, 3)))


class NASBench201Network(Skeleton):
    """The network of an architecture string, with the `sizes` of `Skeleton`: `num_classes` and, if they differ from the
    benchmark's, `channels` and `cells_per_stage`. Raises a UserError if the string is malformed."""

    def __init__(self, arch: str, *sizes: int):
        operations = parse(arch)
        super().__init__(lambda channels: Cell(operations, channels), *sizes)
