"""M labelled images that are opened one by one, for example the images of a folder."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from metad2a.core.errors import UserError
from metad2a.core.files import content_digest, display_path
from metad2a.core.schema import Text
from metad2a.core.values import LabelledFolder, check_name
from metad2a.data.fingerprints import AT_A_TIME, contents, remembered
from metad2a.data.folders import (
    folder_classes,
    formats,
    held_out,
    image_files,
    labels_remedy,
    left_out_text,
    outside,
)
from metad2a.data.labels import read_labels

WRITTEN = ("data", "results")  # where commands write by default, see --data-path and --save-path


class Gray(NamedTuple):
    """Gray values that become black and white if an image's file does not say them."""

    low: float
    high: float
    stated: bool = False  # also if the file says them, because all images of the dataset use a small part of its bits


@dataclass(frozen=True)
class ImageSource:
    """Labelled images that are opened one by one."""

    name: str  # of the dataset
    class_names: list[str]
    labels: np.ndarray  # (M,) int64
    # Number -> image, in any mode, and what messages call it. Worker processes get both, so they can be pickled.
    open: Callable[[int], Image.Image]
    describe: Callable[[int], str]
    folder: str | Path  # where the images lie
    files: list[Path] = field(default_factory=list)  # M files of a user's folder; empty for official files
    left_out: dict[Path, str] = field(default_factory=dict)  # other files of the folder, and why they are not used
    gray: Gray | None = None  # scale of deep gray images
    part: str = "all"  # or train or test
    note: str = ""  # what a user should know about the choice of the images
    data_path: str | Path | None = None  # where fingerprints and the list of unused files go

    @property
    def origin(self) -> str:
        """Where the images come from, for messages."""
        return display_path(self.folder)

    def select(self, max_per_class: int | None = None, seed: int = 0) -> np.ndarray:
        """Numbers of all images, class after class, or of at most `max_per_class` in each class, drawn with `seed`.
        Raises a UserError if a class has no images, or a label has no class."""
        C = len(self.class_names)
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < C:
            raise UserError(f"{self.origin}: label {int(self.labels.max())} is none of the {C} classes of {self.name}.")
        counts = np.bincount(self.labels, minlength=C)
        if not counts.all():
            empty = self.class_names[int((counts == 0).argmax())]
            others = {
                path: why for path, why in self.left_out.items() if path.is_relative_to(Path(self.folder) / empty)
            }
            why = f" ({left_out_text(others)})" if others else ""
            raise UserError(
                f"Class {empty!r} of {self.name} has no images in {self.origin}{why}. Add some or remove it."
            )
        parts = np.split(np.argsort(self.labels, kind="stable"), np.cumsum(counts)[:-1])
        if max_per_class is not None:
            rng = np.random.default_rng(seed)
            keep = [sorted(rng.choice(len(p), min(max_per_class, len(p)), replace=False)) for p in parts]
            parts = [part[rows] for part, rows in zip(parts, keep, strict=True)]
        return np.concatenate(parts)

    def digest(self, numbers: np.ndarray) -> str:
        """A digest of the images `numbers` (n,), their labels and their order, wherever their files lie. Files are read
        again only if their listing has changed. Raises a UserError if an image cannot be read."""

        def of_image(number: int) -> bytes:
            try:
                with self.open(number) as image:
                    about = f"{image.mode} {image.size}".encode()
                    return b"" if self.files else hashlib.sha256(about + image.tobytes()).digest()
            except Exception as error:  # decoders raise exceptions of all kinds
                raise UserError(f"{self.describe(number)} cannot be read ({error}). Replace or remove it.") from error

        def of_all() -> str:
            images: list[bytes] = []
            wanted = numbers.tolist()
            with ThreadPoolExecutor() as pool:  # reading and hashing wait for no other thread
                for start in range(0, len(wanted), AT_A_TIME):
                    images += pool.map(of_image, wanted[start : start + AT_A_TIME])
            if self.files:
                images = [bytes.fromhex(digest) for digest in contents([self.files[i] for i in wanted])]
            return content_digest(b"".join(images).hex(), self.labels[numbers], self.class_names)

        if not self.files:
            return of_all()
        files, about = [self.files[i] for i in numbers.tolist()], (self.labels[numbers], self.class_names)
        return remembered(self.data_path, f"images-{content_digest(*about)[:8]}", files, Text, of_all)


