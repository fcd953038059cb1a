"""An ImageNet folder as pixels: what networks train on, and what is held out.

Dimensions: M images in all, n of them, s side of a stored image in pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as TF

from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.data.augmentation import normalize
from metad2a.data.extractors import IMAGENET_STATS
from metad2a.data.folders import find_parts, folder_classes
from metad2a.data.reading import read_batches, read_rgb
from metad2a.data.source import ImageSource, image_folder, read_class_order

CROP = 0.875  # a supernet sees this share of a stored image's side, as usual for ImageNet: 224 of 256
CACHE_BYTES = 2**30  # pixels are kept when all of them take no more
MEAN, STD = map(torch.tensor, IMAGENET_STATS)


class PixelStore:
    """Images of a source at s x s pixels, decoded when asked for, and kept where there is room for all.

    Args:
        image_size: side of a network's input.
        crop: the share of s that it is.
    """

    def __init__(self, source: ImageSource, image_size: int, crop: float):
        self.source = source
        self.image_size = image_size
        self.side = round(image_size / crop)
        M = len(source.labels)
        size = M * self.side**2 * 3
        self._cache = torch.empty(M, self.side, self.side, 3, dtype=torch.uint8) if size <= CACHE_BYTES else None
        self._known = torch.zeros(M, dtype=torch.bool)

    def pixels(self, numbers: torch.Tensor) -> torch.Tensor:
        """(n, s, s, 3) uint8. Raises a UserError when an image cannot be read."""
        if self._cache is None:
            return torch.stack([self.decode(i) for i in numbers.tolist()])
        for i in numbers[~self._known[numbers]].tolist():
            self._cache[i] = self.decode(i)
            self._known[i] = True
        return self._cache[numbers]

    def read(self, parts: list[torch.Tensor], num_workers: int) -> Iterator[torch.Tensor]:
        """`pixels` of each of `parts`, read ahead by worker processes where they are not kept.

        Raises:
            UserError: an image cannot be read.
        """
        if self._cache is not None or num_workers == 0:
            return map(self.pixels, parts)
        lists = [part.tolist() for part in parts]
        return read_batches(DataLoader(_Decoded(self), batch_sampler=lists, num_workers=num_workers))

    def centered(self, numbers: torch.Tensor) -> torch.Tensor:
        """The middle of the images, normalised: (n, 3, image_size, image_size), channels last."""
        start = (self.side - self.image_size) // 2
        middle = slice(start, start + self.image_size)
        return normalize(self.pixels(numbers)[:, middle, middle], MEAN, STD)

    def augmented(self, pixels: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Random crops of (n, s, s, 3), half of them mirrored, normalised: (n, 3, image_size, image_size), channels
        last."""
        n = len(pixels)
        step = torch.arange(self.image_size)
        rows, columns = torch.randint(self.side - self.image_size + 1, (2, n, 1), generator=rng) + step
        mirrored = torch.rand(n, 1, generator=rng) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
        return normalize(pixels[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None]], MEAN, STD)

    def decode(self, number: int) -> torch.Tensor:
        """(s, s, 3) uint8."""
        pixels = torch.from_numpy(np.array(read_rgb(self.source, number))).permute(2, 0, 1)
        pixels = TF.resize(pixels, [self.side], antialias=True)
        return TF.center_crop(pixels, [self.side, self.side]).permute(1, 2, 0)


class _Decoded(Dataset):
    """The images of a store, by number."""

    def __init__(self, store: PixelStore):
        self.store = store

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.store.decode(number)


@dataclass(frozen=True)
class ImagesByClass:
    """Images by class.

    Attributes:
        store: their pixels.
        by_class: for each class the numbers of its images in the store.
    """

    store: PixelStore
    by_class: list[torch.Tensor]

    def labels(self, classes: list[int]) -> torch.Tensor:
        """Position in `classes` of every image of these, in the order of `numbers`."""
        return torch.arange(len(classes)).repeat_interleave(torch.tensor([len(self.by_class[c]) for c in classes]))

    def numbers(self, classes: list[int]) -> torch.Tensor:
        """All images of some classes, class after class."""
        return torch.cat([self.by_class[c] for c in classes])


def open_imagenet(
    folder: str | Path, names: list[str], image_size: int, crop: float = CROP
) -> tuple[ImagesByClass, ImagesByClass]:
    """Training and held-out images of the classes `names`.

    A folder with `train` and `val` (or another of `metad2a.data.folders.TEST_PARTS`) gives both; of any other a fifth
    of each class is held out, as everywhere (`metad2a.data.folders.held_out`).

    Raises:
        UserError: the folder or a class is missing, or a class has too few images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--imgnet {folder} is not a folder.")
    parts = find_parts(folder)
    if parts.test is not None:
        if parts.note:
            log.info(parts.note)
        return _images(parts.train, names, image_size, crop), _images(parts.test, names, image_size, crop)
    return _images(folder, names, image_size, crop, "train"), _images(folder, names, image_size, crop, "test")


def _images(folder: Path, names: list[str], image_size: int, crop: float, part: str = "all") -> ImagesByClass:
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{folder} lacks {len(missing)} of {len(names)} classes: it has no sub-folder {missing[0]}{more}. Give the "
            "whole ImageNet folder as --imgnet, or list the classes there are in a file for --class-order."
        )
    source = image_folder("imagenet", folder, names, part)
    numbers = source.select(None, 0)  # refuses empty classes
    return ImagesByClass(PixelStore(source, image_size, crop), list(numbers.split(source.labels.bincount().tolist())))


def class_names(folder: str | Path, class_order: str | None) -> list[str]:
    """Names of the classes of an ImageNet folder: those of the file `class_order`, else all its sub-folders.

    Raises:
        UserError: the folder is missing or has no sub-folders, or the file cannot be read.
    """
    if class_order is not None:
        return read_class_order(class_order)
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--imgnet {folder} is not a folder.")
    names = folder_classes(find_parts(folder).train)
    if len(names) < 2:
        raise UserError(
            f"{folder} has {len(names) or 'no'} sub-folder{'' if names else 's'}: it needs one for each class, "
            "two or more, with the images inside."
        )
    return names
