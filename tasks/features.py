"""A dataset as the features of its images, grouped by class (MetaD2A section 3.1).

Dimensions: B draws, C classes, S images of a class, D feature width, M images in all.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints import PUBLISHED_EXTRACTOR
from engine.errors import UserError
from engine.files import ASSETS, load_torch, save_torch, shown

FORMAT = "metad2a-features-1"
DATASETS = (
    "cifar10",
    "cifar100",
    "mnist",
    "svhn",
    "aircraft",
    "aircraft100",
    "pets",
)  # fetched where they are not there


@dataclass(frozen=True)
class Features:
    """Features of a dataset's images.

    Attributes:
        name: of the dataset.
        images: (M, D) float, class after class.
        counts: (C,) long, images of each class.
        class_names: C names.
        extractor: identity of the network, layer and sizes that made them, for example "resnet18-32px".
        source: the file they were read from.
    """

    name: str
    images: torch.Tensor
    counts: torch.Tensor
    class_names: list[str]
    extractor: str
    source: str

    @property
    def dim(self) -> int:
        """D."""
        return self.images.shape[1]

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.counts)

    @property
    def starts(self) -> torch.Tensor:
        """(C,) long, the row of each class's first image."""
        return self.counts.cumsum(0) - self.counts

    @cached_property
    def largest_count(self) -> int:
        """Images of the largest class."""
        return int(self.counts.max())

    def to(self, device: torch.device) -> "Features":
        """The features in float32 on `device`."""
        images = self.images.to(device=device, dtype=torch.float32)
        return Features(self.name, images, self.counts.to(device), self.class_names, self.extractor, self.source)

    def save(self, path: str | Path) -> None:
        """Write our features file atomically; half precision keeps its width."""
        value = {name: getattr(self, name) for name in ("name", "images", "counts", "class_names", "extractor")}
        save_torch(path, {"format": FORMAT, **value})


def draw_images(features: Features, classes: torch.Tensor, num_sample: int, rng: torch.Generator) -> torch.Tensor:
    """Draw S images of each class, evenly: without replacement, or with it where a class has fewer than S.

    Args:
        classes: (B, C) long, the classes of each draw.
        num_sample: S.
        rng: random generator on the device of `features`.

    Returns:
        (B, C, S) long, rows of `features.images`.
    """
    counts = features.counts[classes]  # (B, C)
    random = torch.rand(num_sample, *classes.shape, generator=rng, device=classes.device)  # (S, B, C)
    chosen = (random * counts).long()
    if features.largest_count >= num_sample:
        chosen = torch.where(counts >= num_sample, _distinct(counts, random), chosen)
    return (features.starts[classes] + chosen).movedim(0, -1).contiguous()


