"""The MobileNetV3 supernet of Once-for-All (Cai et al., ICLR 2020), as the package `ofa` has it, and its weights.

Two kinds of file are read: the published one, `{'state_dict': ...}`, and ours, which adds what it takes to use it.
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from engine.errors import UserError
from engine.files import load_torch, save_torch
from search_spaces.ofa_mbv3 import DEPTHS, EXPANSIONS, KERNELS, Arch, OFAMobileNetV3

FORMAT = "metad2a-supernet-1"
PUBLISHED = Path(".torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0")
FETCH = "Fetch it with: python get_files/get_ofa_supernet.py, or train one with: python train_supernet.py --imgnet DIR"
LAST_CHANNELS = 1280  # of the published supernet at width 1.0
CLASSIFIER = "classifier.linear.weight"


@dataclass(frozen=True)
class SupernetConfig:
    """Sizes of a supernet.

    Attributes:
        num_classes: outputs of its classifier.
        width_mult: channels relative to MobileNetV3's.
        image_size: side of its input in pixels.
        class_names: of the outputs; empty for the published weights, whose outputs are ImageNet's classes in
            alphabetical order.
    """

    num_classes: int
    width_mult: float = 1.0
    image_size: int = OFAMobileNetV3.image_size
    class_names: list[str] = field(default_factory=list)


def ofa_class() -> type[nn.Module]:
    """`OFAMobileNetV3` of the package `ofa`.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
    except ImportError as error:
        raise UserError(f"The supernet needs the package ofa ({error}). Install it with: pip install ofa") from error
    return OFAMobileNetV3


def build_supernet(config: SupernetConfig) -> nn.Module:
    """An untrained supernet with every choice of `search_spaces.ofa_mbv3`."""
    return ofa_class()(
        n_classes=config.num_classes,
        dropout_rate=0,
        width_mult=config.width_mult,
        ks_list=list(KERNELS),
        expand_ratio_list=list(EXPANSIONS),
        depth_list=list(DEPTHS),
    )


def subnet(supernet: nn.Module, arch: Arch) -> nn.Module:
    """The network of an architecture, with a copy of the supernet's weights."""
    supernet.set_active_subnet(arch["ks"], arch["e"], arch["d"])
    return supernet.get_active_subnet(preserve_weight=True)


def check_batches(batch_size: int, num_images: int) -> None:
    """Whether subnets can be trained on such batches.

    Raises:
        UserError: there is none of two images, which batch norm needs.
    """
    if min(batch_size, num_images) < 2:
        raise UserError(
            f"Batch norm needs two images in a batch, but --batch-size is {batch_size} and there are {num_images} "
            "training images."
        )


def save_supernet(path: str | Path, supernet: nn.Module, config: SupernetConfig, **more: Any) -> None:
    """Write a supernet and whatever its training needs to go on, atomically."""
    save_torch(path, {"format": FORMAT, "state_dict": supernet.state_dict(), "config": asdict(config), **more})


def read_supernet(path: str | Path) -> dict[str, Any]:
    """A file of `save_supernet`, or the published weights with the configuration that follows from their shapes.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    value = load_torch(path, FETCH)
    state = value.get("state_dict") if isinstance(value, dict) else None
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a supernet: it needs 'state_dict'. {FETCH}")
    if value.get("format") == FORMAT:
        if set(value["config"]) != {f.name for f in fields(SupernetConfig)}:
            raise UserError(f"{path} is damaged: its configuration is not whole. {FETCH}")
        return {**value, "config": SupernetConfig(**value["config"])}
    weight = next((state[name] for name in (CLASSIFIER, "classifier.linear.linear.weight") if name in state), None)
    if weight is None:
        raise UserError(f"{path} is not a supernet: it has no {CLASSIFIER}. {FETCH}")
    return {**value, "config": SupernetConfig(weight.shape[0], round(weight.shape[1] / LAST_CHANNELS, 2))}


def load_supernet(path: str | Path, device: torch.device | str = "cpu") -> tuple[nn.Module, SupernetConfig]:
    """Read a supernet in evaluation mode, ours or the published one.

    Raises:
        UserError: the file is missing, damaged, something else, or the package `ofa` is missing.
    """
    value = read_supernet(path)
    net = build_supernet(value["config"])
    with torch.no_grad():  # the package's load_state_dict does not complain about what is missing
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
    try:
        net.load_state_dict(value["state_dict"])
    except (ValueError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"{path} does not fit OFAMobileNetV3 ({str(error).splitlines()[-1].strip()}). {FETCH}"
        ) from error
    state = net.state_dict()
    if missing := [name for name, tensor in state.items() if tensor.is_floating_point() and tensor.isnan().any()]:
        raise UserError(f"{path} lacks {missing[0]}, or holds NaN ({len(missing)} of {len(state)} tensors). {FETCH}")
    return net.to(device).eval(), value["config"]
