"""The paper's meta-test datasets, read by torchvision from their official files."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import datasets

from metad2a.core.errors import UserError
from metad2a.data.source import ImageSource


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that torchvision reads.

    Attributes:
        open: (root, split) -> the torchvision dataset; split is "train" or "test".
        num_classes: as the paper has it.
        labels: the labels of an opened dataset.
        folder: below the folder of raw data.
    """

    open: Callable[[str, str], Any]
    num_classes: int
    labels: Callable[[Any], Any]
    folder: str


def _trainval(dataset: Callable[..., Any], root: str, split: str, **more: str) -> Any:
    """Open a dataset whose images to train on are in two parts, with those to test on in a third."""
    return dataset(root, split="trainval" if split == "train" else "test", **more)


_aircraft = partial(_trainval, datasets.FGVCAircraft)


KNOWN = {
    "cifar10": KnownDataset(lambda r, s: datasets.CIFAR10(r, s == "train"), 10, lambda d: d.targets, "cifar10"),
    "cifar100": KnownDataset(lambda r, s: datasets.CIFAR100(r, s == "train"), 100, lambda d: d.targets, "cifar100"),
    "mnist": KnownDataset(lambda r, s: datasets.MNIST(r, s == "train"), 10, lambda d: d.targets, "mnist"),
    "svhn": KnownDataset(lambda r, s: datasets.SVHN(r, s), 10, lambda d: d.labels, "svhn"),
    "aircraft": KnownDataset(partial(_aircraft, annotation_level="manufacturer"), 30, lambda d: d._labels, "aircraft"),
    "aircraft100": KnownDataset(partial(_aircraft, annotation_level="variant"), 100, lambda d: d._labels, "aircraft"),
    "pets": KnownDataset(partial(_trainval, datasets.OxfordIIITPet), 37, lambda d: d._labels, "pets"),
}


def known_dataset(name: str, raw_data: str | Path, split: str) -> ImageSource | None:
    """Open one of `KNOWN` from its official files below `raw_data`; None when they are not there.

    Raises:
        UserError: the files are there but damaged, or the classes are not those of the paper.
    """
    known, root = KNOWN[name], Path(raw_data) / KNOWN[name].folder
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
    labels = torch.as_tensor(known.labels(data), dtype=torch.long)
    names = list(getattr(data, "classes", None) or map(str, range(known.num_classes)))
    if len(names) != known.num_classes:
        raise UserError(f"{name} in {root} has {len(names)} classes, expected {known.num_classes}.")
    return ImageSource(name, names, labels, partial(_open, data), partial(_describe, f"{name} {split}"), root)


def _open(data: Any, number: int) -> Image.Image:
    return data[number][0]


def _describe(what: str, number: int) -> str:
    return f"{what} image {number}"
