"""Options of training a chosen architecture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from metad2a.core.cli import image_side, positive_float, positive_int, seed_number
from metad2a.core.names import name_type
from metad2a.core.options import CommonOptions, MirrorOption, option

if TYPE_CHECKING:
    import torch

PUBLISHED_SEEDS = (777, 888, 999)


@dataclass(frozen=True, kw_only=True)
class TrainArchOptions(CommonOptions, MirrorOption):
    """What to train on what. None stands for the published value. The seeds of the runs are 777, 888, 999, ..."""

    device: "torch.device"
    arch: str = option(None, "architecture to train, in quotes, or a search's folder: its first choice")
    data_name: str = option(None, "the dataset", type=name_type)
    image_folder: str | None = option(None, "its images, one sub-folder a class")
    seed: int = option(333, "of the halves of the test set", type=seed_number)
    epochs: int | None = option(None, "epochs of the chosen architecture (default 200, mnist 50)", type=positive_int)
    num_runs: int | None = option(None, "number of seeds (default 3)", type=positive_int)
    batch_size: int | None = option(
        None, "images of a batch (default 256; fewer for few images of your own)", type=positive_int
    )
    learning_rate: float | None = option(
        None, "the first one (default 0.1; for your own images less with smaller batches)", type=positive_float
    )
    augment: str | None = option(
        None,
        "crop: shift images at random; crop+mirror: for photographs, not for signs or letters (default: crop for "
        "--image-folder, crop+mirror for cifar10 and cifar100, else none)",
        choices=("none", "crop", "crop+mirror"),
    )
    licence: str | None = option(None, "of the trained weights, for the model card and exported files")
    image_size: int | None = option(None, "side of MobileNetV3's images in pixels (default 224)", type=image_side)
    precision: str = option("float32", "of activations; bfloat16 is for GPUs", choices=("float32", "bfloat16"))
    export: str | None = option(None, "also write the trained networks in these formats: onnx, pt2 or onnx,pt2")
    resume: bool = option(False, "continue an interrupted run; what is finished is kept")
    overwrite: bool = option(False, "replace what an earlier run left")

    @property
    def run_seeds(self) -> list[int]:
        first, second = PUBLISHED_SEEDS[:2]
        return [first + (second - first) * run for run in range(self.num_runs or len(PUBLISHED_SEEDS))]


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Which network looks at which images."""

    device: "torch.device"
    network: str | None = option(None, "a network.pt, or the folder of a run")
    images: str | None = option(None, "an image, or a folder whose images are classified, those of sub-folders too")
    output: str | None = option(None, "write a CSV file: image, class, confidence, and the share of each class")
    batch_size: int = option(64, "images at once", type=positive_int)
