"""Problems with accuracies of networks trained on images; every result is kept in a file.

A search sees only the training images: networks and supernets learn from one half, and the other half judges them
(NAS-Bench-201, section 2.2). The test set serves `judge`, which trains the chosen networks on all training images.

Dimensions: M images, K classes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from typing_extensions import TypedDict

from metad2a import spaces
from metad2a.core.budget import Budget, Cost
from metad2a.core.environment import TextLog, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key, write_json
from metad2a.core.schema import Integer, Number, Text, read_json
from metad2a.data.augmentation import normalize
from metad2a.data.image_data import ImageData, LabelledImages, stratified_split
from metad2a.database.workers import measure_with_ray
from metad2a.rivals import REAL
from metad2a.rivals.base import BudgetSpent, Problem
from metad2a.rivals.naswot_score import BATCH, NO_SCORE, score
from metad2a.searches.budget.training import SEED
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.nasbench201.network import CELLS_PER_STAGE, FIRST_CHANNELS, NASBench201Network
from metad2a.training.classifier import Run, protocol_for, train

HINT = "Start anew with --overwrite."
SEARCH, FINAL, UNTRAINED = "evaluations", "final", "scores"  # folders


@dataclass(frozen=True)
class Sizes:
    """Sizes of networks and supernets, and lengths of trainings."""

    channels: int = FIRST_CHANNELS  # C of the first stage of nasbench201's networks
    cells: int = CELLS_PER_STAGE  # N of these
    fidelities: tuple[int, ...] = (12,)  # epochs of a network in a search, rising; each length is a training of its own
    final_epochs: int = 200  # of the chosen networks
    batch_size: int = 256  # smaller for few images

    def network(self, space: SearchSpace, text: str, num_classes: int) -> torch.nn.Module:
        """The network of an architecture with initial weights."""
        arch = space.from_text(text)
        if (self.channels, self.cells) == (FIRST_CHANNELS, CELLS_PER_STAGE):
            return space.network(arch, num_classes)
        if space.name != "nasbench201":
            raise UserError(f"--channels and --cells only work for nasbench201, not for {space.name}.")
        return NASBench201Network(arch, num_classes, self.channels, self.cells)


@dataclass(frozen=True)
class Training:
    """How a worker trains networks: on `data.train`, judged by `data.test`, with checkpoints in `folder`."""

    search_space: str
    sizes: Sizes
    data: ImageData
    identity: dict[str, Any]
    folder: Path
    device: str

    def file(self, network: "Network", ending: str) -> Path:
        """The file of a network's result or checkpoint."""
        return self.folder / f"{identity_key(self.identity | vars(network))}{ending}"


@dataclass(frozen=True)
class Network:
    """A network to train."""

    architecture: str
    epochs: int

    def __str__(self) -> str:
        return f"the network {self.architecture}"


class Record(TypedDict):
    """The file of one result; the value is None if there is no finite score."""

    architecture: Text
    epochs: Integer
    value: Number | None
    seconds: Number


def read_record(path: Path) -> dict[str, Any]:
    """One result. Raises a UserError if the file is damaged."""
    return dict(read_json(path, Record, "a result of this program", HINT))


