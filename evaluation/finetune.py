"""Fine-tune a subnet by the published protocol (SPEC section 5; that of NSGANetV2, Lu et al., ECCV 2020).

Dimensions: B images of a batch, K classes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision.ops import stochastic_depth
from typing_extensions import TypedDict

from engine.errors import UserError
from engine.files import load_torch, save_torch
from engine.progress import progress
from engine.runs import random_generator
from engine.schema import Percent, Size, State, check, check_state
from evaluation.data import FineTuningData, Part
from networks.train import Run
from search_spaces.ofa_mbv3 import Arch
from supernet.model import check_batches, subnet

BEST = "best.pt"


class Best(TypedDict):
    """The best epoch so far: validation accuracy (%), number from 1, weights."""

    valid: Percent
    epoch: Size
    network: State


@dataclass(frozen=True)
class FineTuning:
    """The published protocol; a result is known by all of it. The learning rate falls by epochs, along a cosine."""

    epochs: int = 150
    batch_size: int = 96
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 4e-5
    dropout: float = 0.2
    drop_path: float = 0.2
    cutout: int = 16
    clip: float = 5.0

    def learning_rate(self, epoch: int) -> float:
        return 0.5 * self.lr * (1 + math.cos(math.pi * epoch / self.epochs))


def fine_tuned_network(supernet: nn.Module, arch: Arch, num_classes: int, protocol: FineTuning) -> nn.Module:
    """The subnet with the supernet's weights, a new classifier, dropout before it and drop-path in its blocks."""
    from ofa.utils.layers import LinearLayer

    network = subnet(supernet, arch)
    network.classifier = LinearLayer(network.classifier.in_features, num_classes, dropout_rate=protocol.dropout)
    for i, block in enumerate(network.blocks):
        if block.shortcut is not None:
            block.conv.register_forward_hook(_drop_path(protocol.drop_path * i / len(network.blocks)))
    return network


def _drop_path(rate: float) -> Callable:
    """A hook that drops a residual branch for some images of a batch, the more the deeper it is."""
    return lambda module, inputs, output: stochastic_depth(output, rate, "row", module.training)


def fine_tune(run: Run, data: FineTuningData, num_workers: int, log: Callable[[str], None]) -> dict[str, float]:
    """Train to the last epoch, saving each; the weights kept are those of the best epoch by validation accuracy.

    Order and augmentation of an epoch depend on seed and epoch alone, so a run that was killed is resumed as it was.

    Returns:
        `valid` and `test` accuracies (%) of the best epoch, its number, and `test_of_last_epoch`.

    Raises:
        UserError: the loss is not finite, an image cannot be read, or there is no batch of two images.
    """
    check_batches(run.protocol.batch_size, len(data.train))
    path = run.checkpoint.with_name(BEST)
    best = read_best(run, path) if path.is_file() and run.epoch else {"valid": -1.0}
    for epoch in range(run.epoch, run.protocol.epochs):
        loss = _train_epoch(run, data.train, epoch, num_workers)
        valid = accuracy(run.network, data.valid, num_workers)
        if valid > best["valid"]:
            best = {"valid": valid, "epoch": epoch + 1, "network": run.network.state_dict()}
            save_torch(path, best)
        run.epoch = epoch + 1
        run.save()
        log(f"epoch {run.epoch} loss {loss:.5f} validation {valid:.3f}")
    last = accuracy(run.network, data.test, num_workers)
    run.network.load_state_dict(read_best(run, path)["network"])
    test = accuracy(run.network, data.test, num_workers)
    return {"valid": best["valid"], "test": test, "epoch": best["epoch"], "test_of_last_epoch": last}


def read_best(run: Run, path: Path) -> dict[str, Any]:
    """The best epoch so far: its validation accuracy (%), number and weights.

    Raises:
        UserError: the file is missing, damaged or of another network.
    """
    mend = "Start anew with --overwrite."
    best = check(path, load_torch(path, mend), Best, "the best epoch of a fine-tuning", mend)
    check_state(path, best["network"], run.network, "its architecture", mend)
    return best


def _train_epoch(run: Run, part: Part, epoch: int, num_workers: int) -> float:
    """One pass over the training images; returns the mean loss."""
    protocol, seed = run.protocol, run.epoch_seed(epoch)
    torch.manual_seed(seed)  # of dropout, drop-path and the transformations
    loader = DataLoader(
        part, protocol.batch_size, shuffle=True, num_workers=num_workers, generator=random_generator(seed)
    )
    for group in run.optimizer.param_groups:
        group["lr"] = protocol.learning_rate(epoch)
    run.network.train()
    total = 0.0
    batches = progress(_batches(loader), f"epoch {epoch + 1}/{protocol.epochs}", len(loader), leave=False, unit="batch")
    for images, labels in batches:
        if len(labels) == 1:  # batch norm needs two
            continue
        images = images.to(run.device, memory_format=torch.channels_last, non_blocking=True)
        loss = F.cross_entropy(run.network(images), labels.to(run.device, non_blocking=True))
        run.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(run.parameters, protocol.clip)
        run.optimizer.step()
        total += loss.item() * len(labels)
    mean = total / len(part)
    if not math.isfinite(mean):
        raise UserError(f"The loss became {mean} in epoch {epoch + 1}: try a smaller --lr.")
    return mean


def _batches(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    """The loader's batches. What a worker complains about comes with its traceback, which is left out."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from error


@torch.inference_mode()
def accuracy(network: nn.Module, part: Part, num_workers: int) -> float:
    """Percent of the images whose class has the highest logit."""
    network.eval()
    device, right = next(network.parameters()).device, 0
    for images, labels in _batches(DataLoader(part, 256, num_workers=num_workers)):
        right += int((network(images.to(device)).argmax(dim=1).cpu() == labels).sum())
    return 100 * right / len(part)
