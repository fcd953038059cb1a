"""A running search on a budget: its trials, its clock and its surrogate, and the next step."""

from dataclasses import replace

from metad2a.core.environment import keep_freed_memory, provenance, random_generator
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.core.training_run import TrainingRun
from metad2a.rankings.universal import load as load_universal
from metad2a.searches.budget import words
from metad2a.searches.budget.clock import Clock
from metad2a.searches.budget.loop import another_training, learn, next_cell
from metad2a.searches.budget.plan import FULL, RUNG_NAMES, SHORT, Rung, make_plan
from metad2a.searches.budget.setup import prepare
from metad2a.searches.budget.surrogate import Observation, Surrogate
from metad2a.searches.budget.training import Trainer
from metad2a.searches.budget.trials import DONE, FAILED, RUNNING, STATE, Best, State, Trial
from metad2a.searches.options import SearchOptions
from metad2a.training.classifier import batch_of

PICTURED = ("best_architecture.*", "report.html", "model_card.md")
PRODUCTS = (STATE, "trials", "result.json", "network.*", "ranking_run_1.csv", *PICTURED)
MARGIN = 0.9  # the last training is planned to take this share of the time that is left


class BudgetSearch:
    """A search of NAS-Bench-201 that spends a budget on one dataset's images.

    Raises:
        UserError: as `setup.prepare`.
    """

    def __init__(self, options: SearchOptions):
        keep_freed_memory()
        self.options, self.setup = options, prepare(options)
        self.folder = self.setup.folder
        self.run = TrainingRun(self.folder, PRODUCTS, options.resume, options.overwrite, may_begin=True)
        self.surrogate = Surrogate(self.setup.space.features(), load_universal().of_classes()[0], len(RUNG_NAMES))
        self.state = State(self.folder)
        self.clock = Clock(self.setup, self.state)
        self.workers = max(1, options.num_workers)

    def begin(self) -> None:
        """Continue an earlier command's search if there is one, and plan. No other process uses the folder.

        Raises:
            UserError: the earlier search had other options, or its file is damaged.
        """
        setup = self.setup
        self.run.begin(setup.identity, provenance(self.options.seed, images=setup.data.origin))
        about = (setup.space, setup.data, setup.identity, self.run.history)
        self.trainer = Trainer(*about, (self.folder / "trials").resolve(), self.options.device)
        self.state.restore()
        self.clock.begin()
        self.plan = self.planned()

    def planned(self) -> dict[int, Rung]:
        """The rungs, by the costs that were measured when the search began."""
        allowed, train = self.setup.allowed, self.setup.data.train
        first = self.setup.cells[allowed[self.surrogate.prior[allowed].argmax()]]
        epoch_cost = self.clock.epoch_cost(first)
        plan = make_plan(self.options.budget, epoch_cost, len(train), train.side, self.workers)
        self.state.facts = {"plan": {rung.name: rung.__dict__ for rung in plan.values()}, "first_choice": first}
        self.clock.tick()
        self.state.save()
        for line in words.plan_lines(plan, self.options.budget, epoch_cost):
            log.info(line)
        return plan

    def next_trial(self, rung: Rung) -> Trial | None:
        """Add and return the next trial of a rung, None if the rung has enough."""
        if not self.goes_on(rung) or (cell := self.choose(rung)) is None:
            return None
        arch = self.setup.cells[cell]
        epochs = self.epochs(rung, arch)
        sizes = (rung.fidelity, epochs, batch_of(rung.images, epochs), rung.side, rung.images)
        return self.state.keep(Trial(len(self.state.trials), arch, cell, *sizes))

    def goes_on(self, rung: Rung) -> bool:
        """Whether a rung gets another training."""
        later = [other for other in self.plan.values() if other.fidelity > rung.fidelity]
        begun = len(self.state.of_rung(rung.fidelity, RUNNING, DONE, FAILED))
        real = replace(rung, cost=rung.cost * self.clock.drift(rung.side))
        return another_training(real, later, begun, self.clock.left(), self.options.budget.timed, self.workers)

    def choose(self, rung: Rung) -> int | None:
        """The cell to train next, None if there is none left."""
        begun = [(trial.cell, trial.fidelity) for trial in self.state.trials]
        rng = random_generator((self.options.seed * 1009 + len(begun)) % 2**32)
        return next_cell(self.surrogate, self.observations(), begun, rung.fidelity, self.setup.allowed, rng)

    def epochs(self, rung: Rung, arch: str) -> int:
        """Epochs of a training; a full one gets what the time left allows, as the machine is now."""
        cost = self.clock.epoch_cost(arch)
        if not self.options.budget.timed or rung.fidelity == SHORT:  # all short ones are as long as the first
            return rung.epochs(cost)
        if rung.fidelity < FULL:
            return rung.epochs(cost * self.clock.drift(rung.side))
        cost = self.clock.measured_epoch_cost(arch)
        share = self.workers / max(1, rung.count - len(self.state.of_rung(FULL)))
        return replace(rung, cost=MARGIN * self.clock.left() * min(1.0, share)).epochs(cost)

    def note(self, trial: Trial) -> None:
        """Keep the progress of a trial; if it has ended, say how the search stands."""
        self.clock.tick()
        epochs = trial.epochs if trial.status == DONE else len(trial.losses)
        self.state.keep(replace(trial, cost=epochs * self.clock.share(trial)))
        if trial.status == RUNNING:
            return
        for path in (self.trainer.checkpoint(trial), self.trainer.progress(trial)):
            path.unlink(missing_ok=True)
        if trial.status == FAILED:
            log.info(f"{trial} failed: {trial.message}")
            return
        left = self.options.budget.describe(max(0.0, self.clock.left()))
        log.info(words.progress_line(trial, self.best(), left))

    def observations(self) -> list[Observation]:
        """What the surrogate learns from."""
        return self.state.observations(len(self.setup.data.valid))

    def best(self) -> Best:
        """The best of the longest finished trainings, by all observations.

        Raises:
            UserError: no training is finished.
        """
        done = [trial for trial in self.state.trials if trial.status == DONE and trial.fidelity == self.state.highest]
        if not done:
            failed = [trial.message for trial in self.state.trials if trial.status == FAILED]
            reason = failed[-1] if failed else "the budget ended first, or the search was interrupted."
            raise UserError(f"No training was finished: {reason} {self.folder} keeps what there is.")
        learn(self.surrogate, self.observations())
        quality = self.surrogate.quality()
        trial = max(done, key=lambda t: quality[t.cell].item())
        mean, low, high = (float(x[trial.cell].clamp(0, 100)) for x in self.surrogate.accuracy(trial.fidelity))
        return Best(trial, mean, low, high)
