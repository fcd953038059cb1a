"""Accuracy of a subnet with the supernet's weights as they are, its batch norm calibrated anew (Once-for-All).

Dimensions: C classes.
"""

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

from metad2a.core.environment import random_generator
from metad2a.data.reading import read_batches
from metad2a.finetuning.data import FineTuningData, Part, test_transform
from metad2a.spaces.ofa_mbv3.evaluator import BATCH
from metad2a.training.accuracy import accuracy


def evaluate_inherited(
    network: nn.Module,
    data: FineTuningData,
    outputs: list[int],
    image_size: int,
    num_calibration: int,
    num_workers: int,
    seed: int,
) -> dict[str, float]:
    """`test` accuracy (%), after batch norm saw `num_calibration` training images drawn at random.

    Args:
        network: a subnet with the supernet's classifier, on its device.
        outputs: (C,) numbers of the classifier's outputs for the classes of `data`.
    """
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

    device = next(network.parameters()).device
    plain = Part(data.train.source, torch.tensor(data.train.numbers), test_transform(image_size))
    drawn = torch.randperm(len(plain), generator=random_generator(seed))[:num_calibration].tolist()
    calibration = DataLoader(plain, BATCH, sampler=drawn, num_workers=num_workers)
    set_running_statistics(network, ((images.to(device), None) for images, _ in read_batches(calibration)))
    test = DataLoader(data.test, BATCH, num_workers=num_workers)
    return {"test": accuracy(network, read_batches(test), torch.tensor(outputs)), "calibrated_on": len(drawn)}
