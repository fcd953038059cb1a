"""What a page tells of a trained network: its accuracy on the test part, class by class, and its mistakes."""

from typing import Any

from markupsafe import Markup, escape

from metad2a.networks.judge import advice
from metad2a.reports.page import Cell, Section, Table

MOST_CLASSES = 40  # of a confusion matrix that can be read


def test_sections(judged: dict[str, Any], names: list[str], baseline: dict[str, Any] | None) -> list[Section]:
    """Sections on the test accuracy, each class, and the confusion matrix, from `judge` and `linear_baseline`."""
    text = f"x-test accuracy {judged['accuracy']:.2f} % [{judged['low']:.2f}, {judged['high']:.2f}] (95 %)"
    better = baseline is not None and baseline["accuracy"] > judged["accuracy"]
    told = [] if baseline is None else [_sentence(advice(judged["accuracy"], baseline))]
    columns = ["class", "images", "accuracy %", "95 % interval"]
    rows = [
        [
            Cell(row["class"]),
            Cell(str(row["images"]), row["images"]),
            Cell(f"{row['accuracy']:.1f}", row["accuracy"]),
            Cell(f"{row['low']:.1f} to {row['high']:.1f}", row["low"]),
        ]
        for row in judged["classes"]
    ]
    text += "" if better or not told else f"\n{told[0]}"
    sections = [Section("Test accuracy", text, warnings=told if better else [], table=Table(columns, rows))]
    if len(names) <= MOST_CLASSES:
        text = "Rows: the class of an image. Columns: what the network took it for."
        sections.append(Section("Confusion matrix", text, html=confusion_html(judged["confusion"], names)))
    return sections


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def confusion_html(counts: list[list[int]], names: list[str]) -> Markup:
    """A confusion matrix as an HTML table whose cells are the darker the larger their share of a class."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = sum(row) or 1
        cells = "".join(f'<td class="hot h{round(10 * n / total)}">{n or ""}</td>' for n in row)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return Markup(
        f'<div class="scroll"><table class="fixed"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
