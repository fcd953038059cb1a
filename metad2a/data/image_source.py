"""M labelled images that are opened one by one, for example the images of a folder."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from metad2a.core.errors import UserError
from metad2a.core.files import content_digest, display_path
from metad2a.core.values import check_name
from metad2a.data.folders import folder_classes, held_out, image_files

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # no other is opened, whatever a file's extension says


@dataclass(frozen=True)
class ImageSource:
    """Labelled images that are opened one by one."""

    name: str  # of the dataset
    class_names: list[str]
    labels: torch.Tensor  # (M,) long
    # Number -> image, in any mode, and what messages call it. Worker processes get both, so they can be pickled.
    open: Callable[[int], Image.Image]
    describe: Callable[[int], str]
    folder: str | Path  # where the images lie

    @property
    def origin(self) -> str:
        """Where the images come from, for messages."""
        return display_path(self.folder)

    def select(self, max_per_class: int | None = None, seed: int = 0) -> torch.Tensor:
        """Numbers of all images, class after class, or of at most `max_per_class` in each class, drawn with `seed`.
        Raises a UserError if a class has no images, or a label has no class."""
        C = len(self.class_names)
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < C:
            raise UserError(f"{self.origin}: label {int(self.labels.max())} is none of the {C} classes of {self.name}.")
        counts = torch.bincount(self.labels, minlength=C)
        if not bool(counts.all()):
            empty = self.class_names[int((counts == 0).nonzero()[0])]
            raise UserError(f"Class {empty!r} of {self.name} has no images in {self.origin}. Add some or remove it.")
        parts = self.labels.argsort(stable=True).split(counts.tolist())
        if max_per_class is not None:
            rng = np.random.default_rng(seed)
            keep = [sorted(rng.choice(len(p), min(max_per_class, len(p)), replace=False)) for p in parts]
            parts = [part[rows] for part, rows in zip(parts, keep, strict=True)]
        return torch.cat(parts)

    def digest(self, numbers: torch.Tensor) -> str:
        """A digest of the images `numbers` (n,), their labels and their order, wherever their files lie. Raises a
        UserError if an image cannot be read."""

        def of_image(number: int) -> bytes:
            try:
                with self.open(number) as image:
                    file, about = getattr(image, "filename", ""), f"{image.mode} {image.size}".encode()
                    content = Path(file).read_bytes() if file else about + image.tobytes()
            except Exception as error:  # decoders raise exceptions of all kinds
                raise UserError(f"{self.describe(number)} cannot be read ({error}). Replace or remove it.") from error
            return hashlib.sha256(content).digest()

        with ThreadPoolExecutor() as pool:  # reading and hashing wait for no other thread
            images = b"".join(pool.map(of_image, numbers.tolist()))
        return content_digest(images.hex(), self.labels[numbers], self.class_names)


def image_folder(
    name: str, folder: str | Path, class_order: str | list[str] | None = None, part: str = "all"
) -> ImageSource:
    """A folder with a sub-folder of images for each class. Raises a UserError if the folder or a class is missing, or a
    class has a single image and none to test on.

    Args:
        class_order: the sub-folders, or a text file whose lines start with them; by default all, in alphabetical order.
        part: "test" for the images that are held out for testing, "train" for the others, "all" for both.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--image-folder {display_path(folder)} is not a folder.")
    names = folder_classes(folder)
    if class_order is not None:
        names = class_order if isinstance(class_order, list) else read_class_order(class_order)
    if not names:
        raise UserError(f"{display_path(folder)} has no sub-folders: it needs one a class, with the images inside.")
    files, labels = [], []
    for label, class_name in enumerate(names):
        if not (folder / class_name).is_dir():
            raise UserError(f"{display_path(folder)} has no sub-folder {class_name!r}, which {class_order} lists.")
        images = image_files(folder / class_name)
        if part == "test" and len(images) == 1:
            raise UserError(f"Class {display_path(class_name)!r} has 1 image; two are needed, to train and to test.")
        if part != "all":
            for_test = held_out(images, folder)
            images = [path for path in images if (path in for_test) == (part == "test")]
        files += images
        labels += [label] * len(images)
    class_names = [display_path(class_name) for class_name in names]
    lookups = partial(_of_file, files, open_image), partial(_of_file, files, display_path)
    return ImageSource(name, class_names, torch.tensor(labels, dtype=torch.long), *lookups, folder)


def _of_file(files: list[Path], function: Callable[[Path], Any], number: int) -> Any:
    return function(files[number])


def open_image(path: Path) -> Image.Image:
    """Open an image file. Raises an OSError if its format is none of `FORMATS` or it is no regular file, such as a
    pipe, which would keep the program waiting."""
    if not path.is_file():
        raise OSError("it is missing or no regular file")
    return Image.open(path, formats=FORMATS)


def read_class_order(path: str | Path) -> list[str]:
    """The first word of every line of a text file. Raises a UserError if the file cannot be read, names fewer than two
    classes, or names one twice."""
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
