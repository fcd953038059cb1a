"""`search` with a budget: trains networks on the user's images, the cheapest trainings first, and writes the result."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.messages import log
from metad2a.database.workers import measure_with_ray
from metad2a.searches.budget import report, training
from metad2a.searches.budget.plan import FULL, LONG, SHORT, Rung
from metad2a.searches.budget.session import BudgetSearch
from metad2a.searches.budget.trials import FAILED, RUNNING, Trial
from metad2a.searches.options import SearchOptions


def search(options: SearchOptions) -> tuple[dict[str, Any], Path]:
    """Spend a budget on one dataset's images; returns the content of `result.json`, and its folder."""
    search = BudgetSearch(options)
    return spend(search), search.folder


def spend(search: BudgetSearch) -> dict[str, Any]:
    """Spend a search's budget; returns the content of `result.json`. Raises a UserError if an earlier search is in the
    way, no training succeeds, or a file cannot be written."""
    with search.run:
        search.begin()
        try:
            for fidelity in (SHORT, LONG, FULL):
                train = train_here if not search.options.num_workers else train_on_workers
                train(search, search.plan[fidelity])
        except KeyboardInterrupt:
            # It can come between any two lines, also where a context manager of PyTorch restores the mode of gradients.
            with torch.inference_mode(False), torch.enable_grad():
                conclude(search, interrupted=True)
            raise
        return conclude(search)


def trials(search: BudgetSearch, rung: Rung) -> Iterator[Trial]:
    """The trials of a rung, chosen one by one: first those that an earlier command has left unfinished."""
    yield from search.state.of_rung(rung.fidelity, RUNNING)
    while (trial := search.next_trial(rung)) is not None:
        yield trial


def train_here(search: BudgetSearch, rung: Rung) -> None:
    """Train the networks of a rung in this process."""
    for trial in trials(search, rung):
        search.note(training.attempt(search.trainer, trial, search.note))


def train_on_workers(search: BudgetSearch, rung: Rung) -> None:
    """Train the networks of a rung on the workers of a Ray cluster.

    A training whose worker dies continues on another worker from its last epoch. Raises a UserError if the cluster
    cannot be reached."""
    options, trainer = search.options, search.trainer

    def watch() -> None:
        for trial in search.state.of_rung(rung.fidelity, RUNNING):
            if len((now := trainer.as_left(trial)).losses) > len(trial.losses):
                search.note(now)

    def failed(trial: Trial, error: UserError) -> Trial:
        return replace(trainer.as_left(trial), status=FAILED, message=str(error))

    where = (options.num_workers, options.ray_address, options.device.type == "cuda")
    for _, trial in measure_with_ray(trainer, trials(search, rung), *where, training.attempt, watch, failed):
        search.note(trial)


def conclude(search: BudgetSearch, interrupted: bool = False) -> dict[str, Any]:
    """Judge the best network on the test part; write and print the result."""
    search.clock.tick()
    search.state.save()
    if interrupted and search.state.highest is None:
        log.info("Interrupted before the first training was finished.")
        return {}
    value = report.result(search, search.best(), interrupted)
    print(report.result_text(value))
    print(f"everything: {display_path(search.folder)}/report.html, result.json, ranking_run_1.csv and pictures")
    return value
