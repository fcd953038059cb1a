"""The pages of a search that trains nothing and of a search on a budget.

Rows of a ranking are dictionaries with `rank`, `accuracy` (%) and `architecture`, and as far as known `low` and
`high` (95 % interval, %), `benchmark` (%), `probability_best`, `trainings` (numbers), `flops` and `params` (millions),
`latency` and `device_latency` (ms).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

import metad2a
from metad2a.core.statistics import nondominated
from metad2a.reports.charts import Series, chart
from metad2a.reports.network_page import test_sections
from metad2a.reports.page import Cell, Figure, Section, Table, write_page

LISTED, DRAWN = 200, 4  # candidates in the table, and as pictures
CURVES = 6  # trainings with a line of their own in a picture
NO_NETWORK = "no network yet: the finished trainings used smaller images; continue with --resume"
COSTS = ("flops", "params", "latency", "device_latency")
FORMATS = {"rank": "d", "accuracy": ".2f", "benchmark": ".2f", "probability_best": ".0%", "flops": ".1f",
           "params": ".3f", "latency": ".2f", "device_latency": ".2f", "architecture": ""}  # fmt: skip
Rows = Sequence[Mapping[str, Any]]


def headings(accuracy: str, device: str | None) -> dict[str, str]:
    """What tables and charts call the columns of a ranking."""
    return {
        "rank": "rank",
        "accuracy": accuracy,
        "low": "95 % interval",
        "benchmark": "benchmark %",
        "probability_best": "is the best",
        "trainings": "trainings",
        "flops": "MFLOPs",
        "params": "million parameters",
        "latency": "ms, measured here",
        "device_latency": f"ms on {device}",
        "architecture": "architecture",
    }


def ranking_table(rows: Rows, names: Mapping[str, str]) -> Table:
    """The candidates of a ranking, with the columns of `names` that some row has."""
    shown = [column for column in names if any(column in row for row in rows)]
    return Table([names[c] for c in shown], [[_cell(row, c) for c in shown] for row in rows], code=("architecture",))


def _cell(row: Mapping[str, Any], column: str) -> Cell:
    if column not in row:
        return Cell("")
    value = row[column]
    if column == "low":
        return Cell(f"{value:.2f} to {row['high']:.2f}", value)
    if column == "trainings":
        return Cell(str(len(value)), len(value))
    return Cell(format(value, FORMATS[column]), None if isinstance(value, str) else value)


def cells_section(drawings: Sequence[Markup], rows: Rows, kind: str) -> Section:
    """Pictures of the first architectures.

    Args:
        kind: "predicted" or "believed", as the accuracies are.
    """
    figures = []
    for drawing, row in zip(drawings, rows, strict=False):
        interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else ""
        figures.append(Figure(drawing, f"{row['rank']}. {kind} {row['accuracy']:.2f} %{interval}"))
    return Section("The first choices", figures=figures)


def cost_section(rows: Rows, names: Mapping[str, str], label: str) -> Section:
    """Accuracy against each cost, with the Pareto front."""
    figures = []
    for cost in COSTS:
        known = [row for row in rows if cost in row]
        points = [(row[cost], row["accuracy"]) for row in known]
        if len(points) < 2:
            continue
        front = nondominated(points)
        titles = [f"{points[i][1]:.2f} % at {points[i][0]:.4g}: {known[i]['architecture']}" for i in front]
        series = [
            Series("candidates", points),
            Series("none is better and cheaper", [points[i] for i in front], "marks", titles),
        ]
        cheapest, dearest = points[front[0]][0], max(x for x, _ in points)
        picture = chart(series, names[cost], label, log=0 < 30 * cheapest < dearest)
        figures.append(Figure(picture, f"Against {names[cost]}: {len(front)} on the front."))
    return Section("Accuracy against cost", figures=figures)


def facts_section(history: Mapping[str, Any]) -> Section:
    """What was run: command, versions, seed, checkpoints."""
    return Section("What was run", facts={"MetaD2A": metad2a.__version__, **history})


def write_search_page(
    path: Path,
    dataset: str,
    lead: str,
    drawings: Sequence[Markup],
    rows: Rows,
    summary: str,
    images: Section,
    device: str | None,
    history: Mapping[str, Any],
) -> None:
    """Write the page of a search that trains nothing. Raises a UserError if it cannot be written.

    Args:
        drawings: of the first candidates.
        rows: all candidates.
        summary: what a benchmark says of the ranking.
        images: what `images_section` returns.
        device: whose latencies the rows have.
    """
    names, shown = headings("predicted %", device), rows[:LISTED]
    text = f"The first {len(shown)} of {len(rows)}; click a heading to sort. All are in ranking_run_1.csv.\n{summary}"
    sections = [
        cells_section(drawings, rows, "predicted"),
        images,
        Section("Ranking", text.strip(), table=ranking_table(shown, names)),
        cost_section(rows, names, "predicted accuracy (%)"),
        facts_section(history),
    ]
    write_page(path, f"Architectures for {dataset}", lead, sections)


def trials_section(trials: Rows) -> Section:
    """Learning curves of the longest trainings, all accuracies in their order, and a table."""
    longest = sorted((t for t in trials if t["losses"]), key=lambda t: -len(t["losses"]))[:CURVES]
    curves = [Series(f"{t['number'] + 1} ({t['rung']})", list(enumerate(t["losses"], 1)), "line") for t in longest]
    spent = 0.0
    accuracies: dict[str, list[tuple[float, float]]] = {}
    for trial in trials:
        spent += trial["cost"]
        if trial["accuracy"] is not None:
            accuracies.setdefault(trial["rung"], []).append((spent, trial["accuracy"]))
    finished = [Series(rung, points, "marks") for rung, points in accuracies.items()]
    x_label = "epochs of all images spent so far"
    figures = [
        Figure(chart(curves, "epochs", "training loss"), "Learning curves of the longest trainings."),
        Figure(chart(finished, x_label, "x-valid accuracy (%)"), "Each finished training, by its length."),
    ]
    columns = ["training", "rung", "epochs", "images", "pixels", "state", "x-valid %", "seconds", "architecture"]
    rows = [
        [
            Cell(str(trial["number"] + 1), trial["number"] + 1),
            Cell(trial["rung"]),
            *(Cell(str(trial[name]), trial[name]) for name in ("epochs", "images", "side")),
            Cell(trial["status"]),
            Cell("") if trial["accuracy"] is None else Cell(f"{trial['accuracy']:.2f}", trial["accuracy"]),
            Cell(f"{trial['seconds']:.1f}", trial["seconds"]),
            Cell(trial["arch"]),
        ]
        for trial in trials
    ]
    table = Table(columns, rows, code=("architecture",))
    return Section("Trainings", figures=[figure for figure in figures if figure.picture], table=table)


def write_budget_page(path: Path, drawings: Sequence[Markup], result: Mapping[str, Any], images: Section) -> None:
    """Write the page of a search on a budget. Raises a UserError if it cannot be written.

    Args:
        drawings: of the first candidates.
        result: the content of its `result.json`.
        images: what `images_section` returns.
    """
    choice, rows, network, spent = result["choice"], result["ranking"], result["network"], result["spent"]
    lead = (
        f"Budget {result['budget']}: {spent['seconds'] / 60:.1f} min and {spent['epochs']:.1f} epochs of all training "
        f"images spent{', interrupted' if result['interrupted'] else ''}. First choice after {choice['epochs']} "
        f"epochs: x-valid {choice['x-valid']:.2f} %, believed {choice['mean']:.2f} % [{choice['low']:.2f}, "
        f"{choice['high']:.2f}]."
    )
    names = headings(f"{result['rung']} %", None)
    files = ", ".join(network["files"]) if network else NO_NETWORK
    sections = [
        Section("The network", facts={"architecture": choice["architecture"], "files": files}),
        cells_section(drawings, rows, "believed"),
        *(test_sections(network["judged"], result["class_names"], network["linear"]) if network else []),
        images,
        Section("Ranking", f"What is believed of the first {len(rows)}.", table=ranking_table(rows, names)),
        cost_section(rows, names, "believed accuracy (%)"),
        trials_section(result["trials"]),
        facts_section(result["history"] | {"budget": result["budget"]}),
    ]
    write_page(path, f"Architectures for {result['dataset']}", lead, sections)
