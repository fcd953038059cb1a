"""Run search methods on one problem with several seeds, and report what they chose and what it cost."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from metad2a import rivals
from metad2a.core.environment import provenance
from metad2a.core.errors import UserError
from metad2a.core.files import next_folder, write_csv, write_json
from metad2a.core.messages import counted, log
from metad2a.core.progress import progress
from metad2a.core.statistics import interval
from metad2a.rivals.base import Method, Problem, Result
from metad2a.rivals.options import ALL, CompareOptions
from metad2a.rivals.table import TableProblem, table_problem


@dataclass(frozen=True)
class Row:
    """One method with all seeds."""

    method: Method
    results: list[Result]
    accuracy: list[float]  # of each choice after its final training (%)
    in_sample: bool  # the method has seen this dataset's accuracies before

    @property
    def mark(self) -> str:
        """Why this is no fair search, empty if it is one."""
        marks = ["oracle"] if any(result.oracle for result in self.results) else []
        return ", ".join(marks + (["in sample"] if self.in_sample else []))

    def mean_cost(self, name: str) -> float:
        """Mean of a field of `Cost` over the seeds."""
        return sum(getattr(result.cost, name) for result in self.results) / len(self.results)


def usable(problem: Problem, options: CompareOptions) -> list[str]:
    """The methods that can search the problem; if all are asked for, a line names each one that is left out. Raises a
    UserError if a method that was asked for by name cannot search it, or none can."""
    names = []
    for name in options.names:
        try:
            rivals.get(name).check(problem)
            names.append(name)
        except UserError as error:
            if options.methods != ALL:
                raise
            log.info(f"{name} is left out: {error}")
    if not names:
        raise UserError(f"No method can search {problem.space.name} on {problem.dataset}.")
    return names


@lru_cache(maxsize=1)
def problem_of(options: CompareOptions) -> TableProblem:
    """The table that the options describe. Raises a UserError if there is no such table, or the budget is too small for
    one evaluation."""
    problem = table_problem(options.data_name, options.search_space, options.budget)
    problem.search_options = {"data_path": options.data_path, "save_path": options.save_path}
    return problem


def run_all(problem: TableProblem, names: list[str], options: CompareOptions) -> list[Result]:
    """Each method with each seed, several at the same time."""
    tasks = [(name, seed) for name in names for seed in options.seeds]
    workers = min(options.num_workers or os.cpu_count() or 1, len(tasks))
    bar = partial(progress, desc="compare", unit="search", leave=False)
    if workers == 1:
        return [rivals.get(name).run(problem, seed) for name, seed in bar(tasks)]
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        futures = [pool.submit(_search, options, *task) for task in tasks]
        return [future.result() for future in bar(futures)]


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # for PyTorch, if a method imports it
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    log.setLevel("WARNING")  # the first process has given all messages


def _search(options: CompareOptions, name: str, seed: int) -> Result:
    """One search in a worker process."""
    return rivals.get(name).run(problem_of(options), seed)


def rows_of(problem: Problem, results: list[Result]) -> list[Row]:
    """The results by method, with the accuracies of their choices."""
    rows = []
    for name in dict.fromkeys(result.method for result in results):
        own, method = [result for result in results if result.method == name], rivals.get(name)
        accuracy = problem.judge([result.chosen[0] for result in own])
        rows.append(Row(method, own, accuracy, problem.dataset in method.learned_from))
    return rows


def table(rows: list[Row], best: float | None) -> str:
    """The comparison as text."""
    lines = [("method", "test accuracy %", "evaluations", "epochs", "seconds", "", "most chosen")]
    for row in rows:
        mean, half = interval(row.accuracy)
        accuracy = f"{mean:.2f} +- {half:.2f}" if len(row.accuracy) > 1 else f"{mean:.2f}"
        evaluations, epochs = (f"{row.mean_cost(name):.0f}" for name in ("evaluations", "epochs"))
        arch, count = Counter(result.chosen[0] for result in row.results).most_common(1)[0]
        cost = (evaluations, epochs, f"{row.mean_cost('seconds'):.1f}")
        lines.append((row.method.name, accuracy, *cost, row.mark, f"{count}x {arch}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*text, *([] if best is None else [f"the best of the table: {best:.2f}"])])


def csv_rows(rows: list[Row]) -> Iterator[list[Any]]:
    """A line for each search."""
    yield ["method", "seed", "accuracy", "evaluations", "epochs", "seconds", "oracle", "in_sample", "architecture"]
    for row in rows:
        for result, accuracy in zip(row.results, row.accuracy, strict=True):
            cost = [result.cost.evaluations, f"{result.cost.epochs:g}", f"{result.cost.seconds:.3f}"]
            marks = [int(result.oracle), int(row.in_sample)]
            yield [row.method.name, result.seed, f"{accuracy:.4f}", *cost, *marks, result.chosen[0]]


def method_record(row: Row, more: Callable[[Result], dict[str, Any]]) -> dict[str, Any]:
    """A method and its searches for `comparison.json`; `more` adds fields to a search."""
    method = row.method
    runs = [
        {"seed": result.seed, "accuracy": accuracy, "cost": asdict(result.cost), "notes": result.notes} | more(result)
        for result, accuracy in zip(row.results, row.accuracy, strict=True)
    ]
    about = {"title": method.title, "source": method.source, "changes": method.changes, "mark": row.mark}
    return about | {"parameters": asdict(method), "runs": runs}


def record(problem: TableProblem, rows: list[Row], history: dict[str, Any]) -> dict[str, Any]:
    """The content of `comparison.json`: methods, and each search with its choice against cost."""

    def more(result: Result) -> dict[str, Any]:
        steps = [[*asdict(step.cost).values(), step.arch, problem.judge([step.arch])[0]] for step in result.trajectory]
        return {"oracle": result.oracle, "chosen": result.chosen[:30], "trajectory": steps}

    methods = {row.method.name: method_record(row, more) for row in rows}
    facts: dict[str, Any] = {"dataset": problem.dataset, "search_space": problem.space.name, "form": problem.form}
    facts["budget"] = problem.budget.limits
    return facts | {"methods": methods, "history": history}


def compare(options: CompareOptions) -> list[Row]:
    """Compare methods on a table; prints the result, and writes it to a new numbered folder as CSV and JSON. Raises a
    UserError if there is no such method or table, a method cannot search it, or the budget is too small."""
    problem = problem_of(options)
    rows = rows_of(problem, run_all(problem, usable(problem, options), options))
    print(f"{counted(len(options.seeds), 'search')} of each method on {options.data_name}. {problem.protocol}")
    print(table(rows, problem.best))
    folder = next_folder(Path(options.save_path) / problem.space.results_folder / "compare" / options.data_name)
    write_csv(folder / "comparison.csv", csv_rows(rows))
    write_json(folder / "comparison.json", record(problem, rows, provenance(options.seed)), indent=None)
    print(f"every search: {folder}/comparison.csv; choices against cost and hyper-parameters: comparison.json")
    return rows
