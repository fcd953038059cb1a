"""One training of a search: on a part of the training images, judged by the validation part alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from metad2a.core.environment import random_generator
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.networks.trained import TrainedNetwork
from metad2a.searches.budget.trials import Trial
from metad2a.spaces.base import SearchSpace
from metad2a.training.accuracy import accuracy
from metad2a.training.classifier import Protocol, Run, normalized, protocol_for, rate_of, train_epochs

SEED = 777  # of weights and of the order of the images; the first of the published ones
Report = Callable[[int, float, float | None], None]  # epoch, its loss, accuracy where it was asked for


@dataclass(frozen=True)
class Lesson:
    """What every training of a search needs.

    Attributes:
        space, data: the search space and the images.
        identity, history: of the search, for checkpoints and networks.
        folder: of checkpoints and networks; on a cluster all machines have it.
        device: of the process that trains.
    """

    space: SearchSpace
    data: ImageData
    identity: dict[str, Any]
    history: dict[str, Any]
    folder: Path
    device: torch.device

    def checkpoint(self, trial: Trial) -> Path:
        """The file of a training's last epoch, while it is going on."""
        return self.folder / f"{trial.number}.ckpt.pt"

    def network(self, trial: Trial) -> Path:
        """The file of a trained network."""
        return self.folder / f"{trial.number}.pt"


def protocol_of(trial: Trial, data: ImageData) -> Protocol:
    """The dataset's protocol, with the trial's epochs and batch; the learning rate falls with the batch's root."""
    return protocol_for(data, epochs=trial.epochs, batch_size=trial.batch, lr=rate_of(trial.batch))


def reduced(data: ImageData, side: int, images: int) -> ImageData:
    """The dataset with smaller images (means over squares of pixels) and the first so many training images of a draw.

    Every class keeps its share, and at least one image.
    """
    train = data.train
    if images < len(train):
        drawn = torch.randperm(len(train), generator=random_generator(SEED))
        share, kept = images / len(train), []
        for label in range(len(data.class_names)):
            rows = drawn[train.labels[drawn] == label]
            kept.append(rows[: max(1, round(share * len(rows)))])
        train = train[torch.cat(kept).sort().values]
    return replace(data, train=_shrunk(train, side), valid=_shrunk(data.valid, side))


def _shrunk(images: LabelledImages, side: int) -> LabelledImages:
    if side == images.side:
        return images
    pixels = images.pixels.permute(0, 3, 1, 2).float()
    small = F.adaptive_avg_pool2d(pixels, side).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return LabelledImages(small, images.labels)


def train_trial(lesson: Lesson, trial: Trial, report: Report, each: bool = False) -> float:
    """Train, from the checkpoint where a killed process left one; write the network if its images have full size.

    Args:
        report: called after every epoch.
        each: have it told the accuracy after every epoch, for early stopping.

    Returns:
        The accuracy on the validation part (%).

    Raises:
        UserError: the loss is not finite, or a file cannot be written.
    """
    data = reduced(lesson.data, trial.side, trial.images)
    torch.manual_seed(SEED)
    network = lesson.space.network(lesson.space.from_text(trial.arch), len(data.class_names)).to(lesson.device)
    identity = lesson.identity | {"trial": trial.number, "architecture": trial.arch, "epochs": trial.epochs}
    run = Run(network, protocol_of(trial, data), identity, SEED, lesson.checkpoint(trial))
    run.restore()

    def valid() -> float:
        return accuracy(run.network, normalized(data.valid, data, run.device))

    train_epochs(run, data, lambda loss: report(run.epoch, loss, valid() if each else None))
    found = valid()
    if trial.side == lesson.space.image_size:
        trained(lesson, trial, run.network, found).save(lesson.network(trial))
    return found


def trained(lesson: Lesson, trial: Trial, network: torch.nn.Module, found: float) -> TrainedNetwork:
    """The network with all that belongs to it, and its validation accuracy (%)."""
    data = lesson.data
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    identity = lesson.identity | {"architecture": trial.arch, "protocol": asdict(protocol_of(trial, data))}
    about = (lesson.space.name, trial.arch, data.class_names, data.mean, data.std)
    return TrainedNetwork(*about, state, identity, SEED, {"x-valid": found}, lesson.history)
