"""Images to fine-tune on: training, validation and test parts of a dataset, augmented by the published protocol."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import v2

from metad2a.core.files import content_digest
from metad2a.data.datasets import open_train_and_test, usable_for_tests
from metad2a.data.extractors import IMAGENET_STATS
from metad2a.data.image_data import stratified_split
from metad2a.data.image_source import ImageSource
from metad2a.data.imagenet import CROP
from metad2a.data.reading import read_rgb

CIFAR = ("cifar10", "cifar100")


class Part(Dataset):
    """Some images of a source, transformed: each is (3, s, s) float with side s of the network's input, and a label.

    Index by number, or by number and seed if the transformation is random.
    """

    def __init__(self, source: ImageSource, numbers: torch.Tensor, transform: Callable[[Image.Image], torch.Tensor]):
        self.source, self.numbers, self.transform = source, numbers.tolist(), transform

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int | tuple[int, int]) -> tuple[torch.Tensor, int]:
        if isinstance(index, tuple):
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(index[1])  # torch.manual_seed would seed a GPU, too
                return self[index[0]]
        number = self.numbers[index]
        return self.transform(read_rgb(self.source, number)), int(self.source.labels[number])


@dataclass(frozen=True)
class FineTuningData:
    """A dataset's parts. `fingerprint` identifies the images and their split."""

    name: str
    class_names: list[str]
    train: Part
    valid: Part
    test: Part
    fingerprint: str
    origin: str


def load_fine_tuning_data(
    name: str,
    image_folder: str | None,
    data_path: str,
    mirror: str | None,
    image_size: int,
    cutout: int,
    valid_share: float,
    seed: int,
) -> FineTuningData:
    """Images of a known dataset (fetched if missing) or of a folder with a sub-folder for each class.

    A share of the training images is for validation, which chooses the epoch.

    Raises a UserError if there are no such images, they have only one class, or a class is too small to split.
    """
    source, test_source = open_train_and_test(name, image_folder, data_path, mirror)
    names = source.class_names
    test = usable_for_tests(name, image_folder, len(test_source.labels)).nonzero()[:, 0]
    train, valid = stratified_split(torch.from_numpy(source.labels), names, seed, valid_share)
    augment, plain = training_transform(name, image_size, cutout), test_transform(image_size)
    parts = (Part(source, train, augment), Part(source, valid, plain), Part(test_source, test, plain))
    fingerprint = content_digest(*(part.source.digest(np.array(part.numbers)) for part in parts))
    return FineTuningData(name, names, *parts, fingerprint, source.origin)


def training_transform(name: str, image_size: int, cutout: int) -> Callable[[Image.Image], torch.Tensor]:
    """Random crop, mirror, AutoAugment and cutout, as NSGANetV2 (Lu et al., ECCV 2020)."""
    policy = v2.AutoAugmentPolicy.CIFAR10 if name in CIFAR else v2.AutoAugmentPolicy.IMAGENET
    crop = [v2.Resize(round(image_size / CROP), antialias=True), v2.RandomCrop(image_size), v2.RandomHorizontalFlip()]
    return v2.Compose([*crop, v2.AutoAugment(policy), *_to_tensor(), Cutout(cutout)])


def test_transform(image_size: int) -> Callable[[Image.Image], torch.Tensor]:
    """The middle of the image."""
    return v2.Compose([v2.Resize(round(image_size / CROP), antialias=True), v2.CenterCrop(image_size), *_to_tensor()])


def _to_tensor() -> list[Callable]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET_STATS)]


class Cutout:
    """A square of `size` pixels around a random point set to the mean (DeVries and Taylor, 2017)."""

    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        top, left = (int(torch.randint(side, ())) - self.size // 2 for side in image.shape[1:])
        rows, columns = (slice(max(0, start), max(0, start + self.size)) for start in (top, left))
        image[:, rows, columns] = 0
        return image
