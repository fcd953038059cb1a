"""What a search tells its user: a table, CSV, JSON and a picture of the best architecture."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metad2a.core.files import write_csv, write_json, write_text
from metad2a.core.statistics import interval
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.page import Rows
from metad2a.spaces.base import DEVICE_LATENCY, SearchSpace

ORACLE_SIZE = 30  # the paper trains this many of the predictor's choices and reports the best test accuracy
Z = 1.96  # standard deviations of a 95 % interval
# Heading and digits of costs on the screen
COSTS = {"flops": ("MFLOPs", 1), "params": ("Mparams", 3), "latency": ("ms", 2), DEVICE_LATENCY: ("dev. ms", 2)}
COLUMNS = {  # of the CSV file: heading and format of each value of a row
    "rank": ("rank", "d"),
    "accuracy": ("predicted_accuracy", ".4f"),  # or predicted_points
    "deviation": ("predicted_deviation", ".4f"),
    "benchmark": ("test_accuracy", ".4f"),
    "flops": ("mflops", ".6f"),
    "params": ("mparams", ".6f"),
    "latency": ("latency_ms", ".6f"),
    DEVICE_LATENCY: ("device_latency_ms", ".6f"),
    "architecture": ("architecture", ""),
}
LABELS = {
    "first_choice": "first choice, real test accuracy",
    f"oracle_of_top_{ORACLE_SIZE}": f"oracle of the top {ORACLE_SIZE} (the paper's protocol: their best test accuracy)",
    "best_candidate": "best of all candidates",
    "trained_until_best_candidate": "rank of the best candidate",
    "benchmark_best": "best of the whole benchmark",
    "trained_until_benchmark_best": "rank of the benchmark's best",
}


@dataclass(frozen=True)
class Ranking:
    """Candidates of one run, best predicted first."""

    texts: list[str]  # the architectures
    predicted: list[float]  # scores: accuracies (%) on the task that the ranking learned from
    known: list[float] | None  # the benchmark's accuracy (%) of each candidate, if it knows the dataset
    benchmark_best: float | None  # the best accuracy (%) of the whole benchmark, likewise
    costs: list[dict[str, float]] = field(default_factory=list)  # `flops`, `params` (millions) and latencies (ms)
    stages: dict[str, float] = field(default_factory=dict)  # seconds of each stage
    notes: dict[str, float] = field(default_factory=dict)  # shares of valid and distinct graphs, and the like
    deviation: list[float] | None = None  # standard deviation (points) of each prediction, if it is known
    score: str = "score on ImageNet tasks"  # what `predicted` is, as the heading of a column
    unit: str = "accuracy"  # of `predicted`: "accuracy" (%), or "points" of accuracy above the average cell
    folder: Path | None = None  # where the results are, once they are written

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())

    def rows(self, count: int | None = None) -> list[dict[str, Any]]:
        """Each candidate, or each of the first `count`, as `metad2a.reports.search_pages` describes it, and the
        `deviation` if it is known."""
        rows = []
        for i, (text, accuracy) in enumerate(zip(self.texts[:count], self.predicted[:count], strict=True)):
            row: dict[str, Any] = {"rank": i + 1, "accuracy": accuracy, "architecture": text}
            if self.deviation:
                half = Z * self.deviation[i]
                row |= {"deviation": self.deviation[i], "low": accuracy - half, "high": accuracy + half}
            if self.known:
                row["benchmark"] = self.known[i]
            rows.append(row | (self.costs[i] if self.costs else {}))
        return rows

    def figures(self) -> dict[str, float]:
        """What the benchmark says about this ranking; empty if it does not know the dataset."""
        if self.known is None:
            return {}
        known = np.array(self.known)
        hits = np.flatnonzero(np.isclose(known, self.benchmark_best or 0.0))
        values = {
            "first_choice": known[0],
            f"oracle_of_top_{ORACLE_SIZE}": known[:ORACLE_SIZE].max(),
            "best_candidate": known.max(),
            "trained_until_best_candidate": float(known.argmax() + 1),
            "benchmark_best": self.benchmark_best,
        }
        if len(hits):
            values["trained_until_benchmark_best"] = float(hits[0] + 1)
        return {name: float(value) for name, value in values.items()}


def summarize(rankings: list[Ranking]) -> dict[str, dict[str, float]]:
    """Mean, 95 % interval and number of runs of every figure."""
    figures = [ranking.figures() | {"search_seconds": ranking.seconds} for ranking in rankings]
    summary = {}
    for name in dict.fromkeys(name for each in figures for name in each):
        values = [each[name] for each in figures if name in each]
        mean, half = interval(values)
        summary[name] = {"mean": mean, "interval_95": half, "runs": len(values)}
    return summary


def table(ranking: Ranking, num_rows: int) -> str:
    """The first rows of a ranking as text."""
    rows = ranking.rows(num_rows)
    spreads = [f" +- {row['deviation']:.2f}" if "deviation" in row else "" for row in rows]
    predictions = [f"{row['accuracy']:.2f}{spread}" for row, spread in zip(rows, spreads, strict=True)]
    columns = [_column("rank", [str(row["rank"]) for row in rows], 4), _column(ranking.score, predictions)]
    if ranking.known:
        columns.append(_column("real %", [f"{row['benchmark']:.2f}" for row in rows]))
    for name, (heading, digits) in COSTS.items():
        if any(name in row for row in rows):
            columns.append(_column(heading, [f"{row[name]:.{digits}f}" if name in row else "" for row in rows], 7))
    return "\n".join(map("  ".join, zip(*columns, ["architecture", *ranking.texts[:num_rows]], strict=True)))


def _column(heading: str, cells: list[str], width: int = 0) -> list[str]:
    width = max(width, len(heading), *map(len, cells))
    return [f"{text:>{width}}" for text in [heading, *cells]]


def summary_text(rankings: list[Ranking]) -> str:
    """The figures of all runs as text; empty if no benchmark knows the dataset."""
    lines = []
    for name, value in summarize(rankings).items():
        if name not in LABELS:
            continue
        unit = "" if name.startswith("trained") else " %"
        spread = f" +- {value['interval_95']:.2f} ({value['runs']} runs, 95 %)" if len(rankings) > 1 else ""
        digits = 0 if unit == "" and len(rankings) == 1 else 2
        lines.append(f"{LABELS[name]}: {value['mean']:.{digits}f}{unit}{spread}")
    missed = sum("trained_until_benchmark_best" not in ranking.figures() for ranking in rankings if ranking.known)
    if missed:
        lines.append(f"the benchmark's best was not among the candidates in {missed} of {len(rankings)} runs")
    return "\n".join(lines)


def csv_rows(rows: Rows, unit: str = "accuracy") -> Iterator[list[str]]:
    """All candidates as CSV, with the columns that some row has; `unit` of the prediction names its column."""
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    yield [f"predicted_{unit}" if name == "accuracy" else COLUMNS[name][0] for name in names]
    for row in rows:
        yield [format(row[name], COLUMNS[name][1]) if name in row else "" for name in names]


def write_report(folder: Path, space: SearchSpace, rankings: list[Ranking], history: dict[str, Any]) -> None:
    """Write `ranking_run_<r>.csv`, `summary.json` and `best_architecture.svg` to `folder`."""
    for run, ranking in enumerate(rankings, 1):
        write_csv(folder / f"ranking_run_{run}.csv", csv_rows(ranking.rows(), ranking.unit))
    best = rankings[0]
    value = {
        "best_architecture": best.texts[0],
        f"predicted_{best.unit}": best.predicted[0],
        **({"predicted_deviation": best.deviation[0]} if best.deviation else {}),
        "summary": summarize(rankings),
        "runs": [{"seconds": r.stages, "notes": r.notes, "figures": r.figures()} for r in rankings],
        "history": history,
    }
    write_json(folder / "summary.json", value)
    write_text(folder / "best_architecture.svg", architecture_svg(space, best.texts[0]))