def image_folder(
    name: str, folder: str | Path, class_order: str | list[str] | None = None, part: str = "all"
) -> ImageSource:
    """A folder with a sub-folder of images for each class, or a `LabelledFolder`. Raises a UserError if the folder or a
    class is missing, or a class has a single image and none to test on.

    Args:
        class_order: the sub-folders, or a text file whose lines start with them; by default all, in alphabetical order.
        part: "test" for the images that are held out for testing, "train" for the others, "all" for both.
    """
    classes, left_out, note = find_classes(folder, class_order)
    if part == "test":
        check_counts({name: len(images) for name, images in classes.items()})
    return make_source(name, folder, part, classes, left_out, note)


def check_counts(counts: Mapping[str, int]) -> None:
    """Raise a UserError if a class has a single image, and so none to test on."""
    if few := [name for name, count in counts.items() if count == 1]:
        raise UserError(f"Class {display_path(few[0])!r} has 1 image; two are needed, to train and to test.")


def find_classes(
    folder: str | Path, class_order: str | list[str] | None
) -> tuple[dict[str, list[Path]], dict[Path, str], str]:
    """The images of each class in order, other files with the reasons, and a note."""
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"--image-folder {display_path(folder)} is not a folder.")
    left_out: dict[Path, str] = {}
    note = ""
    if isinstance(folder, LabelledFolder):
        labelled = read_labels(folder.labels, path)
        classes, left_out, note = labelled.classes, labelled.left_out, labelled.note
        names = _order(class_order, list(classes)) or list(classes)
    else:
        known = folder_classes(path)
        names = _order(class_order, known) or known
        outside(path, known if isinstance(class_order, list) else names, left_out)
        classes = {name: image_files(path / name, left_out) for name in names if (path / name).is_dir()}
        if not class_order:  # a command that was started in the folder of images has written to it
            names = [name for name in names if classes[name] or name not in WRITTEN]
    if not names:
        raise UserError(
            f"{display_path(path)} has no sub-folders: it needs one for each class, with the images inside. "
            f"{labels_remedy(path)}"
        )
    for class_name in names:
        if class_name not in classes:
            raise UserError(f"{display_path(path)} has no sub-folder {class_name!r}, which {class_order} lists.")
    return {class_name: classes[class_name] for class_name in names}, left_out, note


def make_source(
    name: str, folder: str | Path, part: str, classes: dict[str, list[Path]], left_out: dict[Path, str], note: str
) -> ImageSource:
    """A part of the images that `find_classes` found."""
    files, labels = [], []
    for label, images in enumerate(classes.values()):
        if part != "all":
            for_test = held_out(images, Path(folder))
            images = [image for image in images if (image in for_test) == (part == "test")]
        files += images
        labels += [label] * len(images)
    labelled = isinstance(folder, LabelledFolder)
    class_names = [class_name if labelled else display_path(class_name) for class_name in classes]
    lookups = partial(_of_file, files, open_image), partial(_of_file, files, display_path)
    where = folder if labelled else Path(folder)
    return ImageSource(
        name, class_names, np.array(labels, dtype=np.int64), *lookups, where, files, left_out, None, part, note
    )


def _order(class_order: str | list[str] | None, known: list[str]) -> list[str]:
    if class_order is None or isinstance(class_order, list):
        return class_order or []
    return read_class_order(class_order, known)


def _of_file(files: list[Path], function: Callable[[Path], Any], number: int) -> Any:
    return function(files[number])


def open_image(path: Path) -> Image.Image:
    """Open an image file. Raises an OSError if its format is neither named by its content nor that of its suffix, or it
    is no regular file, such as a pipe, which would keep the program waiting."""
    if not path.is_file():
        raise OSError("it is missing or no regular file")
    return Image.open(path, formats=formats(path.suffix))


def why_unreadable(error: Exception) -> str:
    """What a decoder's error says, without the file's name."""
    unknown = isinstance(error, UnidentifiedImageError)
    return "it is no image that is known here" if unknown else str(error) or type(error).__name__


def read_class_order(path: str | Path, known: Collection[str] = ()) -> list[str]:
    """The class at the start of every line of a text file: the longest of the `known` names that it starts with, or its
    first word. Raises a UserError if the file cannot be read, names fewer than two classes, or names one twice."""
    wanted = "Give a text file whose lines start with a class's sub-folder, two or more, each once."

    def start(line: str) -> str:
        fits = [name for name in known if line == name or (line.startswith(name) and line[len(name)] in " \t,;")]
        return max(fits, key=len, default=line.split()[0])

    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class-order {path} cannot be read: {error}. {wanted}") from error
    names = [start(line.strip()) for line in lines if line.strip()]
    if len(names) < 2:
        raise UserError(f"--class-order {path} names {names[0] if names else 'nothing'}. {wanted}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"--class-order {path} names {twice} twice. {wanted}")
    return [name if name in known else check_name(name, f"--class-order {path}:") for name in names]
