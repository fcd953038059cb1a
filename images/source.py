"""Images to features, in batches, whatever they come from.

Dimensions: B images of a batch, M images in all, D feature width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as TF

from engine.errors import UserError
from engine.files import display_path
from engine.messages import log
from engine.names import check_name
from engine.progress import progress
from images.extractors import IMAGE_SIZE, Extractor, ExtractorSpec
from images.features import Features
from images.folders import folder_classes, held_out, image_files

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # whatever a file's extension says, no other is opened
ORIENTATION = 0x0112  # EXIF tag of how to turn an image, 1 for not at all
TURNS = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))
MAX_UNREADABLE = 0.05  # share of images that may be unreadable before processing stops


@dataclass(frozen=True)
class ImageSource:
    """Labelled images that are opened one by one.

    Attributes:
        name: of the dataset.
        class_names: C names.
        labels: (M,) long.
        open: the image of a number, any mode. This and `describe` can be pickled, for worker processes.
        describe: what to call it in messages.
        folder: where the images lie.
    """

    name: str
    class_names: list[str]
    labels: torch.Tensor
    open: Callable[[int], Image.Image]
    describe: Callable[[int], str]
    folder: str | Path

    @property
    def origin(self) -> str:
        """Where the images come from, in messages."""
        return display_path(self.folder)

    def select(self, max_per_class: int | None, seed: int) -> torch.Tensor:
        """Numbers of the images to take, class after class, at most so many of each, chosen with `seed`.

        Raises:
            UserError: a class has no images, or a label no class.
        """
        C = len(self.class_names)
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < C:
            raise UserError(f"{self.origin}: label {int(self.labels.max())} is none of the {C} classes of {self.name}.")
        counts = torch.bincount(self.labels, minlength=C)
        if not bool(counts.all()):
            lost = self.class_names[int((counts == 0).nonzero()[0])]
            raise UserError(f"Class {lost!r} of {self.name} has no images in {self.origin}. Add some or remove it.")
        parts = self.labels.argsort(stable=True).split(counts.tolist())
        if max_per_class is not None:
            rng = np.random.default_rng(seed)
            keep = [sorted(rng.choice(len(p), min(max_per_class, len(p)), replace=False)) for p in parts]
            parts = [part[rows] for part, rows in zip(parts, keep, strict=True)]
        return torch.cat(parts)


def image_folder(
    name: str, folder: str | Path, class_order: str | Path | list[str] | None, part: str = "all"
) -> ImageSource:
    """A folder with one sub-folder of images a class; classes in alphabetical order or in a given one.

    Args:
        class_order: the sub-folders' names, or a text file whose lines start with them.
        part: "train" or "test" for the images that are not or are held out for testing, "all" for both.

    Raises:
        UserError: the folder or a class is missing, or a class has a single image and none to test on.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--image-folder {display_path(folder)} is not a folder.")
    names = folder_classes(folder)
    if class_order is not None:
        names = class_order if isinstance(class_order, list) else read_class_order(class_order)
    if not names:
        raise UserError(
            f"{display_path(folder)} has no sub-folders: it needs one for each class, with the images inside."
        )
    files, labels = [], []
    for label, class_name in enumerate(names):
        if not (folder / class_name).is_dir():
            raise UserError(f"{display_path(folder)} has no sub-folder {class_name!r}, which {class_order} lists.")
        found = image_files(folder / class_name)
        if part == "test" and len(found) == 1:
            raise UserError(f"Class {display_path(class_name)!r} has 1 image; two are needed, to train and to test.")
        if part != "all":
            for_test = held_out(found, folder)
            found = [path for path in found if (path in for_test) == (part == "test")]
        files += found
        labels += [label] * len(found)
    return ImageSource(
        name,
        [display_path(class_name) for class_name in names],
        torch.tensor(labels, dtype=torch.long),
        partial(_open, files),
        partial(_describe, files),
        folder,
    )


def _open(files: list[Path], number: int) -> Image.Image:
    return open_image(files[number])


def _describe(files: list[Path], number: int) -> str:
    return display_path(files[number])


def open_image(path: Path) -> Image.Image:
    """Open a file of one of `FORMATS`.

    Raises:
        OSError: it is none, or no regular file; a pipe for example is never waited for.
    """
    if not path.is_file():
        raise OSError("it is missing or no regular file")
    return Image.open(path, formats=FORMATS)


