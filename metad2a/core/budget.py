"""What a search may spend, and what it has spent. All commands read budgets by the same grammar."""

import re
from dataclasses import dataclass, fields
from typing import Any

from metad2a.core.errors import UserError

NETWORK_EPOCHS, EVALUATION_EPOCHS = 200, 12  # a whole training by the benchmark's protocol, and its short one
EPOCHS = {"mnist": 50}  # datasets whose whole training differs; see `whole_epochs`
SECONDS = {"s": 1, "m": 60, "h": 3600}
LARGEST = 10**8  # seconds, epochs or evaluations
TIME = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(seconds?|s|minutes?|m|hours?|h)(?![a-z])")
COUNT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(evaluations?|epochs?|e|networks?|n)")


def whole_epochs(data_name: str) -> int:
    """Epochs of a whole training on a dataset."""
    return EPOCHS.get(data_name, NETWORK_EPOCHS)


@dataclass(frozen=True)
class Cost:
    """What a search has spent so far."""

    evaluations: int = 0  # measured networks. A network that was measured before costs nothing again.
    epochs: float = 0.0  # passes over the training images, of all networks and supernets together
    seconds: float = 0.0  # wall time. A table adds nothing for the trainings that it spares.


@dataclass(frozen=True)
class Budget:
    """What a search may spend. None means no limit of that kind; without any limit there is no budget."""

    evaluations: int | None = None
    epochs: float | None = None
    seconds: float | None = None
    text: str = ""  # the short form of what the user typed, for file names and messages

    def __bool__(self) -> bool:
        return bool(self.limits)

    def allows(self, cost: Cost) -> bool:
        """Tell whether a cost is within each limit."""
        return all(getattr(cost, name) <= limit for name, limit in self.limits.items())

    @property
    def timed(self) -> bool:
        """Whether the budget is wall time."""
        return self.seconds is not None

    @property
    def amount(self) -> float:
        """Seconds of a budget in time, else epochs. Each evaluation counts as a short training."""
        return float(self.seconds or self.epochs or (self.evaluations or 0) * EVALUATION_EPOCHS)

    @property
    def limits(self) -> dict[str, float]:
        """The limits by their names."""
        return {f.name: value for f in fields(Cost) if (value := getattr(self, f.name)) is not None}

    def describe(self, amount: float) -> str:
        """Write an amount of this budget for people."""
        if not self.timed:
            return f"{amount:.1f} epochs"
        return f"{amount / 60:.1f} min" if amount >= 60 else f"{amount:.0f} s"


def parse_budget(text: str) -> Budget:
    """Read `90s`, `30m`, `2h`, `1h30m`, `600 epochs`, `10 networks` or `500 evaluations`; `0` is no budget.

    Units may be written out (`30 minutes`) or short (`600e`, `10n`). A network counts as 200 epochs.

    Raises a UserError if the text is something else, or the budget is too small or too large.
    """
    typed = text.strip().lower()
    if re.fullmatch(r"0+(\.0*)?\s*[a-z]*", typed):
        return Budget(text="0")
    times, count = TIME.findall(typed), COUNT.fullmatch(typed)
    amount: float
    if times and not TIME.sub("", typed).strip():
        kind, amount = "seconds", sum(float(number) * SECONDS[unit[0]] for number, unit in times)
        short = "".join(f"{number}{unit[0]}" for number, unit in times)
    elif count and count[2].startswith("ev"):
        kind, amount, short = "evaluations", int(float(count[1])), f"{count[1]}evaluations"
    elif count:
        kind, amount = "epochs", float(count[1]) * (NETWORK_EPOCHS if count[2][0] == "n" else 1)
        short = f"{count[1]}{count[2][0]}"
    else:
        raise UserError(
            f"--budget {text[:40]!r} has no unit that is known: give for example 90s, 30m, 1h30m, '600 epochs', "
            "'10 networks' or '500 evaluations'."
        )
    if not 1 <= amount <= LARGEST:
        raise UserError(f"--budget must be from 1 to {LARGEST} seconds, epochs or evaluations, not {text[:40]}.")
    limits: dict[str, Any] = {kind: amount}
    return Budget(**limits, text=short)


def parse_time(text: str) -> Budget:
    """Read the time of a training, for example `10m`. Raises a UserError if the text is no time."""
    budget = parse_budget(text)
    if not budget.timed:
        raise UserError(f"--time {text[:40]!r} is no time: give for example 90s, 10m or 1h30m.")
    return budget
