"""Options of a search that learns from the user's images."""

import re
from dataclasses import dataclass

from metad2a.core.cli import not_negative_int
from metad2a.core.errors import UserError
from metad2a.core.options import option

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}  # seconds of each
PROTOCOL_EPOCHS = 200  # of a whole training, which `n` counts
WORDS = ("seconds?", "minutes?", "hours?", "epochs?", "networks?")
LARGEST = 10**8  # seconds or epochs


@dataclass(frozen=True)
class Budget:
    """What a search may spend.

    Attributes:
        amount: seconds, or epochs of all training images.
        timed: whether it is seconds.
        text: as the user gave it.
    """

    amount: float
    timed: bool
    text: str

    @property
    def unit(self) -> str:
        return "s" if self.timed else "epochs"


def amount_text(amount: float, budget: Budget) -> str:
    """An amount of a budget for people."""
    if not budget.timed:
        return f"{amount:.1f} epochs"
    return f"{amount / 60:.1f} min" if amount >= 60 else f"{amount:.0f} s"


NOTHING = Budget(0.0, True, "0")


def budget(text: str) -> Budget:
    """Read `30m`, `90s`, `2h`, `600e` (epochs), `10n` (whole trainings), the same with the words written out, or 0.

    Raises:
        UserError: it is something else.
    """
    found = re.fullmatch(rf"(\d{{1,9}}(?:\.\d{{1,6}})?)\s*({'|'.join(WORDS)}|[smhen])?", text.strip().lower())
    if found is None or (not found[2] and float(found[1])):
        raise UserError(f"--budget takes a number with s, m, h, e (epochs) or n (networks), not {text[:40]!r}.")
    number, unit = float(found[1]), (found[2] or "s")[0]
    if not number:
        return NOTHING
    amount = number * UNITS.get(unit, PROTOCOL_EPOCHS if unit == "n" else 1)
    if not 1 <= amount <= LARGEST:
        raise UserError(f"--budget must be from 1 to {LARGEST} seconds or epochs, not {text[:40]}.")
    return Budget(amount, unit in UNITS, f"{found[1]}{unit}")


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """How much evidence a search gathers, and where it is gathered."""

    budget: Budget = option(  # noqa: RUF009
        NOTHING,
        "of --model search: train on the images until it is spent; 30m, 2h, 600e (epochs) or 10n (as many epochs as 10 "
        "whole trainings); 0 ranks at once. Of --model compare: what a search may cost, for example 6000epochs, "
        "500evaluations, 90minutes or 2hours",
        default_text="search 0; compare 500 evaluations of the fewest epochs, of --form real 60minutes",
    )
    num_workers: int = option(
        0,
        "of --model search --budget: train so many networks at once, in processes of a Ray cluster; of --model "
        "compare: searches at a time, of --form real Ray processes that train networks",
        type=not_negative_int,
        default_text="search and --form real: this process; compare: one for each core",
    )
    ray_address: str | None = option(None, "use this running Ray cluster, for example auto or host:6379")
    export: str | None = option(None, "also write the trained network in these formats: onnx, pt2 or onnx,pt2")
    resume: bool = option(False, "continue an interrupted search; what is finished is kept")
    overwrite: bool = option(False, "replace what an earlier search left")
