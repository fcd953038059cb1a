"""Training a network on images, by the published protocol unless told otherwise (NAS-Bench-201, section 2.4).

Dimensions: M training images, B images of a batch, K classes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from metad2a.core.environment import cosine, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.processes import Processes
from metad2a.core.progress import progress
from metad2a.core.schema import OPEN, Facts, Integer, State, Text, check, check_optimizer, check_state
from metad2a.data.augmentation import crop_and_flip, draw_augmentation, normalize
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.training.accuracy import accuracy

FORMAT = "metad2a-training-1"
EVALUATED_AT_ONCE = 512
EPOCHS = {"mnist": 50}  # all other datasets: 200
DEFAULT_EPOCHS = 200
AUGMENTED = ("cifar10", "cifar100")
BATCHES = (256, 128, 64, 32)  # the published size, and smaller ones for few images
MIN_STEPS = 1000  # of a training, or it takes a smaller batch


class Descent:
    """Stochastic gradient descent, of which each protocol has the constants."""

    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.SGD:
        """The optimiser, at the first learning rate."""
        return torch.optim.SGD(
            parameters, self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov, fused=True
        )


@dataclass(frozen=True)
class Protocol(Descent):
    """How a network is trained; a result is known by all of it.

    Attributes:
        epochs: passes over the training images.
        batch_size: B, of all processes together.
        lr: the first learning rate; it falls to 0 along a cosine, without warm-up, step by step.
        augment: cut images out of a padding of an eighth of their side, at random.
        mirror: with `augment`, also mirror them at random.
        precision: of activations in training, float32 or bfloat16; evaluation is in float32.
        processes: how many train together.
    """

    epochs: int
    augment: bool
    batch_size: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    precision: str = "float32"
    processes: int = 1
    mirror: bool = True

    def augmented(self, pixels: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
        """A batch's pixels, changed by its part of `draw_augmentation` where the protocol has that."""
        return crop_and_flip(pixels, corners, mirrored & self.mirror) if self.augment else pixels

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Return the learning rate of step 0..num_steps-1 of the whole run."""
        return self.lr * cosine(step / num_steps)


AUGMENTATIONS: dict[str, dict[str, bool]] = {  # values of --augment
    "none": {"augment": False},
    "crop": {"augment": True, "mirror": False},
    "crop+mirror": {"augment": True, "mirror": True},
}


def published_protocol(data_name: str, **changes: Any) -> Protocol:
    """The paper's protocol for a dataset, with changes."""
    values = {"epochs": EPOCHS.get(data_name, DEFAULT_EPOCHS), "augment": data_name in AUGMENTED}
    return Protocol(**values | changes)


def protocol_for(data: ImageData, **changes: Any) -> Protocol:
    """The protocol of a dataset, with changes: the published one, by which images of the user's own are cut out at
    random and not mirrored, since a mirrored image may be of another class."""
    return published_protocol(data.name, **(AUGMENTATIONS["crop"] if data.own else {}) | changes)


