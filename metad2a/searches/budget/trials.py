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
    """One training.

    Attributes:
        number: from 0, in the order in which they began.
        arch, cell: the architecture, and the number of its class of equal cells.
        fidelity: the number of its rung.
        epochs, batch, side, images: how it trains.
        status: running, done or failed.
        accuracy: on the validation part (%), None until it is done.
        losses: mean training loss of each epoch.
        seconds: of training so far.
        cost: epochs of all training images so far.
        message: why it failed.
    """

    __pydantic_config__ = OPEN  # files of older versions have a field that nothing needs

    number: Integer
    arch: Text
    cell: Integer
    fidelity: Integer
    epochs: Integer
    batch: Integer
    side: Integer
    images: Integer
    status: Text = RUNNING
    accuracy: Number | None = None
    losses: list[Number] = field(default_factory=list)
    seconds: Number = 0.0
    cost: Number = 0.0
    message: Text = ""

    def __str__(self) -> str:
        return f"training {self.number + 1}"


@dataclass(frozen=True)
class Best:
    """The best network so far: its trial, and the 95 % interval of its validation accuracy (%)."""

    trial: Trial
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class _File:
    """Fields of `state.json`."""

    __pydantic_config__ = CLOSED

    spent: Number
    costs: dict[Text, Number]
    trials: list[Trial]
    facts: Facts


class State:
    """What a search has done, in a file that is written after every step.

    Attributes:
        spent: seconds so far, of all commands together.
        costs: seconds of an image for each operation, see `clock.operation_costs`; empty for a budget in epochs.
        trials: by number.
        facts: of the plan, for the report.
    """

    def __init__(self, folder: Path):
        self.path = folder / STATE
        self.spent = 0.0
        self.costs: dict[str, float] = {}
        self.trials: list[Trial] = []
        self.facts: dict[str, Any] = {}

    def restore(self) -> None:
        """Read the file of an earlier command if there is one.

        A trial that an older version stopped early counts as failed.

        Raises:
            UserError: the file is damaged.
        """
        if not self.path.is_file():
            return
        what = "the state of a search on a budget"
        file = check(self.path, read_json(self.path, dict[Text, Any], what, HINT), _File, what, HINT, FORMAT)
        self.spent, self.costs, self.facts = file.spent, file.costs, file.facts
        known = (RUNNING, DONE, FAILED)
        self.trials = [t if t.status in known else replace(t, status=FAILED, message=t.status) for t in file.trials]

    def save(self) -> None:
        """Write the file atomically."""
        value = {
            "format": FORMAT,
            "spent": self.spent,
            "costs": self.costs,
            "trials": [asdict(trial) for trial in self.trials],
            "facts": self.facts,
        }
        write_json(self.path, value)

    def keep(self, trial: Trial) -> Trial:
        """Add a trial, or replace what was known of it; returns it."""
        self.trials[trial.number : trial.number + 1] = [trial]
        self.save()
        return trial

    def of_rung(self, fidelity: int, *status: str) -> list[Trial]:
        """Trials of a rung with one of the statuses; by default all but failed trials."""
        wanted = status or (RUNNING, DONE)
        return [trial for trial in self.trials if trial.fidelity == fidelity and trial.status in wanted]

    def observations(self, judged: int) -> list[Observation]:
        """What the surrogate learns from.

        Args:
            judged: the number of images of the validation part.
        """
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
