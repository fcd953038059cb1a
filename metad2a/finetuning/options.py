"""Options of evaluating a MobileNetV3 architecture."""

from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING

from metad2a.core.cli import fraction, image_side, not_negative_float, not_negative_int, positive_int, seed_number
from metad2a.core.names import name_type
from metad2a.core.options import MirrorOption, option
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(MirrorOption):
    """Which architecture to fine-tune on what."""

    device: "torch.device"
    data_name: str = option(MISSING, "cifar10, cifar100, aircraft100, pets, ..., any with a folder", type=name_type)
    image_folder: str | None = option(None, "its images, one sub-folder a class, or such folders train and test")
    num_gen_arch: int = option(200, "of the meta-test that chose", type=positive_int)
    bound: float | None = option(None, "the first choice of at most so many MFLOPs", type=not_negative_float)
    model_config: str | None = option(None, "a network of NSGANetV2 instead: its net.subnet or net.config")
    arch: str | None = option(None, "an architecture's text instead")
    supernet: str = option(PUBLISHED_SUPERNET, "weights of the supernet")
    data_path: str = option("data", "folder of official files")
    save_path: str = option("results", "folder of meta-tests and results")
    image_size: int | None = option(None, "side of the input", type=image_side, default_text="the supernet's")
    epochs: int = option(
        150,
        "passes over the training images; 0, of the supernet's own classes: calibrate batch norm alone",
        type=not_negative_int,
    )
    num_calibration: int = option(2000, "training images that --epochs 0 calibrates on", type=positive_int)
    batch_size: int = option(96, "images of a step", type=positive_int)
    lr: float = option(0.01, "the first learning rate", type=not_negative_float)
    valid_share: float = option(0.1, "of the training images, to choose the epoch", type=fraction)
    num_workers: int = option(0, "processes that read images", type=not_negative_int, default_text="0: none")
    seed: int = option(333, "of everything random", type=seed_number)
    resume: bool = option(False, "continue an interrupted run")
    overwrite: bool = option(False, "replace an earlier run")
