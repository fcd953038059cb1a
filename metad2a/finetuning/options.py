"""Options of fine-tuning a MobileNetV3 architecture."""

from dataclasses import MISSING, dataclass

from metad2a.core.options import DeviceOption, MirrorOption, option
from metad2a.core.values import (
    fraction,
    image_side,
    not_negative_float,
    not_negative_int,
    path,
    positive_int,
    safe_name,
    seed_number,
)
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(DeviceOption, MirrorOption):
    """`finetune`: which MobileNetV3 architecture to fine-tune on which images."""

    data_name: str = option(MISSING, "Dataset, or a name for your images.", type=safe_name)
    image_folder: str | None = option(
        None, "Folder of images, a sub-folder for each class, or such folders train and test.", type=path
    )
    num_gen_arch: int = option(200, "Take the first choice of the meta-test with N candidates.", type=positive_int)
    bound: float | None = option(None, "Take its first choice of at most N million FLOPs.", type=not_negative_float)
    model_config: str | None = option(
        None, "Take a network of NSGANetV2 instead: its net.subnet or net.config.", type=path
    )
    arch: str | None = option(None, "Take this architecture instead, in quotes.")
    supernet: str = option(PUBLISHED_SUPERNET, "Weights of the supernet.", type=path)
    data_path: str = option("data", "Folder of official files.", type=path)
    save_path: str = option("results", "Folder of meta-tests and results.", type=path)
    image_size: int | None = option(None, "Side of images in pixels (default: the supernet's).", type=image_side)
    epochs: int = option(
        150,
        "Passes over the training images. 0 keeps the supernet's classifier and calibrates batch norm.",
        type=not_negative_int,
    )
    num_calibration: int = option(2000, "Training images that --epochs 0 calibrates on.", type=positive_int)
    batch_size: int = option(96, "Images of a batch.", type=positive_int)
    lr: float = option(0.01, "Initial learning rate.", type=not_negative_float)
    valid_share: float = option(0.1, "Share of the training images that chooses the epoch.", type=fraction)
    num_workers: int = option(
        0, "Processes that read images; 0 reads in this process.", type=not_negative_int, default_text="0"
    )
    seed: int = option(333, "Seed of everything random.", type=seed_number)
    resume: bool = option(False, "Continue an interrupted run.")
    overwrite: bool = option(False, "Replace an earlier run.")
