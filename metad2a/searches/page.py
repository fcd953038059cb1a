"""The HTML report of a search: the images, the first cells, the ranking, accuracy against cost, and what was run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

import metad2a
from metad2a.reports.charts import Series, chart, front
from metad2a.reports.dataset import counts_section, dataset_section
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.page import Cell, Figure, Section, Table, write_page
from metad2a.searches.options import SessionOptions
from metad2a.searches.report import COSTS, Ranking, summary_text
from metad2a.searches.session import Session
from metad2a.spaces.base import SearchSpace

LISTED, DRAWN = 200, 4  # candidates in the table, and as pictures
Z = 1.96  # standard deviations of a 95 % interval
NAMES = {"flops": "MFLOPs", "params": "million parameters", "latency": "ms, measured here"}


def cost_name(name: str, device: str | None) -> str:
    """A cost as charts and tables name it."""
    return NAMES.get(name, f"ms on {device}")


def cells_section(space: SearchSpace, texts: Sequence[str], captions: Sequence[str]) -> Section:
    """Pictures of the first architectures."""
    figures = [
        Figure(Markup(architecture_svg(space, text)), f"{i}. {caption}")
        for i, (text, caption) in enumerate(zip(texts[:DRAWN], captions, strict=False), 1)
    ]
    return Section("The first choices", figures=figures)


def ranking_table(ranking: Ranking, device: str | None) -> Table:
    """The first candidates, with the 95 % interval of the prediction where it is known."""
    costs = [name for name in COSTS if any(name in cost for cost in ranking.costs)]
    columns = ["rank", "predicted %"]
    columns += ["95 % interval"] if ranking.deviation else []
    columns += ["benchmark %"] if ranking.known else []
    columns += [*(cost_name(name, device) for name in costs), "architecture"]
    rows = []
    for i, text in enumerate(ranking.texts[:LISTED]):
        mean = ranking.predicted[i]
        row = [Cell(str(i + 1), i + 1), Cell(f"{mean:.2f}", mean)]
        if ranking.deviation:
            half = Z * ranking.deviation[i]
            row.append(Cell(f"{mean - half:.2f} to {mean + half:.2f}", mean - half))
        if ranking.known:
            row.append(Cell(f"{ranking.known[i]:.2f}", ranking.known[i]))
        for name in costs:
            cost = ranking.costs[i].get(name)
            row.append(Cell("") if cost is None else Cell(f"{cost:.{COSTS[name][2]}f}", cost))
        rows.append([*row, Cell(text)])
    return Table(columns, rows, code=("architecture",))


def cost_figures(
    texts: Sequence[str], accuracy: Sequence[float], costs: Sequence[dict[str, float]], device: str | None, label: str
) -> list[Figure]:
    """Accuracy against each cost, with the candidates that none other beats in both."""
    figures = []
    for name in COSTS:
        known = [i for i in range(len(texts)) if name in costs[i]]
        points = [(costs[i][name], accuracy[i]) for i in known]
        if len(points) < 2:
            continue
        best = front(points)
        titles = [f"{points[i][1]:.2f} % at {points[i][0]:.4g}: {texts[known[i]]}" for i in best]
        series = [
            Series("candidates", points),
            Series("none is better and cheaper", [points[i] for i in best], "marks", titles),
        ]
        x_label = cost_name(name, device)
        log = min(x for x, _ in points) > 0 and max(x for x, _ in points) > 30 * min(x for x, _ in points)
        figures.append(Figure(chart(series, x_label, label, log), f"Against {x_label}: {len(best)} on the front."))
    return figures


def facts_section(history: dict[str, Any]) -> Section:
    """What was run: command, versions, seed, checkpoints."""
    return Section("What was run", facts={"MetaD2A": metad2a.__version__} | history)


def images_section(options: SessionOptions, session: Session) -> Section:
    """The dataset: its images where they are in a folder, else how many there are of each class."""
    if options.image_folder:
        return dataset_section(options.image_folder)
    features = session.features
    return counts_section(features.class_names, features.counts.tolist(), features.source)


def write_search_page(
    path: Path, session: Session, ranking: Ranking, explanation: str, history: dict[str, Any]
) -> None:
    """Write the report of a search that trains nothing.

    Raises:
        UserError: the file cannot be written.
    """
    options, device = session.options, session.options.device_latency
    lead = f"{len(ranking.texts)} architectures of {session.space.name} ranked; none was trained. {explanation}"
    known = f"\n{text}" if (text := summary_text([ranking])) else ""
    captions = [
        f"predicted {mean:.2f} %" + (f" ± {ranking.deviation[i]:.2f}" if ranking.deviation else "")
        for i, mean in enumerate(ranking.predicted[:DRAWN])
    ]
    shown = len(ranking.texts[:LISTED])
    table_text = f"The first {shown} of {len(ranking.texts)}; click a heading to sort. All are in ranking_run_1.csv."
    sections = [
        cells_section(session.space, ranking.texts, captions),
        images_section(options, session),
        Section("Ranking", text=table_text + known, table=ranking_table(ranking, device)),
        Section(
            "Accuracy against cost",
            figures=cost_figures(ranking.texts, ranking.predicted, ranking.costs, device, "predicted accuracy (%)"),
        ),
        facts_section(history),
    ]
    write_page(path, f"Architectures for {options.data_name}", lead, sections)
