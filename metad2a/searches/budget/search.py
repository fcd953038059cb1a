"""`search` with a budget: compares several ways to a network on the user's images, and writes the best one."""

from pathlib import Path
from typing import Any

import torch

from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.messages import log
from metad2a.database.workers import measure_with_ray
from metad2a.searches.budget import report, training
from metad2a.searches.budget.plan import Slice
from metad2a.searches.budget.session import BudgetSearch
from metad2a.searches.budget.trials import FAILED, RUNNING, Trial
from metad2a.searches.options import SearchOptions


def search(options: SearchOptions) -> tuple[dict[str, Any], Path]:
    """Spend a budget on one dataset's images; returns the content of `result.json`, and its folder."""
    search = BudgetSearch(options)
    return spend(search), search.folder


def spend(search: BudgetSearch) -> dict[str, Any]:
    """Spend a search's budget; returns the content of `result.json`. Raises a UserError if an earlier search is in the
    way, no way leads to a network, or a file cannot be written."""
    with search.run:
        search.begin()
        try:
            work_on_ray(search) if search.options.num_workers else work_here(search)
        except KeyboardInterrupt:
            # It can come between any two lines, also where a context manager of PyTorch restores the mode of gradients.
            with torch.inference_mode(False), torch.enable_grad():
                conclude(search, interrupted=True)
            raise
        return conclude(search)


def work_here(search: BudgetSearch) -> None:
    """Do all work in this process."""
    while (work := search.next()) is not None:
        search.note(training.attempt(search.trainer, work, search.note))


class _Waiting:
    """The work that can be done now; there may be more after some of it is finished."""

    def __init__(self, search: BudgetSearch):
        self.search = search

    def __iter__(self) -> "_Waiting":
        return self

    def __next__(self) -> Slice:
        if (work := self.search.next()) is None:
            raise StopIteration
        return work


def work_on_ray(search: BudgetSearch) -> None:
    """Do the work on the workers of a Ray cluster.

    A training whose worker dies continues on another worker from its last checkpoint. Raises a UserError if the cluster
    cannot be reached."""
    options, trainer = search.options, search.trainer

    def watch() -> None:
        for trial in search.state.trials:
            if trial.status == RUNNING and len((now := trainer.as_left(trial)).curve) > len(trial.curve):
                search.note(now)

    def failed(work: Slice, error: UserError) -> Trial:
        trial = trainer.as_left(work.trial)
        return type(trial)(**vars(trial) | {"status": FAILED, "message": str(error)})

    where = (options.num_workers, options.ray_address, options.gpu != "cpu")
    for _, trial in measure_with_ray(trainer, _Waiting(search), *where, training.attempt, watch, failed):
        search.note(trial)


def conclude(search: BudgetSearch, interrupted: bool = False) -> dict[str, Any]:
    """Judge the best network on the test part; write and print the result."""
    search.clock.tick()
    search.gather()
    best = search.best()
    if best is None:
        if interrupted:
            log.info("There is no network yet.")
            return {}
        failed = [trial.message for trial in search.state.trials if trial.status == FAILED]
        reason = failed[-1] if failed else "the budget is too small; give a larger one."
        raise UserError(f"No network was made: {reason} {search.folder} keeps what there is.")
    value = report.result(search, best, interrupted)
    if not interrupted:
        search.remove_others(best)
    print(report.result_text(value))
    print(f"everything: {display_path(search.folder)}/report.html, result.json, ranking_run_1.csv")
    return value
