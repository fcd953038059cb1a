"""The pages of a search that trains nothing and of a search on a budget.

Rows of a ranking are dictionaries with `rank`, `accuracy` (%) and `architecture`, and if they exist `low` and
`high` (95 % interval, %), `benchmark` (%), `probability_best`, `trainings` (numbers), `flops` and `params` (millions),
`latency` and `device_latency` (ms).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from metad2a.core.cli import program
from metad2a.core.messages import counted
from metad2a.core.statistics import nondominated
from metad2a.core.version import __version__
from metad2a.reports.charts import COLOURS, Series, chart
from metad2a.reports.network_page import test_sections
from metad2a.reports.page import Columns, Rows, Section, table, write_page

LISTED = 200  # candidates in the table
CURVES = 6  # ways that the picture shows
WAYS = {"accuracy": ("x-valid %", ".2f"), "low": ("95 % interval", ".1f"), "way": ("way", ""),
        "arch": ("architecture", ""), "side": ("pixels", "d"), "epochs": ("epochs", ".1f"),
        "seconds": ("seconds", ".0f"), "status": ("state", ""), "message": ("remark", "")}  # fmt: skip
CELLS = {"rank": ("rank", "d"), "mark": ("", ""), "accuracy": ("x-valid % here", ".2f"), "flops": ("MFLOPs", ".1f"),
         "params": ("million parameters", ".3f"), "architecture": ("architecture", "")}  # fmt: skip


LENGTHS = {"epochs": ("epochs", "d"), "accuracy": ("points above the average cell", ".2f"), "flops": ("MFLOPs", ".1f"),
           "architecture": ("first choice", "")}  # fmt: skip


def ranking_columns(accuracy: str, device: str | None) -> Columns:
    """Headings and formats of a ranking; `accuracy` and `device` are part of headings."""
    return {"rank": ("rank", "d"), "accuracy": (accuracy, ".2f"), "low": ("95 % interval", ".2f"),
            "benchmark": ("benchmark %", ".2f"), "probability_best": ("is the best", ".0%"),
            "trainings": ("trainings", "d"), "flops": ("MFLOPs", ".1f"), "params": ("million parameters", ".3f"),
            "latency": ("ms, measured here", ".2f"), "device_latency": (f"ms on {device}", ".2f"),
            "architecture": ("architecture", "")}  # fmt: skip


def first_section(drawing: Markup, row: Mapping[str, Any], kind: str) -> Section:
    """The picture of the first architecture; those that follow hardly differ. `kind` says what `accuracy` is."""
    interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else ""
    return Section("The first choice", figures=[(drawing, f"{kind}: {row['accuracy']:.2f}{interval}")])


def lengths_section(choices: Rows) -> list[Section]:
    """How the first choice changes with the length of training; nothing without choices.

    A choice has `epochs`, `architecture`, `flops`, its score `accuracy`, and its `curve` of scores over epochs.
    """
    if not choices:
        return []
    different = {row["architecture"]: row for row in reversed(choices)}.values()
    lines = [
        Series(f"first after {counted(row['epochs'], 'epoch')}, {row['flops']:.0f} MFLOPs", row["curve"], "line")
        for row in reversed(list(different))
    ]
    picture = chart(lines[:COLOURS], "epochs", "points above the average cell", log=True)
    text = "A short training prefers other cells than a long one. Scores are what the ranking expects."
    figures = [(picture, "The first choices at all lengths.")]
    return [Section("How long you train", text, figures=figures, table=table(choices, LENGTHS))]


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
    drawing: Markup,  # of the first candidate
    rows: Rows,  # all candidates
    score: str,  # what `accuracy` of a row is, with its unit
    summary: str,  # what a benchmark says of the ranking
    images: Sequence[Section],  # of the images, and of what they decide
    device: str | None,  # whose latencies the rows have
    history: Mapping[str, Any],
) -> None:
    """Write the page of a search that trains nothing. Raises a UserError if it cannot be written."""
    columns, shown = ranking_columns(score, device), rows[:LISTED]
    text = f"The first {len(shown)} of {len(rows)}; click a heading to sort. All are in ranking_run_1.csv.\n{summary}"
    sections = [
        first_section(drawing, rows[0], score),
        *images,
        Section("Ranking", text.strip(), table=table(shown, columns)),
        cost_section(rows, columns, score),
        Section("What was run", facts={"MetaD2A": __version__, **history}),
    ]
    write_page(path, title, lead, sections)


def curves_section(ways: Rows, unit: str) -> Section:
    """The ways side by side: their accuracy over what they have spent, and a table."""
    rows = sorted(ways, key=lambda way: -(way["accuracy"] or 0.0))
    lines = [Series(row["title"], row["curve"], "line" if len(row["curve"]) > 1 else "marks", [row["title"]])
             for row in rows[:CURVES] if row["curve"]]  # fmt: skip
    picture = chart(lines, f"{unit} spent on this way", "x-valid accuracy (%)", y_most=100.0)
    note = "Accuracy on the images that choose. The learning rate falls to 0 at the end, which brings a last rise."
    return Section("The ways side by side", note, figures=[(picture, "")] if picture else [], table=table(rows, WAYS))


def answer(result: Mapping[str, Any]) -> str:
    """What was chosen and why, in sentences."""
    choice, network = result["choice"], result["network"]
    chosen = (
        f"{choice['title'][:1].upper()}{choice['title'][1:]}. Of {network['tested']} images that chose nothing it "
        f"classifies {network['x-test']:.1f} % [{network['x-test_low']:.1f}, {network['x-test_high']:.1f}] correctly."
    )
    after = choice.get("next")
    why = (
        f" It was chosen because it has {choice['x-valid']:.1f} % on {result['images']['x-valid']} other images; the "
        f"next best way, {after['title']}, has {after['x-valid']:.1f} %."
        if after
        else ""
    )
    return chosen + why


def outlook(result: Mapping[str, Any]) -> str:
    """What a longer budget would probably bring."""
    curve = next(w["curve"] for w in result["ways"] if w["number"] == result["choice"]["trial"])
    if result["choice"]["x-valid"] > 99:
        return "There is hardly anything left to gain on these images."
    if result["choice"]["way"] == "linear classifier":
        return "Trainings did not beat the linear classifier yet: a budget three times as long may change that."
    risen = curve[-1][1] - curve[max(0, len(curve) - 3)][1]
    if risen > 1:
        return f"It rose by {risen:.1f} points at the end of the budget: a longer one would probably bring more."
    return "It hardly rose at the end of the budget: more images would probably bring more than more time."


def write_budget_page(path: Path, result: Mapping[str, Any], images: Section, drawing: Markup | None = None) -> None:
    """Write the page of a search on a budget from the content of its `result.json`.

    Raises a UserError if it cannot be written.
    """
    choice, network, spent = result["choice"], result["network"], result["spent"]
    files = network["files"]
    facts = {
        "accuracy": f"{network['x-test']:.2f} % [{network['x-test_low']:.2f}, {network['x-test_high']:.2f}] on "
        f"{network['tested']} test images",
        "size": f"{choice['params']:.2f} million parameters, {choice['flops']:.0f} million multiply-accumulates for an "
        f"image of {choice['side']} x {choice['side']} pixels",
        "speed": f"{network['milliseconds']:.1f} ms an image on this machine's {network['device']}",
        "files": ", ".join(files),
        **({"licence of the weights": network["licence"]} if network["licence"] else {}),
        "next": f"{program()} predict --network {files[0]} --images FOLDER",
    }
    lead = (
        f"{answer(result)} {outlook(result)}\nBudget {result['budget']}, {spent['seconds']:.0f} s used"
        f"{', interrupted' if result['interrupted'] else ''}."
    )
    rows = [{**row, "mark": "chosen" if row["chosen"] else ""} for row in result["ranking"]]
    text = "The first cells of the instant ranking and those that were trained here. All are in ranking_run_1.csv."
    sections = [
        Section("The network", facts=facts, figures=[(drawing, choice["architecture"])] if drawing else []),
        curves_section(result["ways"], result["unit"]),
        *test_sections(network["judged"], result["class_names"], None),
        images,
        Section("Cells to train from nothing", text, table=table(rows, CELLS)) if rows else Section(""),
        Section("What was run", facts={"MetaD2A": __version__, **result["history"], "budget": result["budget"]}),
    ]
    write_page(path, f"A network for {result['dataset']}", lead, sections)
