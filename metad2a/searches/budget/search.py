"""The search on a budget: rounds of evidence from the user's images, cheapest first, and what comes of them."""

from pathlib import Path
from typing import Any

import torch

from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.messages import log
from metad2a.searches.budget import report
from metad2a.searches.budget.plan import FULL, LONG, SHORT, Rung
from metad2a.searches.budget.rounds import BudgetSearch
from metad2a.searches.budget.training import train_trial
from metad2a.searches.budget.trials import RUNNING, Trial
from metad2a.searches.options import SearchOptions


def search(options: SearchOptions) -> tuple[dict[str, Any], Path]:
    """`--model search` with a budget.

    Raises:
        UserError: as `BudgetSearch` and `spend`.
    """
    plan = BudgetSearch(options)
    return spend(plan), plan.folder


def spend(found: BudgetSearch) -> dict[str, Any]:
    """Spend a search's budget; returns the content of `result.json`.

    Raises:
        UserError: an earlier search is in the way, no training succeeds, or a file cannot be written.
    """
    with found.training:
        found.begin()
        try:
            for fidelity in (SHORT, LONG, FULL):
                train_rung(found, found.plan[fidelity])
        except KeyboardInterrupt:
            # It can come between any two lines, also where a context manager of PyTorch restores the mode of gradients.
            with torch.inference_mode(False), torch.enable_grad():
                conclude(found, interrupted=True)
            raise
        return conclude(found)


def train_rung(found: BudgetSearch, rung: Rung) -> None:
    """All trainings of a rung, those first that an earlier command has left unfinished."""
    if found.options.num_workers:
        from metad2a.searches.budget.workers import train_together  # Ray takes seconds to import

        train_together(found, rung)
        return
    for trial in found.state.of_rung(rung.fidelity, RUNNING):
        train_here(found, trial)
    while (new := found.next_trial(rung)) is not None:
        train_here(found, new)


def train_here(found: BudgetSearch, trial: Trial) -> None:
    """Train in this process."""
    found.tick()

    def seconds() -> float:
        return found.state.trials[trial.number].seconds + found.tick()

    try:
        accuracy = train_trial(
            found.lesson, trial, lambda epoch, loss, now: found.note(trial, epoch, loss, now, seconds())
        )
    except UserError as error:
        found.fail(trial, str(error))
        return
    found.finish(trial, accuracy, seconds())


def conclude(found: BudgetSearch, interrupted: bool = False) -> dict[str, Any]:
    """Judge the best network on the test part, and write and print what was found."""
    found.tick()
    found.state.save()
    if interrupted and found.state.highest is None:
        log.info("Interrupted before a training came to its end.")
        return {}
    value = report.result(found, found.best(), interrupted)
    print(report.text(value))
    print(f"everything: {display_path(found.folder)}/report.html, result.json, ranking_run_1.csv and pictures")
    return value
