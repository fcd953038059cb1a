"""How folders of images are laid out: parts of a dataset, classes, files, and the images held out for testing."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from metad2a.core.errors import UserError
from metad2a.core.files import display_path

TEST_PARTS = ("test", "val", "valid", "validation")
TEST_SHARE = 0.2  # held-out share of each class, if a folder has no part for testing
# Formats with known first bytes. Files of these formats are recognised whatever they are called.
NAMED_BY_CONTENT = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM", "QOI")
# Pillow starts another program for these, or knows them without being able to decode them.
NEVER_OPENED = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "IPTC", "FPX", "MIC")
# Raw photographs and slides look like TIFF files, of which Pillow would read a preview.
RAW = {".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".kdc", ".mef", ".mrw", ".nef", ".nrw", ".orf", ".pef",
       ".raf", ".raw", ".rw2", ".srf", ".sr2", ".srw", ".x3f", ".ndpi", ".scn", ".svs"}  # fmt: skip
# What operating systems, NAS boxes and cameras leave beside images, in lower case. Hidden names need no list.
LEFTOVERS = {"@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "__macosx",
             "__pycache__", "desktop.ini", "ehthumbs.db", "found.000", "icon\r", "lost+found", "network trash folder",
             "picasa.ini", "recycled", "recycler", "system volume information", "temporary items", "thumbs.db",
             "zbthumbnail.info"}  # fmt: skip
BACKUPS = {".bak", ".crdownload", ".old", ".orig", ".part", ".swp", ".thm", ".tmp"}
HIDDEN, LEFTOVER, LINKED = "hidden", "left by another program", "behind links to folders that are here already"
CLOSED, OUTSIDE = "in folders that cannot be opened", "outside the class folders"
LABELS = re.compile("label|metadata|train", re.IGNORECASE)  # in names of files of classes
LISTED = 8  # reasons on the screen


@dataclass(frozen=True)
class Parts:
    """Folders with a sub-folder for each class."""

    train: Path
    test: Path | None  # None if `train` is the whole dataset
    note: str = ""  # what a user should know about the choice


def find_parts(folder: str | Path) -> Parts:
    """The parts of a dataset: `train`, and the first of `test`, `val`, `valid` and `validation` that exists. A folder
    without these parts holds the classes. Raises a UserError if `train` has class folders and a part for testing lacks
    them."""
    folder = Path(folder)
    train, tests = folder / "train", [folder / name for name in TEST_PARTS if _has_classes(folder / name)]
    if not tests or not _has_classes(train):
        _check_flat_tests(folder)
        return Parts(folder, None)
    unused = "".join(f"; {path.name} is not used" for path in tests[1:])
    note = f"{display_path(folder)}: train to train on, {tests[0].name} to test on{unused}."
    return Parts(train, tests[0], note if unused or tests[0].name != "test" else "")


def _check_flat_tests(folder: Path) -> None:
    """Raise a UserError if `train` has class folders, and a part for testing has none."""
    train = folder / "train"
    if _has_classes(train) and (flat := _flat_tests(folder)):
        raise UserError(
            f"{' and '.join(flat)} should have a sub-folder for each class, as {display_path(train)} has "
            f"({_some(folder_classes(train))}). Sort the images into such sub-folders, or give {display_path(train)} "
            f"as the folder of images: then {TEST_SHARE:.0%} of each class are held out for testing."
        )


def check_no_flat_parts(folder: Path) -> None:
    """Raise a UserError if all sub-folders are parts of a dataset, without class folders."""
    names = folder_classes(folder) if folder.is_dir() else []
    if set(names) <= {"train", *TEST_PARTS} and _flat_tests(folder):
        raise UserError(
            f"{display_path(folder)} has parts ({_some(names)}) without class folders. Each part needs a sub-folder "
            f"for each class, with the images inside. {labels_remedy(folder)}"
        )


def _flat_tests(folder: Path) -> list[str]:
    parts = [folder / name for name in TEST_PARTS]
    return [display_path(part) for part in parts if part.is_dir() and not _has_classes(part)]


def labels_remedy(folder: str | Path) -> str:
    """What to do about a folder whose classes are in a file, a sentence that names the file if it lies there."""
    folder = Path(folder)
    likely = [
        path
        for place in (folder, folder / "train", folder.parent)
        for path in sorted(_csv_files(place), key=lambda path: (not re.search(LABELS, path.name), path))
        if place != folder.parent or re.search(LABELS, path.name)
    ]
    if not likely:
        return "If a CSV file has the classes, name it with --labels FILE."
    return f"If {display_path(likely[0])} has the classes, add --labels {display_path(likely[0])} to the command."


def _csv_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv") and path.is_file()]
    except OSError:
        return []


def folder_classes(folder: str | Path) -> list[str]:
    """Names of the sub-folders that may be classes, in alphabetical order."""
    return sorted(path.name for path in Path(folder).iterdir() if path.is_dir() and not _why_skipped(path.name))


def image_files(folder: Path, left_out: dict[Path, str] | None = None) -> list[Path]:
    """Image files of a class and of its sub-folders, in alphabetical order, as `scan` finds them. Raises a UserError if
    all of them are in several sub-folders, which may be classes themselves."""
    images = scan(folder, left_out)
    below = sorted({display_path(path.relative_to(folder).parts[0]) for path in images})
    if len(below) > 1 and folder not in (path.parent for path in images):
        raise UserError(
            f"{display_path(folder)} has no images of its own, but {len(below)} sub-folders with images "
            f"({_some(below)}). If these are the classes, give {display_path(folder)} as the folder of images. If "
            f"{display_path(folder.name)} is a class, move the images out of its sub-folders. {_parts_remedy(folder)}"
        )
    return images


def _parts_remedy(folder: Path) -> str:
    if folder.name not in ("train", *TEST_PARTS):
        return "A dataset's parts are called train and test, each with a sub-folder for each class (--image-folder)."
    return "A folder train needs a folder test beside it, with the same sub-folders, to be a part (--image-folder)."


def scan(folder: str | Path, left_out: dict[Path, str] | None = None, outside: str = "") -> list[Path]:
    """All image files of a folder and its sub-folders, in alphabetical order. This is the only walk through images.

    Links are followed, but each folder is entered once, and none that the folder lies in. Other files go to `left_out`
    with the reason, which is `outside` for all files if given. Pipes, sockets and links to nowhere count as files.
    """
    images: list[Path] = []
    left_out = {} if left_out is None else left_out
    above = [*Path(folder).absolute().parents, *Path(folder).resolve().parents]
    entered = {_key(path) for path in above if os.access(path, os.X_OK)}
    links: list[Path] = []
    waiting = [(Path(folder), outside)]
    while waiting or links:
        path, why = waiting.pop() if waiting else (links.pop(0), outside)
        try:
            if (key := _key(path)) in entered:
                left_out[path] = LINKED
                continue
            entered.add(key)
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            left_out[path] = CLOSED
            continue
        for entry in entries:
            below = path / entry.name
            reason = why if why and why != outside else _why_skipped(entry.name) or why
            if _is_dir(entry) and entry.is_symlink():
                if reason:
                    left_out[below] = reason
                else:
                    links.append(below)
            elif _is_dir(entry):
                waiting.append((below, reason))
            elif reason := reason or _why_no_image(below):
                left_out[below] = reason
            else:
                images.append(below)
    return sorted(images)


def _key(path: Path) -> tuple[int, int]:
    """What two paths of one folder have in common."""
    about = path.stat()
    return about.st_dev, about.st_ino


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def outside(folder: Path, used: Collection[str], left_out: dict[Path, str]) -> None:
    """Note the files of a folder that are in none of its sub-folders `used`."""
    for path in sorted(folder.iterdir()):
        if path.name in used and path.is_dir():
            continue
        skipped = _why_skipped(path.name)
        if path.is_dir() and not path.is_symlink():
            scan(path, left_out, skipped or OUTSIDE)
        else:
            left_out[path] = skipped or (OUTSIDE if path.is_dir() else _why_no_image(path) or OUTSIDE)


def _why_skipped(name: str) -> str:
    """Why a file or folder of this name has no images of a dataset, "" if it may have."""
    if name.startswith("."):
        return HIDDEN
    return LEFTOVER if name.lower() in LEFTOVERS or name.endswith("~") else ""


def _why_no_image(path: Path) -> str:
    """Why a file is not read, "" if it is."""
    suffix = path.suffix.lower()
    if suffix in BACKUPS:
        return LEFTOVER
    if suffix in extensions() or (suffix not in RAW and _is_image(path)):
        return ""
    return suffix if re.fullmatch(r"\.\w{1,12}", suffix) else "without a known suffix" if suffix else "without a suffix"


def _is_image(path: Path) -> bool:
    """Whether a file's first bytes are those of an image."""
    try:
        if not path.is_file():
            return False
        with Image.open(path, formats=formats("")):
            return True
    except Exception:  # decoders raise all kinds
        return False


