"""The dataset as a reader should see it: thumbnails of each class, counts, and warnings."""

import base64
import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from metad2a.core.files import display_path
from metad2a.core.messages import counted, log
from metad2a.core.statistics import share_interval
from metad2a.data.folders import left_out_text
from metad2a.data.image_source import ImageSource, open_image, why_unreadable
from metad2a.data.options import IMAGE_SIZE
from metad2a.data.rgb import to_rgb
from metad2a.data.user_folder import folder_parts
from metad2a.reports.page import Section

SIDE, SHOWN, SHOWN_CLASSES = 48, 6, 60  # pixels of a thumbnail, thumbnails of a class, and classes
FEW = 20  # a draw takes this many images of a class
UNEVEN = 3  # the largest class has at most this many times the images of the smallest
SMALL_TEST = 400  # images: with these, an accuracy of 80 % is known to within 4 points
OPENED = 20_000  # the sizes of at most this many images are looked at
GLANCED = 1_000  # the same if the user waits for an answer at once
LISTED = 5


@dataclass
class Overview:
    """Files of each class for training and testing, the sizes of the images, and unreadable files."""

    names: list[str]
    train: list[list[Path]]
    test: list[list[Path]]
    left_out: str = ""  # how many other files there are, and why they are not used
    sizes: list[tuple[int, int]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        return [path for part in (self.train, self.test) for files in part for path in files]


def look(folder: str | Path) -> Overview:
    """Look through a folder of images, divided as all commands divide it. Raises a UserError as they do."""
    train, test = folder_parts("", folder)
    return overview(train, test, left_out_text(train.left_out | test.left_out))


def overview(train: ImageSource, test: ImageSource, left_out: str = "", opened: int = OPENED) -> Overview:
    """Look at the parts of a folder, and at the sizes of about `opened` images."""
    of_test = _by_class(test)
    files = _by_class(train)
    seen = Overview(train.class_names, [*files.values()], [of_test.get(name, []) for name in files], left_out)
    for path in seen.files[:: max(1, len(seen.files) // opened)]:
        try:
            with open_image(path) as image:
                seen.sizes.append(image.size)
        except Exception as error:  # decoders raise all kinds for damaged files
            seen.unreadable.append(f"{display_path(path)} ({why_unreadable(error)})")
    return seen


def _by_class(source: ImageSource) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {name: [] for name in source.class_names}
    for path, label in zip(source.files, source.labels.tolist(), strict=True):
        files[source.class_names[label]].append(path)
    return files


def duplicates(files: Iterable[Path]) -> list[list[Path]]:
    """Groups of files with equal content. Reads only files of equal size."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in files:
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    by_content: dict[bytes, list[Path]] = defaultdict(list)
    for same in by_size.values():
        for path in same if len(same) > 1 else ():
            by_content[hashlib.sha256(path.read_bytes()).digest()].append(path)
    return [group for group in by_content.values() if len(group) > 1]


def say_what_is_there(train: ImageSource, test: ImageSource) -> None:
    """List the classes with their counts, and warn of what is wrong with the images, in a fraction of a second."""
    seen = overview(train, test, opened=GLANCED)
    listed = ", ".join(f"{name} {len(files)}" for name, files in list(zip(seen.names, seen.train, strict=True))[:FEW])
    more = f" and {len(seen.names) - FEW} more classes" if len(seen.names) > FEW else ""
    total = counted(sum(map(len, seen.train)), "image")
    log.info(f"{train.origin}: {counted(len(seen.names), 'class')}, {total} to train on: {listed}{more}.")
    for text in warnings(seen, copies=False):
        log.info(f"{train.origin}: {text}")


def warnings(seen: Overview, copies: bool = True) -> list[str]:
    """What may spoil a search or a training, a sentence each; equal files take the longest to find."""
    counts = dict(zip(seen.names, map(len, seen.train), strict=True))
    messages = _few(counts, " to train on")
    smallest, largest = min(counts, key=lambda n: counts[n]), max(counts, key=lambda n: counts[n])
    if counts[largest] > UNEVEN * counts[smallest]:
        messages.append(
            f"Unbalanced: {largest} has {counts[largest]} images to train on, {smallest} {counts[smallest]}. Accuracy "
            "counts images, so small classes hardly enter it: look at the accuracy of each class."
        )
    messages += _copies(seen) if copies else []
    if seen.left_out:
        messages.append(f"{seen.left_out}.")
    if seen.unreadable:
        messages.append(f"Cannot be read: {_listed(seen.unreadable)}.")
    opened = len(seen.sizes)
    if small := sum(min(size) < IMAGE_SIZE for size in seen.sizes):
        messages.append(f"{small} of {opened} images have a side below {IMAGE_SIZE} pixels and are enlarged.")
    if large := sum(min(size) > 8 * IMAGE_SIZE for size in seen.sizes):
        messages.append(
            f"{large} of {opened} images are more than 8 times as large as the {IMAGE_SIZE} pixels that a network of "
            "NAS-Bench-201 sees: small details are lost."
        )
    if long := sum(max(size) > 2 * min(size) for size in seen.sizes):
        messages.append(f"{long} of {opened} images are more than twice as long as wide, and are squeezed to squares.")
    tested = sum(map(len, seen.test)) // 2
    if 0 < tested < SMALL_TEST:
        low, high = share_interval(80, tested)
        messages.append(
            f"Few images to test on: {tested} are in x-test, and an accuracy of 80 % measured on them may be anything "
            f"from {low:.0f} to {high:.0f} % (95 %)."
        )
    return messages


def _few(counts: dict[str, int], purpose: str = "") -> list[str]:
    few = [f"{name} ({count})" for name, count in counts.items() if count < FEW]
    verb = "have" if len(few) > 1 else "has"
    return [f"Few images: {_listed(few)} {verb} fewer than {FEW}{purpose}."] if few else []


def _copies(seen: Overview) -> list[str]:
    if not (groups := duplicates(seen.files)):
        return []
    class_of = {p: label for part in (seen.train, seen.test) for label, files in enumerate(part) for p in files}
    tested = {path for files in seen.test for path in files}
    root = Path(os.path.commonpath(seen.files))

    def pairs(groups: list[list[Path]]) -> str:
        return _listed([" = ".join(display_path(path.relative_to(root)) for path in group[:3]) for group in groups])

    messages = [f"{sum(map(len, groups)) - len(groups)} images are copies of others: {pairs(groups)}."]
    if torn := [group for group in groups if len({class_of[path] for path in group}) > 1]:
        messages.append(f"The same image is in several classes: {pairs(torn)}.")
    if leaks := [group for group in groups if 0 < len(tested.intersection(group)) < len(group)]:
        messages.append(f"The same image is to train and to test on, which flatters the accuracy: {pairs(leaks)}.")
    return messages


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def thumbnail(path: Path) -> str | None:
    """A small square of an image as a `data:` address; None if the file is unreadable."""
    try:
        with open_image(path) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            picture = to_rgb(image)
    except Exception:  # decoders raise all kinds for damaged files
        return None
    buffer = io.BytesIO()
    picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def images_section(folder: str | Path | None, names: Sequence[str], counts: Sequence[int], source: str) -> Section:
    """The dataset of a folder; without a folder, the counts of each class and the `source` of images or features."""
    if folder:
        return dataset_section(folder)
    notes = [(name, counted(count, "image"), ()) for name, count in zip(names, counts, strict=True)]
    few = _few(dict(zip(names, counts, strict=True)))
    return Section("The images", warnings=few, thumbnails=notes[:SHOWN_CLASSES], facts={"source": source})


def dataset_section(folder: str | Path) -> Section:
    """The dataset of a folder of images."""
    seen = look(folder)
    shown = []
    for name, train, test in list(zip(seen.names, seen.train, seen.test, strict=True))[:SHOWN_CLASSES]:
        chosen = train[:: max(1, len(train) // SHOWN)][:SHOWN]
        images = [address for path in chosen if (address := thumbnail(path))]
        shown.append((name, f"{len(train)} to train on, {len(test)} to test on", images))
    facts = {
        "folder": display_path(folder),
        "classes": len(seen.names),
        "images": f"{sum(map(len, seen.train))} to train on, {sum(map(len, seen.test))} to test on",
    }
    if seen.sizes:
        low, high = (f"{w} x {h}" for w, h in (f(seen.sizes, key=lambda s: s[0] * s[1]) for f in (min, max)))
        facts["sizes"] = f"{low} pixels" if low == high else f"{low} to {high} pixels"
    hidden = len(seen.names) - len(shown)
    text = f"{hidden} more classes are not shown." if hidden else ""
    return Section("The images", text, warnings=warnings(seen), thumbnails=shown, facts=facts)
