"""M labelled images to train on: decoded once to one size (H x W pixels, H = W), and split."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from typing_extensions import TypedDict

from metad2a.core.environment import memory_gb, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import content_digest, display_path, load_torch, save_torch, write_text
from metad2a.core.messages import log
from metad2a.core.schema import Names, Number, Text, check, read_json
from metad2a.core.tensors import BYTES, INTEGERS, TensorOf
from metad2a.data.datasets import open_train_and_test, usable_for_tests
from metad2a.data.extractors import DATASET_STATS, IMAGENET_STATS, Colour
from metad2a.data.fingerprints import listing_digest, remembered
from metad2a.data.image_source import Gray, ImageSource
from metad2a.data.options import IMAGE_SIZE
from metad2a.data.reading import decode
from metad2a.data.resize import resize
from metad2a.data.user_folder import folder_digest

FORMAT = "metad2a-pixels-3"
SPLITS = ("train", "test")
SIDES = (32, 64, 96, 128, 160, 192, 224)  # in pixels, for networks that take any
LOOKED_AT, MOST_BYTES = 64, 2 * 10**9  # images whose size is looked at; memory for all pixels

_Pixels = Annotated[torch.Tensor, TensorOf(BYTES, ("M", "S", "S", 3))]
_Labels = Annotated[torch.Tensor, TensorOf(INTEGERS, ("M",), low=0)]
_Parts = {f"{split}_{name}": kind for split in SPLITS for name, kind in (("pixels", _Pixels), ("labels", _Labels))}
_Gray = tuple[Number, Number, bool] | None
_File = TypedDict("_File", {"key": Text, "class_names": Names, "gray": _Gray, **_Parts})  # type: ignore[misc]
_Half = tuple[Text, list[Annotated[int, Ge(0), Le(2**63 - 1)]]]  # NAS-Bench-201's authors write numbers as text


class _TestSplit(TypedDict):
    """Numbers of the test images in either half, as NAS-Bench-201's authors write them."""

    xvalid: _Half
    xtest: _Half


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images. pixels: (M, H, W, 3) uint8, channels last; labels: (M,) long."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """H, in pixels."""
        return self.pixels.shape[1]

    def __getitem__(self, rows: torch.Tensor) -> "LabelledImages":
        return LabelledImages(self.pixels[rows], self.labels[rows])

    def to(self, device: torch.device | str) -> "LabelledImages":
        return LabelledImages(self.pixels.to(device), self.labels.to(device))

    def sized(self, side: int) -> "LabelledImages":
        """The images with at most `side` pixels; smaller ones are kept."""
        if side >= self.side or not len(self):
            return self
        small = [resize(part.permute(0, 3, 1, 2), side) for part in self.pixels.split(256)]
        return LabelledImages(torch.cat(small).permute(0, 2, 3, 1).contiguous(), self.labels)


@dataclass(frozen=True)
class ImageData:
    """A dataset to train and test on."""

    name: str  # as given to `--data-name`
    class_names: list[str]  # in the order of the labels
    train: LabelledImages
    valid: LabelledImages  # the half `x-valid` of the test set
    test: LabelledImages  # the half `x-test`
    mean: Colour  # of each colour, for values in 0..1
    std: Colour
    fingerprint: str  # digest of all images and labels and of the split
    origin: str  # where the images come from
    own: bool = False  # the images come from the user's folder
    gray: Gray | None = None  # scale of deep gray images


def load_image_data(
    name: str,
    image_folder: str | None,
    data_path: str,
    seed: int,
    image_size: int | None = IMAGE_SIZE,
    mirror: str | None = None,
) -> ImageData:
    """Images of a known dataset, downloaded if missing, or of a folder with a sub-folder for each class.

    The halves of the test set come from `<data_path>/<name>-test-split.txt` if it exists (the format of the benchmark's
    split files). Otherwise they are drawn and saved. Neither half has images that shipped features were made from.

    `seed` is for the halves. Whole images are resized to H = `image_size`, None for `natural_side`. Official files are
    downloaded from `mirror`, if given. Raises a UserError if there are no such images, they have one class, or a class
    is too small to be split.
    """
    sources = open_train_and_test(name, image_folder, data_path, mirror)
    origin = display_path(image_folder or sources[0].folder)
    own = image_folder is not None
    remedy = " or a smaller --image-size" if image_size and image_size > IMAGE_SIZE else ""
    image_size = image_size or natural_side(sources)
    decoded = _decoded(name, sources, origin, Path(data_path), image_size, remedy)
    train, held_out = (LabelledImages(decoded[f"{split}_pixels"], decoded[f"{split}_labels"]) for split in SPLITS)
    usable = usable_for_tests(name, image_folder, len(held_out))
    valid, test = _halves(name, held_out, usable, Path(data_path), decoded["key"], seed)
    mean, std = DATASET_STATS.get(name, IMAGENET_STATS)
    parts = (train, held_out[valid], held_out[test])
    file = _pixels_file(name, Path(data_path), decoded["key"], image_size)
    what = f"pixels-{content_digest(valid, test)[:8]}"
    fingerprint = remembered(data_path, what, [file], Text, lambda: _fingerprint(parts))
    gray = decoded["gray"] and Gray(*decoded["gray"])
    return ImageData(name, decoded["class_names"], *parts, mean, std, fingerprint, origin, own, gray)


def natural_side(sources: tuple[ImageSource, ImageSource]) -> int:
    """The side of `SIDES` that keeps what the images show: that of a typical image, or less if they are many."""
    train, total = sources[0], sum(len(source.labels) for source in sources)
    shorter = []
    for number in torch.linspace(0, len(train.labels) - 1, min(LOOKED_AT, len(train.labels))).long().tolist():
        with suppress(Exception), train.open(number) as image:  # whoever decodes all names the damaged ones
            shorter.append(min(image.size))
    typical = sorted(shorter)[len(shorter) // 2] if shorter else IMAGE_SIZE
    fits = [side for side in SIDES if 0.75 * side <= typical and total * 3 * side**2 <= MOST_BYTES]
    return max(fits, default=IMAGE_SIZE)


def stratified_split(
    labels: torch.Tensor, class_names: list[str], seed: int, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the images to train on and to validate with: a share of each class, at least one and never all. Raises
    a UserError if a class has a single image."""
    rng = random_generator(seed)
    train, valid = [], []
    for label, name in enumerate(class_names):
        rows = (labels == label).nonzero()[:, 0]
        if len(rows) < 2:
            raise UserError(f"Class {name!r} has {len(rows)} image(s) to train on; two are needed: one to validate.")
        rows = rows[torch.randperm(len(rows), generator=rng)]
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        valid.append(rows[:count])
        train.append(rows[count:])
    return torch.cat(train), torch.cat(valid)


