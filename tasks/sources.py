"""Where the images of a dataset come from: a user's folder, or official files, fetched where they are not there."""

from pathlib import Path

from engine.errors import UserError
from get_files.download import fetch_all, is_extracted, place
from get_files.manifest import RAW_DATA
from tasks.datasets import KNOWN, known_dataset
from tasks.images import ImageSource, image_folder, split_folder


def open_source(
    name: str,
    folder: str | None,
    split: str,
    data_path: str | Path,
    mirror: str | None,
    class_order: str | None = None,
) -> ImageSource:
    """The images of a folder with one sub-folder a class, or of a known dataset.

    Args:
        folder: None for a known dataset.
        split: "train" or "test", of a known dataset or of a folder that has both as sub-folders.
        mirror: where to fetch official files from instead.
        class_order: see `tasks.images.image_folder`.

    Raises:
        UserError: the dataset is unknown, or its files cannot be fetched or read.
    """
    if folder is not None:
        return image_folder(name, split_folder(folder, split) or folder, class_order)
    if name not in KNOWN:
        raise UserError(f"{name!r} is none of {', '.join(KNOWN)}, imagenet32: give its images as --image-folder.")
    raw_data, files = Path(data_path) / "raw-data", RAW_DATA[name]
    unfinished = any(place(f.target, data_path).exists() and not is_extracted(f, data_path) for f in files)
    source = None if unfinished else known_dataset(name, raw_data, split)
    if source is None:
        fetch_all(files, mirror, data_path)
        source = known_dataset(name, raw_data, split)
    if source is None:
        raise UserError(f"The official files of {name} in {raw_data} are not complete.")
    return source
