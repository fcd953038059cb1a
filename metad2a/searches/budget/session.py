"""A running search on a budget: its trials, its clock and its surrogate, and the next step."""

from dataclasses import replace
from pathlib import Path

from metad2a import spaces
from metad2a.core.environment import keep_freed_memory, provenance, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key
from metad2a.core.messages import log
from metad2a.core.training_run import TrainingRun
from metad2a.data.image_data import load_image_data
from metad2a.database.workers import load_ray
from metad2a.networks.export import check_formats
from metad2a.rankings.universal import load as load_universal
from metad2a.searches.budget.clock import Clock
from metad2a.searches.budget.loop import another_training, learn, next_cell
from metad2a.searches.budget.plan import FULL, RUNG_NAMES, SHORT, Rung, make_plan, plan_lines
from metad2a.searches.budget.surrogate import Observation, Surrogate
from metad2a.searches.budget.training import CHECKPOINT, PROGRESS, Trainer
from metad2a.searches.budget.trials import DONE, FAILED, RUNNING, STATE, Best, State, Trial
from metad2a.searches.limits import Limits
from metad2a.searches.options import SearchOptions
from metad2a.training.classifier import batch_of

PICTURED = ("best_architecture.*", "report.html", "model_card.md")
PRODUCTS = (STATE, "trials", "result.json", "network.*", "ranking_run_1.csv", *PICTURED)
MARGIN = 0.9  # the last training is planned to take this share of the time that is left


class BudgetSearch:
    """A search of NAS-Bench-201 that spends a budget on one dataset's images. Raises a UserError if options or images
    are bad, Ray is needed and missing, or no cell is within the limits.

    Attributes:
        data: networks train on the training part; the validation part (`x-valid`) makes all choices; the test part
            (`x-test`) serves once, for the final figure of the network that the user gets.
        cells: the text of each class of equal cells (K): its cheapest architecture within the limits, or at all.
        allowed: (P,) the classes with an architecture within the limits.
        formats: in which the network is exported.
        identity: what the search depends on.
    """

    def __init__(self, options: SearchOptions):
        keep_freed_memory()
        self.options, self.space = options, spaces.get(options.search_space)
        archs, name = self.space.architectures, self.space.name
        if archs is None or not self.space.ranking_shipped:
            raise UserError(f"--budget works for spaces with a shipped ranking of all architectures, not for {name}.")
        self.formats = check_formats(options.export)
        if options.num_workers:
            load_ray()
        images = (options.data_name, options.image_folder, options.data_path, options.seed, self.space.image_size)
        self.data = load_image_data(*images, options.mirror)
        listed = Limits(options, self.space, len(self.data.class_names)).listed()
        self.cells = [archs[number] for number in self.space.cheapest_members()]  # one of each function
        self.allowed = self.space.classes_of_equals()[listed]
        for cell, number in zip(self.allowed.tolist(), listed, strict=True):
            self.cells[cell] = archs[number]
        self.identity = {
            "search_space": name,
            "dataset": self.data.name,
            "images": self.data.fingerprint,
            "budget": options.budget.text,
            "limits": options.limits,
            "seed": options.seed,
        }
        parent = Path(options.save_path) / self.space.results_folder / "search" / options.data_name
        self.folder = parent / f"budget-{options.budget.text}-{identity_key(self.identity)}"
        self.run = TrainingRun(self.folder, PRODUCTS, options.resume, options.overwrite, may_begin=True)
        self.surrogate = Surrogate(self.space.features(), load_universal().of_classes()[0], len(RUNG_NAMES))
        self.workers = max(1, options.num_workers)

    def begin(self) -> None:
        """Continue an earlier command's search if there is one, and plan. No other process uses the folder. Raises a
        UserError if the earlier search had other options, or its file is damaged."""
        self.run.begin(self.identity, provenance(self.options.seed, images=self.data.origin))
        about = (self.space, self.data, self.identity, self.run.history)
        self.trainer = Trainer(*about, (self.folder / "trials").resolve(), self.options.device)
        self.state = State.of(self.folder)
        self.clock = Clock(self.options, self.space, self.data, self.state)
        self.plan = self.planned()

    def planned(self) -> dict[int, Rung]:
        """The rungs, by the costs that were measured when the search began."""
        allowed, train = self.allowed, self.data.train
        first = self.cells[allowed[self.surrogate.prior[allowed].argmax()]]
        epoch_cost = self.clock.epoch_cost(first)
        plan = make_plan(self.options.budget, epoch_cost, len(train), train.side, self.workers)
        self.state.facts = {"plan": {rung.name: rung.__dict__ for rung in plan.values()}, "first_choice": first}
        self.clock.tick()
        self.state.save()
        for line in plan_lines(plan, self.options.budget, epoch_cost):
            log.info(line)
        return plan

    def next_trial(self, rung: Rung) -> Trial | None:
        """Add and return the next trial of a rung, None if the rung has enough."""
        if not self.goes_on(rung) or (cell := self.choose(rung)) is None:
            return None
        arch = self.cells[cell]
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
        return next_cell(self.surrogate, self.observations(), begun, rung.fidelity, self.allowed, rng)

    def epochs(self, rung: Rung, arch: str) -> int:
        """Epochs of a training; a full one gets what the time left allows, as the machine is now."""
        cost = self.clock.epoch_cost(arch)
        if not self.options.budget.timed or rung.fidelity == SHORT:  # all short ones are as long as the first
            return rung.epochs(cost)
        if rung.fidelity < FULL:
            return rung.epochs(cost * self.clock.drift(rung.side))
        cost = len(self.data.train) * self.clock.image_seconds(arch)
        share = self.workers / max(1, rung.count - len(self.state.of_rung(FULL)))
        return replace(rung, cost=MARGIN * self.clock.left() * min(1.0, share)).epochs(cost)

    def note(self, trial: Trial) -> None:
        """Keep the progress of a trial; if it has ended, say how the search stands."""
        self.clock.tick()
        epochs = trial.epochs if trial.status == DONE else len(trial.losses)
        self.state.keep(replace(trial, cost=epochs * self.clock.share(trial)))
        if trial.status == RUNNING:
            return
        for ending in (CHECKPOINT, PROGRESS):
            self.trainer.file(trial, ending).unlink(missing_ok=True)
        if trial.status == FAILED:
            log.info(f"{trial} failed: {trial.message}")
            return
        best, left = self.best(), self.options.budget.describe(max(0.0, self.clock.left()))
        log.info(
            f"{trial}, {RUNG_NAMES[trial.fidelity]}, {trial.epochs} epochs: x-valid "
            f"{trial.accuracy:.2f} %; best so far {best.mean:.2f} % [{best.low:.2f}, {best.high:.2f}] "
            f"{best.trial.arch}; {left} left"
        )

    def observations(self) -> list[Observation]:
        """What the surrogate learns from."""
        return self.state.observations(len(self.data.valid))

    def best(self) -> Best:
        """The best of the longest finished trainings, by all observations. Raises a UserError if no training is
        finished."""
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
