"""A folder of images as a reader should see it: thumbnails of each class, counts, and warnings."""

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
from metad2a.core.statistics import share_interval
from metad2a.data.extractors import IMAGE_SIZE
from metad2a.data.folders import find_parts, folder_classes, held_out, image_files
from metad2a.data.image_source import open_image
from metad2a.reports.page import Section, Thumbnails

SIDE = 48  # of a thumbnail, in pixels
SHOWN, SHOWN_CLASSES = 6, 60  # thumbnails of a class, and classes
FEW, UNEVEN = 20, 3  # images of a class that a draw takes; largest class by smallest
SMALL_TEST = 400  # images: an accuracy of 80 % is then known to within 4 points
OPENED = 20_000  # images at most whose size is looked at
LISTED = 5


@dataclass
class Overview:
    """What is known of a dataset: images of each class to train and to test on, and where their files are."""

    names: list[str]
    train: list[list[Path]]
    test: list[list[Path]]
    sizes: list[tuple[int, int]] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        return [path for part in (self.train, self.test) for files in part for path in files]


def look(folder: str | Path) -> Overview:
    """Look through a folder of images, divided as all commands divide it.

    Raises:
        UserError: a class's images are in sub-folders of its own.
    """
    parts = find_parts(folder)
    names = folder_classes(parts.train)
    train = [image_files(parts.train / name) for name in names]
    if parts.test is None:
        chosen = [held_out(files, parts.train) for files in train]
        test = [[path for path in files if path in some] for files, some in zip(train, chosen, strict=True)]
        train = [[path for path in files if path not in some] for files, some in zip(train, chosen, strict=True)]
    else:
        test = [image_files(parts.test / name) if (parts.test / name).is_dir() else [] for name in names]
    seen = Overview([display_path(name) for name in names], train, test)
    step = max(1, len(seen.files) // OPENED)
    for path in seen.files[::step]:
        try:
            with open_image(path) as image:
                seen.sizes.append(image.size)
        except Exception:  # decoders raise all kinds for files that are damaged
            seen.unreadable.append(path)
    return seen


def duplicates(files: Iterable[Path]) -> list[list[Path]]:
    """Groups of files of equal content; only files of equal size are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in files:
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    by_content: dict[bytes, list[Path]] = defaultdict(list)
    for same in by_size.values():
        for path in same if len(same) > 1 else ():
            by_content[hashlib.sha256(path.read_bytes()).digest()].append(path)
    return [group for group in by_content.values() if len(group) > 1]


def warnings(seen: Overview) -> list[str]:
    """What may spoil a search or a training, a sentence each."""
    found = []
    counts = dict(zip(seen.names, map(len, seen.train), strict=True))
    if few := [f"{name} ({count})" for name, count in counts.items() if count < FEW]:
        found.append(f"Few images: {_listed(few)} {_have(few)} fewer than {FEW} to train on.")
    smallest, largest = min(counts, key=lambda n: counts[n]), max(counts, key=lambda n: counts[n])
    if counts[largest] > UNEVEN * counts[smallest]:
        found.append(
            f"Unbalanced: {largest} has {counts[largest]} images to train on, {smallest} {counts[smallest]}. Accuracy "
            "counts images, so that small classes hardly enter it: look at the accuracy of each class."
        )
    found += _copies(seen)
    if seen.unreadable:
        found.append(f"Cannot be read: {_listed([display_path(path) for path in seen.unreadable])}.")
    shorter = [min(size) for size in seen.sizes]
    if small := sum(side < IMAGE_SIZE for side in shorter):
        found.append(f"{small} of {len(shorter)} images have a side below {IMAGE_SIZE} pixels and are enlarged.")
    if large := sum(side > 8 * IMAGE_SIZE for side in shorter):
        found.append(
            f"{large} of {len(shorter)} images are more than 8 times as large as the {IMAGE_SIZE} pixels that a "
            "network of NAS-Bench-201 sees: small details are lost."
        )
    if odd := sum(max(size) > 2 * min(size) for size in seen.sizes):
        found.append(
            f"{odd} of {len(shorter)} images are more than twice as long as wide, and are squeezed to squares."
        )
    tested = sum(map(len, seen.test)) // 2
    if 0 < tested < SMALL_TEST:
        low, high = share_interval(80, tested)
        found.append(
            f"Few images to test on: {tested} are in x-test, and an accuracy of 80 % measured on these may be anything "
            f"from {low:.0f} to {high:.0f} % (95 %)."
        )
    return found


def _copies(seen: Overview) -> list[str]:
    class_of = {p: label for part in (seen.train, seen.test) for label, files in enumerate(part) for p in files}
    tested = {path for files in seen.test for path in files}
    groups = duplicates(seen.files)
    if not groups:
        return []
    root = Path(os.path.commonpath(seen.files))
    found = [f"{sum(map(len, groups)) - len(groups)} images are copies of others: {_pairs(groups, root)}."]
    if torn := [group for group in groups if len({class_of[path] for path in group}) > 1]:
        found.append(f"The same image is in several classes: {_pairs(torn, root)}.")
    if leaks := [group for group in groups if 0 < sum(path in tested for path in group) < len(group)]:
        found.append(f"The same image is to train and to test on, which flatters the accuracy: {_pairs(leaks, root)}.")
    return found


def _pairs(groups: list[list[Path]], root: Path) -> str:
    def short(path: Path) -> str:
        return display_path(path.relative_to(root))

    return _listed([" = ".join(map(short, group[:3])) for group in groups])


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def _have(texts: Sequence[str]) -> str:
    return "have" if len(texts) > 1 else "has"


def thumbnail(path: Path) -> str | None:
    """A small square of an image as a `data:` address; None where it cannot be read."""
    from metad2a.data.reading import to_rgb  # torchvision takes seconds to import

    try:
        with open_image(path) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            picture = to_rgb(image)
    except Exception:  # decoders raise all kinds for files that are damaged
        return None
    buffer = io.BytesIO()
    picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def dataset_section(folder: str | Path) -> Section:
    """The dataset of a folder of images."""
    seen = look(folder)
    shown = []
    for name, train, test in list(zip(seen.names, seen.train, seen.test, strict=True))[:SHOWN_CLASSES]:
        step = max(1, len(train) // SHOWN)
        images = [address for path in train[::step][:SHOWN] if (address := thumbnail(path))]
        shown.append(Thumbnails(name, f"{len(train)} to train on, {len(test)} to test on", images))
    facts = {
        "folder": display_path(folder),
        "classes": len(seen.names),
        "images": f"{sum(map(len, seen.train))} to train on, {sum(map(len, seen.test))} to test on",
    }
    if seen.sizes:
        low, high = (f"{w} x {h}" for w, h in (f(seen.sizes, key=lambda s: s[0] * s[1]) for f in (min, max)))
        facts["sizes"] = low if low == high else f"{low} to {high} pixels"
    hidden = len(seen.names) - len(shown)
    text = f"{hidden} more classes are not shown." if hidden > 0 else ""
    return Section("The images", text=text, warnings=warnings(seen), thumbnails=shown, facts=facts)


def counts_section(names: Sequence[str], counts: Sequence[int], source: str) -> Section:
    """A dataset of which features alone are at hand."""
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW]
    warned = [f"Few images: {_listed(few)} {_have(few)} fewer than {FEW}."] if few else []
    shown = [Thumbnails(name, f"{count} images", ()) for name, count in zip(names, counts, strict=True)]
    return Section("The images", warnings=warned, thumbnails=shown[:SHOWN_CLASSES], facts={"features": source})
