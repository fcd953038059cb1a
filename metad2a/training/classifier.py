"""Training a network on images, by the published protocol or a changed one (NAS-Bench-201, section 2.4).

Dimensions: M training images, B images of a batch, K classes.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

from metad2a.core.budget import whole_epochs
from metad2a.core.environment import cosine, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.progress import progress
from metad2a.core.schema import OPEN, Facts, Integer, Text, check
from metad2a.core.tensors import State, check_optimizer, check_state
from metad2a.data.augmentation import crop_and_flip, draw_augmentation, normalize
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.data.options import IMAGE_SIZE

FORMAT = "metad2a-training-1"
EVALUATED_AT_ONCE, LARGE_AT_ONCE = 512, 64  # images of 32 pixels, and larger ones
AUGMENTED = ("cifar10", "cifar100")
BATCHES = (256, 128, 64, 32)  # the published size, and smaller ones for few images
MIN_STEPS = 1000  # a training with fewer steps takes a smaller batch


@dataclass(frozen=True)
class Protocol:
    """How a network is trained; all of it identifies a result."""

    epochs: int
    augment: bool  # shift images at random, by up to an eighth of their side
    batch_size: int = 256
    lr: float = 0.1  # the first learning rate; it falls to 0 along a cosine, without warm-up, step by step
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    precision: str = "float32"  # or bfloat16, of activations in training; evaluation uses float32
    mirror: bool = True  # with `augment`, also mirror images at random

    def augmented(self, pixels: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
        """A batch's pixels, augmented by its part of `draw_augmentation` if the protocol asks for it."""
        return crop_and_flip(pixels, corners, mirrored & self.mirror) if self.augment else pixels

    @property
    def side(self) -> int | None:
        """Side in pixels to which images are enlarged for the network; None keeps theirs."""
        return None

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of a training."""
        constants = {name: getattr(self, name) for name in ("lr", "momentum", "weight_decay", "nesterov")}
        return torch.optim.SGD(parameters, fused=True, **constants)

    def train_mode(self, network: nn.Module) -> None:
        """Prepare a network for training steps."""
        network.train()

    def step(self, run: "Run", pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Change the weights by a batch of normalised images (B, 3, H, W); returns the sum of its losses."""
        loss = training_loss(run.network, pixels, labels, self.precision)
        run.optimizer.zero_grad()
        (loss / len(labels)).backward()
        run.optimizer.step()
        return loss.detach()

    def learning_rate(self, step: float, num_steps: float) -> float:
        """The learning rate of step 0..num_steps-1 of the whole run."""
        return self.lr * cosine(step / num_steps)


AUGMENTATIONS: dict[str, dict[str, bool]] = {  # values of --augment
    "none": {"augment": False},
    "crop": {"augment": True, "mirror": False},
    "crop+mirror": {"augment": True, "mirror": True},
}


def published_protocol(data_name: str, **changes: Any) -> Protocol:
    """The paper's protocol for a dataset, with changes."""
    values = {"epochs": whole_epochs(data_name), "augment": data_name in AUGMENTED}
    return Protocol(**values | changes)


def protocol_for(data: ImageData, **changes: Any) -> Protocol:
    """The published protocol of a dataset, with changes.

    The user's own images are shifted but not mirrored, because a mirrored image may belong to another class.
    """
    return published_protocol(data.name, **(AUGMENTATIONS["crop"] if data.own else {}) | changes)


