"""The trials of a search, and the file that keeps them."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from metad2a.core.files import write_json
from metad2a.core.schema import CLOSED, OPEN, Facts, Integer, Number, Text, check, read_json
from metad2a.searches.budget.plan import FULL
from metad2a.searches.budget.surrogate import Observation

STATE, FORMAT = "state.json", "metad2a-budget-1"
RUNNING, DONE, FAILED = "running", "done", "failed"
HINT = "Start anew with --overwrite."


@dataclass(frozen=True)
class Trial:
    """One training."""

    __pydantic_config__ = OPEN  # files of older versions have a field that nothing needs

    number: Integer  # from 0, in the order in which they began
    arch: Text
    cell: Integer  # the number of the architecture's class of equal cells
    fidelity: Integer  # the number of its rung
    epochs: Integer
    batch: Integer
    side: Integer
    images: Integer
    status: Text = RUNNING  # or done or failed
    accuracy: Number | None = None  # on the validation part (%), None until it is done
    losses: list[Number] = field(default_factory=list)  # mean training loss of each epoch
    seconds: Number = 0.0  # of training so far
    cost: Number = 0.0  # epochs of all training images so far
    message: Text = ""  # why it failed

    def __str__(self) -> str:
        return f"training {self.number + 1}"


@dataclass(frozen=True)
class Best:
    """The best network so far: its trial, and the 95 % interval of its validation accuracy (%)."""

    trial: Trial
    mean: float
    low: float
    high: float


@dataclass
class State:
    """What a search has done: the fields of `state.json`, which is written after every step."""

    __pydantic_config__ = CLOSED

    path = Path(STATE)  # of the file, not a field in it
    spent: Number = 0.0  # seconds so far, of all commands together
    costs: dict[Text, Number] = field(default_factory=dict)  # see `Clock.operation_costs`; empty for a budget in epochs
    trials: list[Trial] = field(default_factory=list)  # by number
    facts: Facts = field(default_factory=dict)  # of the plan, for the report

    @classmethod
    def of(cls, folder: Path) -> "State":
        """The state that an earlier command left, or a new one; a trial that an older version stopped early counts as
        failed. Raises a UserError if the file is damaged."""
        path, state, what = folder / STATE, cls(), "the state of a search on a budget"
        if path.is_file():
            state = check(path, read_json(path, dict[Text, Any], what, HINT), cls, what, HINT, FORMAT)
        known = (RUNNING, DONE, FAILED)
        state.trials = [t if t.status in known else replace(t, status=FAILED, message=t.status) for t in state.trials]
        state.path = path
        return state

    def save(self) -> None:
        """Write the file atomically."""
        write_json(self.path, {"format": FORMAT, **asdict(self)})

    def keep(self, trial: Trial) -> Trial:
        """Add or replace a trial; returns it."""
        self.trials[trial.number : trial.number + 1] = [trial]
        self.save()
        return trial

    def of_rung(self, fidelity: int, *status: str) -> list[Trial]:
        """Trials of a rung with one of the statuses; by default all but failed trials."""
        wanted = status or (RUNNING, DONE)
        return [trial for trial in self.trials if trial.fidelity == fidelity and trial.status in wanted]

    def observations(self, judged: int) -> list[Observation]:
        """What the surrogate learns from; `judged` is the number of images of the validation part."""
        return [
            Observation(t.cell, t.fidelity, t.accuracy, sampling_variance(t.accuracy, judged))
            for t in self.trials
            if t.status == DONE and t.accuracy is not None
        ]

    @property
    def highest(self) -> int | None:
        """The highest rung with a finished training, or None."""
        return max((fidelity for fidelity in range(FULL + 1) if self.of_rung(fidelity, DONE)), default=None)


def sampling_variance(percent: float, count: int) -> float:
    """Variance (points^2) of an accuracy (%) on `count` images; one right and one wrong image are added."""
    share = (percent / 100 * count + 1) / (count + 2)
    return 1e4 * share * (1 - share) / count
