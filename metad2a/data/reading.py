"""Read images as upright RGB, one by one or in batches, and leave out the unreadable ones.

Dimensions: B images of a batch, M images in all, S side in pixels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from metad2a.core.errors import UserError
from metad2a.core.files import display_path, write_csv
from metad2a.core.messages import about_file, log
from metad2a.core.progress import progress
from metad2a.data.image_source import ImageSource, why_unreadable
from metad2a.data.options import IMAGE_SIZE
from metad2a.data.resize import resize
from metad2a.data.rgb import rgb_and_loss

LISTED = 5  # unreadable images that are named on the screen
MAX_UNREADABLE = 0.05  # share of images that may be unreadable before processing stops


def read_rgb(source: ImageSource, number: int) -> Image.Image:
    """The image of a number, in RGB. Raises a UserError if it cannot be read."""
    try:
        return _read(source, number)[0]
    except OSError as error:
        raise UserError(f"{source.describe(number)} cannot be read ({error}). Replace or remove it.") from error


def _read(source: ImageSource, number: int) -> tuple[Image.Image, str]:
    """The image of a number, in RGB, and what is lost of it. Raises an OSError with the reason if it cannot be read."""
    try:
        with about_file(source.describe(number)), source.open(number) as image:
            return rgb_and_loss(image, source.gray)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise all kinds for files that are damaged
        raise OSError(why_unreadable(error)) from error


def read_batches(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches. The message of a UserError in a worker process comes without the worker's traceback."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from error


Square = tuple[torch.Tensor | None, str]


class Squares(Dataset):
    """The images `numbers` resized to S x S pixels: (3, S, S) uint8 and a remark, or None and why it is unreadable."""

    def __init__(self, source: ImageSource, numbers: np.ndarray, size: int):
        self.source, self.numbers, self.size = source, numbers.tolist(), size

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Square:
        try:
            image, lost = _read(self.source, self.numbers[index])
        except OSError as error:
            return None, str(error)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return resize(pixels, self.size), lost


def collate(items: list[Square]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """The readable images (n, 3, S, S), which images of the batch are readable (B,) bool, and the remarks (B)."""
    readable = torch.tensor([pixels is not None for pixels, _ in items])
    images = [pixels for pixels, _ in items if pixels is not None]
    empty = torch.empty(0, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    return torch.stack(images) if images else empty, readable, [remark for _, remark in items]


def decode(source: ImageSource, image_size: int = IMAGE_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """All readable images of a dataset in its order, (M, 3, image_size, image_size) uint8, channels last in memory, and
    labels (M,) long. Raises a UserError if a class has no images, or more than 5 % of the images, or all of a class,
    cannot be read."""
    numbers = np.sort(source.select())
    loader = DataLoader(Squares(source, numbers, image_size), 256, collate_fn=collate)
    pixels = torch.empty(len(numbers), image_size, image_size, 3, dtype=torch.uint8)
    filled, kept, remarks = 0, [], []
    for images, readable, texts in progress(loader, desc=f"{source.name} images", unit="batch"):
        if len(images):
            pixels[filled : filled + len(images)] = images.permute(0, 2, 3, 1)
        filled += len(images)
        kept.append(readable)
        remarks += texts
    check_readable(source, numbers, torch.cat(kept), remarks)
    pixels = pixels if filled == len(pixels) else pixels[:filled].clone()  # a file of a part would hold the whole
    return pixels.permute(0, 3, 1, 2), torch.from_numpy(source.labels[numbers[torch.cat(kept).numpy()]])


def check_readable(
    source: ImageSource, numbers: np.ndarray, readable: torch.Tensor, remarks: list[str]
) -> torch.Tensor:
    """Name the unreadable images of `numbers`; returns the number of readable images in each class (C,). The file
    `<name>-left-out.csv` gets all of them with their reasons, and the files that are no images of the dataset. Raises a
    UserError if more than one image and more than 5 % are unreadable, or all of a class."""
    good = readable.tolist()
    images = {"test": "test images", "train": "training images"}.get(source.part, "images") + f" of {source.name}"
    texts = {source.describe(n): text for n, text in zip(numbers.tolist(), remarks, strict=True) if text}
    ok = {source.describe(n) for n, is_good in zip(numbers.tolist(), good, strict=True) if is_good}
    bad = {name: why for name, why in texts.items() if name not in ok}
    listed = ", ".join(f"{name} ({why})" for name, why in [*bad.items()][:LISTED]) + (
        " ..." if len(bad) > LISTED else ""
    )
    if path := _write_left_out(source, bad):
        listed += f". All files that are left out, and why: {path}"
    if len(bad) > max(1, MAX_UNREADABLE * len(numbers)):
        raise UserError(
            f"{len(bad)} of {len(numbers)} {images} cannot be read: {listed}. Remove or replace them; up to "
            f"{MAX_UNREADABLE:.0%} are skipped."
        )
    if bad:
        log.info(f"Skipped {len(bad)} of {len(numbers)} {images} that cannot be read: {listed}.")
    if dark := [f"{name}: {text}" for name, text in texts.items() if name in ok]:
        log.warning(
            f"{len(dark)} of {len(numbers)} {images} keep few levels of gray ({dark[0]}): they use a "
            "small part of the bits that their files state, or of the dataset's range. If they are too dark, store "
            "them with their full range, for example as 8-bit PNG files."
        )
    counts = np.bincount(source.labels[numbers[readable.numpy()]], minlength=len(source.class_names))
    if not counts.all():
        lost = source.class_names[int((counts == 0).argmax())]
        raise UserError(f"No image of class {lost!r} can be read: {listed}.")
    return torch.from_numpy(counts)


def _write_left_out(source: ImageSource, unreadable: dict[str, str]) -> str:
    """Write which files of a folder are not used, with the reasons, and return the file, "" if all are used."""
    rows = [(name, f"cannot be read: {why}") for name, why in unreadable.items()]
    rows += [(display_path(path), why) for path, why in source.left_out.items()]
    if not rows or source.data_path is None:
        return ""
    path = Path(source.data_path) / f"{source.name}{'-test' if source.part == 'test' else ''}-left-out.csv"
    write_csv(path, [("file", "why it is left out"), *rows])
    return display_path(path)
