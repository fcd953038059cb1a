"""The pages of a search that trains nothing and of a search on a budget.

Rows of a ranking are dictionaries with `rank`, `accuracy` (%) and `architecture`, and if they exist `low` and
`high` (95 % interval, %), `benchmark` (%), `probability_best`, `trainings` (numbers), `flops` and `params` (millions),
`latency` and `device_latency` (ms).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from metad2a.core.statistics import nondominated
from metad2a.core.version import __version__
from metad2a.reports.charts import Series, chart
from metad2a.reports.network_page import test_sections
from metad2a.reports.page import Columns, Rows, Section, table, write_page

LISTED, DRAWN = 200, 4  # candidates in the table, and as pictures
CURVES = 6  # trainings with a line of their own in a picture
NO_NETWORK = "no network yet: the finished trainings used smaller images; continue with --resume"
TRIALS = {"number": ("training", "d"), "rung": ("rung", ""), "epochs": ("epochs", "d"), "images": ("images", "d"),
          "side": ("pixels", "d"), "status": ("state", ""), "accuracy": ("x-valid %", ".2f"),
          "seconds": ("seconds", ".1f"), "arch": ("architecture", "")}  # fmt: skip


def ranking_columns(accuracy: str, device: str | None) -> Columns:
    """Headings and formats of a ranking; `accuracy` and `device` are part of headings."""
    return {"rank": ("rank", "d"), "accuracy": (accuracy, ".2f"), "low": ("95 % interval", ".2f"),
            "benchmark": ("benchmark %", ".2f"), "probability_best": ("is the best", ".0%"),
            "trainings": ("trainings", "d"), "flops": ("MFLOPs", ".1f"), "params": ("million parameters", ".3f"),
            "latency": ("ms, measured here", ".2f"), "device_latency": (f"ms on {device}", ".2f"),
            "architecture": ("architecture", "")}  # fmt: skip


def cells_section(drawings: Sequence[Markup], rows: Rows, kind: str) -> Section:
    """Pictures of the first architectures. `kind` of accuracy: what was predicted, or "estimated"."""
    figures = []
    for drawing, row in zip(drawings, rows, strict=False):
        interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else ""
        figures.append((drawing, f"{row['rank']}. {kind} {row['accuracy']:.2f} %{interval}"))
    return Section("The first choices", figures=figures)


def cost_section(rows: Rows, columns: Columns, label: str) -> Section:
    """Accuracy against each cost, with the Pareto front."""
    figures = []
    for cost in ("flops", "params", "latency", "device_latency"):
        measured, name = [row for row in rows if cost in row], columns[cost][0]
        if len(measured) < 2:
            continue
        points = [(row[cost], row["accuracy"]) for row in measured]
        front = nondominated(points)
        titles = [f"{points[i][1]:.2f} % at {points[i][0]:.4g}: {measured[i]['architecture']}" for i in front]
        best = Series("none is better and cheaper", [points[i] for i in front], "marks", titles)
        cheapest, dearest = points[front[0]][0], max(x for x, _ in points)
        picture = chart([Series("candidates", points), best], name, label, log=0 < 30 * cheapest < dearest)
        figures.append((picture, f"Against {name}: {len(front)} on the front."))
    return Section("Accuracy against cost", figures=figures)


def write_search_page(
    path: Path,
    title: str,
    lead: str,
    drawings: Sequence[Markup],  # of the first candidates
    rows: Rows,  # all candidates
    score: str,  # what `accuracy` of a row is
    summary: str,  # what a benchmark says of the ranking
    images: Section,  # what `images_section` returns
    device: str | None,  # whose latencies the rows have
    history: Mapping[str, Any],
) -> None:
    """Write the page of a search that trains nothing. Raises a UserError if it cannot be written."""
    columns, shown = ranking_columns(score, device), rows[:LISTED]
    text = f"The first {len(shown)} of {len(rows)}; click a heading to sort. All are in ranking_run_1.csv.\n{summary}"
    sections = [
        cells_section(drawings, rows, score),
        images,
        Section("Ranking", text.strip(), table=table(shown, columns)),
        cost_section(rows, columns, f"{score} (%)"),
        Section("What was run", facts={"MetaD2A": __version__, **history}),
    ]
    write_page(path, title, lead, sections)


def trials_section(trials: Rows) -> Section:
    """Learning curves of the longest trainings, all accuracies in their order, and a table."""
    rows = [{**trial, "number": trial["number"] + 1} for trial in trials]
    longest = sorted((row for row in rows if row["losses"]), key=lambda row: -len(row["losses"]))[:CURVES]
    curves = [Series(f"{row['number']} ({row['rung']})", list(enumerate(row["losses"], 1)), "line") for row in longest]
    spent = 0.0
    accuracies: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        spent += row["cost"]
        if row["accuracy"] is not None:
            accuracies.setdefault(row["rung"], []).append((spent, row["accuracy"]))
    finished = [Series(rung, points, "marks") for rung, points in accuracies.items()]
    by_cost = chart(finished, "epochs of all images spent so far", "x-valid accuracy (%)")
    figures = [
        (chart(curves, "epochs", "training loss"), "Learning curves of the longest trainings."),
        (by_cost, "Each finished training, by its length."),
    ]
    return Section("Trainings", figures=[figure for figure in figures if figure[0]], table=table(rows, TRIALS))


def write_budget_page(path: Path, drawings: Sequence[Markup], result: Mapping[str, Any], images: Section) -> None:
    """Write the page of a search on a budget from the content of its `result.json`.

    Raises a UserError if it cannot be written.
    """
    choice, network, spent = result["choice"], result["network"], result["spent"]
    rows = [{**row, "trainings": len(row["trainings"])} for row in result["ranking"]]
    lead = (
        f"Budget {result['budget']}: {spent['seconds'] / 60:.1f} min and {spent['epochs']:.1f} epochs of all training "
        f"images spent{', interrupted' if result['interrupted'] else ''}. First choice after {choice['epochs']} "
        f"epochs: x-valid {choice['x-valid']:.2f} %, estimated {choice['mean']:.2f} % [{choice['low']:.2f}, "
        f"{choice['high']:.2f}]."
    )
    columns = ranking_columns(f"{result['rung']} %", None)
    files = ", ".join(network["files"]) if network else NO_NETWORK
    sections = [
        Section("The network", facts={"architecture": choice["architecture"], "files": files}),
        cells_section(drawings, rows, "estimated"),
        *(test_sections(network["judged"], result["class_names"], network["linear"]) if network else []),
        images,
        Section("Ranking", f"The first {len(rows)} cells.", table=table(rows, columns)),
        cost_section(rows, columns, "estimated accuracy (%)"),
        trials_section(result["trials"]),
        Section("What was run", facts={"MetaD2A": __version__, **result["history"], "budget": result["budget"]}),
    ]
    write_page(path, f"Architectures for {result['dataset']}", lead, sections)
