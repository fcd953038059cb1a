"""What a search has spent and has left, and how long trainings take on this machine."""

import statistics
import time

import torch
import torch.nn.functional as F

from metad2a.data.image_data import ImageData
from metad2a.searches.budget.trials import DONE, RUNNING, State, Trial
from metad2a.searches.options import SearchOptions
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse, to_string

TIMED_BATCH, TIMED_STEPS = 32, 5


class Clock:
    """Adds the seconds that pass to what a search has spent, and counts what is left in the budget's unit.

    It starts at once. With a budget in seconds it measures each operation, unless the state knows the seconds.
    """

    def __init__(self, options: SearchOptions, space: SearchSpace, data: ImageData, state: State):
        self.budget, self.device, self.space, self.state = options.budget, options.device, space, state
        self.images, self.num_classes = data.train, len(data.class_names)
        self.last = time.monotonic()
        if self.budget.timed and not state.costs:
            state.costs = self.operation_costs()

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

    def drift(self, side: int) -> float:
        """Real over planned seconds of the finished trainings, if possible only those with images of this side."""
        if not self.budget.timed:
            return 1.0
        done = [t for t in self.state.trials if t.status == DONE]
        done = [t for t in done if t.side == side] or done
        expected = sum(t.cost * self.epoch_cost(t.arch) for t in done)
        return sum(t.seconds for t in done) / expected if expected else 1.0

    def operation_costs(self) -> dict[str, float]:
        """Seconds of training on one image: of a network of skip connections ("base"), and what each operation adds."""
        skip = OPERATIONS.index("skip_connect")
        base = self.image_seconds(to_string([skip] * 6))
        costs = {"base": base}
        for number, name in enumerate(OPERATIONS):
            if name not in ("none", "skip_connect"):
                costs[name] = max(0.0, self.image_seconds(to_string([number] * 3 + [skip] * 3)) - base) / 3
        return costs

    def image_seconds(self, arch: str) -> float:
        """Seconds of training a network on one image, as the machine is now: the median of some steps."""
        network = self.space.network(arch, self.num_classes).to(self.device, memory_format=torch.channels_last)
        images = torch.zeros(TIMED_BATCH, 3, self.images.side, self.images.side, device=self.device)
        labels = torch.arange(TIMED_BATCH, device=self.device) % self.num_classes
        times = []
        for _ in range(TIMED_STEPS):
            start = time.perf_counter()
            F.cross_entropy(network(images), labels).backward()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter() - start)
        return statistics.median(times) / TIMED_BATCH
