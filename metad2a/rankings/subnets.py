"""Accuracy of Once-for-All MobileNetV3 subnets by a Gaussian process, with its uncertainty; resolution is an input.

What is shipped was made by `python -m metad2a.rankings.fit_subnets`, which says from what.

Dimensions: P subnets, M anchors.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn as nn
from annotated_types import Gt
from typing_extensions import TypedDict

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, load_torch
from metad2a.core.schema import BYTES, FLOATS, INTEGERS, Number, NumbersOf, State, TensorOf, check, check_state
from metad2a.rankings.gaussian_process import Anchored, matern
from metad2a.spaces.ofa_mbv3.layers import FIRST_OPERATION_TYPE, MAX_DEPTH, NUM_LAYERS, Arch
from metad2a.spaces.ofa_mbv3.table import NUM_CLASSES, operations_to_archs

FORMAT = "metad2a-subnet-process-1"
SHIPPED = ASSETS / "ofa_mbv3" / "process.pt"
PREDICTS = "ImageNet top-1 (all 1,000 classes) of the subnet with the published supernet's weights"
SIZES = (128, 160, 192, 224)  # sides in pixels of the images that accuracies were measured with
WIDTHS = {"layers": 3 * NUM_LAYERS, "cost": 2, "size": 1}  # features of each kind
FIRST_NOISE = (-2.0, -2.0, -2.0, -5.0)  # of `SIZES`, logarithms: the smaller ones were measured less exactly
SIZE_UNIT = 64  # pixels
Features = dict[str, torch.Tensor]


def check_image_size(size: int) -> None:
    """Check that accuracies are known for images about this large.

    Raises:
        UserError: they are outside what was learned from.
    """
    if not SIZES[0] <= size <= SIZES[-1]:
        raise UserError(
            f"--image-size {size}: accuracies are known of subnets for images of {SIZES[0]} to {SIZES[-1]} "
            "pixels. Give one of these, or --ranking predictor with a predictor of yours."
        )


def subnet_features(archs: list[Arch], image_size: torch.Tensor) -> Features:
    """What the kernel looks at, each (P, F) float64.

    `layers`: of each layer its kernel and expansion as -1, 0 or 1, and whether it is there; 0 where it is not. `cost`:
    logarithms of multiply-accumulates and parameters for the image's side. `size`: that side.

    Args:
        image_size: (P,) long, side in pixels.
    """
    space = spaces.get("ofa_mbv3")
    operations = space.encode(archs).types[:, 1:-1] - FIRST_OPERATION_TYPE  # (P, 20)
    there = torch.arange(NUM_LAYERS) % MAX_DEPTH < operations.div(9, rounding_mode="floor") + 2
    chosen = torch.stack([operations % 9 // 3 - 1, operations % 3 - 1, torch.ones_like(operations)], 1) * there[:, None]
    cost = torch.empty(len(archs), 2, dtype=torch.float64)
    for size in image_size.unique().tolist():
        rows = (image_size == size).nonzero()[:, 0]
        cost[rows] = space.sized(size).costs([archs[i] for i in rows.tolist()], NUM_CLASSES).log().T
    return {
        "layers": chosen.flatten(1).double(),
        "cost": cost,
        "size": (image_size.double()[:, None] - SIZES[-1]) / SIZE_UNIT,
    }


class SubnetProcess(nn.Module):
    """Matern 3/2 and linear kernels over features of `WIDTHS`; parameters are logarithms of positive numbers."""

    def __init__(self) -> None:
        super().__init__()
        total = sum(WIDTHS.values())
        start = -0.5 * math.log(0.9 * total)

        def scales(value: float) -> nn.ParameterDict:
            return nn.ParameterDict({name: torch.full((n,), value, dtype=torch.float64) for name, n in WIDTHS.items()})

        self.scales, self.slopes = scales(start), scales(-1.5)  # what features are multiplied by in either kernel
        self.parts = nn.Parameter(torch.zeros(2, dtype=torch.float64))  # variances of Matern's kernel and a constant
        self.unexplained = nn.Parameter(torch.tensor(FIRST_NOISE, dtype=torch.float64))  # variances, of `noise`

    @staticmethod
    def _scaled(features: Features, scales: nn.ParameterDict) -> torch.Tensor:
        return torch.cat([features[name] * scales[name].exp() for name in WIDTHS], 1)

    def covariance(self, here: Features, there: Features) -> torch.Tensor:
        """(P, Q) of subnets with others, without noise."""
        smooth, constant = self.parts.exp()
        distant = matern(self._scaled(here, self.scales), self._scaled(there, self.scales))
        return smooth * distant + self._scaled(here, self.slopes) @ self._scaled(there, self.slopes).T + constant

    def noise(self, here: Features) -> torch.Tensor:
        """(P,) variances of what no kernel explains, those of the nearest of `SIZES`."""
        sizes = torch.tensor(SIZES, dtype=torch.float64)
        return self.unexplained.exp()[(here["size"] - (sizes - SIZES[-1]) / SIZE_UNIT).abs().argmin(1)]

    def variance(self, here: Features) -> torch.Tensor:
        """(P,) the diagonal of `covariance`, noise added."""
        return self.parts.exp().sum() + self._scaled(here, self.slopes).square().sum(1) + self.noise(here)


@dataclass(frozen=True)
class SubnetRanking:
    """A process and what it has learned.

    Attributes:
        anchors: features of the M anchors.
        mean, std: of the accuracies (%) that were learned from.
    """

    process: SubnetProcess
    anchors: Features
    learned: Anchored
    mean: float
    std: float

    @torch.inference_mode()
    def predict(self, archs: list[Arch], image_size: int | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Accuracies (P,) in % and their standard deviations in points, for images of this side.

        Raises:
            UserError: the side is outside what was learned from.
        """
        sizes = torch.as_tensor(image_size).expand(len(archs))
        for size in sizes.unique().tolist():
            check_image_size(size)
        features = subnet_features(archs, sizes)
        mean, deviation = self.learned.predict(
            self.process.covariance(features, self.anchors), self.process.variance(features)
        )
        return self.mean + self.std * mean, self.std * deviation


