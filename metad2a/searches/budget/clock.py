"""What a search has spent and has left of its budget."""

import time

from metad2a.core.budget import Budget
from metad2a.searches.budget.trials import State

ENDING = 1.5  # seconds that the end of a search takes, beside the test and the exports, and
OF_START = 0.5  # times what the start of the program took, which tells how loaded the machine is
EXPORT_SECONDS = {"onnx": 9.0, "pt2": 5.0}
SPARE = 1.3  # what is timed once may take this many times as long


class Clock:
    """Adds the seconds that pass, from the start of the command, to what a search has spent, and counts what is left in
    the budget's unit: seconds until the last line, or epochs."""

    def __init__(self, budget: Budget, state: State, began: float, start: float):
        """`began`: when the command began, as `time.monotonic` counts; `start`: seconds that its start took."""
        self.budget, self.state, self.last, self.start = budget, state, began, start
        self.ending = 0.0  # seconds that the search needs at its end

    def tick(self) -> None:
        """Add the seconds since the last call to what is spent."""
        now = time.monotonic()
        self.state.spent += now - self.last
        self.last = now

    def left(self) -> float:
        """What is left of the budget for trainings."""
        self.tick()
        if self.budget.timed:
            return self.budget.amount - self.state.spent - self.ending
        return self.budget.amount - sum(trial.spent for trial in self.state.trials)

    def keep_for_the_end(self, test_seconds: float, formats: list[str]) -> None:
        """Keep time for the test of a network, which takes `test_seconds`, and for its exports."""
        self.ending = (
            ENDING + OF_START * self.start + SPARE * (test_seconds + sum(EXPORT_SECONDS[name] for name in formats))
        )
