"""A dataset as the features of its images, grouped by class (MetaD2A section 3.1).

Write a features file in the form of the shipped ones with: python -m metad2a.data.features SOURCE TARGET

Dimensions: B draws, C classes, S images of a class, D feature width, M images in all.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import MinLen
from pydantic import BeforeValidator, Strict

from metad2a.core.arrays import load_arrays, save_arrays
from metad2a.core.cli import write_command
from metad2a.core.errors import UserError, describe
from metad2a.core.files import content_digest, display_path, load_torch, save_torch
from metad2a.core.messages import log
from metad2a.core.schema import OPEN, Names, Text, check
from metad2a.core.tensors import FLOATS, INTEGERS, TensorOf
from metad2a.core.values import folder_words
from metad2a.data.extractors import PUBLISHED_EXTRACTOR
from metad2a.data.feature_files import FORMAT, WHAT, process_command
from metad2a.data.options import DATASETS


@dataclass(frozen=True)
class Features:
    """Features of a dataset's images."""

    name: str  # of the dataset
    images: torch.Tensor  # (M, D) float, class after class
    counts: torch.Tensor  # (C,) long, images of each class
    class_names: list[str]
    extractor: str  # network, layer and input size that made the features, for example "resnet18-32px"
    source: str  # the file that they were read from
    listing: str = ""  # digest of what the images of a user's folder are, "" if it is not known
    folder: str = ""  # of the user's images that the features were made of, "" if it is not known

    @property
    def dim(self) -> int:
        return self.images.shape[1]

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    @property
    def starts(self) -> torch.Tensor:
        """(C,) long, the row of each class's first image."""
        return self.counts.cumsum(0) - self.counts

    @cached_property
    def largest_count(self) -> int:
        return int(self.counts.max())  # kept, because a GPU's tensor is waited for

    def to(self, device: torch.device) -> "Features":
        """The features in float32 on `device`."""
        images = self.images.to(device=device, dtype=torch.float32)
        return replace(self, images=images, counts=self.counts.to(device))

    def digest(self) -> str:
        """A digest of the features, their classes and their extractor, whatever their file is called."""
        return content_digest(self.images, self.counts, self.class_names, self.extractor)

    def save(self, path: str | Path) -> None:
        """Write our features file atomically, in the precision that the features have: `.npz` as the shipped ones, or
        `.pt`."""
        about = {n: getattr(self, n) for n in ("name", "class_names", "extractor", "listing", "folder")}
        value = {"format": FORMAT, **about, "images": self.images, "counts": self.counts}
        if Path(path).suffix == ".npz":
            save_arrays(path, value | {"images": self.images.numpy(), "counts": self.counts.numpy()})
        else:
            save_torch(path, value)


def draw_images(features: Features, classes: torch.Tensor, num_sample: int, rng: torch.Generator) -> torch.Tensor:
    """Draw S = `num_sample` images of each of `classes` (B, C), evenly: without replacement, or with it if a class has
    fewer than S. `rng` is on the device of `features`. Returns (B, C, S) long, rows of `features.images`."""
    counts = features.counts[classes]  # (B, C)
    random = torch.rand(num_sample, *classes.shape, generator=rng, device=classes.device)  # (S, B, C)
    chosen = (random * counts).long()
    if features.largest_count >= num_sample:
        chosen = torch.where(counts >= num_sample, _distinct(counts, random), chosen)
    return (features.starts[classes] + chosen).movedim(0, -1).contiguous()


