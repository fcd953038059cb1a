"""A user's folder of images as a dataset: its two parts, what they hold, and what a user should know about them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from metad2a.core.errors import UserError
from metad2a.core.files import content_digest, display_path
from metad2a.core.messages import log
from metad2a.core.values import LabelledFolder
from metad2a.data.fingerprints import compare_parts
from metad2a.data.folders import (
    TEST_SHARE,
    Parts,
    check_no_flat_parts,
    find_parts,
    labels_remedy,
    left_out_text,
    outside,
)
from metad2a.data.gray import gray_of
from metad2a.data.image_source import ImageSource, check_counts, find_classes, image_folder, make_source

IN_SUB_FOLDERS = 3  # sub-folders that are named on the screen


def folder_parts(name: str, folder: str | Path, class_order: str | None = None) -> tuple[ImageSource, ImageSource]:
    """The images of a folder to train on and to test on, divided as all commands divide them. Raises a UserError like
    `image_folder`."""
    parts = Parts(Path(folder), None) if isinstance(folder, LabelledFolder) else find_parts(folder)
    if parts.test is None:
        if not isinstance(folder, LabelledFolder):
            check_no_flat_parts(Path(folder))
        found = find_classes(folder, class_order)
        train, test = (make_source(name, folder, part, *found) for part in ("train", "test"))
        note = f"{train.note} " if train.note else ""
        note += (
            f"{display_path(folder)} has no part for testing: {TEST_SHARE:.0%} of each class are held out, chosen by "
            "their names. Networks are tested on these, and no search sees them."
        )
        return replace(train, note=note), replace(test, left_out={})
    train, test = (image_folder(name, part, class_order) for part in (parts.train, parts.test))
    beside: dict[Path, str] = {}
    outside(Path(folder), {parts.train.name, parts.test.name}, beside)
    train = replace(train, left_out=train.left_out | beside, part="train", note=parts.note)
    return train, replace(test, part="test")


def say_what_is_left_out(*sources: ImageSource) -> None:
    """One line about the files that are not used, and one about images in sub-folders of a class."""
    left_out = {path: why for source in sources for path, why in source.left_out.items()}
    if left_out:
        log.info(f"{sources[0].origin}: {left_out_text(left_out)}.")
    if (gray := sources[0].gray) and gray.stated:
        log.warning(
            f"{sources[0].origin}: the gray images use a small part of the bits that their files state. In all of them "
            f"{gray.low:g} becomes black and {gray.high:g} white."
        )
    below = [
        path.parent
        for source in sources
        for path in source.files
        if not isinstance(source.folder, LabelledFolder) and path.parent.parent != source.folder
    ]
    if below:
        places = list(dict.fromkeys(map(display_path, below)))
        listed = ", ".join(places[:IN_SUB_FOLDERS]) + (" ..." if len(places) > IN_SUB_FOLDERS else "")
        log.info(f"{sources[0].origin}: {len(below)} of the images lie in sub-folders of their class ({listed}).")


def check_classes(train: ImageSource, test: ImageSource | None = None) -> None:
    """Raise a UserError if a dataset has a single class. With the images that are held out of a folder, `test`, also if
    a class has a single image."""
    if len(train.class_names) < 2:
        only = f"one class ({train.class_names[0]!r}): there is nothing to tell apart"
        if isinstance(train.folder, LabelledFolder):
            raise UserError(
                f"--labels {display_path(train.folder.labels)} gives the images of {train.origin} {only}. Name a file "
                "that has two or more classes."
            )
        raise UserError(
            f"{train.origin} has {only}. Give the folder that has a sub-folder for each class. "
            f"{labels_remedy(train.folder)}"
        )
    if test is not None and train.files and train.folder == test.folder:
        counts = np.bincount(np.concatenate([train.labels, test.labels]), minlength=len(train.class_names))
        check_counts(dict(zip(train.class_names, counts.tolist(), strict=True)))


def check_same_classes(train: ImageSource, test: ImageSource) -> None:
    """Raise a UserError if a part of a dataset lacks a class of the other."""
    for one, other in ((train, test), (test, train)):
        if missing := sorted(set(other.class_names) - set(one.class_names)):
            raise UserError(
                f"{one.origin} lacks the class {missing[0]!r}, which {other.origin} has"
                + (f" ({len(missing)} classes are missing)" if len(missing) > 1 else "")
                + ". Train and test need the same class folders: add the missing folder with its images, or take "
                "the class out of both."
            )


def folder_digest(train: ImageSource, test: ImageSource, say: bool = False) -> str:
    """A digest of what the two parts of a folder hold: the classes, names and contents of their images, wherever the
    folder lies and whenever it was made. `say` also names test images that training has a copy of."""
    compared = compare_parts(train.data_path, train.files, test.files)
    if compared["copies"] and say:
        copy, image = compared["pair"]
        log.warning(
            f"{train.origin}: {compared['copies']} of {len(test.files)} test images have an exact copy among the "
            f"training images, which flatters the accuracy (for example {copy} = {image}). Remove the copies."
        )
    about = [
        value
        for source in (train, test)
        for value in (
            source.class_names,
            source.labels,
            [display_path(path.relative_to(source.folder)) for path in source.files],
        )
    ]
    return content_digest(*compared["digests"], *about)


def open_parts(
    name: str, folder: str | Path, data_path: str | Path, class_order: str | None = None
) -> tuple[ImageSource, ImageSource]:
    """Both parts of a folder. The training images set the scale of deep gray images in both."""
    train, test = folder_parts(name, folder, class_order)
    gray = gray_of(train.files, data_path)
    return replace(train, gray=gray, data_path=data_path), replace(test, gray=gray, data_path=data_path)


def open_checked_parts(
    name: str, folder: str | Path, data_path: str | Path, class_order: str | None = None, testing: bool = False
) -> tuple[ImageSource, ImageSource]:
    """Both parts of a folder, after all that is said and refused about it. With `testing` the second one is wanted."""
    train, test = open_parts(name, folder, data_path, class_order)
    check_same_classes(train, test)
    check_classes(train, test if testing else None)
    say_what_is_left_out(train, test)
    if train.note and not testing:
        log.info(train.note)
    return train, test


def open_folder(
    name: str, folder: str | Path, split: str, data_path: str | Path, class_order: str | None = None
) -> ImageSource:
    """A part of a folder of images; see `metad2a.data.datasets.open_dataset`."""
    if split != "all":
        return open_checked_parts(name, folder, data_path, class_order, split == "test")[split == "test"]
    if not isinstance(folder, LabelledFolder) and (part := find_parts(folder).test):
        raise UserError(f"{display_path(folder)} has the parts train and {part.name}: use --split train or test.")
    whole = image_folder(name, folder, class_order)
    say_what_is_left_out(whole)
    return replace(whole, gray=gray_of(whole.files, data_path), data_path=data_path)
