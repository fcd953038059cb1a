"""Problems whose accuracies come from networks trained on images, all kept on disk by what they depend on.

A search sees the training images alone, halved: networks and supernets learn from one half and are judged by the other
(NAS-Bench-201, section 2.2). The test set is for `judge`, which trains what was chosen on all training images.

Dimensions: M images, K classes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from typing_extensions import TypedDict

from metad2a import spaces
from metad2a.core.environment import TextLog, keep_freed_memory, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key, write_json
from metad2a.core.progress import progress
from metad2a.core.schema import Integer, Number, Text, read_json
from metad2a.data.augmentation import normalize
from metad2a.data.image_data import ImageData, LabelledImages, stratified_split
from metad2a.database.workers import measure_with_ray
from metad2a.rivals.base import BudgetSpent, Problem
from metad2a.rivals.cost import REAL, Budget, Cost
from metad2a.rivals.naswot import BATCH, NO_SCORE, score
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.nasbench201.network import CELLS_PER_STAGE, FIRST_CHANNELS
from metad2a.training.classifier import Protocol, Run, protocol_for, train

HINT = "Start anew with --overwrite."
SEARCH, FINAL, UNTRAINED = "evaluations", "final", "scores"  # folders
SEED = 777  # of networks' weights and batches
TEST = "x-test"


@dataclass(frozen=True)
class Sizes:
    """What networks and supernets are, and how networks are trained.

    Attributes:
        channels, cells: C of the first stage and N, of nasbench201's networks; 16 and 5 as published.
        fidelities: epochs of a network in a search, fewest first; each is a training of its own.
        final_epochs: of what was chosen.
        batch_size: images of a batch of networks.
    """

    channels: int = FIRST_CHANNELS
    cells: int = CELLS_PER_STAGE
    fidelities: tuple[int, ...] = (12,)
    final_epochs: int = 200
    batch_size: int = 256

    @property
    def published(self) -> bool:
        """Whether networks have the search space's own size."""
        return (self.channels, self.cells) == (FIRST_CHANNELS, CELLS_PER_STAGE)


@dataclass(frozen=True)
class Workers:
    """Where networks are trained: on `device` one after the other, or by `count` Ray processes."""

    device: str = "cpu"
    count: int = 0
    address: str | None = None


@dataclass(frozen=True)
class Training:
    """How networks are trained, as a worker gets it.

    Attributes:
        search_space: its name.
        sizes: see `Sizes`; `data` has the images to train on, and those to judge by.
        folder: of the checkpoints.
    """

    search_space: str
    sizes: Sizes
    data: ImageData
    identity: dict[str, Any]
    folder: Path
    device: str


@dataclass(frozen=True)
class Network:
    """One network to be trained."""

    architecture: str
    epochs: int

    def __str__(self) -> str:
        return f"the network {self.architecture}"


class _Record(TypedDict):
    """A file of one result; no value where there is no finite score."""

    architecture: Text
    epochs: Integer
    value: Number | None
    seconds: Number


def read_record(path: Path) -> dict[str, Any]:
    """One result: `architecture`, `epochs`, `value` and `seconds`.

    Raises:
        UserError: the file is damaged.
    """
    return dict(read_json(path, _Record, "a result of this program", HINT))


def build_network(space: SearchSpace, sizes: Sizes, text: str, num_classes: int) -> torch.nn.Module:
    """The network of an architecture with initial weights.

    Raises:
        UserError: the space's networks have no other sizes.
    """
    arch = space.from_text(text)
    if sizes.published:
        return space.network(arch, num_classes)
    if space.name != "nasbench201":
        raise UserError(f"--channels and --cells are of nasbench201: networks of {space.name} have no such sizes.")
    from metad2a.spaces.nasbench201.network import NASBench201Network

    return NASBench201Network(arch, num_classes, sizes.channels, sizes.cells)


