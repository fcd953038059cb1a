"""The work of a search in the process that does it: linear classifiers, and slices of trainings."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from metad2a.core.cli import is_out_of_memory
from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError, first_line
from metad2a.core.files import load_torch, save_torch, write_json
from metad2a.core.schema import Text, check, read_json
from metad2a.core.tensors import State as Weights
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.networks import backbones
from metad2a.networks.judge import fit_linear
from metad2a.networks.trained import TrainedNetwork
from metad2a.searches.budget.plan import Slice
from metad2a.searches.budget.trials import DONE, FAILED, FURTHER, HINT, LINEAR, NEW, PAUSED, RUNNING, Trial
from metad2a.searches.limits import within
from metad2a.spaces.base import SearchSpace
from metad2a.training.classifier import (
    Protocol,
    Run,
    accuracy,
    batch_of,
    normalized,
    protocol_for,
    rate_of,
    train_batches,
)
from metad2a.training.recipes import MOST_EPOCHS, recipe

SEED = 777  # of weights and of the order of the images; the first published seed
CHECKPOINT, PROGRESS, HEADS = ".ckpt.pt", ".json", ".heads.pt"  # endings of files
LEAST_JUDGED, JUDGED_A_SECOND = 200, 1.0  # images of the validation part that judge: at least, and a second of budget
EVALUATIONS, SPARSE = 5, 20  # of a slice, which takes at least this many times as long as its evaluations
AT_ONCE = 32  # images whose features are made at once
CALIBRATED = 500  # training images that measure the statistics of a subnet's batch norm
FITTED, FIT_SHARE = 5000, 0.3  # most images that a linear classifier is fitted to, and its part of the time
RESERVED = 1.1  # the last evaluation of a slice may take this many times as long as the one before
Watch = Callable[[Trial], None]


@dataclass(frozen=True)
class Trainer:
    """What every training of a search needs."""

    space: SearchSpace
    data: ImageData
    identity: dict[str, Any]  # of the search, for checkpoints and networks
    history: dict[str, Any]  # likewise
    folder: Path  # of checkpoints and networks; all machines of a cluster share it
    device: torch.device | str  # of the process that trains
    timed: bool  # whether the budget is in seconds, and not in epochs
    supernet: str | None = None  # file of the MobileNetV3 supernet's weights

    def file(self, trial: Trial, ending: str) -> Path:
        """The file of a trial's weights, of its progress, or of its linear classifiers."""
        return self.folder / f"{trial.number}{ending}"

    def as_left(self, trial: Trial) -> Trial:
        """A trial with the progress that its file tells. Raises a UserError if the file is damaged."""
        path = self.file(trial, PROGRESS)
        return read_json(path, Trial, "the progress of a training", HINT) if path.is_file() else trial

    @cached_property
    def judges(self) -> LabelledImages:
        """The images of the validation part that judge."""
        amount = float(self.identity["amount"]) if self.timed else 0.0
        most = max(LEAST_JUDGED, round(JUDGED_A_SECOND * amount))
        order = torch.randperm(len(self.data.valid), generator=random_generator(SEED))[:most]
        return self.data.valid[order.sort().values]

    def within_limits(self, trial: Trial) -> list[str]:
        """The networks of a linear classifier's backbone that are within the limits."""
        limits, classes = self.identity["limits"], len(self.data.class_names)

        names = backbones.readings(trial.arch)
        return [name for name in names if not limits or within(backbones.cost(name, classes, trial.side), limits)]

    def look_of(self, trial: Trial) -> ImageData:
        """The dataset as a trial's network sees it: how pixels are normalised, and the images that judge, which have at
        most its side."""
        data = replace(self.data, valid=self.judges.sized(trial.side))
        if trial.way == NEW:
            return data
        look = backbones.look(trial.arch)
        return replace(data, mean=look.mean, std=look.std)

    @cached_property
    def _trained_on(self) -> dict[int, LabelledImages]:
        return {}

    def train_images(self, side: int) -> LabelledImages:
        """The training images with at most `side` pixels, made once in this process."""
        return self._trained_on.setdefault(side, self.data.train.sized(side))

    def protocol_of_cells(self) -> Protocol:
        """The whole protocol of training a cell."""
        return protocol_for(self.data)

    def protocol(self, trial: Trial, data: ImageData, passes: float) -> Protocol:
        """How a trial is trained; `passes` over the images are expected."""
        if trial.way == FURTHER:
            return recipe(len(data.train), trial.side, backbones.is_whole(trial.arch))
        batch = batch_of(len(data.train), max(1, round(passes)))
        return protocol_for(data, batch_size=batch, lr=rate_of(batch))

    def untrained(self, trial: Trial) -> nn.Module:
        """A trial's network before its training: a cell's, or a backbone with its linear classifier."""
        classes = len(self.data.class_names)
        torch.manual_seed(SEED)
        if trial.way == NEW:
            return self.space.network(self.space.from_text(trial.arch), classes)
        network = self.backbone(trial)
        base = trial if trial.base is None else replace(trial, number=trial.base)
        heads = load_heads(self.file(base, HEADS))
        network.head.load_state_dict(heads[trial.arch])
        return network

    def backbone(self, trial: Trial) -> backbones.BackboneNetwork:
        """A trial's backbone with ImageNet's weights. In a subnet they do not fit batch norm's statistics, which are
        measured on training images."""
        network = backbones.load(trial.arch, len(self.data.class_names), self.supernet)
        if trial.arch.startswith(backbones.OFA):
            from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

            data, order = self.look_of(trial), torch.randperm(len(self.data.train), generator=random_generator(SEED))
            set_running_statistics(network, normalized(data.train[order[:CALIBRATED]], data, "cpu", trial.side))
        return network

    def run(self, trial: Trial, network: nn.Module, data: ImageData, passes: float = 1.0) -> Run:
        """A training, from its checkpoint if there is one. Raises a UserError if that is damaged."""
        identity = self.identity | {name: getattr(trial, name) for name in ("number", "way", "arch", "side")}
        protocol = self.protocol(trial, data, passes)
        run = Run(network.to(self.device), protocol, identity, SEED, self.file(trial, CHECKPOINT))
        run.restore()
        return run

    def trained(self, trial: Trial) -> nn.Module:
        """The network that a trial has made so far, on the device."""
        network = self.untrained(trial)
        if trial.way == LINEAR:
            return network.to(self.device, memory_format=torch.channels_last).eval()
        return self.run(trial, network, self.data).network.eval()

    def network(self, trial: Trial, network: nn.Module) -> TrainedNetwork:
        """What a user gets of a trial."""
        data = self.look_of(trial)
        about: dict[str, Any] = {"architecture": trial.arch, "seed": SEED, "history": dict(self.history)}
        space, licence = self.space.name, None
        if trial.way != NEW:
            space, licence = backbones.SPACE, backbones.look(trial.arch).licence
        if licence:
            about["history"]["licence"] = licence
        about["accuracy"] = {"x-valid": trial.accuracy}
        about["identity"] = self.identity | {"way": trial.way, "epochs": trial.epochs, "architecture": trial.arch}
        return TrainedNetwork.of(network, space, data, image_size=trial.side, **about)


