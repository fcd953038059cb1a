"""Multiply-accumulates and parameters of Once-for-All MobileNetV3 subnets in closed form (Cai et al., ICLR 2020).

A layer's cost depends only on its own kernel and expansion, so one table serves every subnet. Counted as
`ofa.utils.flops_counter` counts: convolutions and the classifier, and all of their parameters, including those of batch
norm.
"""

from functools import cache

import numpy as np

from metad2a.spaces.ofa_mbv3.layers import EXPANSIONS, KERNELS, MAX_DEPTH

CHANNELS = (16, 16, 24, 40, 80, 112, 160)  # of the first convolution, the first block and the five stages
FINAL_CHANNELS, LAST_CHANNELS = 960, 1280
STRIDES = (2, 2, 2, 1, 2)  # of a stage's first layer
SQUEEZE = (False, True, False, True, True)  # stages with squeeze-and-excitation
DIVISOR, REDUCTION = 8, 4


def divisible(channels: float) -> int:
    """The nearest multiple of 8 that is no more than a tenth smaller, MobileNet's rule."""
    rounded = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * channels else rounded


def _conv(inputs: int, outputs: int, kernel: int, side: int, groups: int = 1, extra: int = 2) -> np.ndarray:
    """(2,) of a convolution with `extra` parameters a channel: 2 for batch norm, 1 for a bias."""
    weights = inputs // groups * outputs * kernel**2
    return np.array([weights * side**2, weights + extra * outputs], dtype=np.float64)


def _layer(inputs: int, outputs: int, kernel: int, expansion: int, side: int, stride: int, squeeze: bool) -> np.ndarray:
    """(2,) of an inverted residual block whose input is `side` pixels wide."""
    middle, after = divisible(round(inputs * expansion)), -(-side // stride)
    cost = _conv(middle, middle, kernel, after, groups=middle) + _conv(middle, outputs, 1, after)
    if expansion != 1:
        cost += _conv(inputs, middle, 1, side)
    if squeeze:
        reduced = divisible(middle // REDUCTION)
        cost += _conv(middle, reduced, 1, 1, extra=1) + _conv(reduced, middle, 1, 1, extra=1)
    return cost


@cache
def cost_table(num_classes: int, image_size: int, width_mult: float) -> tuple[np.ndarray, np.ndarray]:
    """Multiply-accumulates and parameters of the parts of a supernet of this width, for images of this side: what every
    subnet has, (2,) float64, and what each layer adds, (2, 20 layers, kernels, expansions) float64."""
    first, block, *stages = (divisible(c * width_mult) for c in CHANNELS)
    final, last = divisible(FINAL_CHANNELS * width_mult), divisible(LAST_CHANNELS * width_mult)
    side = -(-image_size // 2)
    fixed = _conv(3, first, 3, side) + _layer(first, block, 3, 1, side, 1, False)
    layers, inputs = [], block
    for outputs, stride, squeeze in zip(stages, STRIDES, SQUEEZE, strict=True):
        for i in range(MAX_DEPTH):
            step = stride if i == 0 else 1
            costs = [[_layer(inputs, outputs, k, e, side, step, squeeze) for e in EXPANSIONS] for k in KERNELS]
            layers.append(np.array(costs))  # (kernels, expansions, 2)
            side, inputs = -(-side // step), outputs
    fixed += _conv(inputs, final, 1, side) + _conv(final, last, 1, 1, extra=0) + _conv(last, num_classes, 1, 1, extra=1)
    return fixed, np.moveaxis(np.array(layers), -1, 0)
