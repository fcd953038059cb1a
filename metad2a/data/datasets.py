"""The images of a dataset: a user's folder, or the official files of the paper's meta-test datasets, which are
downloaded if they are missing and read by torchvision."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.files import ASSETS
from metad2a.core.messages import log
from metad2a.data.download import RAW_DATA, fetch_all, is_extracted, place
from metad2a.data.image_source import ImageSource
from metad2a.data.options import DATASETS
from metad2a.data.user_folder import (
    check_classes,
    check_same_classes,
    folder_digest,
    open_folder,
    open_parts,
    say_what_is_left_out,
)


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that torchvision reads."""

    open: Callable[[str, str], Any]  # (root, split) -> the torchvision dataset; split is "train" or "test"
    labels: str  # torchvision's attribute with the labels
    folder: str  # below the folder of raw data


def _torchvision(dataset: str, root: str, *arguments: Any, **more: Any) -> Any:
    """One of `torchvision.datasets`, whose import takes seconds."""
    from torchvision import datasets

    return getattr(datasets, dataset)(root, *arguments, **more)


def _train_or_not(dataset: str, root: str, split: str) -> Any:
    return _torchvision(dataset, root, split == "train")


def _trainval(dataset: str, root: str, split: str, **more: str) -> Any:
    """Open a dataset with three splits; the first two together are for training."""
    return _torchvision(dataset, root, split="trainval" if split == "train" else "test", **more)


_aircraft = partial(_trainval, "FGVCAircraft")
KNOWN = {
    "cifar10": KnownDataset(partial(_train_or_not, "CIFAR10"), "targets", "cifar10"),
    "cifar100": KnownDataset(partial(_train_or_not, "CIFAR100"), "targets", "cifar100"),
    "mnist": KnownDataset(partial(_train_or_not, "MNIST"), "targets", "mnist"),
    "svhn": KnownDataset(partial(_torchvision, "SVHN"), "labels", "svhn"),
    "aircraft": KnownDataset(partial(_aircraft, annotation_level="manufacturer"), "_labels", "aircraft"),
    "aircraft100": KnownDataset(partial(_aircraft, annotation_level="variant"), "_labels", "aircraft"),
    "pets": KnownDataset(partial(_trainval, "OxfordIIITPet"), "_labels", "pets"),
}


def known_dataset(name: str, data_path: str | Path, split: str) -> ImageSource | None:
    """Open one of `KNOWN` from its official files; None if some are missing or not extracted to the end. Raises a
    UserError if the files are damaged, or their number of classes is not the paper's."""
    known = KNOWN[name]
    root = Path(data_path) / "raw-data" / known.folder
    for file in RAW_DATA[name]:
        archive = place(file.target, data_path)
        if file.extract_to and archive.exists() and not is_extracted(archive, place(file.extract_to, data_path)):
            return None
    if not root.is_dir():
        return None
    try:
        data = known.open(str(root), split)
    except RuntimeError as error:  # what torchvision raises for missing files and wrong digests
        if "not found" in str(error):
            return None
        raise UserError(f"{name} in {root} cannot be read: {error}.") from error
    except (OSError, EOFError, ValueError, KeyError, IndexError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{name} in {root} cannot be read ({type(error).__name__}: {error}): a file is damaged or missing. Remove "
            "the folder and run this command again to fetch it anew."
        ) from error
    labels = np.asarray(getattr(data, known.labels), dtype=np.int64)
    names = list(getattr(data, "classes", None) or map(str, range(DATASETS[name])))
    if len(names) != DATASETS[name]:
        raise UserError(f"{name} in {root} has {len(names)} classes, expected {DATASETS[name]}.")
    return ImageSource(name, names, labels, partial(_open, data), f"{name} {split} image {{}}".format, root)


def _open(data: Any, number: int) -> Image.Image:
    return data[number][0]


def open_dataset(
    name: str, folder: str | None, split: str, data_path: str | Path, mirror: str | None, class_order: str | None = None
) -> ImageSource:
    """The images of `folder`, which has a sub-folder for each class, or if it is None of a known dataset, whose
    official files are downloaded, from `mirror` if given. Raises a UserError if the dataset is unknown, or its files
    cannot be downloaded or read.

    Args:
        split: "train" or "test". In a folder without these parts "test" is the held-out images and "all" is everything.
        class_order: see `metad2a.data.image_source.image_folder`.
    """
    if folder is not None:
        return open_folder(name, folder, split, data_path, class_order)
    if split == "all":
        raise UserError("--split all is for an image folder without a part for testing; choose train or test.")
    if name not in KNOWN:
        guess = did_you_mean(name, KNOWN)
        raise UserError(f"{name!r} is none of {', '.join(KNOWN)}, imagenet32. {guess}Give images as --image-folder.")
    source = known_dataset(name, data_path, split)
    if source is None:
        fetch_all(RAW_DATA[name], mirror, data_path)
        source = known_dataset(name, data_path, split)
    if source is None:
        raise UserError(f"The official files of {name} in {Path(data_path) / 'raw-data'} are not complete.")
    return source


def open_train_and_test(
    name: str, folder: str | None, data_path: str | Path, mirror: str | None
) -> tuple[ImageSource, ImageSource]:
    """The two parts of a dataset, see `open_dataset`. Raises a UserError if the dataset cannot be opened, its parts
    differ in their classes, or it has a single class."""
    if folder is None:
        train, test = (open_dataset(name, folder, split, data_path, mirror) for split in ("train", "test"))
    else:
        train, test = open_parts(name, folder, data_path)
        say_what_is_left_out(train, test)
        if train.note:
            log.info(train.note)
    check_same_classes(train, test)
    check_classes(train, test)
    if folder is not None:
        folder_digest(train, test, say=True)
    return train, test


def official_files_are_there(name: str, data_path: str | Path) -> bool:
    """Whether a known dataset can be opened without a download."""
    archives = (place(file.target, data_path) for file in RAW_DATA[name])
    return all(path.is_file() for path in archives) or known_dataset(name, data_path, "train") is not None


def usable_for_tests(name: str, folder: str | None, num_images: int) -> torch.Tensor:
    """Which images of a test set may test a network, (num_images,) bool; logs how many may not: MNIST's shipped
    features were made from test images, whose numbers are in a file beside the features."""
    usable = torch.ones(num_images, dtype=torch.bool)
    numbers = ASSETS / "features" / f"{name}-test-images.txt"
    if folder is None and numbers.is_file():
        seen = torch.tensor([int(number) for number in numbers.read_text().split()])
        usable[seen[seen < num_images]] = False
        log.info(
            f"{int((~usable).sum())} of {num_images} test images of {name} are left out: the shipped features were "
            "made from them."
        )
    return usable
