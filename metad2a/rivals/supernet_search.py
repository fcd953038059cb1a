"""Search with a supernet: its training, the budget, and checkpoints, for all methods.

Dimensions: B images of a batch, K classes, E = 6 edges, O = 5 operations.
"""

import math
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.core.environment import cosine, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.schema import OPEN, Facts, Integer, Number, Text, check
from metad2a.core.tensors import State, check_optimizer, check_rng
from metad2a.data.augmentation import draw_augmentation, normalize
from metad2a.data.image_data import LabelledImages
from metad2a.rivals import REAL
from metad2a.rivals.base import Method
from metad2a.rivals.real import ImageProblem
from metad2a.rivals.supernet import Mixture, Supernet
from metad2a.spaces.nasbench201.cells import to_string
from metad2a.training.classifier import normalized, protocol_for

FORMAT = "metad2a-supernet-search-1"
HINT = "Start anew with --overwrite."
Batch = tuple[torch.Tensor, torch.Tensor]  # normalised images (B, 3, H, W), labels (B,)


@dataclass(frozen=True)
class _Past:
    """One finished epoch."""

    seconds: Number
    choice: Text


@dataclass(frozen=True)
class _File:
    """Fields of a checkpoint, besides its format."""

    __pydantic_config__ = OPEN

    identity: Facts
    total: Integer
    past: list[_Past]
    network: State
    optimizer: dict[Text, Any]
    extra: dict[Text, Any]
    rng: torch.Tensor


