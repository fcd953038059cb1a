"""Options of training a supernet."""

from dataclasses import MISSING, dataclass, field

from metad2a.core import values
from metad2a.core.options import DeviceOption, option

PUBLISHED_SUPERNET = ".torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0"


@dataclass(frozen=True, kw_only=True)
class SupernetOptions(DeviceOption):
    """`train-supernet`: how to train a MobileNetV3 supernet on a folder of images."""

    class_names: list[str] = field(default_factory=list)
    imgnet: str = option(
        MISSING, "Folder of images, a sub-folder for each class, or such folders train and val.", type=values.path
    )
    class_order: str | None = option(
        None, "Text file whose lines start with a sub-folder's name (default: all sub-folders).", type=values.path
    )
    save_path: str = option("results/ofa_mbv3/supernet", "Folder of the supernet and its log.", type=values.path)
    width_mult: float = option(1.0, "Channels relative to MobileNetV3's.", type=values.positive_float)
    image_size: int = option(224, "Side of images in pixels.", type=values.image_side)
    epochs: int = option(30, "Passes over the images.", type=values.positive_int)
    largest_epochs: int = option(
        0, "Train only the largest subnet in the first N epochs.", type=values.not_negative_int, default_text="0"
    )
    batch_size: int = option(128, "Images of a batch.", type=values.positive_int)
    num_random: int = option(
        1, "Random subnets of each step, beside the largest and the smallest.", type=values.not_negative_int
    )
    lr: float = option(2e-3, "AdamW's highest learning rate.", type=values.not_negative_float)
    weight_decay: float = option(0.05, "AdamW's weight decay.", type=values.not_negative_float)
    seed: int = option(333, "Seed of everything random.", type=values.seed_number)
    num_workers: int = option(
        0,
        "Processes that read images if their pixels take more than a GB; 0 reads in this process.",
        type=values.not_negative_int,
        default_text="0",
    )
    resume: bool = option(False, "Continue the run in --save-path.")
    overwrite: bool = option(False, "Replace the run in --save-path.")