def read_class_order(path: str | Path) -> list[str]:
    """The first word of every line of a text file.

    Raises:
        UserError: it cannot be read, names fewer than two, or one twice.
    """
    wanted = "Give a text file whose lines start with a class's sub-folder, two or more, each once."
    try:
        names = [line.split()[0] for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class-order {path} cannot be read: {error}. {wanted}") from error
    if len(names) < 2:
        raise UserError(f"--class-order {path} names {names[0] if names else 'nothing'}. {wanted}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"--class-order {path} names {twice} twice. {wanted}")
    return [check_name(name, f"--class-order {path}:") for name in names]


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB, turned as its EXIF data say: deep gray is scaled and not clipped, transparency lies on white."""
    image.load()
    image = _upright(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data say. (`ImageOps.exif_transpose` writes them anew, which fails for odd ones.)"""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # damaged EXIF data are as good as none
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Gray values to uint8 by their range: fractions of 1, 8 bits, 16 bits, or more.

    The mode of an image does not tell: those of mode "I" have 32 bits whatever the file had.
    """
    top = np.nan_to_num(values).max()
    if values.dtype.kind == "f" and top <= 1:
        scale = 255
    else:
        scale = 1 if top < 2**8 else 2**-8 if top < 2**16 else 2**-23
    return (np.nan_to_num(values.astype(np.float64)) * scale).clip(0, 255).astype(np.uint8)


def read_rgb(source: ImageSource, number: int) -> Image.Image:
    """The image of a number, in RGB.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with source.open(number) as image:
            return to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise all kinds for files that are damaged
        reason = str(error) or type(error).__name__
        raise UserError(f"{source.describe(number)} cannot be read ({reason}). Replace or remove it.") from error


def read_batches(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches. What a worker refuses comes with its traceback, which is left out."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from error


class _Pixels(Dataset):
    """Images brought to the squares of `sizes`, one after the other, or None where one cannot be read."""

    def __init__(self, source: ImageSource, numbers: torch.Tensor, sizes: tuple[int, ...]):
        self.source, self.sizes = source, sizes
        self.numbers = numbers.tolist()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> torch.Tensor | None:
        try:
            image = read_rgb(self.source, self.numbers[index])
        except UserError:
            return None
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        for size in self.sizes:
            if pixels.shape[1:] != (size, size):
                pixels = TF.resize(pixels, [size, size], antialias=True)
        return pixels


def _collate(items: list[torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor]:
    """The readable images (n, 3, S, S), and which of the batch were readable (B,)."""
    readable = torch.tensor([item is not None for item in items])
    images = [item for item in items if item is not None]
    return torch.stack(images) if images else torch.empty(0, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8), readable


@dataclass(frozen=True)
class ExtractOptions:
    """How images go through the network."""

    extractor: str
    device: torch.device
    batch_size: int
    num_workers: int
    spec: ExtractorSpec | None = None
    first_size: int | None = None


def extract(source: ImageSource, numbers: torch.Tensor, options: ExtractOptions) -> Features:
    """Features of the images `numbers`, class after class; unreadable ones are named and left out.

    Raises:
        UserError: more than 5 % of the images, or all of a class, cannot be read.
    """
    network = Extractor(options.extractor, source.name, options.spec).to(options.device)
    images = torch.empty(len(numbers), network.spec.feature_dim, dtype=torch.float16)  # (M, D)
    sizes = (options.first_size, IMAGE_SIZE) if options.first_size else (IMAGE_SIZE,)
    pixels = _Pixels(source, numbers, sizes)
    loader = DataLoader(pixels, options.batch_size, num_workers=options.num_workers, collate_fn=_collate)
    readable, filled = [], 0
    with torch.inference_mode(), progress(total=len(numbers), desc=f"{source.name} features", unit="img") as bar:
        for batch, ok in loader:
            images[filled : filled + len(batch)] = network.embed(batch)
            filled += len(batch)
            readable.append(ok)
            bar.update(len(ok))
    kept = torch.cat(readable)
    counts = _check_readable(source, numbers, kept)
    images = images[:filled].clone() if filled < len(images) else images
    return Features(source.name, images, counts, source.class_names, network.spec.identity, source.origin)


def decode(source: ImageSource, image_size: int = IMAGE_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of a dataset as squares of `image_size`, in its own order; unreadable ones are named and left out.

    Returns:
        Pixels (M, 3, image_size, image_size) uint8 and labels (M,) long.

    Raises:
        UserError: a class has no images, or more than 5 % of the images, or all of a class, cannot be read.
    """
    numbers = source.select(None, 0).sort().values
    loader = DataLoader(_Pixels(source, numbers, (image_size,)), 256, collate_fn=_collate)
    batches = list(progress(loader, desc=f"{source.name} images", unit="batch"))
    kept = torch.cat([readable for _, readable in batches])
    _check_readable(source, numbers, kept)
    return torch.cat([pixels for pixels, readable in batches if readable.any()]), source.labels[numbers[kept]]


def _check_readable(source: ImageSource, numbers: torch.Tensor, readable: torch.Tensor) -> torch.Tensor:
    """Name the unreadable images of `numbers`; returns how many of each class are readable (C,).

    Raises:
        UserError: they are more than 5 % and more than one, or all of a class.
    """
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