@cache
def extensions() -> Mapping[str, str]:
    """Suffixes of the files that Pillow reads here, and their formats."""
    known = {suffix: {"MPO": "JPEG"}.get(name, name) for suffix, name in Image.registered_extensions().items()}
    return {suffix: name for suffix, name in known.items() if name in Image.OPEN and name not in NEVER_OPENED}


@cache
def formats(suffix: str) -> tuple[str, ...]:
    """Formats of which a file may be: one that its content names, or the one of its suffix."""
    own = extensions().get(suffix.lower())
    names = (*NAMED_BY_CONTENT, own) if own and own not in NAMED_BY_CONTENT else NAMED_BY_CONTENT
    return tuple(name for name in names if name in Image.OPEN)


def left_out_text(left_out: Mapping[Path, str]) -> str:
    """How many files are left out for each reason, "" if there are none."""
    if not left_out:
        return ""
    counts = Counter(left_out.values()).most_common()
    more = sum(count for _, count in counts[LISTED:])
    listed = ", ".join(f"{count} {reason}" for reason, count in counts[:LISTED]) + (f", {more} others" if more else "")
    return f"{len(left_out)} file{'s are' if len(left_out) > 1 else ' is'} left out: {listed}"


def held_out(files: list[Path], folder: Path) -> set[Path]:
    """Choose the images of a class for testing: a fifth, at least one and never all. Only their paths below the
    dataset's `folder` decide, so all commands hold out the same images."""
    count = min(max(1, round(TEST_SHARE * len(files))), len(files) - 1)
    ordered = sorted(files, key=lambda path: hashlib.sha256(os.fsencode(path.relative_to(folder).as_posix())).digest())
    return set(ordered[: max(0, count)])


def _has_classes(path: Path) -> bool:
    return path.is_dir() and bool(folder_classes(path))


def _some(names: list[str]) -> str:
    return ", ".join(map(display_path, names[:3])) + (" ..." if len(names) > 3 else "")
