"""Options of training a supernet."""

from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING

from metad2a.core.cli import image_side, not_negative_float, not_negative_int, positive_int, seed_number
from metad2a.core.options import option

if TYPE_CHECKING:
    import torch

PUBLISHED_SUPERNET = ".torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0"


@dataclass(frozen=True, kw_only=True)
class SupernetOptions:
    """How to train a supernet on an ImageNet folder, whose classes are `class_names`."""

    device: "torch.device"
    class_names: list[str]
    imgnet: str = option(MISSING, "folder of images; with train and val below it, or a fifth is held out")
    class_order: str | None = option(
        None, "a text file whose lines start with a sub-folder's name", default_text="all sub-folders"
    )
    save_path: str = option("results/ofa_mbv3/supernet", "folder of the supernet and its log")
    width_mult: float = option(1.0, "channels relative to MobileNetV3's", type=not_negative_float)
    image_size: int = option(224, "side of the input in pixels", type=image_side)
    epochs: int = option(30, "passes over the images", type=positive_int)
    largest_epochs: int = option(
        0,
        "so many of them train the largest subnet alone, before the others are trained too",
        type=not_negative_int,
        default_text="0",
    )
    batch_size: int = option(128, "images of a step", type=positive_int)
    num_random: int = option(1, "random subnets a step beside the largest and smallest", type=not_negative_int)
    lr: float = option(2e-3, "AdamW's highest learning rate", type=not_negative_float)
    weight_decay: float = option(0.05, "AdamW's weight decay", type=not_negative_float)
    seed: int = option(333, "of everything random", type=seed_number)
    num_workers: int = option(
        0,
        "processes that read images, where the pixels of all take more than a GB",
        type=not_negative_int,
        default_text="0: none",
    )
    resume: bool = option(False, "continue the run in --save-path")
    overwrite: bool = option(False, "replace the run in --save-path")