def batch_of(images: int, epochs: int) -> int:
    """The published batch size, or the largest smaller one that gives a training enough steps."""
    fits = (size for size in BATCHES if images * epochs / size >= MIN_STEPS and size <= images / 4)
    return next(fits, max(2, min(BATCHES[-1], images // 4)))


def rate_of(batch: int) -> float:
    """The learning rate of a batch size: it falls with the root of the size from the published rate."""
    return Protocol.lr * (batch / Protocol.batch_size) ** 0.5


@dataclass
class Run:
    """One training, of a network on its device."""

    network: nn.Module
    protocol: Any  # epochs and the constants of stochastic gradient descent: a `Protocol` or another dataclass
    identity: dict[str, Any]  # architecture, images and protocol; the checkpoint of another run is refused
    seed: int
    checkpoint: Path
    epoch: int = 0  # the number of finished epochs
    position: int = 0  # batches of the epoch after these that are done

    def __post_init__(self):
        self.device = next(self.network.parameters()).device
        self.network.to(memory_format=torch.channels_last)
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = self.protocol.optimizer(self.parameters)

    def save(self) -> None:
        """Write the checkpoint atomically."""
        about = {"format": FORMAT, "identity": self.identity, "seed": self.seed}
        about |= {"epoch": self.epoch, "position": self.position}
        states = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_torch(self.checkpoint, about | states)

    def restore(self) -> None:
        """Continue from the checkpoint if it exists. Raises a UserError if it is damaged or belongs to another run."""
        if not self.checkpoint.is_file():
            return
        path, hint = self.checkpoint, "Start anew with --overwrite."
        value = check(path, load_torch(path, hint), _File, "a checkpoint of this program", hint, FORMAT)
        if value.identity != self.identity or value.seed != self.seed:
            raise UserError(f"{path} belongs to another architecture, dataset, protocol or seed. {hint}")
        check_state(path, value.network, self.network, "its architecture", hint)
        check_optimizer(path, value.optimizer, self.optimizer, hint)
        self.network.load_state_dict(value.network)
        self.optimizer.load_state_dict(value.optimizer)
        self.epoch, self.position = value.epoch, value.position


@dataclass(frozen=True)
class _File:
    """Fields of a checkpoint that `Run.save` writes, beside its format."""

    __pydantic_config__ = OPEN

    identity: Facts
    seed: Integer
    epoch: Integer
    network: State
    optimizer: dict[Text, Any]
    position: Integer = 0


def train(run: Run, data: ImageData, record: Callable[[str], None]) -> dict[str, float]:
    """Train as `train_epochs` does; returns the accuracies (%) on `x-valid` and `x-test`."""

    def finished(loss: float) -> None:
        valid = accuracy(run.network, normalized(data.valid, data, run.device))
        record(f"seed {run.seed} epoch {run.epoch} loss {loss:.5f} x-valid {valid:.3f}")

    train_epochs(run, data, finished)
    parts = {"x-valid": data.valid, "x-test": data.test}
    return {name: accuracy(run.network, normalized(part, data, run.device)) for name, part in parts.items()}


def train_epochs(run: Run, data: ImageData, finished: Callable[[float], None]) -> None:
    """Train from where the run stands to its last epoch, saving each; call `finished` with the mean loss of each.

    Order and augmentation of an epoch depend only on seed and epoch, so a run that was killed and resumed gives the
    same network as an uninterrupted run. Raises a UserError if the loss is not finite, or a file cannot be written.
    """
    images, protocol = data.train.to(run.device), run.protocol
    steps = math.ceil(len(images) / protocol.batch_size)
    done, total = steps * run.epoch, steps * protocol.epochs
    with progress(desc=f"seed {run.seed}", total=total, initial=done, unit="batch") as bar:
        for epoch in range(run.epoch, protocol.epochs):
            loss = train_epoch(run, images, data, epoch, bar)
            run.epoch = epoch + 1
            run.save()
            bar.clear()
            finished(loss)


def train_epoch(run: Run, images: LabelledImages, data: ImageData, epoch: int, bar: tqdm) -> float:
    """One pass over the training images; returns the mean loss. Raises a UserError if the loss is not finite."""
    steps, epochs = math.ceil(len(images) / run.protocol.batch_size), run.protocol.epochs
    run.position = 0
    loss = train_batches(run, images, data, epoch, lambda number: (epoch * steps + number, epochs * steps), bar.update)
    run.position = 0
    return loss


def train_batches(
    run: Run,
    images: LabelledImages,
    data: ImageData,
    epoch: int,
    pace: Callable[[int], tuple[float, float] | None],
    finished: Callable[[], object] = lambda: None,
) -> float:
    """Train on the batches of an epoch from `run.position` on; returns their mean loss, NaN without any.

    Args:
        pace: tells from the number of the batch how much of the whole training is done, and how much there is; None
            ends the work before that batch.
        finished: called after each batch.

    Raises a UserError if the loss is not finite.
    """
    protocol, device = run.protocol, run.device
    rng = random_generator(run.seed * 1_000_000 + epoch)
    order = torch.randperm(len(images), generator=rng)
    corners, mirrored = draw_augmentation(len(images), rng, images.side)
    batches = order.to(device).split(protocol.batch_size)
    corners, mirrored = corners.to(device), mirrored.to(device)
    mean, std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
    total, seen = torch.zeros((), device=device), 0
    protocol.train_mode(run.network)
    while run.position < len(batches) and (done := pace(run.position)) is not None:
        rows = batches[run.position]
        for group in run.optimizer.param_groups:
            group["lr"] = protocol.learning_rate(*done)
        pixels = protocol.augmented(images.pixels[rows], corners[rows], mirrored[rows])
        inputs = enlarged(normalize(pixels, mean, std), protocol.side)
        total += protocol.step(run, inputs, images.labels[rows])  # no .item(): the host must not wait for the device
        seen += len(rows)
        run.position += 1
        finished()
    mean_loss = total.item() / seen if seen else math.nan
    if seen and not math.isfinite(mean_loss):
        when = f"seed {run.seed} became {mean_loss} in epoch {epoch + 1}"
        raise UserError(f"The training loss of {when}: give `train` a smaller --learning-rate.")
    return mean_loss


def enlarged(images: torch.Tensor, side: int | None) -> torch.Tensor:
    """Images (B, 3, H, W) brought to `side` pixels; None keeps them."""
    if side in (None, images.shape[-1]):
        return images
    return F.interpolate(images, size=side, mode="bilinear", align_corners=False)


def training_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str) -> torch.Tensor:
    """Cross-entropy of normalised images (B, 3, H, W), summed over the batch."""
    dtype = getattr(torch, precision)
    with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
        logits = model(images)  # (B, K)
    return F.cross_entropy(logits.float(), labels, reduction="sum")


def normalized(
    images: LabelledImages, data: ImageData, device: torch.device | str, side: int | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield normalised batches of images (B, 3, H, W), brought to `side` pixels, and their labels (B,), on the
    device."""
    mean, std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
    at_once = EVALUATED_AT_ONCE if (side or images.side) <= IMAGE_SIZE else LARGE_AT_ONCE
    for rows in torch.arange(len(images)).split(at_once):
        part = images[rows].to(device)
        yield enlarged(normalize(part.pixels, mean, std), side), part.labels


@torch.inference_mode()
def accuracy(
    network: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], outputs: torch.Tensor | None = None
) -> float:
    """Percent of the images (B, 3, H, W), normalised, whose label (B,) has the highest logit.

    Labels are positions in `outputs`, numbers (C,) of the network's outputs; None stands for all.
    """
    network.eval()
    device = next(network.parameters()).device
    right, seen = torch.zeros((), dtype=torch.long, device=device), 0
    for images, labels in batches:
        images, labels = (tensor.to(device, non_blocking=True) for tensor in (images, labels))
        logits = network(images)  # (B, outputs)
        if outputs is not None:
            logits = logits[:, outputs.to(device)]  # (B, C)
        right += (logits.argmax(dim=1) == labels).sum()
        seen += len(labels)
    return 100 * right.item() / seen
