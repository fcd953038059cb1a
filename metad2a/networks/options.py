"""Options of training an architecture and of classifying images."""

from dataclasses import MISSING, dataclass
from typing import ClassVar

from metad2a.core.options import CommonOptions, DeviceOption, MirrorOption, Rule, option
from metad2a.core.values import image_side, path, paths, positive_float, positive_int, safe_name, seed_number, seeds

TRAINING = ("epochs", "seeds", "split_seed", "batch_size", "learning_rate", "augment", "precision", "licence", "export",
            "resume", "overwrite")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(CommonOptions, MirrorOption):
    """How to train. None stands for the published value."""

    epochs: int | None = option(None, "Passes over the training images (default 200; mnist 50).", type=positive_int)
    seeds: tuple[int, ...] | None = option(None, "Seeds of the runs, by commas (default 777,888,999).", type=seeds)
    num_runs: int | None = option(None, "Number of seeds (default 3).", type=positive_int)
    split_seed: int = option(333, "Seed of the halves of the test set.", type=seed_number)
    batch_size: int | None = option(
        None, "Images of a batch (default 256; smaller for few images of your own).", type=positive_int
    )
    learning_rate: float | None = option(
        None, "Initial learning rate (default 0.1; lower for small batches).", type=positive_float
    )
    augment: str | None = option(
        None,
        "Shift images: none, crop (default for your images), crop+mirror (cifar10).",
        choices=("none", "crop", "crop+mirror"),
    )
    precision: str = option(
        "float32", "Precision of activations. bfloat16 is for GPUs.", choices=("float32", "bfloat16")
    )
    licence: str | None = option(None, "Licence of the trained weights, for model card and exports.")
    export: str | None = option(None, "Also write the trained networks as onnx, pt2 or onnx,pt2.")
    resume: bool = option(False, "Continue an interrupted training.")
    overwrite: bool = option(False, "Replace what an earlier training left.")

    @property
    def run_seeds(self) -> list[int]:
        """The given seeds, or the published 777, 888, 999 and their continuation 1110, 1221, ..."""
        return list(self.seeds or [777 + 111 * run for run in range(self.num_runs or 3)])


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainingOptions):
    """`train`: which architecture to train on which images, and how."""

    arch: str = option(MISSING, "An architecture in quotes, or the folder of a search (its first choice).")
    data_name: str = option(MISSING, "A dataset, or a name for your images.", type=safe_name)
    image_folder: str | None = option(None, "Folder of images, a sub-folder for each class.", type=path)
    image_size: int | None = option(None, "MobileNetV3: side of images in pixels (default 224).", type=image_side)

    groups: ClassVar = {
        "dataset": ("arch", "data_name", "image_folder", "labels", "image_size"),
        "training": ("num_runs", *TRAINING),
    }
    rules: ClassVar = (Rule(("num_runs",), lambda o: not o.seeds, "does nothing with --seeds: leave it out"),)


@dataclass(frozen=True, kw_only=True)
class PredictOptions(DeviceOption):
    """`predict`: which network looks at which images."""

    network: str = option(MISSING, "File network.pt, or the folder of a training or a search.", type=path)
    images: tuple[str, ...] = option(
        MISSING, "Images, folders with their sub-folders, lists of both (.txt), or - for a list to read.", type=paths
    )
    output: str | None = option(
        None, "Write a CSV file: image, class, confidence, and the probability of each class.", type=path
    )
    batch_size: int = option(64, "Images at once.", type=positive_int)
