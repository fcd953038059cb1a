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


@dataclass
class Content:
    """What a search has done: the fields of `state.json`.

    Attributes:
        spent: seconds so far, of all commands together.
        costs: seconds of an image for each operation, see `clock.operation_costs`; empty for a budget in epochs.
        trials: by number.
        facts: of the plan, for the report.
    """

    __pydantic_config__ = CLOSED

    spent: Number = 0.0
    costs: dict[Text, Number] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)


class State(Content):
    """The state of a search, in a file that is written after every step."""

    def __init__(self, folder: Path):
        super().__init__()
        self.path = folder / STATE

    def restore(self) -> None:
        """Read the file of an earlier command if there is one.

        A trial that an older version stopped early counts as failed.

        Raises:
            UserError: the file is damaged.
        """
        if not self.path.is_file():
            return
        what = "the state of a search on a budget"
        content = check(self.path, read_json(self.path, dict[Text, Any], what, HINT), Content, what, HINT, FORMAT)
        vars(self).update(vars(content))
        known = (RUNNING, DONE, FAILED)
        self.trials = [t if t.status in known else replace(t, status=FAILED, message=t.status) for t in self.trials]

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
