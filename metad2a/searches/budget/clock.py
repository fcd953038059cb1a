"""What a search has spent and has left, and how long trainings take on this machine."""

import statistics
import time

import torch
import torch.nn.functional as F

from metad2a.searches.budget.setup import Setup
from metad2a.searches.budget.trials import DONE, RUNNING, State, Trial
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse, to_string

TIMED_BATCH, TIMED_STEPS = 32, 5


class Clock:
    """Adds the seconds that pass to what a search has spent, and counts what is left in the budget's unit."""

    def __init__(self, setup: Setup, state: State):
        self.setup, self.state = setup, state
        self.budget, self.images = setup.options.budget, setup.data.train
        self.last = time.monotonic()

    def begin(self) -> None:
        """Start now; measure the seconds of each operation if the budget is in seconds and none are known."""
        self.last = time.monotonic()
        if self.budget.timed and not self.state.costs:
            sizes = (len(self.setup.data.class_names), self.images.side)
            self.state.costs = operation_costs(self.setup.space, *sizes, self.setup.options.device)

    def tick(self) -> None:
        """Add the seconds since the last call to what is spent."""
        now = time.monotonic()
        self.state.spent += now - self.last
        self.last = now

    def left(self) -> float:
        """What is left of the budget; a running training counts as finished if the budget is in epochs."""
        self.tick()
        if self.budget.timed:
            return self.budget.amount - self.state.spent
        planned = [t.epochs * self.share(t) if t.status == RUNNING else t.cost for t in self.state.trials]
        return self.budget.amount - sum(planned)

    def share(self, trial: Trial) -> float:
        """The cost of an epoch of a trial, relative to an epoch of all images at full size."""
        return trial.images / len(self.images) * (trial.side / self.images.side) ** 2

    def epoch_cost(self, arch: str) -> float:
        """The cost of an epoch of all training images at full size, as planned, in the budget's unit."""
        if not self.budget.timed:
            return 1.0
        costs = self.state.costs
        return len(self.images) * (costs["base"] + sum(costs.get(OPERATIONS[number], 0.0) for number in parse(arch)))

    def measured_epoch_cost(self, arch: str) -> float:
        """The seconds of the same epoch, as the machine is now."""
        options, classes = self.setup.options, len(self.setup.data.class_names)
        return len(self.images) * image_seconds(self.setup.space, arch, classes, self.images.side, options.device)

    def drift(self, side: int) -> float:
        """Real over planned seconds of the finished trainings, if possible only those with images of this side."""
        if not self.budget.timed:
            return 1.0
        done = [t for t in self.state.trials if t.status == DONE]
        done = [t for t in done if t.side == side] or done
        expected = sum(t.cost * self.epoch_cost(t.arch) for t in done)
        return sum(t.seconds for t in done) / expected if expected else 1.0


def operation_costs(space: SearchSpace, num_classes: int, side: int, device: torch.device) -> dict[str, float]:
    """Seconds of training on one image: of a network of skip connections ("base"), and what each operation adds."""
    cells = {"base": "skip_connect", **{name: name for name in OPERATIONS if name not in ("none", "skip_connect")}}
    seconds = {}
    for name, operation in cells.items():
        arch = to_string([OPERATIONS.index(operation)] * 3 + [OPERATIONS.index("skip_connect")] * 3)
        seconds[name] = image_seconds(space, arch, num_classes, side, device)
    return {name: value if name == "base" else max(0.0, value - seconds["base"]) / 3 for name, value in seconds.items()}


def image_seconds(space: SearchSpace, arch: str, num_classes: int, side: int, device: torch.device) -> float:
    """Seconds of training a network on one image, as the machine is now: the median of some steps."""
    network = space.network(arch, num_classes).to(device, memory_format=torch.channels_last)
    images = torch.zeros(TIMED_BATCH, 3, side, side, device=device)
    labels = torch.arange(TIMED_BATCH, device=device) % num_classes
    times = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        F.cross_entropy(network(images), labels).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times) / TIMED_BATCH