def load_heads(path: Path) -> dict[str, Weights]:
    """The linear classifiers of a backbone, by the texts of its networks."""
    return check(path, load_torch(path, HINT), dict[Text, Weights], "linear classifiers", HINT)


def attempt(trainer: Trainer, work: Slice, watch: Watch | None = None) -> Trial:
    """Do a slice in this process, from where an earlier attempt was left; returns the trial, changed.

    `watch` is told of its progress. A trial that fails, also because memory is short, comes back with its reason."""
    start = time.monotonic()
    trial = replace(trainer.as_left(work.trial), status=RUNNING)
    try:
        do = fit_classifiers if trial.way == LINEAR else train_slice
        return do(trainer, replace(work, trial=trial), start, watch or (lambda trial: None))
    except UserError as error:
        message = str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = f"memory is not enough ({first_line(error)})"
    return replace(trainer.as_left(trial), status=FAILED, message=message)


class SliceRun:
    """A slice of a training: its weights, its progress, and its part of the budget, which ends also within an epoch."""

    def __init__(self, trainer: Trainer, work: Slice, start: float, watch: Watch):
        self.trainer, self.work, self.start, self.watch = trainer, work, start, watch
        self.trial = work.trial
        self.data = trainer.look_of(self.trial)
        passes = self.trial.epochs * work.amount / self.trial.spent if self.trial.spent else MOST_EPOCHS
        self.run = trainer.run(self.trial, trainer.untrained(self.trial), self.data, passes)
        self.images = trainer.train_images(self.trial.side).to(self.run.device)
        self.batches = math.ceil(len(self.data.train) / self.run.protocol.batch_size)
        self.first_epochs, self.until = self.epochs, 0.0
        self.already = self.trial.spent - self.trial.before  # of this slice, before it was interrupted
        self.evaluation, self.end = 0.0, work.amount  # seconds of the last evaluation; when the training ends

    @property
    def epochs(self) -> float:
        """Passes over the training images so far."""
        return self.run.epoch + self.run.position / self.batches

    @property
    def used(self) -> float:
        """What the slice has spent, in the budget's unit."""
        now = time.monotonic() - self.start if self.trainer.timed else self.epochs - self.first_epochs
        return self.already + now

    def now(self) -> Trial:
        """The trial with its progress."""
        seconds = self.work.trial.seconds + time.monotonic() - self.start
        return replace(self.trial, spent=self.trial.before + self.used, seconds=seconds, epochs=self.epochs)

    def pace(self, number: int) -> tuple[float, float] | None:
        """How much of the slice is done before a batch, by the budget and by epochs; None to end."""
        epochs = (self.run.epoch + number / self.batches) / self.run.protocol.epochs
        if self.used >= self.until or epochs >= 1:
            return None
        self.watch(self.now())
        return max(min(1.0, self.used / self.end), epochs), 1.0

    def train(self, until: float) -> None:
        """Train until so much of the slice is spent."""
        self.until = until
        while not self.ended and self.used < until:
            train_batches(self.run, self.images, self.data, self.run.epoch, self.pace)
            if self.run.position < self.batches:
                break
            self.run.epoch, self.run.position = self.run.epoch + 1, 0

    @property
    def ended(self) -> bool:
        """Whether all epochs are done."""
        return self.run.epoch >= self.run.protocol.epochs

    def evaluate(self) -> None:
        """Measure the accuracy on the validation part; save the weights and the progress."""
        begun = time.monotonic()
        percent = accuracy(self.run.network, normalized(self.data.valid, self.data, self.run.device, self.trial.side))
        self.evaluation = time.monotonic() - begun
        self.trial = replace(self.now(), image_seconds=self.evaluation / len(self.data.valid))
        self.trial = replace(self.trial, curve=[*self.trial.curve, (self.trial.spent, percent)])
        self.run.save()
        self.keep()
        self.watch(self.trial)

    def keep(self) -> None:
        """Save the progress."""
        write_json(self.trainer.file(self.trial, PROGRESS), asdict(self.trial))


