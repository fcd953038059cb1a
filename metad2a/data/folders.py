"""How folders of images are laid out: parts of a dataset, classes, files, and the images held out for testing."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from metad2a.core.errors import UserError
from metad2a.core.files import display_path

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
TEST_PARTS = ("test", "val", "valid", "validation")
TEST_SHARE = 0.2  # held-out share of each class, if a folder has no part for testing


@dataclass(frozen=True)
class Parts:
    """Folders with a sub-folder for each class."""

    train: Path
    test: Path | None  # None if `train` is the whole dataset
    note: str = ""  # what a user should know about the choice


def find_parts(folder: str | Path) -> Parts:
    """The parts of a dataset: `train`, and the first of `test`, `val`, `valid` and `validation` that exists. A folder
    without these parts holds the classes."""
    folder = Path(folder)
    train, tests = folder / "train", [folder / name for name in TEST_PARTS if _has_classes(folder / name)]
    if not tests or not _has_classes(train):
        return Parts(folder, None)
    unused = "".join(f"; {path.name} is not used" for path in tests[1:])
    note = f"{display_path(folder)}: train to train on, {tests[0].name} to test on{unused}."
    return Parts(train, tests[0], note if unused or tests[0].name != "test" else "")


def folder_classes(folder: str | Path) -> list[str]:
    """Names of the sub-folders, in alphabetical order."""
    return sorted(path.name for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """Image files of a class, by their extension, in alphabetical order; also special files, but no folders. Raises a
    UserError if all of them are in sub-folders."""
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and not path.is_dir())
    if images and folder not in (path.parent for path in images):
        below = sorted({display_path(path.relative_to(folder).parts[0]) for path in images})
        listed = ", ".join(below[:3]) + (" ..." if len(below) > 3 else "")
        raise UserError(
            f"{display_path(folder)} has no images of its own, but "
            f"{len(below)} sub-folder{'s' if len(below) > 1 else ''} with images ({listed}). Images must lie directly "
            f"in the class folder. Name the parts of a dataset train and test (or {', '.join(TEST_PARTS[1:])}), or "
            "give the folder whose sub-folders hold the images as --image-folder."
        )
    return images


def held_out(files: list[Path], folder: Path) -> set[Path]:
    """Choose the images of a class for testing: a fifth, at least one and never all. Only their paths below the
    dataset's `folder` decide, so all commands hold out the same images."""
    count = min(max(1, round(TEST_SHARE * len(files))), len(files) - 1)
    ordered = sorted(files, key=lambda path: hashlib.sha256(os.fsencode(path.relative_to(folder).as_posix())).digest())
    return set(ordered[: max(0, count)])


def listing_digest(folder: str | Path, extensions: set[str] | None = None) -> str:
    """Digest of the names, sizes and times of all files with these extensions, or of all that are not hidden. If it
    differs, the images have changed. A class may be a link to a folder; links within that folder are not followed."""
    lines, paths = [], list(Path(folder).rglob("*"))
    linked = [path for path in paths if path.is_symlink() and path.is_dir()]
    for path in sorted({*paths, *(below for link in linked for below in link.rglob("*"))}):
        wanted = path.suffix.lower() in extensions if extensions else not path.name.startswith(".")
        if wanted and path.is_file():
            stat = path.stat()
            lines.append(f"{path.relative_to(folder).as_posix()} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()[:16]


def _has_classes(path: Path) -> bool:
    return path.is_dir() and bool(folder_classes(path))