def train_network(training: Training, network: Network) -> dict[str, float]:
    """Train a network, or continue a killed training; returns its accuracy (%) as `value`, and `seconds`."""
    data, sizes = training.data, training.sizes
    build = partial(sizes.network, spaces.get(training.search_space), network.architecture, len(data.class_names))
    size = min(sizes.batch_size, max(2, len(data.train) // 4))
    protocol = protocol_for(data, epochs=network.epochs, batch_size=size)
    identity, checkpoint = training.identity | vars(network), training.file(network, ".pt")
    torch.manual_seed(SEED)
    run = Run(build().to(training.device), protocol, identity, SEED, checkpoint)
    run.restore()
    left = max(1, network.epochs - run.epoch)
    start = time.perf_counter()
    value = train(run, data, lambda line: None)["x-test"]
    return {"value": value, "seconds": (time.perf_counter() - start) * network.epochs / left}


class ImageProblem(Problem):
    """Architectures trained on a dataset's images.

    Every result is a file in the folder, with its seconds. So a killed search replays the files, and methods that ask
    for the same network share it; each method pays for it. Raises a UserError if a class has only one training image,
    or the budget is too small for one evaluation.

    Args:
        images: a dataset with its test set.
        folder: for results.
        budget: in evaluations, epochs, or seconds of training and scoring, summed over all workers. Seconds are
            compared before each evaluation, so the last evaluation may exceed them.
        device: trains networks one after the other, unless there are `workers`, Ray processes.
        address: of a running Ray cluster.
    """

    form = REAL

    def __init__(
        self,
        space: SearchSpace,
        images: ImageData,
        sizes: Sizes,
        budget: Budget,
        folder: Path,
        device: torch.device | str = "cpu",
        workers: int = 0,
        address: str | None = None,
    ):
        self.images, self.sizes, self.folder, self.workers, self.address = images, sizes, folder, workers, address
        self.device = torch.device(device)
        self.scores_networks = space.name == "nasbench201"  # `metad2a.rivals.naswot` knows the ReLUs of its networks
        self._parts = stratified_split(images.train.labels, images.class_names, SEED, 0.5)
        self.identity: dict[str, Any] = {
            "search_space": space.name,
            "dataset": images.name,
            "images": images.fingerprint,
        }
        self.identity |= {"channels": sizes.channels, "cells": sizes.cells, "batch_size": sizes.batch_size}
        self.record: Callable[[str], None] = lambda line: None  # says what was done, see `recording`
        super().__init__(images.name, space, len(images.class_names), sizes.fidelities, budget)

    def begin(self, follow_best: bool = True) -> None:
        self._seconds = 0.0
        super().begin(follow_best)

    def seconds(self) -> float:
        """Recorded seconds of training and scoring."""
        return self._seconds

    def charge(self, seconds: float) -> None:
        """Add seconds to the search's."""
        self._seconds += seconds

    @property
    def protocol(self) -> str:
        """What searches see and what is reported, in words."""
        sizes, (learned, judged) = self.sizes, self.halves()
        return (
            f"Networks of C = {sizes.channels}, N = {sizes.cells}. Searches learn from {len(learned)} training images "
            f"and look at accuracies on {len(judged)} others; reported is the test accuracy ({len(self.images.test)} "
            f"images) of the choice after {sizes.final_epochs} epochs of all {len(self.images.train)} training images."
        )

    def halves(self) -> tuple[LabelledImages, LabelledImages]:
        """The training images that a search learns from, and those that judge."""
        first, second = self._parts
        return self.images.train[first], self.images.train[second]

    @cached_property
    def search_training(self) -> Training:
        """How a search trains networks."""
        first, second = self.halves()
        return self._training(replace(self.images, train=first, valid=second[torch.arange(1)], test=second), SEARCH)

    @cached_property
    def final_training(self) -> Training:
        """How chosen networks are trained and tested."""
        return self._training(self.images, FINAL)

    def _training(self, data: ImageData, name: str) -> Training:
        identity, folder = self.identity | {"images_of": name}, (self.folder / name).resolve()
        return Training(self.space.name, self.sizes, data, identity, folder, str(self.device))

    def evaluate_all(self, archs: list[Any], epochs: int | None = None) -> list[float]:
        """As in the base class, in batches of one network for each worker, which keeps a time budget."""
        at_once = max(1, self.workers)
        values: list[float] = []
        for i in range(0, len(archs), at_once):
            values += super().evaluate_all(archs[i : i + at_once], epochs)
        return values

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        networks = [Network(self.space.to_text(arch), epochs) for arch in archs]
        records = self._trained(self.search_training, networks)
        for record in records:
            self.charge(record["seconds"])
            self.record(f"{record['value']:.2f} % after {epochs} epochs {record['architecture']}")
        return [record["value"] for record in records]

    def judge(self, texts: list[str]) -> list[float]:
        networks = [Network(text, self.sizes.final_epochs) for text in dict.fromkeys(texts)]
        records = self._trained(self.final_training, networks)
        accuracy = {record["architecture"]: record["value"] for record in records}
        return [accuracy[text] for text in texts]

    def _trained(self, training: Training, networks: list[Network]) -> list[dict[str, Any]]:
        """The records of networks in their order; missing ones are trained first."""
        missing = [network for network in networks if not training.file(network, ".json").is_file()]
        results: Iterator[tuple[Network, Any]] = ((network, train_network(training, network)) for network in missing)
        if missing and self.workers:
            where = (self.workers, self.address, self.device.type == "cuda")
            results = measure_with_ray(training, missing, *where, train_network)
        for network, result in results:
            write_json(training.file(network, ".json"), vars(network) | result)
            training.file(network, ".pt").unlink(missing_ok=True)
        return [read_record(training.file(network, ".json")) for network in networks]

    def training_free(self, archs: list[Any]) -> list[float]:
        return [self._score(self.space.to_text(arch)) for arch in archs]

    def _score(self, text: str) -> float:
        """NASWOT's score for `BATCH` training images, not augmented. Raises BudgetSpent if the seconds are spent."""
        if not self.budget.allows(Cost(seconds=self.seconds())):
            raise BudgetSpent
        network = Network(text, 0)
        path = self._training(self.images, UNTRAINED).file(network, ".json")
        if not path.is_file():
            start = time.perf_counter()
            torch.manual_seed(SEED)
            model = self.sizes.network(self.space, text, self.num_classes).to(self.device)
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
        mean, std = (torch.tensor(values) for values in (self.images.mean, self.images.std))
        return normalize(first.pixels[rows], mean, std).to(self.device)

    @contextmanager
    def recording(self, name: str, log_file: Path) -> Iterator[None]:
        """Within the block, log what is done, with the share of the budget that is spent and the time left."""
        text, (kind, limit) = TextLog(log_file), next(iter(self.budget.limits.items()))

        def record(line: str) -> None:
            spent = getattr(self.cost, kind)
            left = self.seconds() * (limit - spent) / spent if spent else 0  # at the pace so far
            state = f"{spent:.0f} of {limit:g} {'s' if kind == 'seconds' else kind}"
            text(f"{name}: {state}, about {max(0, left) / 60:.1f} min left; {line}")

        self.record = record
        try:
            yield
        finally:
            self.record = lambda line: None
