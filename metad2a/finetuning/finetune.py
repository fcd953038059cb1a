"""Fine-tune a subnet by the published protocol (NSGANetV2, Lu et al., ECCV 2020), or evaluate it as it is.

Dimensions: C classes, M images.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Sampler
from torchvision.ops import stochastic_depth
from typing_extensions import TypedDict

from metad2a.core.environment import cosine, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.progress import progress
from metad2a.core.schema import Percent, Size, check
from metad2a.core.tensors import State, check_state
from metad2a.data.reading import read_batches
from metad2a.finetuning.data import FineTuningData, Part, test_transform
from metad2a.finetuning.options import FinetuneOptions
from metad2a.spaces.ofa_mbv3.evaluator import BATCH
from metad2a.spaces.ofa_mbv3.layers import Arch
from metad2a.spaces.ofa_mbv3.supernet import check_batches, subnet
from metad2a.training.classifier import Protocol, Run, accuracy

EVALUATED_AT_ONCE = 256


class Best(TypedDict):
    """The best epoch so far: validation accuracy (%), number from 1, weights."""

    valid: Percent
    epoch: Size
    network: State


@dataclass(frozen=True)
class FineTuning:
    """The published protocol; all of it identifies a result. The learning rate falls epoch by epoch, along a cosine."""

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

    optimizer = Protocol.optimizer  # stochastic gradient descent with these constants


def fine_tuned_network(supernet: nn.Module, arch: Arch, num_classes: int, protocol: FineTuning) -> nn.Module:
    """The subnet with the supernet's weights, a new classifier, dropout before it and drop-path in its blocks."""
    from ofa.utils.layers import LinearLayer

    network = subnet(supernet, arch)
    network.classifier = LinearLayer(network.classifier.in_features, num_classes, dropout_rate=protocol.dropout)
    blocks = list(network.blocks.children())
    for i, block in enumerate(blocks):
        if block.shortcut is not None:
            block.conv.register_forward_hook(_drop_path(protocol.drop_path * i / len(blocks)))
    return network


def _drop_path(rate: float) -> Callable:
    """A hook that drops a residual branch for the share `rate` of a batch's images in training."""
    return lambda module, inputs, output: stochastic_depth(output, rate, "row", module.training)


def fine_tune(run: Run, data: FineTuningData, num_workers: int, record: Callable[[str], None]) -> dict[str, float]:
    """Train to the last epoch, saving each; keep the weights of the epoch with the best validation accuracy.

    Order and augmentation of an epoch depend only on seed and epoch, not on how many processes read images, so a run
    that was killed and resumed gives the same network as an uninterrupted run. Returns `valid` and `test` accuracies
    (%) of the best epoch, its number, and `test_of_last_epoch`.

    Raises a UserError if the loss is not finite, an image cannot be read, or there is no batch of two images.
    """
    check_batches(run.protocol.batch_size, len(data.train))
    path = run.checkpoint.with_name("best.pt")
    order = _Order(len(data.train))
    train = _loader(run, data.train, run.protocol.batch_size, num_workers, order)
    validation, test_images = (_loader(run, part, EVALUATED_AT_ONCE, num_workers) for part in (data.valid, data.test))
    best = read_best(run, path) if path.is_file() and run.epoch else {"valid": -1.0}
    for epoch in range(run.epoch, run.protocol.epochs):
        order.seed = run.seed * 1_000_000 + epoch
        loss = _train_epoch(run, train, epoch, order)
        valid = accuracy(run.network, read_batches(validation))
        if valid > best["valid"]:
            best = {"valid": valid, "epoch": epoch + 1, "network": run.network.state_dict()}
            save_torch(path, best)
        run.epoch = epoch + 1
        run.save()
        record(f"epoch {run.epoch} loss {loss:.5f} validation {valid:.3f}")
    last = accuracy(run.network, read_batches(test_images))
    run.network.load_state_dict(read_best(run, path)["network"])
    test = accuracy(run.network, read_batches(test_images))
    return {"valid": best["valid"], "test": test, "epoch": best["epoch"], "test_of_last_epoch": last}


def read_best(run: Run, path: Path) -> dict[str, Any]:
    """The `Best` epoch. Raises a UserError if the file is missing, damaged or belongs to another network."""
    hint = "Start anew with --overwrite."
    best = check(path, load_torch(path, hint), Best, "the best epoch of a fine-tuning", hint)
    check_state(path, best["network"], run.network, "its architecture", hint)
    return best


class _Order(Sampler):
    """Numbers of M images in random order, each with a seed for its augmentation; `seed` determines all."""

    def __init__(self, M: int):
        self.M, self.seed = M, 0

    def __len__(self) -> int:
        return self.M

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = random_generator(self.seed)
        order = torch.randperm(self.M, generator=rng)
        return zip(order.tolist(), torch.randint(2**62, (self.M,), generator=rng).tolist(), strict=True)


def _loader(run: Run, part: Part, batch_size: int, num_workers: int, order: _Order | None = None) -> DataLoader:
    """Batches of a part's images. Worker processes stay from one epoch to the next."""
    workers: dict[str, Any] = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    rng = random_generator(0)  # leaves PyTorch's own generator alone; no result depends on it
    on_gpu = run.device.type == "cuda"
    return DataLoader(part, batch_size, sampler=order, pin_memory=on_gpu, generator=rng, **workers)


def _train_epoch(run: Run, loader: DataLoader, epoch: int, order: _Order) -> float:
    """One pass over the training images; returns the mean loss."""
    protocol = run.protocol
    torch.manual_seed(order.seed)  # for dropout and drop-path
    for group in run.optimizer.param_groups:
        group["lr"] = protocol.lr * cosine(epoch / protocol.epochs)
    run.network.train()
    total = torch.zeros((), device=run.device)
    name = f"epoch {epoch + 1}/{protocol.epochs}"
    for images, labels in progress(read_batches(loader), name, len(loader), leave=False, unit="batch"):
        if len(labels) == 1:  # batch norm needs two
            continue
        images = images.to(run.device, memory_format=torch.channels_last, non_blocking=True)
        loss = F.cross_entropy(run.network(images), labels.to(run.device, non_blocking=True))
        run.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(run.parameters, protocol.clip)
        run.optimizer.step()
        total += loss.detach() * len(labels)  # no .item(): the host must not wait for the device inside an epoch
    mean = total.item() / len(order)
    if not math.isfinite(mean):
        raise UserError(f"The loss became {mean} in epoch {epoch + 1}: try a smaller --lr.")
    return mean


def evaluate_inherited(
    network: nn.Module, data: FineTuningData, outputs: list[int], image_size: int, options: FinetuneOptions
) -> dict[str, float]:
    """`test` accuracy (%) of a subnet with the supernet's weights, after batch norm saw random training images.

    `outputs` are the numbers (C,) of the classifier's outputs for the classes of `data`.
    """
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

    device = next(network.parameters()).device
    plain = Part(data.train.source, torch.tensor(data.train.numbers), test_transform(image_size))
    order = torch.randperm(len(plain), generator=random_generator(options.seed))
    sample = order[: options.num_calibration].tolist()
    calibration = DataLoader(plain, BATCH, sampler=sample, num_workers=options.num_workers)
    set_running_statistics(network, ((images.to(device), None) for images, _ in read_batches(calibration)))
    test = DataLoader(data.test, BATCH, num_workers=options.num_workers)
    return {"test": accuracy(network, read_batches(test), torch.tensor(outputs)), "calibrated_on": len(sample)}
