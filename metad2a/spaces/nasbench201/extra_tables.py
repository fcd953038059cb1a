"""Further figures of NAS-Bench-201's cells: two datasets of NAS-Bench-360, NASWOT's published scores, and the latency
measured on devices.

The files were made by `python -m metad2a.spaces.nasbench201.make_extra_tables`, which says from what.
"""

from functools import cache
from typing import Annotated

import torch
from typing_extensions import TypedDict

from metad2a.core.files import ASSETS, load_torch
from metad2a.core.schema import FLOATS, TensorOf, Text, check
from metad2a.spaces.nasbench201.cells import CELL_EDGES, OPERATIONS
from metad2a.spaces.nasbench201.classes import NUM_CLASSES, equivalence_classes

NASBENCH360, NASBENCH360_FORMAT = ASSETS / "nasbench201" / "nasbench360.pt", "metad2a-nasbench360-1"
NWOT, NWOT_FORMAT = ASSETS / "nasbench201" / "nwot.pt", "metad2a-nwot-1"
LATENCY, LATENCY_FORMAT = ASSETS / "nasbench201" / "latency.pt", "metad2a-latency-1"
NASBENCH360_NAMES = ("ninapro", "darcy")
NO_SCORE = -1e8  # of a network whose kernel is singular, as published; here also of a class that has no score
HINT = "Make it with: python -m metad2a.spaces.nasbench201.make_extra_tables --help"

_Score = Annotated[torch.Tensor, TensorOf(FLOATS, (len(OPERATIONS) ** len(CELL_EDGES),), high=100)]
_OfClasses = Annotated[torch.Tensor, TensorOf(FLOATS, (NUM_CLASSES,))]
_Milliseconds = Annotated[torch.Tensor, TensorOf(FLOATS, (len(OPERATIONS) ** len(CELL_EDGES),), low=0)]


class _NASBench360(TypedDict):
    score: dict[Text, _Score]


class _NWOT(TypedDict):
    nwot: dict[Text, _OfClasses]


class _Latency(TypedDict):
    ms: dict[Text, _Milliseconds]


@cache
def nasbench360() -> dict[str, torch.Tensor]:
    """Scores (15625,) in the order of `NASBench201.architectures`: NinaPro (accuracy, %), Darcy (times 100).

    Higher is better; one seed. Nothing says on which split they were measured.

    Raises:
        UserError: the file is missing or damaged.
    """
    value = load_torch(NASBENCH360, HINT)
    return check(NASBENCH360, value, _NASBench360, "a table of NAS-Bench-360", HINT, NASBENCH360_FORMAT)["score"]


@cache
def nwot() -> dict[str, torch.Tensor]:
    """NASWOT's score (15625,) on CIFAR-10 and ImageNet16-120, the mean of a class of equal cells.

    Minus infinity where none is published of the class or its kernel is singular.

    Raises:
        UserError: the file is missing or damaged.
    """
    found = check(NWOT, load_torch(NWOT, HINT), _NWOT, "a file of NASWOT scores", HINT, NWOT_FORMAT)["nwot"]
    classes = equivalence_classes()
    return {name: values.masked_fill(values <= NO_SCORE, -torch.inf)[classes] for name, values in found.items()}


@cache
def device_latency() -> dict[str, torch.Tensor]:
    """Milliseconds (15625,) that each network takes for CIFAR-100 images on a device, by the device's name.

    A number at a name's end is of the images in a batch, for example `titan_rtx_256`. Measured by the authors of HELP
    (Lee et al., NeurIPS 2021), kept in half precision: three digits.

    Raises:
        UserError: the file is missing or damaged.
    """
    return check(LATENCY, load_torch(LATENCY, HINT), _Latency, "a table of latencies", HINT, LATENCY_FORMAT)["ms"]
