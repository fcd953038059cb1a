"""How long a network takes, measured without training it."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from metad2a.core.tensors import without_memory
from metad2a.spaces.base import SearchSpace
from metad2a.training.classifier import Protocol, Run

WARM_UP, REPETITIONS, STEPS = 3, 15, 4


@torch.inference_mode()
def latency(space: SearchSpace, arch: Any, num_classes: int, batch_size: int, device: torch.device) -> float:
    """Median milliseconds of a batch of images of the space's size through an architecture's network, in float32.

    The weights are zero: building is quick, and the time does not depend on them.
    """
    network = without_memory(lambda: space.network(arch, num_classes))
    network = network.to_empty(device=device).to(memory_format=torch.channels_last).eval()
    for tensor in network.state_dict().values():
        tensor.zero_()
    return milliseconds(network, space.image_size, batch_size, device)


@torch.inference_mode()
def milliseconds(network: nn.Module, side: int, batch_size: int, device: torch.device) -> float:
    """Median milliseconds of a batch of images of `side` pixels through a network on its device, in float32."""
    images = torch.zeros(batch_size, 3, side, side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(WARM_UP + REPETITIONS):
        start = time.perf_counter()
        network(images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])


def seconds_of_step(space: SearchSpace, arch: Any, num_classes: int, batch_size: int, device: torch.device) -> float:
    """Seconds of a training step of an architecture's network: the fastest of a few, after warming up."""
    network, protocol = space.network(arch, num_classes).to(device), Protocol(epochs=1, augment=False)
    run = Run(network, protocol, {}, 0, Path())
    images = torch.randn(batch_size, 3, space.image_size, space.image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    protocol.train_mode(network)
    seconds = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        protocol.step(run, images, labels).item()
        seconds.append(time.perf_counter() - start)
    return min(seconds[WARM_UP:])