def protocol(training: Training, epochs: int) -> Protocol:
    """The dataset's protocol for so many epochs, with smaller batches where there are few images."""
    size = min(training.sizes.batch_size, max(2, len(training.data.train) // 4))
    return protocol_for(training.data, epochs=epochs, batch_size=size)


def train_network(training: Training, network: Network) -> dict[str, float]:
    """Train one network, or go on where a killed process was; returns `value`, its accuracy (%), and `seconds`.

    Raises:
        UserError: the loss is not finite, or a checkpoint cannot be written or is damaged.
    """
    keep_freed_memory()
    space, data = spaces.get(training.search_space), training.data
    identity = training.identity | vars(network)
    checkpoint = training.folder / f"{identity_key(identity)}.pt"
    torch.manual_seed(SEED)
    model = build_network(space, training.sizes, network.architecture, len(data.class_names)).to(training.device)
    run = Run(model, protocol(training, network.epochs), identity, SEED, checkpoint)
    run.restore()
    left = max(1, network.epochs - run.epoch)
    start = time.perf_counter()
    value = train(run, data, lambda line: None)[TEST]
    seconds = (time.perf_counter() - start) * network.epochs / left
    return {"value": value, "seconds": seconds}


class ImageProblem(Problem):
    """Architectures trained on a dataset's images.

    Everything measured is a file of the folder, with the seconds that it took: a search that was killed replays what
    is there, and methods that ask for the same network share it, each paying for it.

    Args:
        data: a dataset with its test set.
        folder: of results.
        budget: in evaluations, epochs or seconds of training and scoring, of all workers together. Seconds are
            compared before each evaluation, so that the last one may go beyond.

    Raises:
        UserError: a class has one image to train on, or the budget is too small for an evaluation.
    """

    form = REAL

    def __init__(
        self, space: SearchSpace, data: ImageData, sizes: Sizes, budget: Budget, folder: Path, workers: Workers
    ):
        self.data, self.sizes, self.folder, self.workers = data, sizes, folder, workers
        self.device = torch.device(workers.device)
        self._parts = stratified_split(data.train.labels, data.class_names, SEED, 0.5)
        self.identity: dict[str, Any] = {"search_space": space.name, "dataset": data.name, "images": data.fingerprint}
        self.identity |= {"channels": sizes.channels, "cells": sizes.cells, "batch_size": sizes.batch_size}
        self.log: Callable[[str], None] = lambda line: None
        super().__init__(data.name, space, len(data.class_names), sizes.fidelities, budget)

    def begin(self, follow_best: bool = True) -> None:
        self._seconds = 0.0
        super().begin(follow_best)

    def seconds(self) -> float:
        """Of training and scoring, as recorded when it was done."""
        return self._seconds

    def charge(self, seconds: float) -> None:
        """Add seconds to the search's."""
        self._seconds += seconds

    @property
    def protocol(self) -> str:
        """What searches look at and what is reported, in words."""
        sizes, (learned, judged) = self.sizes, self.halves()
        return (
            f"Networks of C = {sizes.channels}, N = {sizes.cells}. Searches learn from {len(learned)} training images "
            f"and look at accuracies on {len(judged)} others; reported is the test accuracy ({len(self.data.test)} "
            f"images) of the choice after {sizes.final_epochs} epochs of all {len(self.data.train)} training images."
        )

    @property
    def images(self) -> ImageData:
        return self.data

    def halves(self) -> tuple[LabelledImages, LabelledImages]:
        """The training images that a search learns from, and those that it judges by."""
        first, second = self._parts
        return self.data.train[first], self.data.train[second]

    @cached_property
    def search_training(self) -> Training:
        """How networks are trained in a search."""
        first, second = self.halves()
        return self._training(replace(self.data, train=first, valid=second[torch.arange(1)], test=second), SEARCH)

    @cached_property
    def final_training(self) -> Training:
        """How chosen networks are trained and tested."""
        return self._training(self.data, FINAL)

    def _training(self, data: ImageData, folder: str) -> Training:
        identity = self.identity | {"images_of": folder}
        return Training(
            self.space.name, self.sizes, data, identity, (self.folder / folder).resolve(), self.workers.device
        )

    def evaluate_all(self, archs: list[Any], epochs: int | None = None) -> list[float]:
        """As the base class says, as many at once as there are workers, so that a budget of seconds is kept."""
        at_once = max(1, self.workers.count)
        values: list[float] = []
        for i in range(0, len(archs), at_once):
            values += super().evaluate_all(archs[i : i + at_once], epochs)
        return values

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        networks = [Network(self.space.to_text(arch), epochs) for arch in archs]
        records = [record for _, record in self._trained(self.search_training, networks)]
        for network, record in zip(networks, records, strict=True):
            self.charge(record["seconds"])
            self.record(f"{record['value']:.2f} % after {epochs} epochs {network.architecture}")
        return [record["value"] for record in records]

    def judge(self, texts: list[str]) -> list[float]:
        """Test accuracies (%) after the final training on all training images."""
        networks = [Network(text, self.sizes.final_epochs) for text in dict.fromkeys(texts)]
        found = {
            network.architecture: record["value"] for network, record in self._trained(self.final_training, networks)
        }
        return [found[text] for text in texts]

    def _trained(self, training: Training, networks: list[Network]) -> list[tuple[Network, dict[str, Any]]]:
        """The records of networks in their order, those that are missing trained first."""
        todo = [network for network in networks if not self._path(training.folder, network).is_file()]
        for network, result in self._train(training, todo):
            path = self._path(training.folder, network)
            write_json(path, vars(network) | result)
            path.with_suffix(".pt").unlink(missing_ok=True)
        return [(network, read_record(self._path(training.folder, network))) for network in networks]

    def _train(self, training: Training, networks: list[Network]) -> Iterator[tuple[Network, dict[str, float]]]:
        if networks and self.workers.count:
            gpus = self.device.type == "cuda"
            yield from measure_with_ray(
                training, networks, self.workers.count, self.workers.address, gpus, train_network
            )
        else:
            yield from ((network, train_network(training, network)) for network in networks)

    def _path(self, folder: Path, network: Network) -> Path:
        return folder / f"{identity_key(self.identity | {'images_of': folder.name} | vars(network))}.json"

    @property
    def scores_networks(self) -> bool:
        return self.space.name == "nasbench201"  # `metad2a.rivals.naswot` knows the ReLUs of its networks

    def training_free(self, archs: list[Any]) -> list[float]:
        """NASWOT's scores for `BATCH` training images, not augmented.

        Raises:
            BudgetSpent: of seconds.
        """
        return [self._score(self.space.to_text(arch)) for arch in archs]

    def _score(self, text: str) -> float:
        if not self.budget.allows(Cost(seconds=self.seconds())):
            raise BudgetSpent
        network = Network(text, 0)
        path = self._path(self.folder / UNTRAINED, network)
        if not path.is_file():
            start = time.perf_counter()
            torch.manual_seed(SEED)
            model = build_network(self.space, self.sizes, text, self.num_classes).to(self.device)
            value = score(model, self._batch)
            write_json(path, vars(network) | {"value": value, "seconds": time.perf_counter() - start})
        record = read_record(path)
        self.charge(record["seconds"])
        return NO_SCORE if record["value"] is None else record["value"]

    @cached_property
    def _batch(self) -> torch.Tensor:
        """Normalised training images (B, 3, H, W) of the half that networks learn from."""
        first, _ = self.halves()
        rows = torch.randperm(len(first), generator=random_generator(SEED))[:BATCH]
        mean, std = (torch.tensor(values) for values in (self.data.mean, self.data.std))
        return normalize(first.pixels[rows], mean, std).to(self.device)

    @contextmanager
    def recording(self, name: str, log_file: Path) -> Iterator[None]:
        """Within the block a bar of the budget, and lines of what is done, with the time that is left."""
        text = TextLog(log_file)
        limit = self.budget.seconds or self.budget.epochs or self.budget.evaluations or 0
        with progress(desc=name, total=round(limit), unit=self._unit) as bar:

            def record(line: str) -> None:
                bar.n = min(round(self._spent), round(limit))
                bar.refresh()
                text(f"{name}: {self._spent:.0f} of {limit:g} {self._unit}, {self._remaining(limit)}; {line}")

            self.log = record
            try:
                yield
            finally:
                self.log = lambda line: None

    def record(self, line: str) -> None:
        """Say what was done, in a line."""
        self.log(line)

    @property
    def _unit(self) -> str:
        limits = {"s": self.budget.seconds, "epochs": self.budget.epochs, "evaluations": self.budget.evaluations}
        return next((name for name, limit in limits.items() if limit is not None), "s")

    @property
    def _spent(self) -> float:
        cost = self.cost
        return {"s": cost.seconds, "epochs": cost.epochs, "evaluations": cost.evaluations}[self._unit]

    def _remaining(self, limit: float) -> str:
        """The time that is left, at the pace so far."""
        spent = self._spent
        seconds = self.seconds() * (limit - spent) / spent if spent else 0
        return f"about {max(0, seconds) / 60:.1f} min left"
