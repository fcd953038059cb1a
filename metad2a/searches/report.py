"""What a search tells its user: a table, CSV, JSON and a picture of the best architecture."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metad2a.core.files import write_csv, write_json
from metad2a.core.statistics import interval
from metad2a.reports.drawing import draw_architecture
from metad2a.spaces.base import DEVICE_LATENCY, SearchSpace

ORACLE_SIZE = 30  # the paper trains so many of the predictor's choices and reports the best test accuracy


@dataclass(frozen=True)
class Ranking:
    """Candidates of one run, best predicted first.

    Attributes:
        texts: the architectures.
        predicted: predicted accuracy (%), on the scale of what the ranking learned from.
        known: the benchmark's accuracy (%) of each, where it knows the dataset.
        benchmark_best: the best of the whole benchmark, likewise.
        costs: of each, where the space can tell: `flops` and `params` (millions), and `latency` (ms) where measured.
        stages: seconds that each stage took.
        notes: shares of valid and distinct graphs, and the like.
        deviation: standard deviation (points) of each prediction, where it is known.
        folder: where it was written, once it was.
    """

    texts: list[str]
    predicted: list[float]
    known: list[float] | None
    benchmark_best: float | None
    costs: list[dict[str, float]] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    deviation: list[float] | None = None
    folder: Path | None = None

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())

    def figures(self) -> dict[str, float]:
        """What the benchmark says of this ranking; empty where it does not know the dataset."""
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


LABELS = {
    "first_choice": "first choice, real test accuracy",
    f"oracle_of_top_{ORACLE_SIZE}": f"oracle of the top {ORACLE_SIZE} (the paper's protocol: their best test accuracy)",
    "best_candidate": "best of all candidates",
    "trained_until_best_candidate": "to be trained until the best candidate is hit",
    "benchmark_best": "best of the whole benchmark",
    "trained_until_benchmark_best": "to be trained until the benchmark's best is hit",
}


# A cost's column in the CSV, its heading and digits in the table.
COSTS = {
    "flops": ("mflops", "MFLOPs", 1),
    "params": ("mparams", "Mparams", 3),
    "latency": ("latency_ms", "ms", 2),
    DEVICE_LATENCY: ("device_latency_ms", "dev. ms", 2),
}


def summarize(rankings: list[Ranking]) -> dict[str, dict[str, float]]:
    """Mean, 95 % interval and number of runs of every figure."""
    rows = [ranking.figures() | {"search_seconds": ranking.seconds} for ranking in rankings]
    names = dict.fromkeys(name for row in rows for name in row)
    summary = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        mean, half = interval(values)
        summary[name] = {"mean": mean, "interval_95": half, "runs": len(values)}
    return summary


def table(ranking: Ranking, num_rows: int) -> str:
    """The first rows of a ranking as text."""
    costs = _cost_names(ranking)
    predictions = [f"{value:.2f}" for value in ranking.predicted[:num_rows]]
    if ranking.deviation:
        predictions = [f"{text} +- {sd:.2f}" for text, sd in zip(predictions, ranking.deviation, strict=False)]
    width = max(len("predicted %"), *map(len, predictions))
    header = [f"{'rank':>4}", f"{'predicted %':>{width}}", *(["real %"] if ranking.known else [])]
    lines = ["  ".join([*header, *(f"{COSTS[name][1]:>7}" for name in costs), "architecture"])]
    for i, text in enumerate(ranking.texts[:num_rows]):
        cells = [f"{i + 1:>4}", f"{predictions[i]:>{width}}", *([f"{ranking.known[i]:6.2f}"] if ranking.known else [])]
        cells += [f"{_cost(ranking, i, name, COSTS[name][2]):>7}" for name in costs]
        lines.append("  ".join([*cells, text]))
    return "\n".join(lines)


def _cost_names(ranking: Ranking) -> list[str]:
    return [name for name in COSTS if any(name in cost for cost in ranking.costs)]


def _cost(ranking: Ranking, row: int, name: str, digits: int) -> str:
    """A cost as text, empty where it was not measured."""
    value = ranking.costs[row].get(name)
    return "" if value is None else f"{value:.{digits}f}"


def summary_text(rankings: list[Ranking]) -> str:
    """The figures of all runs as text."""
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


def csv_rows(ranking: Ranking) -> Iterator[list[Any]]:
    """All candidates as CSV."""
    costs = _cost_names(ranking)
    known = ["test_accuracy"] if ranking.known else []
    spread = ["predicted_deviation"] if ranking.deviation else []
    yield ["rank", "predicted_accuracy", *spread, *known, *(COSTS[c][0] for c in costs), "architecture"]
    for i, (text, predicted) in enumerate(zip(ranking.texts, ranking.predicted, strict=True)):
        real = [f"{ranking.known[i]:.4f}"] if ranking.known else []
        sd = [f"{ranking.deviation[i]:.4f}"] if ranking.deviation else []
        yield [i + 1, f"{predicted:.4f}", *sd, *real, *(_cost(ranking, i, name, 6) for name in costs), text]


def write_report(folder: Path, space: SearchSpace, rankings: list[Ranking], history: dict[str, Any]) -> None:
    """Write `ranking_run_<r>.csv`, `summary.json` and `best_architecture.png` and `.svg` to `folder`."""
    for run, ranking in enumerate(rankings, 1):
        write_csv(folder / f"ranking_run_{run}.csv", csv_rows(ranking))
    runs = [{"seconds": r.stages, "notes": r.notes, "figures": r.figures()} for r in rankings]
    best = rankings[0]
    value = {
        "best_architecture": best.texts[0],
        "predicted_accuracy": best.predicted[0],
        **({"predicted_deviation": best.deviation[0]} if best.deviation else {}),
        "summary": summarize(rankings),
        "runs": runs,
        "history": history,
    }
    write_json(folder / "summary.json", value)
    draw_architecture(folder / "best_architecture.png", space, best.texts[0])