class SupernetRun:
    """The search of one method with one seed.

    Attributes:
        net: the supernet.
        parameters, arch_optimizer: of the architecture, for methods that have them.
        optimizer: of the supernet's weights.
        train, valid: the halves of the images that a search sees.
        total: the number of epochs; 0 until a budget in seconds has been compared with the first epoch.
        past: the finished epochs.
        deadline: end of a budget in seconds, by `time.perf_counter`; an epoch that reaches it ends early.
        extra: objects of the method with a `state_dict`, by name.
    """

    parameters: nn.ParameterDict
    arch_optimizer: torch.optim.Optimizer

    def __init__(self, method: "SupernetMethod", problem: ImageProblem, seed: int):
        self.method, self.problem = method, problem
        self.device = problem.device
        self.rng = random_generator(seed)
        torch.manual_seed(seed)  # for the initial weights; everything else uses `rng`
        net = Supernet(problem.num_classes, problem.sizes.channels, problem.sizes.cells, method.share)
        self.net = net.to(self.device, memory_format=torch.channels_last)
        weights = self.net.parameters()
        self.optimizer = torch.optim.SGD(weights, method.lr, method.momentum, weight_decay=method.weight_decay)
        self.train, self.valid = (part.to(self.device) for part in problem.halves())
        self.total, self.past, self.deadline = 0, list[_Past](), math.inf
        self.extra: dict[str, Any] = {}
        self.path = problem.folder / "supernets" / f"{method.name}-{seed}.pt"
        parameters = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(method).items()}
        self.identity = problem.identity | {"method": method.name, "seed": seed, "parameters": parameters}
        method.prepare(self)

    @property
    def done(self) -> float:
        """The share of finished epochs."""
        return len(self.past) / (self.total or self.method.epochs)

    @property
    def rate(self) -> float:
        """The learning rate of this epoch; it falls along a cosine."""
        method = self.method
        return method.min_lr + (method.lr - method.min_lr) * cosine(self.done)

    def save(self) -> None:
        """Write the checkpoint atomically."""
        value = {
            "format": FORMAT,
            "identity": self.identity,
            "total": self.total,
            "past": [vars(epoch) for epoch in self.past],
            "network": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "extra": {name: part.state_dict() for name, part in self.extra.items()},
            "rng": self.rng.get_state(),
        }
        save_torch(self.path, value)

    def restore(self) -> None:
        """Continue from an existing checkpoint. Raises a UserError if it is damaged or belongs to another search."""
        if not self.path.is_file():
            return
        value = check(self.path, load_torch(self.path, HINT), _File, "a checkpoint of this program", HINT, FORMAT)
        if value.identity != self.identity:
            raise UserError(f"{self.path} belongs to other images, sizes or hyper-parameters. {HINT}")
        check_optimizer(self.path, value.optimizer, self.optimizer, HINT)
        check_rng(self.path, value.rng, self.rng, HINT)
        parts = {"network": value.network, "optimizer": value.optimizer} | value.extra
        try:
            for name, part in {"network": self.net, "optimizer": self.optimizer, **self.extra}.items():
                part.load_state_dict(parts[name])
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise UserError(f"{self.path} is damaged ({str(error).splitlines()[0]}). {HINT}") from error
        self.rng.set_state(value.rng)
        self.total, self.past = value.total, value.past

    def plan(self) -> None:
        """Set `total` from the budget; seconds are divided by those of the first epoch."""
        budget, limits = self.problem.budget, [self.method.epochs]
        if budget.epochs is not None:
            limits.append(math.floor(budget.epochs))
        if budget.evaluations is not None:  # an evaluation is a training of the fewest epochs
            limits.append(math.floor(budget.evaluations * self.problem.fidelities[0]))
        if budget.seconds is not None:
            if not self.past:
                return
            limits.append(math.floor(budget.seconds / max(self.past[0].seconds, 1e-9)))
        self.total = max(1, min(limits))

    def batches(self, images: LabelledImages, size: int) -> Iterator[Batch]:
        """One pass over images in random order, without an incomplete last batch unless it is the only one."""
        order = torch.randperm(len(images), generator=self.rng)
        corners, mirrored = (part.to(self.device) for part in draw_augmentation(len(images), self.rng, images.side))
        data, protocol = self.problem.images, protocol_for(self.problem.images)
        mean, std = (torch.tensor(values, device=self.device) for values in (data.mean, data.std))
        for number, rows in enumerate(order.to(self.device).split(size)):
            late = number > 0 and time.perf_counter() > self.deadline
            if late or len(rows) < min(size, len(images)):
                return
            pixels = protocol.augmented(images.pixels[rows], corners[rows], mirrored[rows])
            yield normalize(pixels, mean, std), images.labels[rows]

    def weight_step(self, batch: Batch, mixture: Mixture) -> torch.Tensor:
        """One step of the optimizer of the weights; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        loss = F.cross_entropy(self.net(batch[0], mixture), batch[1])
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), self.method.max_norm)
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def accuracy(self, mixture: Mixture) -> float:
        """Accuracy (%) of the supernet with a mixture on the half that judges."""
        data = self.problem.images
        batches = normalized(self.valid, data, self.device)
        right = sum(int((self.net(images, mixture).argmax(dim=1) == labels).sum()) for images, labels in batches)
        return 100 * right / len(self.valid)


@dataclass(frozen=True)
class SupernetMethod(Method):
    """A method that trains a supernet, with the hyper-parameters of Dong and Yang's runs on NAS-Bench-201."""

    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    forms: ClassVar[tuple[str, ...]] = (REAL,)
    follow_best: ClassVar[bool] = False
    share: ClassVar[int] = 1  # see `metad2a.rivals.supernet.MixedEdge`

    epochs: int = 100
    batch: int = 64
    lr: float = 0.025
    min_lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 5e-4
    max_norm: float = 5.0

    def prepare(self, run: SupernetRun) -> None:
        """Add what the method needs; what a checkpoint must keep goes into `run.extra`."""

    @abstractmethod
    def epoch(self, run: SupernetRun) -> torch.Tensor:
        """One epoch; returns the mean training loss, which must be finite."""

    @abstractmethod
    def derive(self, run: SupernetRun) -> list[int]:
        """The operations (E,) of the method's current choice."""

    def search(self, problem: Any, rng: np.random.Generator) -> dict[str, Any]:
        """Train until the epochs or the budget are over, with a checkpoint after each epoch."""
        run = SupernetRun(self, problem, int(rng.integers(2**31)))
        run.restore()
        for past in run.past:
            problem.spend(1)
            problem.charge(past.seconds)
            problem.choose(past.choice)
        run.plan()
        while not run.total or len(run.past) < run.total:
            problem.spend(1)  # each image once, for weights or for the architecture
            start = time.perf_counter()
            if problem.budget.seconds is not None:
                run.deadline = start + problem.budget.seconds - problem.seconds()
            loss = self.epoch(run).item()
            if not math.isfinite(loss):
                raise UserError(f"The loss of {self.name} became {loss} in epoch {len(run.past) + 1}.")
            seconds, choice = time.perf_counter() - start, to_string(self.derive(run))
            run.past.append(_Past(seconds, choice))
            problem.charge(seconds)
            problem.choose(choice)
            run.plan()
            run.save()
            problem.record(f"{self.name} epoch {len(run.past)} of {run.total} loss {loss:.4f} {choice}")
        return {"supernet_epochs": len(run.past)}