def train_slice(trainer: Trainer, work: Slice, start: float, watch: Watch) -> Trial:
    """Train until a slice is used up; the weights and their accuracy are saved several times on the way."""
    run = SliceRun(trainer, work, start, watch)
    if not run.trial.curve:
        run.evaluate()
    while True:
        reserve = RESERVED * run.evaluation if trainer.timed else 0.0
        run.end = work.amount - reserve
        left, step = run.end - run.used, max(work.amount / EVALUATIONS, SPARSE * reserve)
        last = left <= 1.5 * step
        run.train(run.used + (left if last else step))
        run.evaluate()
        if last or run.ended:
            break
    status = DONE if run.ended or work.last else PAUSED
    run.trial = replace(run.trial, status=status, slices=work.trial.slices + 1, before=run.trial.spent)
    run.keep()
    return run.trial


def fit_classifiers(trainer: Trainer, work: Slice, start: float, watch: Watch) -> Trial:
    """Fit linear classifiers to the features of a backbone's layers; keep them all, and return the best as the trial.

    With a budget in seconds, the training images whose features the time allows take part, drawn at random."""
    trial = work.trial
    data, classes = trainer.look_of(trial), len(trainer.data.class_names)
    network = trainer.backbone(trial)
    network = network.to(trainer.device, memory_format=torch.channels_last).eval()
    order = torch.randperm(len(data.train), generator=random_generator(SEED))[:FITTED]
    begun = time.monotonic()
    valid = list(features(network, data, data.valid, trial))
    image_seconds = (time.monotonic() - begun) / len(data.valid)
    until = start + (1 - FIT_SHARE) * work.amount if trainer.timed else math.inf
    parts, least = [], max(4 * classes, 2 * AT_ONCE)
    for part in features(network, data, data.train[order], trial):
        parts.append(part)
        watch(replace(trial, epochs=sum(len(p[0]) for p in parts) / len(data.train)))
        if time.monotonic() > until and sum(len(p[0]) for p in parts) >= least:
            break
    labels = data.train.labels[order][: sum(len(part[0]) for part in parts)]
    layers = [*backbones.taps(trial.arch), trial.arch]  # whose features there are
    heads, shares = {}, {}
    for name in trainer.within_limits(trial):
        read = slice(layers.index(name), layers.index(name) + 1) if name in layers else slice(None)
        x, v = (torch.cat([torch.cat(part[read], dim=1) for part in each]) for each in (parts, valid))
        limit = start + work.amount if trainer.timed else math.inf
        heads[name], shares[name] = fit_linear(x, labels, v, data.valid.labels, classes, limit)
    save_torch(trainer.file(trial, HEADS), heads)
    epochs = len(labels) / len(data.train)
    seconds = time.monotonic() - start
    spent = seconds if trainer.timed else epochs
    best = max(shares, key=lambda name: shares[name])
    others = {name: share for name, share in shares.items() if name != best}
    changes: dict[str, Any] = {
        "arch": best,
        "status": DONE,
        "slices": 1,
        "spent": spent,
        "seconds": seconds,
        "epochs": epochs,
    }
    told = "; ".join(f"{name} {share:.1f} %" for name, share in others.items())
    return replace(trial, **changes, image_seconds=image_seconds, curve=[(spent, shares[best])], message=told)


@torch.inference_mode()
def features(
    network: backbones.BackboneNetwork, data: ImageData, images: LabelledImages, trial: Trial
) -> Iterator[list[torch.Tensor]]:
    """For each batch the features (B, D) of the layers that linear classifiers read, on the CPU."""
    taps = list(backbones.taps(trial.arch).values())
    device = next(network.parameters()).device
    for rows in torch.arange(len(images)).split(AT_ONCE):
        [(part, _)] = normalized(images[rows].sized(trial.side), data, device, trial.side)
        yield [x.float().cpu() for x in network.embed(part, taps)]
