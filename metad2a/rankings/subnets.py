"""Predict the accuracy of Once-for-All MobileNetV3 subnets, with its uncertainty, by a Gaussian process.

`python -m metad2a.rankings.fit_subnets` made the shipped file; its description says from what.

Dimensions: P subnets, M anchors.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
import torch.nn as nn
from annotated_types import Gt

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, load_torch
from metad2a.core.schema import OPEN, Number, check
from metad2a.core.tensors import BYTES, FLOATS, INTEGERS, NumbersOf, State, TensorOf, check_state
from metad2a.rankings.gaussian_process import Anchored, matern
from metad2a.spaces.ofa_mbv3.layers import FIRST_OPERATION_TYPE, MAX_DEPTH, NUM_LAYERS, Arch
from metad2a.spaces.ofa_mbv3.table import NUM_CLASSES, operations_to_archs

FORMAT = "metad2a-subnet-process-1"
SHIPPED = ASSETS / "ofa_mbv3" / "process.pt"
SCORE = "score on ImageNet"
PREDICTS = "the expected ImageNet top-1 (all 1,000 classes) of the subnet with the published supernet's weights, in %"
SIZES = (128, 160, 192, 224)  # image sides in pixels with measured accuracies
WIDTHS = {"layers": 3 * NUM_LAYERS, "cost": 2, "size": 1}  # number of features of each kind
FIRST_NOISE = (-2.0, -2.0, -2.0, -5.0)  # logarithms for `SIZES`: measurements at smaller sizes are less exact
SIZE_UNIT = 64  # pixels
Features = dict[str, torch.Tensor]


def check_image_size(size: int) -> None:
    """Raise a UserError if the ranking cannot predict accuracies for images of this size."""
    if not SIZES[0] <= size <= SIZES[-1]:
        raise UserError(
            f"--image-size {size}: the ranking covers images of {SIZES[0]} to {SIZES[-1]} pixels. Give a size in this "
            "range, or --ranking predictor with your own predictor."
        )


def subnet_features(archs: list[Arch], image_size: torch.Tensor) -> Features:
    """The inputs of the kernel, each (P, F) float64, for images of P sizes (pixels).

    `layers`: for each active layer its kernel and expansion as -1, 0 or 1, and a 1; zeros for an inactive layer.
    `cost`: logarithms of multiply-accumulates and parameters. `size`: the scaled image size.
    """
    space = spaces.get("ofa_mbv3")
    operations = space.encode(archs).types[:, 1:-1] - FIRST_OPERATION_TYPE  # (P, 20)
    active = torch.arange(NUM_LAYERS) % MAX_DEPTH < operations.div(9, rounding_mode="floor") + 2
    values = [operations % 9 // 3 - 1, operations % 3 - 1, torch.ones_like(operations)]
    layers = torch.stack(values, 1) * active[:, None]  # (P, 3, 20)
    cost = torch.empty(len(archs), 2, dtype=torch.float64)
    for size in image_size.unique().tolist():
        rows = (image_size == size).nonzero()[:, 0]
        cost[rows] = torch.from_numpy(space.sized(size).costs([archs[i] for i in rows.tolist()], NUM_CLASSES)).log().T
    return {
        "layers": layers.flatten(1).double(),
        "cost": cost,
        "size": (image_size.double()[:, None] - SIZES[-1]) / SIZE_UNIT,
    }


class SubnetProcess(nn.Module):
    """A Gaussian process with a Matern 3/2 and a linear kernel; parameters are logarithms of positive numbers."""

    def __init__(self) -> None:
        super().__init__()
        total = sum(WIDTHS.values())
        start = -0.5 * math.log(0.9 * total)

        def scales(value: float) -> nn.ParameterDict:
            return nn.ParameterDict({name: torch.full((n,), value, dtype=torch.float64) for name, n in WIDTHS.items()})

        self.scales, self.slopes = scales(start), scales(-1.5)  # factors of the features in each kernel
        self.parts = nn.Parameter(torch.zeros(2, dtype=torch.float64))  # variances of the Matern kernel and a constant
        self.unexplained = nn.Parameter(torch.tensor(FIRST_NOISE, dtype=torch.float64))  # variances, see `noise`

    @staticmethod
    def _scaled(features: Features, scales: nn.ParameterDict) -> torch.Tensor:
        return torch.cat([features[name] * scales[name].exp() for name in WIDTHS], 1)

    def covariance(self, subnets: Features, others: Features) -> torch.Tensor:
        """Covariance (P, Q) of P subnets with Q others, without noise."""
        smooth, constant = self.parts.exp()
        distant = matern(self._scaled(subnets, self.scales), self._scaled(others, self.scales))
        return smooth * distant + self._scaled(subnets, self.slopes) @ self._scaled(others, self.slopes).T + constant

    def noise(self, subnets: Features) -> torch.Tensor:
        """Variances (P,) that no kernel explains, taken from the nearest of `SIZES`."""
        sizes = torch.tensor(SIZES, dtype=torch.float64)
        return self.unexplained.exp()[(subnets["size"] - (sizes - SIZES[-1]) / SIZE_UNIT).abs().argmin(1)]

    def variance(self, subnets: Features) -> torch.Tensor:
        """The diagonal (P,) of `covariance`, plus noise."""
        return self.parts.exp().sum() + self._scaled(subnets, self.slopes).square().sum(1) + self.noise(subnets)


@dataclass(frozen=True)
class SubnetRanking:
    """A process and its posterior."""

    process: SubnetProcess
    anchors: Features  # of the M anchors
    learned: Anchored
    mean: float  # of the learned accuracies, %
    std: float

    @torch.inference_mode()
    def predict(self, archs: list[Arch], image_size: int | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Accuracies (P,) in % and their standard deviations in points for images of this size, or of P sizes."""
        sizes = torch.as_tensor(image_size).expand(len(archs))
        for size in sizes.unique().tolist():
            check_image_size(size)
        features = subnet_features(archs, sizes)
        cross, variance = self.process.covariance(features, self.anchors), self.process.variance(features)
        mean, deviation = self.learned.predict(cross, variance)
        return self.mean + self.std * mean, self.std * deviation


@dataclass(frozen=True)
class _File:
    __pydantic_config__ = OPEN

    state: State
    operations: Annotated[torch.Tensor, TensorOf(BYTES, ("M", NUM_LAYERS))]
    image_size: Annotated[torch.Tensor, NumbersOf(INTEGERS, low=1)]
    weights: Annotated[torch.Tensor, TensorOf(FLOATS, ("M",))]
    known: Annotated[torch.Tensor, TensorOf(FLOATS, ("M", "M"))]
    mean: Number
    std: Annotated[Number, Gt(0)]


@cache
def load(path: str | Path = SHIPPED) -> SubnetRanking:
    """Read a file of `python -m metad2a.rankings.fit_subnets`."""
    hint = "Make it with: python -m metad2a.rankings.fit_subnets TARGET"
    file: _File = check(path, load_torch(path, hint), _File, "a ranking of subnets", hint, FORMAT)
    process = SubnetProcess()
    check_state(path, file.state, process, "this program", hint)
    process.load_state_dict(file.state)
    archs = [arch for arch in operations_to_archs(file.operations.numpy()) if arch]
    if {len(archs), len(file.image_size), len(file.weights), len(file.known)} != {len(file.operations)}:
        raise UserError(f"{path} is not a ranking of subnets: its columns do not fit. {hint}")
    anchors = subnet_features(archs, file.image_size)
    learned = Anchored(file.weights, file.known)
    return SubnetRanking(process.requires_grad_(False), anchors, learned, file.mean, file.std)