def _distinct(counts: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
    """S distinct numbers below each of `counts` (...), every subset as likely as another, from random (S, ...) in 0..1.

    Floyd's sampling (Bentley and Floyd, CACM 1987): number j is one of the first count - S + j + 1; if that is taken,
    the last of these is free. Without meaning if a count is below S.
    """
    S = len(random)
    step = torch.arange(S, device=counts.device).view(-1, *[1] * counts.ndim)
    last = counts - S + step  # (S, ...)
    picked = (random * (last + 1)).to(torch.int32)
    last = last.to(torch.int32)
    for j in range(1, S):
        taken = (picked[:j] == picked[j]).any(dim=0)
        picked[j] = torch.where(taken, last[j], picked[j])
    return picked.long()


def draw_dataset(
    features: Features, num_draws: int, num_sample: int, rng: torch.Generator, num_class: int | None = None
) -> torch.Tensor:
    """Draw a whole dataset several times, all classes or `num_class` of them at random each time. Returns
    (num_draws, C, S) long, rows of `features.images`. Raises a UserError if the dataset has fewer classes."""
    total, device = features.num_classes, features.counts.device
    if num_class is None or num_class == total:
        classes = torch.arange(total, device=device).expand(num_draws, -1)
    elif not 1 <= num_class < total:
        raise UserError(f"--num-class {num_class}: {features.name} has {total} classes.")
    else:
        classes = torch.rand(num_draws, total, generator=rng, device=device).topk(num_class).indices
    return draw_images(features, classes, num_sample, rng)


def load_features(path: str | Path, name: str) -> Features:
    """Read a features file, ours or the authors' (`class -> [FloatTensor(n, D)]`, ResNet-18). Raises a UserError if the
    file is missing or damaged, a class is empty, or a value is not finite."""
    hint = process_command(name)
    if Path(path).suffix == ".npz":
        parts = load_arrays(path, hint)
        value = {n: torch.from_numpy(part) if isinstance(part, np.ndarray) else part for n, part in parts.items()}
    else:
        value = load_torch(path, hint, mapped=True)
    if not isinstance(value, dict) or "format" in value:
        file = check(path, value, _File, WHAT, hint, FORMAT)
        counts, total = file.counts.clamp(max=len(file.images)), len(file.images)  # no sum overflows
        if int(counts.sum()) != total or len(file.class_names) != len(counts):
            raise UserError(f"{path} is inconsistent: its counts do not add up to its images. {hint}")
        fields = (file.images, file.counts, file.class_names, file.extractor)
        if file.folder and name in DATASETS:
            log.info(
                f"{display_path(path)} was made from your images in {file.folder}, not from the official {name}. "
                "Remove it to use the official dataset, and give your images another name."
            )
        return Features(name, *fields, display_path(path), file.listing, file.folder)
    if empty := [label for label, tensors in value.items() if not _images_of_class(tensors)]:
        raise UserError(f"{path}: class {describe(empty[0])} has no images. {hint}")
    classes = check(path, value, _Published, WHAT, hint)
    labels = sorted(classes, key=_label_order)
    tensors = [tensor for label in labels for tensor in classes[label]]
    widths = {tensor.shape[1] for tensor in tensors}
    if len(widths) != 1:
        raise UserError(f"{path}: classes differ in feature width ({sorted(widths)}). {hint}")
    counts = torch.tensor([sum(map(len, classes[label])) for label in labels])
    names = list(map(str, labels))
    return Features(name, torch.cat(tensors).float(), counts, names, PUBLISHED_EXTRACTOR, display_path(path))


@dataclass(frozen=True)
class _File:
    """Fields of a features file of ours, beside its format."""

    __pydantic_config__ = OPEN

    images: Annotated[torch.Tensor, TensorOf(FLOATS, ("M", "D"))]
    counts: Annotated[torch.Tensor, TensorOf(INTEGERS, ("C",), low=1)]
    class_names: Names
    extractor: Text
    listing: Text = ""
    folder: Text = ""


def _images_of_class(tensors: Any) -> list[Any]:
    """The authors' list of tensors, or a single tensor, without empty tensors."""
    parts = tensors if isinstance(tensors, list | tuple) else [tensors]
    return [part for part in parts if not (torch.is_tensor(part) and part.numel() == 0)]


def _label_order(label: int | str) -> tuple[int, int, str]:
    """Sort numbers, also numbers as text, by size, then names."""
    return (0, int(label), "") if re.fullmatch("[0-9]{1,18}", str(label)) else (1, 0, str(label))


_ClassImages = Annotated[list[Annotated[torch.Tensor, TensorOf(FLOATS, ("n", "D"))]], BeforeValidator(_images_of_class)]
_Label = Annotated[int, Strict()] | Text
_Published = Annotated[dict[_Label, _ClassImages], MinLen(1)]


def check_images(features: Features, folder: str | Path) -> None:
    """Raise a UserError if `features` were made from other images than the ones in `folder` now."""
    from metad2a.data.user_folder import check_classes, folder_digest, open_parts, say_what_is_left_out

    train, test = open_parts(features.name, folder, Path(features.source).parent)
    check_classes(train)
    say_what_is_left_out(train, test)
    digest = folder_digest(train, test, say=True)
    if len(features.listing) != len(digest):  # files of earlier versions have times of files, or nothing
        log.info(f"{features.source} does not say what its images were like; it is taken as made of these.")
    elif features.listing != digest:
        raise UserError(
            f"{features.source} was made of other images than are in {display_path(folder)} now. Give these another "
            f"--data-name, or make the features anew with: python process_dataset.py --dataset {features.name} "
            f"--image-folder {shlex.join(folder_words(folder))} --data-path "
            f"{shlex.quote(str(Path(features.source).parent))} --overwrite"
        )


def check_extractor(features: Features, extractor: str, feature_dim: int, model: str) -> None:
    """Raise a UserError if the checkpoint of `model` was trained on features of another extractor or width."""
    if (features.dim, features.extractor) != (feature_dim, extractor):
        raise UserError(
            f"The features of {features.name} in {features.source} are {features.dim} wide ({features.extractor}), but "
            f"the {model} was trained on features {feature_dim} wide ({extractor}). Make them anew with: "
            f"python process_dataset.py --dataset {features.name} --image-folder DIR "
            f"--extractor {extractor.split('-')[0]}"
        )


def write_shipped(args: argparse.Namespace) -> str:
    """Write the features of `args.source` to `args.target`."""
    features = load_features(args.source, Path(args.target).stem)
    features.save(args.target)
    return f"{len(features.images)} images of {features.num_classes} classes"


def main(argv: Sequence[str] | None = None) -> int:
    return write_command(write_shipped, __doc__, argv, source={"help": "features file that process-dataset wrote"})


if __name__ == "__main__":
    sys.exit(main())
