"""Where the images of a dataset come from: a user's folder, or official files, fetched where they are not there."""

from pathlib import Path

import torch

from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.files import ASSETS, display_path
from metad2a.core.messages import log
from metad2a.data.download import fetch_all, is_extracted, place
from metad2a.data.folders import TEST_SHARE, find_parts
from metad2a.data.manifest import RAW_DATA
from metad2a.data.official import KNOWN, known_dataset
from metad2a.data.source import ImageSource, image_folder


def open_source(
    name: str, folder: str | None, split: str, data_path: str | Path, mirror: str | None, class_order: str | None = None
) -> ImageSource:
    """The images of a folder with one sub-folder a class, or of a known dataset.

    Args:
        folder: None for a known dataset.
        split: "train" or "test"; of a folder without such parts "test" is what is held out of each class, and "all"
            is everything.
        mirror: where to fetch official files from instead.
        class_order: see `metad2a.data.source.image_folder`.

    Raises:
        UserError: the dataset is unknown, or its files cannot be fetched or read.
    """
    if folder is not None:
        return _open_folder(name, folder, split, class_order)
    if split == "all":
        raise UserError("--split all is for an image folder without a part for testing; choose train or test.")
    if name not in KNOWN:
        guess = did_you_mean(name, KNOWN)
        raise UserError(f"{name!r} is none of {', '.join(KNOWN)}, imagenet32. {guess}Give images as --image-folder.")
    source = _official(name, split, data_path)
    if source is None:
        fetch_all(RAW_DATA[name], mirror, data_path)
        source = known_dataset(name, Path(data_path) / "raw-data", split)
    if source is None:
        raise UserError(f"The official files of {name} in {Path(data_path) / 'raw-data'} are not complete.")
    return source


def _open_folder(name: str, folder: str | Path, split: str, class_order: str | None) -> ImageSource:
    parts = find_parts(folder)
    if parts.test is None:
        source = image_folder(name, folder, class_order, split)
        note = (
            f"{display_path(folder)} has no part for testing: {TEST_SHARE:.0%} of each class are held out, chosen by "
            "their names. Networks are tested on these, and no search sees them."
        )
    elif split == "all":
        raise UserError(f"{display_path(folder)} has the parts train and {parts.test.name}: use --split train or test.")
    else:
        source = image_folder(name, parts.train if split == "train" else parts.test, class_order)
        note = parts.note
    if note and split == "train":
        log.info(note)
    return source


def _official(name: str, split: str, data_path: str | Path) -> ImageSource | None:
    """A known dataset from its official files; None where some are missing or not extracted to the end."""
    files = RAW_DATA[name]
    unfinished = any(place(f.target, data_path).exists() and not is_extracted(f, data_path) for f in files)
    return None if unfinished else known_dataset(name, Path(data_path) / "raw-data", split)


def official_files_are_there(name: str, data_path: str | Path) -> bool:
    """Tell whether a known dataset can be opened without fetching anything."""
    if all(place(f.target, data_path).is_file() for f in RAW_DATA[name]):
        return True
    return _official(name, "train", data_path) is not None


def usable_for_tests(name: str, folder: str | None, num_images: int) -> torch.Tensor:
    """Tell which images of a test set are not among those of the shipped features (num_images,) bool; log how many are.

    The shipped features of MNIST are of test images, whose numbers are beside them.
    """
    usable = torch.ones(num_images, dtype=torch.bool)
    numbers = ASSETS / "features" / f"{name}-test-images.txt"
    if folder is None and numbers.is_file():
        seen = torch.tensor([int(number) for number in numbers.read_text().split()])
        usable[seen[seen < num_images]] = False
        log.info(
            f"{int((~usable).sum())} of {num_images} test images of {name} are left out: shipped features are of them."
        )
    return usable
