"""Accuracy of a subnet on some classes, after calibrating its batch norm on their training images (Once-for-All)."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn as nn

from metad2a.core.errors import UserError
from metad2a.data.imagenet import ImagesByClass, open_imagenet
from metad2a.spaces.ofa_mbv3.supernet import SupernetConfig, load_supernet, subnet
from metad2a.training.classifier import accuracy

BATCH = 256


def calibrate(network: nn.Module, images: ImagesByClass, numbers: torch.Tensor) -> None:
    """Set the running statistics of batch norm to the statistics of images `numbers` (n,), as Once-for-All does."""
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

    set_running_statistics(network, ((images.centered(part), None) for part in numbers.split(BATCH)))


def centered(
    images: ImagesByClass, numbers: torch.Tensor, labels: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of the middle of images `numbers` (n,), with their labels (n,)."""
    return zip(map(images.centered, numbers.split(BATCH)), labels.split(BATCH), strict=True)


class SubnetEvaluator:
    """Measures subnets with the supernet's weights, without training. Raises a UserError if the supernet or images are
    missing, or the supernet does not know a class."""

    def __init__(self, options: Any):
        self.supernet, config = load_supernet(options.supernet, options.device)
        names = list(options.class_names)
        self.training, self.held_out = open_imagenet(options.imgnet, names, config.image_size)
        self.outputs = torch.tensor(output_numbers(config, names, options.supernet))
        self.num_calibration = options.num_calibration

    def evaluate(self, arch: dict[str, list[int]], classes: list[int], rng: torch.Generator) -> float:
        """Held-out accuracy (%). `rng` draws the training images of `classes` that calibrate batch norm."""
        network = subnet(self.supernet, arch)
        numbers = self.training.numbers(classes)
        calibrate(network, self.training, numbers[torch.randperm(len(numbers), generator=rng)[: self.num_calibration]])
        held_out = centered(self.held_out, self.held_out.numbers(classes), self.held_out.labels(classes))
        return accuracy(network, held_out, self.outputs[classes])


def output_numbers(config: SupernetConfig, names: list[str], path: str) -> list[int]:
    """Outputs of the classifier for the classes `names`. Raises a UserError if the supernet does not know a class."""
    known = config.class_names or (sorted(names) if len(names) == config.num_classes else [])
    if not known:
        raise UserError(
            f"{path} has {config.num_classes} outputs without names, but the images have {len(names)} classes. Give "
            f"the folder with all {config.num_classes}."
        )
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"The supernet {path} was not trained on class {unknown[0]} ({len(unknown)} such classes). Leave these out "
            "(build-database: list the others in a file for --class-order; finetune: take --epochs 1 or more), or give "
            "another --supernet."
        )
    return [known.index(name) for name in names]