def batch_of(images: int, epochs: int) -> int:
    """The published batch, or the largest smaller one with which a training has enough steps."""
    fits = (size for size in BATCHES if images * epochs / size >= MIN_STEPS and size <= images / 4)
    return next(fits, max(2, min(BATCHES[-1], images // 4)))


def rate_of(batch: int) -> float:
    """The learning rate of a batch: it falls with the batch's root from the published one."""
    return Protocol.lr * (batch / Protocol.batch_size) ** 0.5


AnyProtocol = TypeVar("AnyProtocol", bound=Descent)


@dataclass
class Run(Generic[AnyProtocol]):
    """One training run: what it is known by, where it is kept and how far it is.

    Attributes:
        network: on its device, with initial weights.
        identity: architecture, images and protocol; a checkpoint of another one is refused.
        checkpoint: file of the last finished epoch.
    """

    network: nn.Module
    protocol: AnyProtocol
    identity: dict[str, Any]
    seed: int
    checkpoint: Path
    processes: Processes = field(default_factory=Processes)
    epoch: int = 0

    def __post_init__(self):
        self.device = next(self.network.parameters()).device
        self.network.to(memory_format=torch.channels_last)
        if self.processes.count > 1 and self.device.type == "cuda":  # statistics of the whole batch; the CPU has none
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = self.protocol.optimizer(self.parameters)

    def save(self) -> None:
        """Write the checkpoint atomically."""
        value = {
            "format": FORMAT,
            "identity": self.identity,
            "seed": self.seed,
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_torch(self.checkpoint, value)

    def restore(self) -> None:
        """Go on from the checkpoint, where there is one. Raises a UserError when it is damaged or of another run."""
        if not self.checkpoint.is_file():
            return
        hint = "Start anew with --overwrite."
        path = self.checkpoint
        value = check(path, load_torch(path, hint), _File, "a checkpoint of this program", hint, FORMAT)
        if value.identity != self.identity or value.seed != self.seed:
            raise UserError(f"{path} is of another architecture, dataset, protocol or seed. {hint}")
        check_state(path, value.network, self.network, "its architecture", hint)
        check_optimizer(path, value.optimizer, self.optimizer, hint)
        self.network.load_state_dict(value.network)
        self.optimizer.load_state_dict(value.optimizer)
        self.epoch = value.epoch


@dataclass(frozen=True)
class _File:
    """Fields of a checkpoint that `Run.save` writes, beside its format."""

    __pydantic_config__ = OPEN

    identity: Facts
    seed: Integer
    epoch: Integer
    network: State
    optimizer: dict[Text, Any]


def train(run: Run[Protocol], data: ImageData, record: Callable[[str], None]) -> dict[str, float]:
    """Train to the last epoch, saving each; returns the accuracies (%) on `x-valid` and `x-test`.

    Order and augmentation of an epoch depend on seed and epoch alone, so that a run that was killed and resumed is the
    run it would have been. The images lie on the network's device.

    Raises:
        UserError: the loss is not finite, or a checkpoint cannot be written.
    """

    def finished(loss: float) -> None:
        valid = accuracy(run.network, normalized(data.valid, data, run.device))
        record(f"seed {run.seed} epoch {run.epoch} loss {loss:.5f} x-valid {valid:.3f}")

    train_epochs(run, data, finished)
    parts = {"x-valid": data.valid, "x-test": data.test}
    return {name: accuracy(run.network, normalized(part, data, run.device)) for name, part in parts.items()}


def train_epochs(run: Run, data: ImageData, finished: Callable[[float], None]) -> None:
    """Train from where the run is to its last epoch, saving each.

    Args:
        finished: called by the first process after each epoch, with its mean loss.

    Raises:
        UserError: the loss is not finite, or a checkpoint cannot be written.
    """
    model, protocol, first = _parallel(run), run.protocol, run.processes.is_first
    images = data.train.to(run.device)
    steps = len(_batches(torch.arange(len(images)), run))
    total, done = steps * protocol.epochs, steps * run.epoch
    with progress(desc=f"seed {run.seed}", total=total, initial=done, unit="batch", hidden=not first) as bar:
        for epoch in range(run.epoch, protocol.epochs):
            loss = train_epoch(run, model, images, data, epoch, bar)
            run.epoch = epoch + 1
            if first:
                run.save()
                bar.clear()
                finished(loss)


def _parallel(run: Run) -> nn.Module:
    """The network as all processes train it: each has the mean of their gradients."""
    if run.processes.count == 1:
        return run.network
    return DistributedDataParallel(run.network, device_ids=[run.device] if run.device.type == "cuda" else None)


def _batches(order: torch.Tensor, run: Run[Protocol]) -> list[torch.Tensor]:
    """Batches of all processes together; a last one that has not an image for each process is left out."""
    batches = order.split(run.protocol.batch_size)
    return [batch for batch in batches if len(batch) >= run.processes.count]


def train_epoch(
    run: Run[Protocol], model: nn.Module, images: LabelledImages, data: ImageData, epoch: int, bar: tqdm
) -> float:
    """One pass over the training images; returns the mean loss of this process's images."""
    protocol, device = run.protocol, run.device
    rng = random_generator(run.seed * 1_000_000 + epoch)
    order = torch.randperm(len(images), generator=rng)
    corners, mirrored = draw_augmentation(len(images), rng, images.side)
    batches = _batches(order.to(device), run)
    corners, mirrored = corners.to(device), mirrored.to(device)
    mean, std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
    total, seen = torch.zeros((), device=device), 0
    model.train()
    for number, batch in enumerate(batches):
        rate = protocol.learning_rate(epoch * len(batches) + number, protocol.epochs * len(batches))
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        rows = run.processes.share(batch)
        pixels = protocol.augmented(images.pixels[rows], corners[rows], mirrored[rows])
        loss = training_loss(model, normalize(pixels, mean, std), images.labels[rows], protocol.precision)
        run.optimizer.zero_grad()
        (loss * (run.processes.count / len(batch))).backward()  # the mean over all processes' images
        run.optimizer.step()
        total += loss.detach()  # no .item(): the host must not wait for the device inside an epoch
        seen += len(rows)
        bar.update()
    mean_loss = total.item() / seen
    if not math.isfinite(mean_loss):
        raise UserError(f"The training loss of seed {run.seed} became {mean_loss} in epoch {epoch + 1}.")
    return mean_loss


def training_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str) -> torch.Tensor:
    """Cross-entropy of normalised images (B, 3, H, W), summed over the batch."""
    dtype = getattr(torch, precision)
    with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
        logits = model(images)  # (B, K)
    return F.cross_entropy(logits.float(), labels, reduction="sum")


def normalized(
    images: LabelledImages, data: ImageData, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of images as the network takes them, with their labels, on its device."""
    mean, std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
    for rows in torch.arange(len(images)).split(EVALUATED_AT_ONCE):
        part = images[rows].to(device)
        yield normalize(part.pixels, mean, std), part.labels
