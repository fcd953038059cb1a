"""Options of a comparison of search methods."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metad2a.core.cli import positive_int, seed_number
from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.names import name_type
from metad2a.core.options import CommonOptions, option
from metad2a.rivals import METHODS
from metad2a.rivals.cost import REAL, TABLE, Budget

if TYPE_CHECKING:
    import torch

ALL = "all"
BUDGET = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*(evaluations?|epochs?|minutes?|hours?)?")
UNITS = {"evaluation": ("evaluations", 1), "epoch": ("epochs", 1), "minute": ("seconds", 60), "hour": ("seconds", 3600)}


def budget(text: str) -> Budget:
    """Read what a search may cost: 6000, 6000epochs, 500evaluations, 90minutes, 2hours; a bare number is epochs.

    Raises:
        UserError: it is something else.
    """
    match = BUDGET.fullmatch(text.strip().lower())
    number = float(match[1]) if match else 0.0
    if match is None or number == 0:
        raise UserError(f"--budget takes epochs, evaluations, minutes or hours, such as 6000epochs, not {text!r}.")
    name, scale = UNITS[(match[2] or "epochs").rstrip("s")]
    if name == "evaluations":
        return Budget(evaluations=int(number))
    return Budget(epochs=number) if name == "epochs" else Budget(seconds=number * scale)


@dataclass(frozen=True, kw_only=True)
class CompareOptions(CommonOptions):
    """Which methods to run on what, how often and for how long."""

    device: "torch.device"
    data_name: str = option(None, "the dataset", type=name_type)
    seed: int = option(333, "of the first search; the others' follow", type=seed_number)
    methods: str = option(ALL, f"of --model compare: all, or some of {','.join(METHODS)}")
    num_seeds: int = option(10, "of --model compare: searches of each method", type=positive_int)
    budget: Budget | None = option(  # noqa: RUF009
        None,
        "of --model compare: what a search may cost, for example 6000epochs, 500evaluations, 90minutes or 2hours",
        default_text="500 evaluations of the fewest epochs; of --form real 60minutes",
    )
    form: str = option(
        TABLE,
        "of --model compare: table, accuracies are looked up in a benchmark; real, networks are trained on images",
        choices=(TABLE, REAL),
    )
    num_workers: int | None = option(
        None,
        "of --model compare: searches at a time; of --form real Ray processes that train networks",
        type=positive_int,
        default_text="one for each core; of --form real this process alone",
    )

    @property
    def names(self) -> list[str]:
        """The methods that are asked for, each once.

        Raises:
            UserError: there is no such method.
        """
        names = list(METHODS) if self.methods == ALL else [name.strip() for name in self.methods.split(",")]
        for name in names:
            if name not in METHODS:
                raise UserError(
                    f"--methods: there is no method {name!r}. {did_you_mean(name, [*METHODS, ALL])}"
                    f"Methods: {', '.join(METHODS)}; or all."
                )
        return list(dict.fromkeys(names))

    @property
    def seeds(self) -> list[int]:
        return [self.seed + number for number in range(self.num_seeds)]
