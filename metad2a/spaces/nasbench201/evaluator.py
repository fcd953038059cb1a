"""Measure architectures by training them from scratch, for a meta-training database (MetaD2A section 4.1)."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from metad2a.core.messages import log
from metad2a.data.extractors import DATASET_STATS
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.data.imagenet import ImagesByClass, open_imagenet
from metad2a.data.options import IMAGE_SIZE
from metad2a.spaces.base import SearchSpace
from metad2a.training.classifier import Run, published_protocol, train

NAME = "imgnet32"  # whole images at 32 x 32 pixels, as in downsampled ImageNet


class TrainingEvaluator:
    """Trains networks of a search space on the images of a task's classes. Raises a UserError if images are missing."""

    def __init__(self, space: SearchSpace, options: Any):
        self.space, self.options = space, options
        self.training, self.held_out = open_imagenet(options.imgnet, list(options.class_names), IMAGE_SIZE, share=1)

    def evaluate(self, arch: Any, classes: list[int], rng: torch.Generator) -> float:
        """Held-out accuracy (%) after the last epoch. A seed drawn with `rng` decides on weights and batches."""
        held_out = _images(self.held_out, classes)
        names = [self.options.class_names[c] for c in classes]
        parts = (_images(self.training, classes), held_out, held_out)
        data = ImageData(NAME, names, *parts, *DATASET_STATS[NAME], "", self.options.imgnet)
        seed = int(torch.randint(2**31, (), generator=rng))
        protocol = published_protocol(NAME, epochs=self.options.epochs, augment=True)
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(seed)
            network = self.space.network(arch, len(classes)).to(self.options.device)
            return train(Run(network, protocol, {}, seed, Path(folder) / "ckpt.pt"), data, log.info)["x-test"]


def _images(images: ImagesByClass, classes: list[int]) -> LabelledImages:
    return LabelledImages(images.pixels(images.numbers(classes)), images.labels(classes))
