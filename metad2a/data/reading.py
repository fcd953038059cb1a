"""Read images of any mode as upright RGB, one by one or in batches, and leave out the unreadable ones.

Dimensions: B images of a batch, M images in all, S side in pixels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as TF

from metad2a.core.errors import UserError
from metad2a.core.messages import about_file, log
from metad2a.core.progress import progress
from metad2a.data.extractors import IMAGE_SIZE
from metad2a.data.image_source import ImageSource

ORIENTATION = 0x0112  # EXIF tag of how to turn an image, 1 for not at all
TURNS = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))
MAX_UNREADABLE = 0.05  # share of images that may be unreadable before processing stops


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB, turned as its EXIF data say. Deep gray is scaled and not clipped; transparency becomes white."""
    image.load()
    image = _upright(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data say. (`ImageOps.exif_transpose` also writes the data anew, which can fail.)"""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 0))
    except Exception:  # damaged EXIF data are ignored
        return image
    return image if turn is None else image.transpose(turn)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Gray values to uint8 by their range, which the mode does not say: fractions of 1, 8 bits, 16 bits, or more."""
    top = np.nan_to_num(values).max()
    fractions = values.dtype.kind == "f" and top <= 1
    scale = 255 if fractions else 1 if top < 2**8 else 2**-8 if top < 2**16 else 2**-23
    return (np.nan_to_num(values.astype(np.float64)) * scale).clip(0, 255).astype(np.uint8)


def read_rgb(source: ImageSource, number: int) -> Image.Image:
    """The image of a number, in RGB. Raises a UserError if it cannot be read."""
    try:
        with about_file(source.describe(number)), source.open(number) as image:
            return to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise all kinds for files that are damaged
        reason = str(error) or type(error).__name__
        raise UserError(f"{source.describe(number)} cannot be read ({reason}). Replace or remove it.") from error


def read_batches(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches. The message of a UserError in a worker process comes without the worker's traceback."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from error


class Squares(Dataset):
    """The images `numbers` resized to S x S pixels: (3, S, S) uint8, or None for an unreadable image."""

    def __init__(self, source: ImageSource, numbers: torch.Tensor, size: int):
        self.source, self.numbers, self.size = source, numbers.tolist(), size

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> torch.Tensor | None:
        try:
            image = read_rgb(self.source, self.numbers[index])
        except UserError:
            return None
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        if pixels.shape[1:] != (self.size, self.size):
            pixels = TF.resize(pixels, [self.size, self.size], antialias=True)
        return pixels


def collate(items: list[torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor]:
    """The readable images (n, 3, S, S), and which images of the batch are readable (B,) bool."""
    readable = torch.tensor([item is not None for item in items])
    images = [item for item in items if item is not None]
    return torch.stack(images) if images else torch.empty(0, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8), readable


def decode(source: ImageSource, image_size: int = IMAGE_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """All readable images of a dataset in its order, (M, 3, image_size, image_size) uint8, and labels (M,) long. Raises
    a UserError if a class has no images, or more than 5 % of the images, or all of a class, cannot be read."""
    numbers = source.select().sort().values
    loader = DataLoader(Squares(source, numbers, image_size), 256, collate_fn=collate)
    batches = list(progress(loader, desc=f"{source.name} images", unit="batch"))
    kept = torch.cat([readable for _, readable in batches])
    check_readable(source, numbers, kept)
    return torch.cat([pixels for pixels, readable in batches if readable.any()]), source.labels[numbers[kept]]


def check_readable(source: ImageSource, numbers: torch.Tensor, readable: torch.Tensor) -> torch.Tensor:
    """Name the unreadable images of `numbers`; returns the number of readable images in each class (C,). Raises a
    UserError if more than one image and more than 5 % are unreadable, or all of a class."""
    bad = [source.describe(i) for i in numbers[~readable].tolist()]
    listed = ", ".join(bad[:5]) + (" ..." if len(bad) > 5 else "")
    if len(bad) > max(1, MAX_UNREADABLE * len(numbers)):
        raise UserError(
            f"{len(bad)} of {len(numbers)} images of {source.name} cannot be read: {listed}. Remove or replace them; "
            f"up to {MAX_UNREADABLE:.0%} are skipped."
        )
    if bad:
        log.info(f"Skipped {len(bad)} of {len(numbers)} images that cannot be read: {listed}.")
    counts = torch.bincount(source.labels[numbers[readable]], minlength=len(source.class_names))
    if not bool(counts.all()):
        lost = source.class_names[int((counts == 0).nonzero()[0])]
        raise UserError(f"No image of class {lost!r} can be read.")
    return counts
