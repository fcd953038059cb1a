"""The HTML report of a search on a budget: what came of it, the trainings, and what is believed of the cells."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metad2a.networks.page import test_sections
from metad2a.reports.charts import Series, chart
from metad2a.reports.dataset import counts_section, dataset_section
from metad2a.reports.page import Cell, Figure, Section, Table, write_page
from metad2a.searches.budget.trials import DONE
from metad2a.searches.page import cells_section, cost_figures, facts_section
from metad2a.spaces.base import SearchSpace

NO_NETWORK = "no network yet: what came to its end was trained on smaller images; continue with --resume"
CURVES = 6  # trainings that have a line of their own in a picture


def ranking_table(rows: Sequence[Mapping[str, Any]], rung: str) -> Table:
    """What is believed of the first cells, after as long a training as the best had."""
    columns = ["rank", f"{rung} %", "95 % interval", "is the best", "trainings", "MFLOPs", "million parameters"]
    cells = [
        [
            Cell(str(row["rank"]), row["rank"]),
            Cell(f"{row['accuracy']:.2f}", row["accuracy"]),
            Cell(f"{row['low']:.2f} to {row['high']:.2f}", row["low"]),
            Cell(f"{100 * row['probability_best']:.0f} %", row["probability_best"]),
            Cell(str(len(row["trainings"])), len(row["trainings"])),
            Cell(f"{row['flops']:.1f}", row["flops"]),
            Cell(f"{row['params']:.3f}", row["params"]),
            Cell(row["architecture"]),
        ]
        for row in rows
    ]
    return Table([*columns, "architecture"], cells, code=("architecture",))


def trials_section(trials: Sequence[Mapping[str, Any]]) -> Section:
    """Learning curves of the longest trainings, the accuracies in their order, and a table of all."""
    begun = [trial for trial in trials if trial["losses"]]
    longest = sorted(begun, key=lambda trial: -len(trial["losses"]))[:CURVES]
    curves = [
        Series(f"{trial['number'] + 1} ({trial['rung']})", list(enumerate(trial["losses"], 1)), "line")
        for trial in longest
    ]
    spent = 0.0
    found: dict[Any, Any] = {}
    for trial in trials:
        spent += trial["cost"]
        if trial["status"] == DONE:
            found.setdefault(trial["rung"], []).append((spent, trial["accuracy"]))
    done = [Series(rung, points, "marks") for rung, points in found.items()]
    figures = [
        Figure(chart(curves, "epochs", "training loss"), "Learning curves of the longest trainings."),
        Figure(
            chart(done, "epochs of all images spent so far", "x-valid accuracy (%)"), "Each training, by its length."
        ),
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
    shown = [figure for figure in figures if figure.picture]
    return Section("Trainings", figures=shown, table=Table(columns, rows, code=("architecture",)))


def write_budget_page(
    path: Path, space: SearchSpace, value: Mapping[str, Any], folder: str | None, train_counts: Sequence[int]
) -> None:
    """Write the report of a search on a budget.

    Args:
        value: the content of its `result.json`.
        folder: of its images, None for official files.
        train_counts: training images of each class.

    Raises:
        UserError: the file cannot be written.
    """
    choice, rows, network = value["choice"], value["ranking"], value["network"]
    lead = (
        f"Budget {value['budget']}: {value['spent']['seconds'] / 60:.1f} min and {value['spent']['epochs']:.1f} epochs "
        f"of all training images spent{', interrupted' if value['interrupted'] else ''}. First choice after "
        f"{choice['epochs']} epochs: x-valid {choice['x-valid']:.2f} %, believed {choice['mean']:.2f} % "
        f"[{choice['low']:.2f}, {choice['high']:.2f}]."
    )
    texts = [row["architecture"] for row in rows]
    captions = [f"{row['accuracy']:.2f} % [{row['low']:.2f}, {row['high']:.2f}]" for row in rows]
    costs = [{name: row[name] for name in ("flops", "params", "device_latency") if name in row} for row in rows]
    files = {"files": ", ".join(network["files"]) if network else NO_NETWORK}
    judged = test_sections(network["judged"], value["class_names"], network["linear"]) if network else []
    images = dataset_section(folder) if folder else counts_section(value["class_names"], train_counts, value["dataset"])
    sections = [
        Section("The network", facts={"architecture": choice["architecture"], **files}),
        cells_section(space, texts, captions),
        *judged,
        images,
        Section("Ranking", f"What is believed of the first {len(rows)}.", table=ranking_table(rows, value["rung"])),
        Section(
            "Accuracy against cost",
            figures=cost_figures(texts, [row["accuracy"] for row in rows], costs, None, "believed accuracy (%)"),
        ),
        trials_section(value["trials"]),
        facts_section(value["history"] | {"budget": value["budget"]}),
    ]
    write_page(path, f"Architectures for {value['dataset']}", lead, sections)
