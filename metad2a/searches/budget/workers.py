"""Trainings of a rung on the workers of a Ray cluster: Ray Tune runs them, and stops weak ones early (ASHA).

What is trained next is still chosen by the belief, which stands behind Tune's interface of search algorithms. A
training whose worker dies begins again on another one, from its last epoch.
"""

import time
from dataclasses import replace
from typing import Any

import torch

from metad2a.core.environment import keep_freed_memory
from metad2a.database.workers import connected, gpu_share
from metad2a.searches.budget.plan import FULL, REDUCTION, Rung
from metad2a.searches.budget.rounds import BudgetSearch
from metad2a.searches.budget.training import Lesson, train_trial
from metad2a.searches.budget.trials import RUNNING, Trial
from metad2a.searches.budget.tune import load_tune

MAX_FAILURES = 3  # of a training whose worker died
GRACE = 100 / REDUCTION  # percent of its epochs that every training gets


def work(config: dict[str, Any], lesson: Lesson, gpu: bool) -> None:
    """A training as a worker does it, reporting each epoch."""
    from ray import tune

    keep_freed_memory()
    trial = Trial(**config["trial"])
    lesson = replace(lesson, device=torch.device("cuda" if gpu else "cpu"))
    start = time.monotonic()

    last: list[float | None] = [None]

    def report(epoch: int, loss: float | None, found: float | None, final: bool = False) -> None:
        last[0] = loss
        if epoch == trial.epochs and not final:
            return  # only with the network in its file, since a scheduler may end the process at any report
        values = {"epoch": epoch, "percent": 100 * epoch / trial.epochs, "loss": loss, "accuracy": found}
        tune.report(values | {"final": final, "seconds": time.monotonic() - start})

    found = train_trial(lesson, trial, report, each=True)
    report(trial.epochs, last[0], found, final=True)


def train_together(search: BudgetSearch, rung: Rung) -> None:
    """All trainings of a rung, `--num-workers` at once.

    Raises:
        UserError: Ray Tune is missing, or the cluster cannot be reached.
    """
    tune = load_tune()
    with connected(search.how.num_workers, search.how.ray_address) as (ray, num_workers):
        gpus = int(ray.cluster_resources().get("GPU", 0)) if search.options.device.type == "cuda" else 0
        share = gpu_share(num_workers, gpus)
        lesson = replace(search.lesson, device=torch.device("cpu"), folder=search.lesson.folder.resolve())
        task = tune.with_parameters(work, lesson=lesson, gpu=share > 0)
        scheduler = None
        if rung.fidelity < FULL:
            scheduler = tune.schedulers.ASHAScheduler(
                time_attr="percent", metric="accuracy", mode="max", max_t=100, grace_period=GRACE,
                reduction_factor=2, stop_last_trials=False,
            )  # fmt: skip
        tune.run(
            task,
            name=rung.name,
            storage_path=str((search.folder / "trials" / "ray").resolve()),
            search_alg=_proposals(search, rung),
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=num_workers,
            resources_per_trial={"cpu": 1, "gpu": share},
            max_failures=MAX_FAILURES,
            raise_on_failed_trial=False,
            reuse_actors=True,
            verbose=0,
        )
    search.tick()


def _proposals(search: BudgetSearch, rung: Rung) -> Any:  # noqa: C901 (a class within, whose base Ray Tune has)
    """The belief as a search algorithm of Ray Tune."""
    from ray.tune.search import Searcher

    class Proposals(Searcher):
        def __init__(self) -> None:
            super().__init__(metric="accuracy", mode="max")
            self.waiting = list(search.state.of_rung(rung.fidelity, RUNNING))  # of an earlier command
            self.known: dict[str, Trial] = {}
            self.before: dict[str, float] = {}

        def suggest(self, trial_id: str) -> Any:
            trial = self.waiting.pop(0) if self.waiting else search.next_trial(rung)
            if trial is None:
                return Searcher.FINISHED
            self.known[trial_id], self.before[trial_id] = trial, trial.seconds
            return {"trial": dict(vars(trial))}

        def take(self, trial_id: str, result: dict[str, Any]) -> float:
            """Note the epoch that a result is of; returns the seconds of its training."""
            seconds = self.before[trial_id] + result["seconds"]
            if result.get("loss") is not None:  # a training that was killed after its last epoch has none
                search.note(self.known[trial_id], result["epoch"], result["loss"], result["accuracy"], seconds)
            search.tick()
            return seconds

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            self.take(trial_id, result)

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            trial = self.known[trial_id]
            if error or not result or "seconds" not in result:
                search.fail(trial, f"its worker died {MAX_FAILURES + 1} times, or could not train")
                return
            seconds = self.take(trial_id, result)
            if result["final"]:
                search.finish(trial, result["accuracy"], seconds)
            else:
                search.stop(trial)

        def save(self, checkpoint_path: str) -> None:
            """Nothing: `state.json` has it all."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing."""

    return Proposals()
