"""Options of turning images into features.

`imagenet32` is a dataset, ImageNet at 32 x 32 pixels, as `--dataset` names it. `imgnet32` is the name that the authors
gave its features file and that their databases refer to: `imgnet32bylabel.pt`.
"""

from dataclasses import MISSING, dataclass
from pathlib import Path

from metad2a.core.options import GpuOption, MirrorOption, option
from metad2a.core.values import not_negative_int, path, positive_int, safe_name, seed_number

# Datasets whose official files are fetched, and their numbers of classes, as in the paper
DATASETS = {"cifar10": 10, "cifar100": 100, "mnist": 10, "svhn": 10, "aircraft": 30, "aircraft100": 100, "pets": 37}
IMAGE_SIZE = 32  # side in pixels of the images that extractors take
EXTRACTORS = ("efficientnet_lite0", "resnet18")
FILE_NAMES = {"imagenet32": "imgnet32", "imgnet32": "imgnet32"}


@dataclass(frozen=True)
class ProcessOptions(MirrorOption, GpuOption):
    """`process-dataset`: which images to turn into features, and how."""

    dataset: str = option(
        MISSING, f"One of {', '.join(DATASETS)}, imagenet32, or a name for your images.", type=safe_name
    )
    image_folder: str | None = option(
        None, "Folder of images, a sub-folder for each class; for imagenet32 the folder of its batches.", type=path
    )
    class_order: str | None = option(
        None, "File whose lines start with a sub-folder, in the order of the classes.", type=path
    )
    split: str = option(
        "train",
        "Which images. In a folder without a test part, train leaves out those that networks are tested on.",
        choices=("train", "test", "all"),
    )
    data_path: str = option(
        "data", "Folder for <dataset>bylabel.pt, and raw-data below it for official files.", type=path
    )
    extractor: str = option("efficientnet_lite0", "Network that makes the features.", choices=EXTRACTORS)
    batch_size: int = option(64, "Images at once.", type=positive_int)
    num_workers: int = option(
        0, "Processes that read images; 0 reads in this process.", type=not_negative_int, default_text="0"
    )
    max_per_class: int | None = option(None, "Draw at most N images of each class.", type=positive_int)
    seed: int = option(333, "Seed of --max-per-class.", type=seed_number)
    overwrite: bool = option(False, "Replace an existing features file.")

    @property
    def name(self) -> str:
        return FILE_NAMES.get(self.dataset, self.dataset)

    @property
    def target(self) -> Path:
        return Path(self.data_path) / f"{self.name}bylabel.pt"
