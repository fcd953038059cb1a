"""The trainings of a search, and the file that keeps them."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from metad2a.core.files import write_json
from metad2a.core.schema import CLOSED, Facts, Integer, Number, Text, check, read_json
from metad2a.searches.budget.belief import Observation
from metad2a.searches.budget.plan import FULL

STATE, FORMAT = "state.json", "metad2a-budget-1"
RUNNING, DONE, STOPPED, FAILED = "running", "done", "stopped", "failed"
HINT = "Start anew with --overwrite."


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        number: from 0, in the order of their beginning.
        arch, cell: the architecture, and the number of its class of equal cells.
        fidelity: which rung it is of.
        epochs, batch, side, images: how it trains.
        status: running, done, stopped early (by the scheduler) or failed.
        accuracy: on the validation part (%), None until it is done.
        losses: mean training loss of each epoch.
        accuracies: on the validation part after each epoch (%), where the scheduler asks for them.
        seconds: that it has taken.
        cost: epochs of all training images that it has taken.
        message: why it failed.
    """

    __pydantic_config__ = CLOSED

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
    accuracies: list[Number] = field(default_factory=list)
    seconds: Number = 0.0
    cost: Number = 0.0
    message: Text = ""


@dataclass(frozen=True)
class _File:
    """Fields of `state.json`."""

    __pydantic_config__ = CLOSED

    spent: Number
    costs: dict[Text, Number]
    trials: list[Trial]
    facts: Facts


class State:
    """What a search has found out, in a file that is written after every step.

    Attributes:
        spent: seconds so far, of all commands together.
        costs: seconds of an image, see `plan.operation_costs`; empty for a budget in epochs.
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
        """Read what an earlier command has left, if it has.

        Raises:
            UserError: the file is damaged.
        """
        if not self.path.is_file():
            return
        what = "the state of a search on a budget"
        value = read_json(self.path, dict[Text, Any], what, HINT)
        found = check(self.path, value, _File, what, HINT, FORMAT)
        self.spent, self.costs, self.facts, self.trials = found.spent, found.costs, found.facts, list(found.trials)

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

    def begin(self, **values: Any) -> Trial:
        """Note a training that begins."""
        self.trials.append(trial := Trial(len(self.trials), **values))
        self.save()
        return trial

    def change(self, number: int, **values: Any) -> Trial:
        """Note how a training has gone on."""
        self.trials[number] = trial = replace(self.trials[number], **values)
        self.save()
        return trial

    def of_rung(self, fidelity: int, *status: str) -> list[Trial]:
        """Trainings of one rung, those with one of the given states, else all but failed ones."""
        wanted = status or (RUNNING, DONE, STOPPED)
        return [trial for trial in self.trials if trial.fidelity == fidelity and trial.status in wanted]

    def evidence(self, judged: int) -> list[Observation]:
        """All that the belief learns from.

        Args:
            judged: images of the validation part.
        """
        found = []
        for t in self.trials:
            if t.status == DONE and t.accuracy is not None:
                found.append(Observation(t.cell, t.fidelity, t.accuracy, sampling_variance(t.accuracy, judged)))
            elif t.status == STOPPED and (gains := self.gains(t)):
                mean, value = sum(gains) / len(gains), t.accuracies[-1]
                spread = sum((gain - mean) ** 2 for gain in gains) / len(gains)
                value = min(100.0, value + mean)
                found.append(Observation(t.cell, t.fidelity, value, spread + sampling_variance(value, judged)))
        return found

    def gains(self, stopped: Trial) -> list[float]:
        """What the finished trainings of its rung have gained (points) after the share where this one was stopped."""
        if not stopped.accuracies:
            return []
        share = len(stopped.accuracies) / stopped.epochs
        curves = [t for t in self.of_rung(stopped.fidelity, DONE) if t.accuracy is not None and t.accuracies]
        return [t.accuracy - t.accuracies[max(1, round(share * len(t.accuracies))) - 1] for t in curves]

    @property
    def highest(self) -> int | None:
        """The highest rung that a training of has been done, None for none."""
        return max((fidelity for fidelity in range(FULL + 1) if self.of_rung(fidelity, DONE)), default=None)


def sampling_variance(percent: float, count: int) -> float:
    """Of an accuracy (%) that was measured on so many images, points^2; one right and one wrong one are added."""
    share = (percent / 100 * count + 1) / (count + 2)
    return 1e4 * share * (1 - share) / count
