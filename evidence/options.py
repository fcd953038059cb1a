"""Options of a search that learns from the user's images."""

import argparse
import re
from dataclasses import dataclass

from engine.cli import not_negative_int
from engine.options import option

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}  # seconds of each
PROTOCOL_EPOCHS = 200  # of a whole training, which `n` counts
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


NOTHING = Budget(0.0, True, "0")


def budget(text: str) -> Budget:
    """An argparse type: `30m`, `90s`, `2h`, `600e` (epochs), `10n` (whole trainings), or 0."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhen]?)", text.strip().lower())
    if found is None or (not found[2] and float(found[1])):
        raise argparse.ArgumentTypeError(f"takes a number with s, m, h, e (epochs) or n (networks), not {text[:40]!r}")
    number, unit = float(found[1]), found[2]
    if not number:
        return NOTHING
    amount = number * (UNITS[unit] if unit in UNITS else PROTOCOL_EPOCHS if unit == "n" else 1)
    if not 1 <= amount <= LARGEST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {LARGEST} seconds or epochs, not {text[:40]}")
    return Budget(amount, unit in UNITS, text.strip().lower())


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """How much evidence a search gathers, and where it is gathered."""

    budget: Budget = option(
        NOTHING,
        "of --model search: train on the images until it is spent; 30m, 2h, 600e (epochs) or 10n (as many epochs as 10 "
        "whole trainings); 0 ranks at once",
        type=budget,
        default_text="0",
    )
    num_workers: int = option(
        0,
        "train so many networks at once, in processes of a Ray cluster (default: this process)",
        type=not_negative_int,
    )
    ray_address: str | None = option(None, "use this running Ray cluster, for example auto or host:6379")
    export: str | None = option(None, "also write the trained network in these formats: onnx, pt2 or onnx,pt2")
    resume: bool = option(False, "continue an interrupted search; what is finished is kept")
    overwrite: bool = option(False, "replace what an earlier search left")
