"""Multiply-accumulates and parameters of a NAS-Bench-201 network in closed form (Dong and Yang, ICLR 2020)."""

from functools import cache
from itertools import pairwise

from metad2a.spaces.nasbench201.cells import IMAGE_SIZE, OPERATIONS, parse

FIRST_CHANNELS, CELLS_PER_STAGE, NUM_STAGES = 16, 5, 3
KERNEL_SIZES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
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
    kernels = (KERNEL_SIZES.get(OPERATIONS[number], 0) for number in parse(arch))
    return _cost(tuple(sorted(kernels)), num_classes)


@cache
def _cost(kernels: tuple[int, ...], num_classes: int) -> tuple[int, int]:
    parts = [_conv_cost(3, FIRST_CHANNELS, 3, IMAGE_SIZE)]
    for channels, size in STAGES:
        parts += [_conv_cost(channels, channels, kernel, size) for kernel in kernels if kernel] * CELLS_PER_STAGE
    for (c_in, _), (channels, size) in pairwise(STAGES):
        parts += [_conv_cost(c_in, channels, 3, size), _conv_cost(channels, channels, 3, size)]
        parts += [_conv_cost(c_in, channels, 1, size, norm=False)]
    classifier = LAST_CHANNELS * num_classes + num_classes
    parts += [(classifier, classifier), (0, 2 * LAST_CHANNELS)]
    return sum(flops for flops, _ in parts), sum(params for _, params in parts)
