"""Labelled images to train on: decoded once to one size, split, and augmented a batch at a time where they lie.

Dimensions: M images in all, B images of a batch, H x W pixels, H = W.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from engine.cli import default_mirror
from engine.errors import UserError
from engine.files import load_torch, save_torch, write_text
from engine.runs import random_generator, say
from tasks.extractors import DATASET_STATS, IMAGE_SIZE, IMAGENET_STATS
from tasks.images import decode, split_folder
from tasks.sources import open_source

FORMAT = "metad2a-pixels-1"
TEST_SHARE = 0.2  # of the images of each class, where a folder has no test set
PADDING = 1 / 8  # of the random crop, of the images' side: 4 of 32 pixels


@dataclass(frozen=True)
class Images:
    """Labelled images. pixels: (M, H, W, 3) uint8, channels last; labels: (M,) long."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """H, in pixels."""
        return self.pixels.shape[1]

    def __getitem__(self, rows: torch.Tensor) -> "Images":
        return Images(self.pixels[rows], self.labels[rows])

    def to(self, device: torch.device) -> "Images":
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A dataset to train and test on.

    Attributes:
        name: as given to `--data-name`.
        class_names: in the order of the labels.
        train, valid, test: the training images, and the halves `x-valid` and `x-test` of the test set.
        mean, std: of each colour, for values in 0..1.
        fingerprint: digest of all images and labels and how they are split.
        origin: where the images come from.
    """

    name: str
    class_names: list[str]
    train: Images
    valid: Images
    test: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    origin: str


def load_image_data(
    name: str,
    image_folder: str | None,
    data_path: str,
    seed: int,
    image_size: int = IMAGE_SIZE,
    mirror: str | None = None,
) -> ImageData:
    """Images of a known dataset (fetched where it is not there) or of a folder with one sub-folder a class.

    A folder whose sub-folders are `train` and `test` has its test set; of any other, 20 % of each class become one.
    The halves of the test set come from `<data_path>/<name>-test-split.txt` where it exists (the format of the
    benchmark's split files), else they are drawn and saved.

    Args:
        seed: of the splits.
        image_size: H, to which whole images are brought.
        mirror: where official files are fetched from instead.

    Raises:
        UserError: there are no such images, they have one class, or a class is too small to be split.
    """
    decoded, key, origin = _decoded(name, image_folder, Path(data_path), image_size, mirror or default_mirror())
    class_names = decoded["class_names"]
    if len(class_names) < 2:
        raise UserError(f"{origin} has one class ({class_names[0]!r}): there is nothing to tell apart.")
    train = Images(decoded["train_pixels"], decoded["train_labels"])
    if "test_pixels" in decoded:
        held_out = Images(decoded["test_pixels"], decoded["test_labels"])
    else:
        rows, held_out_rows = stratified_split(train.labels, class_names, seed)
        train, held_out = train[rows], train[held_out_rows]
    valid, test = _halves(name, held_out, Path(data_path), key, seed)
    mean, std = DATASET_STATS.get(name, IMAGENET_STATS)
    parts = (train, held_out[valid], held_out[test])
    return ImageData(name, class_names, *parts, mean, std, _fingerprint(parts), origin)


