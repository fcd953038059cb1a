"""Options of turning images into features.

`imagenet32` is a dataset, ImageNet at 32 x 32 pixels, as `--dataset` names it; `imgnet32` is the name that the authors
gave its features file and that their databases refer to: `imgnet32bylabel.pt`.
"""

from dataclasses import MISSING, dataclass
from pathlib import Path

from metad2a.core.cli import not_negative_int, positive_int, seed_number
from metad2a.core.names import name_type
from metad2a.core.options import MirrorOption, option

DATASETS = ("cifar10", "cifar100", "mnist", "svhn", "aircraft", "aircraft100", "pets")  # official files are fetched
EXTRACTORS = ("efficientnet_lite0", "resnet18")
FILE_NAMES = {"imagenet32": "imgnet32", "imgnet32": "imgnet32"}


@dataclass(frozen=True)
class ProcessOptions(MirrorOption):
    """What to process, and how."""

    dataset: str = option(
        MISSING, f"{', '.join(DATASETS)}, imagenet32 or a name of your own, later --data-name", type=name_type
    )
    image_folder: str | None = option(None, "one sub-folder of images a class; for imagenet32 its batches")
    class_order: str | None = option(None, "file whose lines start with a sub-folder, in the order of the classes")
    split: str = option(
        "train",
        "images to take; of a folder without a part for testing, train leaves out those that networks are tested on",
        choices=("train", "test", "all"),
    )
    data_path: str = option("data", "folder for <dataset>bylabel.pt, official files in its raw-data")
    extractor: str = option("efficientnet_lite0", "network whose features they are", choices=EXTRACTORS)
    gpu: str | None = None
    batch_size: int = option(64, "images at a time", type=positive_int)
    num_workers: int = option(0, "processes that read images", type=not_negative_int, default_text="0: none")
    max_per_class: int | None = option(None, "at most so many images of a class, at random", type=positive_int)
    seed: int = option(333, "of --max-per-class", type=seed_number)
    overwrite: bool = option(False, "replace an existing features file")

    @property
    def name(self) -> str:
        return FILE_NAMES.get(self.dataset, self.dataset)

    @property
    def target(self) -> Path:
        return Path(self.data_path) / f"{self.name}bylabel.pt"