def _decoded(
    name: str, sources: tuple[ImageSource, ImageSource], origin: str, data_path: Path, image_size: int, remedy: str
) -> dict[str, Any]:
    """The decoded images as their file keeps them; an earlier call's file is used unless the images have changed."""
    key = folder_digest(*sources)[:16] if sources[0].files else listing_digest(_files_below(sources))
    path = _pixels_file(name, data_path, key, image_size)
    if path.is_file():
        hint = "Remove it, and it is made anew."
        value = check(path, load_torch(path, hint, mapped=True), _File, "a file of decoded images", hint, FORMAT)
        for split in SPLITS:
            labels = value[f"{split}_labels"]
            if len(labels) != len(value[f"{split}_pixels"]) or int(labels.max()) >= len(value["class_names"]):
                raise UserError(f"{path} is damaged: its {split} labels do not fit its images. {hint}")
        sides = {side for split in SPLITS for side in value[f"{split}_pixels"].shape[1:3]}
        if value["key"] == key and sides == {image_size}:
            return value
    check_memory(sum(len(source.labels) for source in sources), origin, image_size, remedy)
    value = {
        "format": FORMAT,
        "key": key,
        "class_names": sources[0].class_names,
        "gray": sources[0].gray and tuple(sources[0].gray),
    }
    for split, source in zip(SPLITS, sources, strict=True):
        pixels, labels = decode(source, image_size)
        value |= {f"{split}_pixels": pixels.permute(0, 2, 3, 1).contiguous(), f"{split}_labels": labels}
    save_torch(path, value)
    log.info(f"{path}: {len(value['train_labels'])} images of {origin}, decoded once for all runs.")
    return value


def _pixels_file(name: str, data_path: Path, key: str, image_size: int) -> Path:
    return data_path / "pixels" / f"{name}-{key}-{image_size}px.pt"


def _files_below(sources: tuple[ImageSource, ...]) -> list[Path]:
    folders = dict.fromkeys(Path(source.folder) for source in sources)
    return sorted(path for folder in folders for path in folder.rglob("[!.]*") if path.is_file())


def check_memory(count: int, origin: str, image_size: int, remedy: str = "") -> None:
    """Say how much memory decoded images take if it is more than 1 GB. Raises a UserError if the machine has less."""
    needed, there = count * 3 * image_size**2 / 1e9, memory_gb()
    text = f"{count:,} images of {origin} at {image_size} x {image_size} pixels take {needed:.1f} GB of memory"
    if there and needed > there:
        raise UserError(
            f"{text}, and this machine has {there:.1f} GB. Use a folder of fewer images{remedy}, or a machine with "
            "more memory."
        )
    if needed > 1:
        log.info(f"{text}.")


def _halves(
    name: str, held_out: LabelledImages, usable: torch.Tensor, data_path: Path, key: str, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the `usable` images of `x-valid` and of `x-test`; each half has as many of a class as the other."""
    path = data_path / f"{name}-test-split.txt"
    if not path.is_file():
        path = data_path / "pixels" / f"{name}-{key}-{seed}-test-split.txt"
        if not path.is_file():
            _draw_halves(path, held_out, usable, seed)
    what = 'a split file ({"xvalid": ["int", [...]], "xtest": ...})'
    split = read_json(path, _TestSplit, what, "Remove it, and the images are split anew.")
    halves = [torch.tensor(split[half][1], dtype=torch.long) for half in ("xvalid", "xtest")]
    numbers = torch.cat(halves)
    good = all(map(len, halves)) and len(numbers.unique()) == len(numbers)
    if not good or not 0 <= int(numbers.min()) <= int(numbers.max()) < len(held_out):
        raise UserError(
            f"{path} does not split the {len(held_out)} test images of {name}: each half needs some, none may be in "
            "both or beyond the last."
        )
    valid, test = (half[usable[half]] for half in halves)
    if not len(valid) or not len(test):
        raise UserError(f"{path}: one half holds only images that were used to make the features of {name}.")
    return valid, test


def _draw_halves(path: Path, held_out: LabelledImages, usable: torch.Tensor, seed: int) -> None:
    """Write a split file in which every second usable image of a class is in either half."""
    shuffled = torch.randperm(len(held_out), generator=random_generator(seed))
    shuffled = shuffled[usable[shuffled]]
    order = shuffled[held_out.labels[shuffled].argsort(stable=True)]
    halves = {"xvalid": order[1::2], "xtest": order[::2]}
    split = {name: ["int", half.sort().values.tolist()] for name, half in halves.items()}
    write_text(path, json.dumps(split) + "\n")


def _fingerprint(parts: tuple[LabelledImages, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for tensor in (part.pixels, part.labels):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:32]
