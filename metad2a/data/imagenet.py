"""An ImageNet folder as pixels: training images and held-out images, stored with s x s pixels; n of them are read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional as TF

from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.data.augmentation import crop, normalize
from metad2a.data.extractors import IMAGENET_STATS
from metad2a.data.folders import Parts, find_parts, folder_classes
from metad2a.data.image_source import ImageSource, image_folder, read_class_order
from metad2a.data.reading import read_batches, read_rgb
from metad2a.data.user_folder import say_what_is_left_out

CROP = 0.875  # a network sees this share of a stored image's side, as usual for ImageNet: 224 of 256
CACHE_BYTES = 2**30  # pixels stay in memory if all of them take no more
MEAN, STD = map(torch.tensor, IMAGENET_STATS)


class ImagesByClass:
    """Images at s x s pixels, decoded when they are read, and kept if there is room for all of them.

    A network's input has the side `image_size` = `share` s. `by_class` has the numbers of each class's images. Raises a
    UserError if a class is empty.
    """

    def __init__(self, source: ImageSource, image_size: int, share: float):
        self.source = source
        self.by_class = torch.from_numpy(source.select()).split(np.bincount(source.labels).tolist())
        self.image_size = image_size
        self.side = round(image_size / share)
        M = len(source.labels)
        size = M * self.side**2 * 3
        self._cache = torch.empty(M, self.side, self.side, 3, dtype=torch.uint8) if size <= CACHE_BYTES else None
        self._known = torch.zeros(M, dtype=torch.bool)

    def pixels(self, numbers: torch.Tensor) -> torch.Tensor:
        """(n, s, s, 3) uint8. Raises a UserError if an image cannot be read."""
        if self._cache is None:
            return torch.stack([self[i] for i in numbers.tolist()])
        for i in numbers[~self._known[numbers]].tolist():
            self._cache[i] = self[i]
            self._known[i] = True
        return self._cache[numbers]

    def read(self, parts: list[torch.Tensor], num_workers: int) -> Iterator[torch.Tensor]:
        """`pixels` of each of `parts`, read ahead by worker processes if they are not kept in memory."""
        if self._cache is not None or num_workers == 0:
            return map(self.pixels, parts)
        lists = [part.tolist() for part in parts]
        return read_batches(DataLoader(self, batch_sampler=lists, num_workers=num_workers))  # type: ignore[arg-type]

    def centered(self, numbers: torch.Tensor) -> torch.Tensor:
        """The middle of the images, normalised: (n, 3, image_size, image_size)."""
        start = (self.side - self.image_size) // 2
        middle = slice(start, start + self.image_size)
        return normalize(self.pixels(numbers)[:, middle, middle], MEAN, STD)

    def augmented(self, pixels: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Random crops of (n, s, s, 3), half of them mirrored, normalised: (n, 3, image_size, image_size)."""
        corners = torch.randint(self.side - self.image_size + 1, (2, len(pixels), 1), generator=rng)
        mirrored = torch.rand(len(pixels), generator=rng) < 0.5
        return normalize(crop(pixels, torch.cat([*corners], 1), mirrored, self.image_size), MEAN, STD)

    def __getitem__(self, number: int) -> torch.Tensor:
        """An image, decoded: (s, s, 3) uint8."""
        pixels = torch.from_numpy(np.array(read_rgb(self.source, number))).permute(2, 0, 1)
        pixels = TF.resize(pixels, [self.side], antialias=True)
        return TF.center_crop(pixels, [self.side, self.side]).permute(1, 2, 0)

    def labels(self, classes: list[int]) -> torch.Tensor:
        """The label of every image of `numbers`: the position of its class in `classes`."""
        return torch.arange(len(classes)).repeat_interleave(torch.tensor([len(self.by_class[c]) for c in classes]))

    def numbers(self, classes: list[int]) -> torch.Tensor:
        """Numbers of all images of some classes, class after class."""
        return torch.cat([self.by_class[c] for c in classes])


def open_imagenet(
    folder: str | Path, names: list[str], image_size: int, share: float = CROP
) -> tuple[ImagesByClass, ImagesByClass]:
    """Training and held-out images of the classes `names`: the folder's parts, such as `train` and `val`, or else a
    fifth of each class is held out, as in all commands. Raises a UserError if the folder or a class is missing, or a
    class has too few images."""
    parts = _parts(folder)
    if parts.note:
        log.info(parts.note)
    whole = parts.test is None
    training = _images(parts.train, names, image_size, share, "train" if whole else "all")
    return training, _images(parts.test or parts.train, names, image_size, share, "test" if whole else "all")


def _parts(folder: str | Path) -> Parts:
    if not Path(folder).is_dir():
        raise UserError(f"--imgnet {folder} is not a folder.")
    return find_parts(folder)


def _images(folder: Path, names: list[str], image_size: int, share: float, part: str) -> ImagesByClass:
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{folder} lacks {len(missing)} of {len(names)} classes: it has no sub-folder {missing[0]}{more}. Give the "
            "whole ImageNet folder as --imgnet, or list the classes there are in a file for --class-order."
        )
    source = image_folder("imagenet", folder, names, part)
    if part != "test":
        say_what_is_left_out(source)
    return ImagesByClass(source, image_size, share)


def class_names(folder: str | Path, class_order: str | None) -> list[str]:
    """Names of the classes of an ImageNet folder: the names in the file `class_order`, or all sub-folders. Raises a
    UserError if the folder is missing or has fewer than two sub-folders, or the file cannot be read."""
    names = folder_classes(_parts(folder).train)
    if class_order is not None:
        return read_class_order(class_order, names)
    if len(names) < 2:
        raise UserError(
            f"{folder} has {len(names) or 'no'} sub-folder{'' if names else 's'}: it needs one for each class, "
            "two or more, with the images inside."
        )
    return names