class _File(TypedDict):
    state: State
    operations: Annotated[torch.Tensor, TensorOf(BYTES, ("M", NUM_LAYERS))]
    image_size: Annotated[torch.Tensor, NumbersOf(INTEGERS, low=1)]
    weights: Annotated[torch.Tensor, TensorOf(FLOATS, ("M",))]
    known: Annotated[torch.Tensor, TensorOf(FLOATS, ("M", "M"))]
    mean: Number
    std: Annotated[Number, Gt(0)]


@cache
def load(path: str | Path = SHIPPED) -> SubnetRanking:
    """Read a file of `python -m metad2a.rankings.fit_subnets`.

    Raises:
        UserError: it is missing, damaged or of another kind.
    """
    hint = "Make it with: python -m metad2a.rankings.fit_subnets TARGET"
    value: Any = check(path, load_torch(path, hint), _File, "a ranking of subnets", hint, FORMAT)
    process = SubnetProcess()
    check_state(path, value["state"], process, "this program", hint)
    process.load_state_dict(value["state"])
    count = len(value["operations"])
    archs = [arch for arch in operations_to_archs(value["operations"]) if arch]
    if len(archs) < count or {len(value[name]) for name in ("image_size", "weights", "known")} != {count}:
        raise UserError(f"{path} is not a ranking of subnets: its columns do not fit. {hint}")
    anchors = subnet_features([arch for arch in archs if arch], value["image_size"].long())
    learned = Anchored(value["weights"], value["known"])
    return SubnetRanking(process.requires_grad_(False), anchors, learned, value["mean"], value["std"])
