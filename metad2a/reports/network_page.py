"""The page of a training: the network, its accuracy on the test part class by class, and its mistakes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from metad2a.reports.dataset import dataset_section
from metad2a.reports.page import Section, table, write_page

MOST_CLASSES = 40  # a larger confusion matrix cannot be read
COLUMNS = {"class": ("class", ""), "images": ("images", "d"), "accuracy": ("accuracy %", ".1f"),
           "low": ("95 % interval", ".1f")}  # fmt: skip


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
    """The test accuracy, of all and of each class, and the confusion matrix, from what `judge` returned."""
    text = f"x-test accuracy {judged['accuracy']:.2f} % [{judged['low']:.2f}, {judged['high']:.2f}] (95 %)"
    comparison = advice(judged["accuracy"], baseline) if baseline else ""
    sentence = f"{comparison[:1].upper()}{comparison[1:]}."
    warnings = [sentence] if baseline and baseline["accuracy"] > judged["accuracy"] else []
    if baseline and not warnings:
        text += f"\n{sentence}"
    tests = Section("Test accuracy", text, warnings, table=table(judged["classes"], COLUMNS))
    if len(names) > MOST_CLASSES:
        return [tests]
    text = "Rows: the class of an image. Columns: what the network took it for."
    return [tests, Section("Confusion matrix", text, confusion=(names, judged["confusion"]))]


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

    `tests` is what `test_sections` returns, `history` where the network comes from, and its protocol.
    """
    sections = [
        Section("The architecture", figures=[(drawing, "")]),
        *tests,
        *([dataset_section(image_folder)] if image_folder else []),
        Section("What was run", facts=history),
    ]
    write_page(path, f"A network for {dataset}", lead, sections)
