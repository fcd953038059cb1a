"""The MobileNetV3 supernet of Once-for-All (Cai et al., ICLR 2020), from the package `ofa`, and its weights.

It reads two kinds of file: the published one, `{'state_dict': ...}`, and ours, which adds sizes and class names.
"""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired

import torch
import torch.nn as nn
from annotated_types import Gt, Le
from typing_extensions import TypedDict

from metad2a.core import schema, tensors
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.published_weights import plain_state
from metad2a.spaces.ofa_mbv3.layers import DEPTHS, EXPANSIONS, IMAGE_SIZE, KERNELS, Arch

FORMAT = "metad2a-supernet-1"
FETCH = (
    "Fetch it with: python get_files/get_ofa_supernet.py, or train one with: python main.py train-supernet --imgnet DIR"
)
LAST_CHANNELS = 1280  # of the published supernet at width 1.0
CLASSIFIER = "classifier.linear.weight"
MAX_IMAGE_SIZE = 4096  # side in pixels


@dataclass(frozen=True)
class SupernetConfig:
    """Sizes of a supernet."""

    __pydantic_config__ = schema.CLOSED

    num_classes: schema.Size  # outputs of its classifier
    width_mult: Annotated[schema.Number, Gt(0)] = 1.0  # channels relative to MobileNetV3's
    image_size: Annotated[schema.Size, Le(MAX_IMAGE_SIZE)] = IMAGE_SIZE  # side of its input in pixels
    # Of the outputs. Empty for the published weights: ImageNet's classes in alphabetical order
    class_names: list[schema.Text] = field(default_factory=list)


class _Published(TypedDict):
    state_dict: tensors.State


class _File(_Published):
    """`epoch`, `training` and `history` are for resuming."""

    config: SupernetConfig
    epoch: NotRequired[schema.Integer]
    training: NotRequired[dict[schema.Text, Any]]
    history: NotRequired[schema.Facts]


def ofa_class() -> type[nn.Module]:
    """`OFAMobileNetV3` of the package `ofa`. Raises a UserError if the package is not installed."""
    try:
        with torch.device("cpu"):  # PyTorch 2.6 computes as it is imported, which fails on the meta device
            from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
    except ImportError as error:
        raise UserError(f"The supernet needs the package ofa ({error}). Install it with: pip install ofa") from error
    return OFAMobileNetV3


def build_supernet(config: SupernetConfig) -> nn.Module:
    """An untrained supernet with every choice of `metad2a.spaces.ofa_mbv3.space`."""
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
    """Raise a UserError if no batch has two images, which batch norm needs in training."""
    if min(batch_size, num_images) < 2:
        raise UserError(
            f"Batch norm needs two images in a batch, but --batch-size is {batch_size} and there are {num_images} "
            "training images."
        )


def save_supernet(path: str | Path, supernet: nn.Module, config: SupernetConfig, **more: Any) -> None:
    """Write a supernet and the state of its training, atomically."""
    save_torch(path, {"format": FORMAT, "state_dict": supernet.state_dict(), "config": asdict(config), **more})


def read_supernet(path: str | Path) -> dict[str, Any]:
    """A file of `save_supernet`, or the published weights and the configuration that their shapes imply. Raises a
    UserError if the file is missing, damaged or something else."""
    value = load_torch(path, FETCH)
    if published := not isinstance(value, dict) or "format" not in value:
        value = {"state_dict": plain_state(value)}
    file = schema.check(
        path, value, _Published if published else _File, "a supernet", FETCH, None if published else FORMAT
    )
    state = {_short(name): tensor for name, tensor in file["state_dict"].items()}
    if CLASSIFIER not in state or state[CLASSIFIER].ndim != 2:
        raise UserError(f"{path} is not a supernet: it has no {CLASSIFIER} of two dimensions. {FETCH}")
    outputs, channels = state[CLASSIFIER].shape
    config = SupernetConfig(outputs, round(channels / LAST_CHANNELS, 2)) if published else file["config"]
    if len(config.class_names) not in (0, config.num_classes):
        raise UserError(f"{path} is damaged: it names {len(config.class_names)} of {outputs} classes. {FETCH}")
    tensors.check_sizes(path, state, {"width": config.width_mult * LAST_CHANNELS, "number of classes": outputs}, FETCH)
    model = tensors.without_memory(lambda: build_supernet(config))
    names = {_short(name): name for name in model.state_dict()}
    state = {names.get(name, name): tensor for name, tensor in state.items()}
    tensors.check_state(path, state, model, "an OFAMobileNetV3 of its sizes", FETCH)
    return {**file, "state_dict": state, "config": config}


def _short(name: str) -> str:
    """A parameter's name without the parts that differ between releases of the package: some stand there twice."""
    return re.sub(r"(\.\w+)\1(?=\.)", r"\1", name.replace(".mobile_inverted_conv.", ".conv."))


def load_supernet(path: str | Path, device: torch.device | str = "cpu") -> tuple[nn.Module, SupernetConfig]:
    """Read a supernet in evaluation mode. Raises a UserError like `read_supernet` and `ofa_class`."""
    value = read_supernet(path)
    net = build_supernet(value["config"])
    net.load_state_dict(value["state_dict"])
    return net.to(device).eval(), value["config"]