def _distinct(counts: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
    """S distinct numbers below each of `counts` (...), every subset as likely as another, from random (S, ...) in 0..1.

    Floyd's sampling (Bentley and Floyd, CACM 1987), whose cost does not depend on the counts: number j is one of the
    first count - S + j + 1; where that is taken, the last of these is not. Without meaning where a count is below S.
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
    """Draw a whole dataset several times, all classes or `num_class` of them at random each time.

    Returns:
        (num_draws, C, S) long, rows of `features.images`.

    Raises:
        UserError: the dataset has fewer than `num_class` classes.
    """
    total, device = features.num_classes, features.counts.device
    if num_class is None or num_class == total:
        classes = torch.arange(total, device=device).expand(num_draws, -1)
    elif not 1 <= num_class < total:
        raise UserError(f"--num-class {num_class}: {features.name} has {total} classes.")
    else:
        classes = torch.rand(num_draws, total, generator=rng, device=device).topk(num_class).indices
    return draw_images(features, classes, num_sample, rng)


def process_command(name: str) -> str:
    """How to make a features file, for error messages."""
    return f"Make it with: python process_dataset.py --dataset {name} --image-folder DIR"


def shipped_features(name: str) -> Path | None:
    """The shipped features file of dataset `name`, None where there is none."""
    path = ASSETS / "features" / f"{name}.pt"
    return path if path.is_file() else None


def find_features(name: str, data_path: str | Path) -> Path:
    """The features file of dataset `name`: the user's, else the shipped one.

    Raises:
        UserError: there is neither.
    """
    own = Path(data_path) / f"{name}bylabel.pt"
    if own.is_file():
        return own
    if (shipped := shipped_features(name)) is not None:
        return shipped
    shipped_names = sorted(path.stem for path in (ASSETS / "features").glob("*.pt"))
    own_names = [path.name.removesuffix("bylabel.pt") for path in Path(data_path).glob("*bylabel.pt")]
    close = get_close_matches(name, [*shipped_names, *own_names, *DATASETS], n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    raise UserError(
        f"No features of a dataset called {name!r}: {own} is missing, and those shipped are "
        f"{', '.join(shipped_names)}.{meant} "
        f"{process_command(name)}"
    )


def load_features(path: str | Path, name: str) -> Features:
    """Read a features file, ours or the authors' (`class -> [FloatTensor(n, D)]`, ResNet-18).

    Raises:
        UserError: the file is missing or damaged, a class is empty, a value is not finite.
    """
    mend = process_command(name)
    value = load_torch(path, mend)
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path} is not a features file. {mend}")
    if value.get("format") == FORMAT:
        names = ("images", "counts", "class_names", "extractor")
        if missing := set(names) - set(value):
            raise UserError(f"{path} is damaged: it lacks {sorted(missing)[0]!r}. {mend}")
        fields = {key: value[key] for key in names}
        features = Features(name=name, source=shown(path), **fields)
    else:
        features = _from_published(path, name, value, mend)
    _check(features, mend)
    return features


def _from_published(path: str | Path, name: str, value: dict[Any, Any], mend: str) -> Features:
    classes = []
    for label in sorted(value, key=lambda k: (isinstance(k, str), k)):
        tensors = value[label] if isinstance(value[label], list | tuple) else [value[label]]
        tensors = [t for t in tensors if torch.is_tensor(t) and t.numel()]
        if any(t.ndim != 2 for t in tensors):
            raise UserError(f"{path}: class {label!r} does not hold (n, D) tensors. {mend}")
        if not tensors:
            raise UserError(f"{path}: class {label!r} has no images. {mend}")
        classes.append((str(label), torch.cat(tensors).float()))
    widths = {t.shape[1] for _, t in classes}
    if len(widths) != 1:
        raise UserError(f"{path}: classes differ in feature width ({sorted(widths)}). {mend}")
    counts = torch.tensor([len(t) for _, t in classes])
    names = [label for label, _ in classes]
    return Features(name, torch.cat([t for _, t in classes]), counts, names, PUBLISHED_EXTRACTOR, shown(path))


def _check(features: Features, mend: str) -> None:
    empty = [features.class_names[c] for c in (features.counts == 0).nonzero().flatten().tolist()]
    if empty:
        raise UserError(f"{features.source}: class {empty[0]!r} has no images. {mend}")
    if int(features.counts.sum()) != len(features.images) or len(features.class_names) != features.num_classes:
        raise UserError(f"{features.source} is inconsistent: its counts do not add up to its images. {mend}")
    finite = torch.isfinite(features.images).all(dim=1)
    if not bool(finite.all()):
        raise UserError(
            f"{features.source}: {int((~finite).sum())} of {len(finite)} images have features that are NaN or infinite "
            f"(the first in row {int((~finite).nonzero()[0])}). {mend}"
        )


def check_extractor(features: Features, extractor: str, feature_dim: int, model: str) -> None:
    """Raise a UserError unless `features` are what a checkpoint was trained on.

    Args:
        extractor, feature_dim: of the checkpoint.
        model: its name in messages.
    """
    if features.dim != feature_dim:
        found, wanted = f"{features.dim} wide ({features.extractor})", f"{feature_dim} wide ({extractor})"
    elif features.extractor != extractor:
        found, wanted = f"made by {features.extractor}", f"made by {extractor}"
    else:
        return
    name = extractor.split("-")[0]
    raise UserError(
        f"The features of {features.name} in {features.source} are {found}, but the {model} was trained on features "
        f"{wanted}. Make them anew with: python process_dataset.py --dataset {features.name} --image-folder DIR "
        f"--extractor {name}"
    )
