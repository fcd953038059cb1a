"""Multiply-accumulates and parameters of a NAS-Bench-201 network in closed form (Dong and Yang, ICLR 2020)."""

from functools import cache
from itertools import pairwise

import numpy as np

from metad2a.spaces.nasbench201.cells import IMAGE_SIZE, OPERATIONS, cell_rows, parse

FIRST_CHANNELS, CELLS_PER_STAGE, NUM_STAGES = 16, 5, 3
KERNEL_SIZES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
SMALL, LARGE = (OPERATIONS.index(name) for name in KERNEL_SIZES)
STAGES = [(FIRST_CHANNELS << s, IMAGE_SIZE >> s) for s in range(NUM_STAGES)]  # (C, H) of each
LAST_CHANNELS = STAGES[-1][0]


def _conv_cost(c_in: int, c_out: int, kernel: int, size: int, norm: bool = True) -> tuple[int, int]:
    """Multiply-accumulates and parameters of a convolution with `size` x `size` outputs and its normalisation."""
    weights = c_in * c_out * kernel**2
    return weights * size**2, weights + (2 * c_out if norm else 0)


def cost(arch: str, num_classes: int) -> tuple[int, int]:
    """FLOPs and parameters of an architecture's network in closed form, counted as the benchmark's authors do: FLOPs
    are multiply-accumulates of convolutions and of the classifier (and its bias) for one image. Pooling, normalisation
    and sums are free. A convolution that leads nowhere counts. Raises a UserError for a malformed string."""
    operations = parse(arch)
    return _cost(operations.count(SMALL), operations.count(LARGE), num_classes)


def costs_of_all(num_classes: int) -> dict[str, np.ndarray]:
    """`cost` of all cells, `flops` and `params`, each (15625,) int64."""
    counts = [(cell_rows() == number).sum(1) for number in (SMALL, LARGE)]
    numbers = range(cell_rows().shape[1] + 1)
    table = np.array([[_cost(small, large, num_classes) for large in numbers] for small in numbers])
    return dict(zip(("flops", "params"), table[counts[0], counts[1]].T, strict=True))


@cache
def _cost(small: int, large: int, num_classes: int) -> tuple[int, int]:
    """The cost of a cell, given its numbers of 1x1 and 3x3 convolutions."""
    kernels = [KERNEL_SIZES[OPERATIONS[SMALL]]] * small + [KERNEL_SIZES[OPERATIONS[LARGE]]] * large
    parts = [_conv_cost(3, FIRST_CHANNELS, 3, IMAGE_SIZE)]
    for channels, size in STAGES:
        parts += [_conv_cost(channels, channels, kernel, size) for kernel in kernels] * CELLS_PER_STAGE
    for (c_in, _), (channels, size) in pairwise(STAGES):
        parts += [_conv_cost(c_in, channels, 3, size), _conv_cost(channels, channels, 3, size)]
        parts += [_conv_cost(c_in, channels, 1, size, norm=False)]
    classifier = LAST_CHANNELS * num_classes + num_classes
    parts += [(classifier, classifier), (0, 2 * LAST_CHANNELS)]
    return sum(flops for flops, _ in parts), sum(params for _, params in parts)
