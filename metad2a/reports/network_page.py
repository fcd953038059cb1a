"""The page of a training: the network, its accuracy on the test part class by class, and its mistakes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from metad2a.reports.dataset import dataset_section
from metad2a.reports.page import Cell, Figure, Section, Table, write_page

MOST_CLASSES = 40  # a larger confusion matrix cannot be read


def advice(accuracy: float, baseline: Mapping[str, Any]) -> str:
    """Compare the linear classifier, as `linear_baseline` describes it, with a network of this accuracy (%)."""
    result = (
        f"linear classifier on {baseline['features']} features of {baseline['train']} images: x-test "
        f"{baseline['accuracy']:.2f} % [{baseline['low']:.2f}, {baseline['high']:.2f}]"
    )
    if baseline["accuracy"] <= accuracy:
        return f"{result}; the network is not worse"
    return (
        f"{result}, BETTER than the network by {baseline['accuracy'] - accuracy:.2f} points: with so few images or "
        "epochs, features of a network that has seen ImageNet beat training from nothing. Use these features, train "
        "longer, or collect more images"
    )


def test_sections(judged: Mapping[str, Any], names: Sequence[str], baseline: Mapping[str, Any] | None) -> list[Section]:
    """The test accuracy, of all and of each class, and the confusion matrix.

    Args:
        judged, baseline: what `metad2a.networks.judge` returns.
    """
    text = f"x-test accuracy {judged['accuracy']:.2f} % [{judged['low']:.2f}, {judged['high']:.2f}] (95 %)"
    warnings = []
    if baseline:
        comparison = advice(judged["accuracy"], baseline)
        comparison = f"{comparison[0].upper()}{comparison[1:]}."
        if baseline["accuracy"] > judged["accuracy"]:
            warnings = [comparison]
        else:
            text += f"\n{comparison}"
    rows = [
        [
            Cell(row["class"]),
            Cell(str(row["images"]), row["images"]),
            Cell(f"{row['accuracy']:.1f}", row["accuracy"]),
            Cell(f"{row['low']:.1f} to {row['high']:.1f}", row["low"]),
        ]
        for row in judged["classes"]
    ]
    table = Table(["class", "images", "accuracy %", "95 % interval"], rows)
    sections = [Section("Test accuracy", text, warnings, table=table)]
    if len(names) <= MOST_CLASSES:
        text = "Rows: the class of an image. Columns: what the network took it for."
        sections.append(Section("Confusion matrix", text, html=confusion_html(judged["confusion"], names)))
    return sections


def confusion_html(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Markup:
    """A confusion matrix as an HTML table; a cell is the darker the larger its share of a class."""
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


def write_training_page(
    path: Path,
    dataset: str,
    lead: str,
    drawing: Markup,
    tests: Sequence[Section],
    image_folder: str | None,
    history: Mapping[str, Any],
) -> None:
    """Write the page of a training. Raises a UserError if it cannot be written.

    Args:
        tests: what `test_sections` returns.
        image_folder: None for official files.
        history: where the network comes from, and its protocol.
    """
    sections = [
        Section("The architecture", figures=[Figure(drawing)]),
        *tests,
        *([dataset_section(image_folder)] if image_folder else []),
        Section("What was run", facts=history),
    ]
    write_page(path, f"A network for {dataset}", lead, sections)