def stratified_split(
    labels: torch.Tensor, class_names: list[str], seed: int, share: float = TEST_SHARE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the images to train on and to test on, of each class a share of at least one and never all.

    Raises:
        UserError: a class has a single image.
    """
    rng = random_generator(seed)
    train, test = [], []
    for label, name in enumerate(class_names):
        rows = (labels == label).nonzero()[:, 0]
        if len(rows) < 2:
            raise UserError(f"Class {name!r} has {len(rows)} readable image(s); two are needed to train and to test.")
        rows = rows[torch.randperm(len(rows), generator=rng)]
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        test.append(rows[:count])
        train.append(rows[count:])
    return torch.cat(train), torch.cat(test)


def _decoded(
    name: str, image_folder: str | None, data_path: Path, image_size: int, mirror: str | None
) -> tuple[dict[str, Any], str, str]:
    """Pixels and labels, from the file that an earlier call left unless the images have changed since.

    Returns:
        The content of that file, its key and the origin of the images.
    """
    splits = ("train", "test") if image_folder is None or split_folder(image_folder, "test") else ("train",)
    sources = [open_source(name, image_folder, split, data_path, mirror) for split in splits]
    if any(source.class_names != sources[0].class_names for source in sources):
        odd = set(sources[0].class_names) ^ set(sources[1].class_names)
        raise UserError(f"{image_folder}: train and test do not have the same classes ({min(odd)!r} is in one only).")
    key = _listing_digest([source.origin for source in sources])
    path = data_path / "pixels" / f"{name}-{key}-{image_size}px.pt"
    origin = str(image_folder or sources[0].origin)
    if path.is_file():
        value = load_torch(path, "Remove it, and it is made anew.")
        if value.get("format") == FORMAT and value.get("key") == key:
            return value, key, origin
    value = {"format": FORMAT, "key": key, "class_names": sources[0].class_names}
    for split, source in zip(splits, sources, strict=True):
        pixels, labels = decode(source, image_size)
        value |= {f"{split}_pixels": pixels.permute(0, 2, 3, 1).contiguous(), f"{split}_labels": labels}
    save_torch(path, value)
    say(f"{path}: {len(value['train_labels'])} images of {origin}, decoded once for all runs.")
    return value, key, origin


def _listing_digest(folders: list[str]) -> str:
    """Digest of the names, sizes and times of all files: another one means that the images have changed."""
    lines = []
    for folder in folders:
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            stat = path.stat()
            lines.append(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}")
        lines.append("")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _halves(name: str, held_out: Images, data_path: Path, key: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the images of `x-valid` and of `x-test`, of each class as many in the one as in the other."""
    published, drawn = (
        data_path / f"{name}-test-split.txt",
        data_path / "pixels" / f"{name}-{key}-{seed}-test-split.txt",
    )
    if not published.is_file() and not drawn.is_file():
        shuffled = torch.randperm(len(held_out), generator=random_generator(seed))
        order = shuffled[held_out.labels[shuffled].argsort(stable=True)]
        value = {
            "xvalid": ["int", order[1::2].sort().values.tolist()],
            "xtest": ["int", order[::2].sort().values.tolist()],
        }
        write_text(drawn, json.dumps(value) + "\n")
    path = published if published.is_file() else drawn
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        halves = [torch.tensor([int(number) for number in value[half][1]]) for half in ("xvalid", "xtest")]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f'{path} is not a split file ({{"xvalid": ["int", [...]], "xtest": ...}}): {error}.') from error
    numbers = torch.cat(halves)
    good = all(map(len, halves)) and len(numbers.unique()) == len(numbers)
    if not good or not 0 <= int(numbers.min()) <= int(numbers.max()) < len(held_out):
        raise UserError(
            f"{path} does not split the {len(held_out)} test images of {name}: each half needs some, none may be in "
            "both or beyond the last."
        )
    return halves[0], halves[1]


def _fingerprint(parts: tuple[Images, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for tensor in (part.pixels, part.labels):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:32]


def normalize(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Pixels (B, H, W, 3) uint8 to a network's input (B, 3, H, W), which keeps the channels last in memory."""
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def draw_augmentation(n: int, rng: torch.Generator, side: int = IMAGE_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Corners (n, 2) of random crops of padded images, and (n,) bool which images are mirrored."""
    corners = torch.randint(2 * _padding(side) + 1, (n, 2), generator=rng)
    return corners, torch.rand(n, generator=rng) < 0.5


def _padding(side: int) -> int:
    """Black pixels around images of `side`."""
    return round(PADDING * side)


def crop_and_flip(pixels: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """Pad (B, H, W, 3) by black pixels, cut H x W at each image's corner, and mirror some, all at once."""
    side = pixels.shape[1]
    padded = F.pad(pixels, (0, 0, *[_padding(side)] * 4))  # (B, H+8, W+8, 3) where H is 32
    steps = torch.arange(side, device=pixels.device)
    rows = corners[:, :1] + steps  # (B, H)
    columns = corners[:, 1:] + torch.where(mirrored[:, None], steps.flip(0), steps)  # (B, W)
    images = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return padded[images, rows[:, :, None], columns[:, None, :]]
