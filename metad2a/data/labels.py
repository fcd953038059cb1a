"""Classes of images that are in a CSV file, as Kaggle (`labels.csv`) and Hugging Face (`metadata.csv`) write it."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.data.folders import scan

# Names of columns in lower case, the most certain first
PATHS = ("file_name", "filename", "file", "filepath", "file_path", "path", "image_path", "image_name", "image",
         "image_id", "imageid", "img", "id", "id_code", "name", "fname")  # fmt: skip
LABELS = ("label", "labels", "class", "class_name", "classname", "category", "target", "breed", "species", "label_name",
          "type", "diagnosis", "y", "class_id", "classid", "label_id")  # fmt: skip
NO_LABEL = "without a class in {}"


@dataclass(frozen=True)
class Labelled:
    """The images of each class, files without a class with the reason, and what a user should know."""

    classes: dict[str, list[Path]]
    left_out: dict[Path, str]
    note: str


def read_labels(file: str | Path, folder: Path) -> Labelled:
    """The classes of the images of a folder. Rows without an image, and images without a row, are counted.

    Raises a UserError if the file cannot be read, its columns are not understood, no row names an image, or an image
    has two classes.
    """
    rows, path = _rows(file), Path(file)
    left_out: dict[Path, str] = {}
    images = _Images(scan(folder, left_out), folder, path)
    paths, labels = _columns(rows, images, path)
    header = [] if images.find(rows[0][paths]) else rows.pop(0)
    classes: dict[Path, str] = {}
    missing: list[str] = []
    for row in rows:
        text, label = (row[i].strip() if i < len(row) else "" for i in (paths, labels))
        if not (image := images.find(text)):
            missing.append(text)
        elif label and classes.setdefault(image, label) != label:
            raise UserError(
                f"--labels {display_path(path)} puts {display_path(image)} into two classes, {classes[image]!r} and "
                f"{label!r}. Keep one row for each image: a network tells one class for each."
            )
    if not classes:
        raise UserError(
            f"--labels {display_path(path)}: none of its {len(rows)} rows names an image of {display_path(folder)} "
            f"and its class (the first is {rows[0][paths] if rows else ''!r}). Give the folder of these images as "
            "--image-folder."
        )
    taken = [header[i] if header else f"number {i + 1}" for i in (paths, labels)]
    note = f"{display_path(path)}: column {taken[0]} names the images, column {taken[1]} their classes."
    if missing:
        note += f" {len(missing)} of {len(rows)} rows name no image of the folder, for example {missing[0]!r}."
    grouped: dict[str, list[Path]] = {label: [] for label in sorted(set(classes.values()))}
    for image in sorted(classes):
        grouped[classes[image]].append(image)
    reason = NO_LABEL.format(display_path(path.name))
    left_out |= {image: reason for image in images.files if image not in classes}
    left_out.pop(path, None)
    return Labelled(grouped, left_out, note)


class _Images:
    """Image files by the names that a row may give them: below the folder or the file's folder, without a suffix, or
    without their folders if no other image has that name."""

    def __init__(self, files: list[Path], folder: Path, labels: Path):
        self.files = files
        self.exact: dict[str, Path] = {}
        bases = [folder, *([labels.parent] if labels.parent != folder else [])]
        self.exact |= {os.path.abspath(path).replace(os.sep, "/"): path for path in files}
        for base in bases:
            self.exact = {os.path.relpath(path, base).replace(os.sep, "/"): path for path in files} | self.exact
        self.loose = dict(_unambiguous(files, folder))

    def find(self, text: str) -> Path | None:
        """The image of a row, None if there is none or if there are several."""
        name = text.strip().replace("\\", "/")
        name = os.path.normpath(name).replace(os.sep, "/") if name else name
        return self.exact.get(name) or self.loose.get(name)


def _unambiguous(files: Iterable[Path], folder: Path) -> Iterator[tuple[str, Path]]:
    for shorten in (lambda p: p.stem, lambda p: p.name, lambda p: p.with_suffix("").as_posix()):
        names = {path: shorten(PurePath(path.relative_to(folder))) for path in files}
        counts = Counter(names.values())
        yield from ((name, path) for path, name in names.items() if counts[name] == 1)


def _rows(file: str | Path) -> list[list[str]]:
    try:
        if not Path(file).is_file():
            raise OSError("it is missing or no regular file")
        text = Path(file).read_text(encoding="utf-8-sig")
        if text.lstrip()[:1] in ("{", "["):
            raise ValueError("it is in JSON")
        start = text.partition("\n")[0]
        separator = max(",;\t", key=start.count)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"--labels {display_path(file)} cannot be read ({error}). Give a CSV file in UTF-8 with a column of image "
            "files and a column of classes."
        ) from error
    if not rows or len(rows[0]) < 2:
        raise UserError(
            f"--labels {display_path(file)} has no two columns. Give a CSV file whose first row names its columns, for "
            "example file_name,label."
        )
    return rows


def _columns(rows: list[list[str]], images: _Images, path: Path) -> tuple[int, int]:
    """Numbers of the columns of the images and of the classes."""
    names = [name.strip().lower().replace(" ", "_") for name in rows[0]]
    sample = rows[:100]
    hits = [sum(i < len(row) and images.find(row[i]) is not None for row in sample) for i in range(len(names))]
    named = [i for name in PATHS for i, other in enumerate(names) if other == name]
    order = [*named, *(i for i in range(len(names)) if i not in named)]
    paths = max(order, key=lambda i: hits[i])  # the first of the best
    labels = [i for name in LABELS for i, other in enumerate(names) if other == name and i != paths]
    if not labels and len(names) == 2:
        labels = [1 - paths]
    if not labels:
        raise UserError(
            f"--labels {display_path(path)} has the columns {', '.join(rows[0])}, and none is called label, class or "
            "category. Rename the column of the classes to label."
        )
    return paths, labels[0]
