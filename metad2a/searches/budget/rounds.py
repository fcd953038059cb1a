"""What a search on a budget knows, what it trains next, and how it stands.

The parts of the images: trainings see the training part alone, choices are made by the validation part (`x-valid`), and
the test part (`x-test`) is looked at once, for the last figure of the network that is handed over.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from metad2a import spaces
from metad2a.core.environment import keep_freed_memory, provenance, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key
from metad2a.core.messages import log
from metad2a.core.training_run import TrainingRun
from metad2a.data.image_data import load_image_data
from metad2a.networks.export import check_formats
from metad2a.rankings.universal import load as load_universal
from metad2a.searches.budget.belief import Belief, Observation
from metad2a.searches.budget.options import PROTOCOL_EPOCHS, BudgetOptions, amount_text
from metad2a.searches.budget.plan import FULL, SHORT, Rung, epoch_seconds, image_seconds, make_plan, operation_costs
from metad2a.searches.budget.proposals import learn, propose
from metad2a.searches.budget.training import Lesson
from metad2a.searches.budget.trials import DONE, FAILED, RUNNING, STATE, STOPPED, State, Trial
from metad2a.searches.budget.tune import load_tune
from metad2a.searches.limits import Limits
from metad2a.searches.options import SearchOptions
from metad2a.training.classifier import batch_of

PICTURED = ("best_architecture.*", "report.html", "model_card.md")
PRODUCTS = (STATE, "trials", "result.json", "network.*", "ranking_run_1.csv", *PICTURED)
FIDELITIES = FULL + 1
MARGIN = 0.9  # of the time that is left, what the last training is planned to take


@dataclass(frozen=True)
class Best:
    """The best network so far: its training, and the 95 % interval of its validation accuracy (%)."""

    trial: Trial
    mean: float
    low: float
    high: float


class BudgetSearch:
    """A search of NAS-Bench-201 that spends a budget on one dataset's images.

    Raises:
        UserError: bad options or images, or no cell is within the limits.
    """

    def __init__(self, options: SearchOptions, how: BudgetOptions):
        keep_freed_memory()
        self.options, self.how, self.budget = options, how, how.budget
        self.space = spaces.get(options.search_space)
        if self.space.architectures is None or not self.space.ranking_shipped:
            raise UserError(
                "--budget is for spaces with a shipped ranking of all architectures, such as nasbench201, and not for "
                f"{self.space.name}."
            )
        self.formats = check_formats(how.export)
        if how.num_workers:
            load_tune()
        images = (options.data_name, options.image_folder, options.data_path, options.seed, self.space.image_size)
        self.data = load_image_data(*images, options.mirror)
        limits = Limits(options, self.space, len(self.data.class_names))
        archs = self.space.architectures
        self.cells = [archs[number] for number in self.space.cheapest_members()]  # one of each function
        self.allowed = self.space.classes_of_equals()[numbers := limits.listed()]
        for cell, number in zip(self.allowed.tolist(), numbers, strict=True):
            self.cells[cell] = archs[number]
        self.identity = {
            "search_space": self.space.name,
            "dataset": self.data.name,
            "images": self.data.fingerprint,
            "budget": how.budget.text,
            "limits": options.limits,
            "seed": options.seed,
        }
        parent = Path(options.save_path) / self.space.results_folder / "search" / options.data_name
        self.folder = parent / f"budget-{how.budget.text}-{identity_key(self.identity)}"
        self.training = TrainingRun(self.folder, PRODUCTS, how.resume, how.overwrite, may_begin=True)
        self.belief = Belief(self.space.features(), load_universal().of_classes()[0], FIDELITIES)
        self.state = State(self.folder)
        self.clock = time.monotonic()

    def begin(self) -> None:
        """Go on from what an earlier command has left, and plan. The folder is this process's alone.

        Raises:
            UserError: the earlier search had other options, or its file is damaged.
        """
        self.training.begin(self.identity, provenance(self.options.seed, images=self.data.origin))
        about = (self.space, self.data, self.identity, self.training.history)
        self.lesson = Lesson(*about, self.folder / "trials", self.options.device)
        self.state.restore()
        self.clock = time.monotonic()
        self.plan = self.planned()

    def tick(self) -> float:
        """Add the seconds since the last call to what is spent; returns them."""
        now = time.monotonic()
        passed, self.clock = now - self.clock, now
        self.state.spent += passed
        return passed

    def planned(self) -> dict[int, Rung]:
        """The rungs, by costs measured when the search began."""
        first = self.cells[self.allowed[self.belief.prior[self.allowed].argmax()]]
        if self.budget.timed and not self.state.costs:
            classes, side = len(self.data.class_names), self.data.train.side
            self.state.costs = operation_costs(self.space, classes, side, self.options.device)
        images = len(self.data.train)
        workers = max(1, self.how.num_workers)
        plan = make_plan(self.budget, self.epoch_cost(first), images, self.data.train.side, workers)
        self.state.facts = {"plan": {rung.name: rung.__dict__ for rung in plan.values()}, "first_choice": first}
        self.tick()
        self.state.save()
        whole = self.budget.amount / self.epoch_cost(first)
        if whole < PROTOCOL_EPOCHS:
            log.info(
                f"The budget is worth {whole:.0f} epochs of the first choice, and the protocol has {PROTOCOL_EPOCHS}: "
                "most of it goes into one training, which gains more by its length than a choice by evidence."
            )
        for rung in plan.values():
            log.info(
                f"{rung.name}: about {rung.count} of {rung.epochs(self.epoch_cost(first))} epochs, "
                f"{rung.images} images of {rung.side} px (as the first of the ranking)"
            )
        return plan

    def epoch_cost(self, arch: str) -> float:
        """Of an epoch of all training images at full size, in the budget's unit."""
        if not self.budget.timed:
            return 1.0
        return epoch_seconds(arch, self.state.costs, len(self.data.train))

    def share(self, trial: Trial) -> float:
        """The cost of one of a trial's epochs relative to one of all images at full size."""
        return trial.images / len(self.data.train) * (trial.side / self.data.train.side) ** 2

    def drift(self, side: int) -> float:
        """How much more trainings with images of this side have cost than the plan says."""
        if not self.budget.timed:
            return 1.0
        known = [t for t in self.state.trials if t.status == DONE and t.side == side]
        known = known or [t for t in self.state.trials if t.status == DONE]
        expected = sum(t.cost * self.epoch_cost(t.arch) for t in known)
        return sum(t.seconds for t in known) / expected if expected else 1.0

    def left(self) -> float:
        """What is left of the budget, in its unit, less what is being trained if that is epochs."""
        self.tick()
        if self.budget.timed:
            return self.budget.amount - self.state.spent
        planned = [t.epochs * self.share(t) if t.status == RUNNING else t.cost for t in self.state.trials]
        return self.budget.amount - sum(planned)

    def goes_on(self, rung: Rung) -> bool:
        """Whether another training of a rung is to begin."""
        begun = self.state.of_rung(rung.fidelity, RUNNING, DONE, STOPPED, FAILED)
        if rung.fidelity == FULL and not begun:
            return True
        if not self.budget.timed and len(begun) >= rung.count:
            return False
        reserved = sum(later.cost * later.count for later in self.plan.values() if later.fidelity > rung.fidelity)
        at_once = max(1, self.how.num_workers) if self.budget.timed else 1
        return self.left() - reserved / at_once >= rung.cost * self.drift(rung.side) - 1e-9

    def choose(self, rung: Rung) -> int | None:
        """The cell to train next, None where there is none left."""
        here = {trial.cell for trial in self.state.trials if trial.fidelity == rung.fidelity}
        evidence = self.evidence()
        for lower in reversed(range(rung.fidelity)):
            survivors = [t.cell for t in self.state.of_rung(lower, DONE) if t.cell not in here]
            if survivors:
                learn(self.belief, evidence)
                quality = self.belief.quality()
                return max(survivors, key=lambda cell: quality[cell].item())
        taken = here if rung.fidelity > SHORT else {trial.cell for trial in self.state.trials}
        if len(taken) >= len(self.allowed):
            return None
        rng = random_generator((self.options.seed * 1009 + len(self.state.trials)) % 2**32)
        return propose(self.belief, evidence, taken, self.allowed, rng)

    def next_trial(self, rung: Rung) -> Trial | None:
        """Note and return the next training of a rung, None where it has enough."""
        if not self.goes_on(rung) or (cell := self.choose(rung)) is None:
            return None
        arch = self.cells[cell]
        epochs = self.epochs(rung, arch)
        values = {"arch": arch, "cell": cell, "fidelity": rung.fidelity, "epochs": epochs}
        return self.state.begin(batch=batch_of(rung.images, epochs), side=rung.side, images=rung.images, **values)

    def epochs(self, rung: Rung, arch: str) -> int:
        """Of a training of a rung; of a whole one those that the time left allows, as the machine is now."""
        cost = self.epoch_cost(arch)
        if not self.budget.timed or rung.fidelity == SHORT:  # short ones are all as long as the first
            return rung.epochs(cost)
        if rung.fidelity < FULL:
            return rung.epochs(cost * self.drift(rung.side))
        classes, images = len(self.data.class_names), len(self.data.train)
        cost = images * image_seconds(self.space, arch, classes, rung.side, self.options.device)
        begun = len(self.state.of_rung(FULL))
        share = max(1, self.how.num_workers) / max(1, rung.count - begun)
        return replace(rung, cost=MARGIN * self.left() * min(1.0, share)).epochs(cost)

    def note(self, trial: Trial, epoch: int, loss: float, found: float | None, seconds: float) -> None:
        """Keep what an epoch of a training has brought."""
        now, at = self.state.trials[trial.number], epoch - 1
        losses, accuracies = [*now.losses[:at], loss], [*now.accuracies[:at], *([] if found is None else [found])]
        cost = epoch * self.share(trial)
        self.state.change(trial.number, losses=losses, accuracies=accuracies, seconds=seconds, cost=cost)

    def fail(self, trial: Trial, message: str) -> None:
        """Note that a training cannot be done; the search goes on without it."""
        self.state.change(trial.number, status=FAILED, message=message)
        self.lesson.checkpoint(trial).unlink(missing_ok=True)
        log.info(f"training {trial.number + 1} failed: {message}")

    def finish(self, trial: Trial, found: float, seconds: float) -> None:
        """Note the validation accuracy of a training, and say how the search stands."""
        trial = self.state.change(trial.number, status=DONE, accuracy=found, seconds=seconds)
        self.lesson.checkpoint(trial).unlink(missing_ok=True)
        self.progress(trial)

    def stop(self, trial: Trial) -> None:
        """Note that a training was stopped early."""
        trial = self.state.change(trial.number, status=STOPPED)
        self.lesson.checkpoint(trial).unlink(missing_ok=True)
        log.info(f"training {trial.number + 1} was stopped after {len(trial.losses)} of {trial.epochs} epochs")

    def progress(self, trial: Trial) -> None:
        """Say how a training ended and how the search stands."""
        best = self.best()
        left = amount_text(max(0.0, self.left()), self.budget)
        name = self.plan[trial.fidelity].name
        log.info(
            f"training {trial.number + 1}, {name}, {trial.epochs} epochs: x-valid {trial.accuracy:.2f} %; best so far "
            f"{best.mean:.2f} % [{best.low:.2f}, {best.high:.2f}] {best.trial.arch}; {left} left"
        )

    def evidence(self) -> list[Observation]:
        """All that the belief learns from."""
        return self.state.evidence(len(self.data.valid))

    def best(self) -> Best:
        """The best of the longest trainings so far, by all evidence.

        Raises:
            UserError: no training has come to its end.
        """
        done = [trial for trial in self.state.trials if trial.status == DONE and trial.fidelity == self.state.highest]
        if not done:
            raise UserError(f"No training came to its end: {self.failure()} {self.folder} keeps what there is.")
        learn(self.belief, self.evidence())
        quality = self.belief.quality()
        trial = max(done, key=lambda t: quality[t.cell].item())
        mean, low, high = (float(x[trial.cell].clamp(0, 100)) for x in self.belief.accuracy(trial.fidelity))
        return Best(trial, mean, low, high)

    def failure(self) -> str:
        """Why the last training that failed did."""
        failed = [trial.message for trial in self.state.trials if trial.status == FAILED]
        return failed[-1] if failed else "the budget was spent, or the search interrupted, before."
