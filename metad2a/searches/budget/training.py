"""One training of a search: on all training images or a part of them, and judged by the validation part."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from metad2a.core.environment import keep_freed_memory, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import write_json
from metad2a.core.schema import read_json
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.networks.trained import TrainedNetwork
from metad2a.searches.budget.trials import DONE, FAILED, HINT, Trial
from metad2a.spaces.base import SearchSpace
from metad2a.training.classifier import Protocol, Run, accuracy, normalized, protocol_for, rate_of, train_epochs

SEED = 777  # of weights and of the order of the images; the first published seed
CHECKPOINT, PROGRESS, NETWORK = ".ckpt.pt", ".json", ".pt"  # endings of files


@dataclass(frozen=True)
class Trainer:
    """What every training of a search needs."""

    space: SearchSpace
    data: ImageData
    identity: dict[str, Any]  # of the search, for checkpoints and networks
    history: dict[str, Any]  # likewise
    folder: Path  # of checkpoints and networks; all machines of a cluster share it
    device: torch.device | str  # of the process that trains

    def file(self, trial: Trial, ending: str) -> Path:
        """The file of a trial's last epoch, of its progress, or of its trained network."""
        return self.folder / f"{trial.number}{ending}"

    def as_left(self, trial: Trial) -> Trial:
        """A running trial with the progress that its file tells. Raises a UserError if the file is damaged."""
        path = self.file(trial, PROGRESS)
        return read_json(path, Trial, "the progress of a training", HINT) if path.is_file() else trial


def attempt(trainer: Trainer, trial: Trial, watch: Callable[[Trial], None] | None = None) -> Trial:
    """Train in this process, from the checkpoint of an earlier attempt if there is one; returns the trial, done or
    failed. `watch` is called after every epoch."""
    keep_freed_memory()
    trial = trainer.as_left(trial)
    start, losses = time.monotonic() - trial.seconds, list(trial.losses)

    def now(**changes: Any) -> Trial:
        return replace(trial, losses=list(losses), seconds=time.monotonic() - start, **changes)

    def finished(epoch: int, loss: float) -> None:
        losses[epoch - 1 :] = [loss]
        write_json(trainer.file(trial, PROGRESS), asdict(now()))
        if watch is not None:
            watch(now())

    try:
        return now(accuracy=train_trial(trainer, trial, finished), status=DONE)
    except UserError as error:
        return now(message=str(error), status=FAILED)


def train_trial(trainer: Trainer, trial: Trial, finished: Callable[[int, float], None]) -> float:
    """Train, and write the network if its images have full size; returns its accuracy on the validation part (%).

    `finished` is called after every epoch with its number and mean loss. Raises a UserError if the loss is not finite.
    """
    data, space = reduced(trainer.data, trial.side, trial.images), trainer.space
    identity = trainer.identity | {"trial": trial.number, "architecture": trial.arch, "epochs": trial.epochs}
    build = partial(space.network, space.from_text(trial.arch), len(data.class_names))
    checkpoint = trainer.file(trial, CHECKPOINT)
    run = resumed_run(build, trainer.device, protocol_of(trial, data), identity, checkpoint)
    train_epochs(run, data, lambda loss: finished(run.epoch, loss))
    percent = accuracy(run.network, normalized(data.valid, data, run.device))
    if trial.side == space.image_size:
        about = {"architecture": trial.arch, "seed": SEED, "accuracy": {"x-valid": percent}, "history": trainer.history}
        identity = trainer.identity | {"architecture": trial.arch, "protocol": asdict(protocol_of(trial, trainer.data))}
        network = TrainedNetwork.of(run.network, space, trainer.data, identity=identity, **about)
        network.save(trainer.file(trial, NETWORK))
    return percent


def resumed_run(
    build: Callable[[], torch.nn.Module],
    device: torch.device | str,
    protocol: Protocol,
    identity: dict[str, Any],
    checkpoint: Path,
) -> Run:
    """A training of the network that `build` makes, from its checkpoint if there is one. Raises a UserError if the
    checkpoint is damaged, or belongs to another training."""
    torch.manual_seed(SEED)
    run = Run(build().to(device), protocol, identity, SEED, checkpoint)
    run.restore()
    return run


def protocol_of(trial: Trial, data: ImageData) -> Protocol:
    """The dataset's protocol with the trial's epochs and batch; the learning rate falls with the batch's root."""
    return protocol_for(data, epochs=trial.epochs, batch_size=trial.batch, lr=rate_of(trial.batch))


def reduced(data: ImageData, side: int, images: int) -> ImageData:
    """The dataset with smaller images (means over squares of pixels) and a random choice of N training images.

    Every class keeps its share, and at least one image.
    """
    train = data.train
    if images < len(train):
        order = torch.randperm(len(train), generator=random_generator(SEED))
        share, kept = images / len(train), []
        for label in range(len(data.class_names)):
            rows = order[train.labels[order] == label]
            kept.append(rows[: max(1, round(share * len(rows)))])
        train = train[torch.cat(kept).sort().values]
    return replace(data, train=shrunk(train, side), valid=shrunk(data.valid, side))


def shrunk(images: LabelledImages, side: int) -> LabelledImages:
    """The images with another side."""
    if side == images.side:
        return images
    pixels = images.pixels.permute(0, 3, 1, 2).float()
    small = F.adaptive_avg_pool2d(pixels, side).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return LabelledImages(small, images.labels)
