"""The trainings of a search, and the file that keeps them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metad2a.core.files import write_json
from metad2a.core.schema import CLOSED, Facts, Integer, Number, Text, check, read_json

STATE, FORMAT = "state.json", "metad2a-budget-2"
RUNNING, PAUSED, DONE, FAILED = "running", "paused", "done", "failed"
LINEAR, FURTHER, NEW = "linear classifier", "trained further", "from nothing"  # the ways to a network
HINT = "Start anew with --overwrite."


@dataclass(frozen=True)
class Trial:
    """One way to a network: what is trained, from which weights, on images of which side."""

    __pydantic_config__ = CLOSED

    number: Integer  # from 0
    way: Text
    arch: Text  # a cell, or a backbone as `metad2a.networks.backbones` names it
    side: Integer  # of the images, in pixels
    base: Integer | None = None  # the number of the linear classifier that it starts from
    cell: Integer | None = None  # the number of the cell's class of equal cells
    status: Text = RUNNING  # or paused, done or failed
    slices: Integer = 0  # of the budget, so far
    spent: Number = 0.0  # of the budget, in its unit
    before: Number = 0.0  # of this, in the slices that are finished
    epochs: Number = 0.0  # passes over the training images
    seconds: Number = 0.0  # of training
    image_seconds: Number = 0.0  # to classify an image
    curve: list[tuple[Number, Number]] = field(default_factory=list)  # (spent, accuracy on the validation part in %)
    message: Text = ""  # why it failed

    def __str__(self) -> str:
        return f"{self.way}: {self.arch}, {self.side} px"

    @property
    def accuracy(self) -> float | None:
        """The last accuracy on the validation part (%), None before the first."""
        return self.curve[-1][1] if self.curve else None


@dataclass
class State:
    """What a search has done: the fields of `state.json`, which is written after every step."""

    __pydantic_config__ = CLOSED

    path = Path(STATE)  # of the file, not a field in it
    spent: Number = 0.0  # seconds so far, of all commands together
    trials: list[Trial] = field(default_factory=list)  # by number
    facts: Facts = field(default_factory=dict)  # what was measured and planned, for later commands and the report

    @classmethod
    def of(cls, folder: Path) -> "State":
        """The state that an earlier command left, or a new one. Raises a UserError if the file is damaged."""
        path, state, what = folder / STATE, cls(), "the state of a search on a budget"
        if path.is_file():
            state = check(path, read_json(path, dict[Text, Any], what, HINT), cls, what, HINT, FORMAT)
        state.path = path
        return state

    def save(self) -> None:
        """Write the file atomically."""
        write_json(self.path, {"format": FORMAT, **asdict(self)})

    def keep(self, *trials: Trial) -> None:
        """Add or replace trials."""
        for trial in trials:
            self.trials[trial.number : trial.number + 1] = [trial]
        self.save()

    def add(self, **about: Any) -> Trial:
        """Add a trial."""
        self.keep(trial := Trial(number=len(self.trials), **about))
        return trial

    def of_way(self, *ways: str) -> list[Trial]:
        """The trials of some ways."""
        return [trial for trial in self.trials if trial.way in ways]


def judged(trials: Iterable[Trial]) -> list[Trial]:
    """The trials with a network whose accuracy on the validation part is known, best first, of equals the first."""
    known = [trial for trial in trials if trial.accuracy is not None and trial.status != FAILED]
    return sorted(known, key=lambda trial: -(trial.accuracy or 0.0))
