"""What the sections of RESULTS.md and of the pages in docs/results share: tables, figures and their labels."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from metad2a.core.errors import UserError
from metad2a.core.files import ROOT
from metad2a.core.statistics import interval

RESULTS = ROOT / "benchmarks" / "results"
NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16-120": "ImageNet16-120", "mnist": "MNIST"}
NAMES |= {"ninapro": "NinaPro", "darcy": "Darcy", "gtsrb": "GTSRB", "imagenet-224": "ImageNet (MobileNetV3 subnets)"}
NAMES |= {"class_scene": "scene class", "class_object": "object class", "room_layout": "room layout"}
NAMES |= {"segmentsemantic": "segmentation", "normal": "surface normals", "jigsaw": "jigsaw"}
NAMES |= {"autoencoder": "autoencoder"}
OURS = "#c1272d"  # the colour of this project in every figure
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#b558a5", "#3aa6d0", "#8c6d31", "#555555", "#5b4fb3", "#7aa61a", "#111111")
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX*"


def read(name: str, command: str) -> dict[str, Any]:
    """Read a result file. If it is missing, a UserError names the command that makes it, if there still is one."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise UserError(f"{path} is missing. Make it with: {command or 'git checkout -- benchmarks/results'}")
    return json.loads(path.read_text(encoding="utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table. A bar within a cell is escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def spread(figure: dict[str, Any], digits: int = 2) -> str:
    """Mean and 95 % interval. An interval that rounds to 0 is left out."""
    text = mean_and_interval(figure["mean"], figure["interval_95"], digits)
    mean, half = text.split(" ± ")
    return text if float(half) else mean


def mean_and_interval(mean: float, half: float, digits: int = 2) -> str:
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def summarize(runs: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean, half-width of its 95 % interval, and the values of each figure."""
    columns = {name: [found[name] for found in runs] for name in runs[0]}
    return {
        name: dict(zip(("mean", "interval_95"), interval(values), strict=True)) | {"runs": values}
        for name, values in columns.items()
    }


def summary_cell(entry: dict[str, Any], name: str, digits: int = 2) -> str:
    """One figure of a search's summary, with the number of runs that have it."""
    figure = entry["summary"].get(name)
    if figure is None:
        return "not found"
    text = mean_and_interval(figure["mean"], figure["interval_95"], digits)
    return text if figure["runs"] == entry["runs"] else f"{text} (in {figure['runs']} of {entry['runs']} runs)"


def made(history: dict[str, Any], today: str) -> str:
    """Say which command made a result file, when, and which command makes it today (empty: none does)."""
    if "command" not in history:  # a file of several runs
        return "\n".join(dict.fromkeys(made(each, today) for each in history.values()))
    machine = "GPU" if history.get("device", "").startswith("cuda") else "CPU"
    threads = history.get("threads")
    if threads:
        machine += f", {threads} thread{'s' * (threads > 1)}"
    text = f"Made by `{history['command']}` on {history['date'][:10]} ({machine}, PyTorch {history['torch']})."
    if not today:
        return text + " This measurement is closed: the tree no longer has its code, only the release of that date."
    return text if history["command"].startswith(today) else f"{text} Today's command: `{today}`."


def new_figure(width: float = 8.5, height: float = 4.6) -> Figure:
    """An empty figure, in inches. The defaults fill the width of a README."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(number: int) -> dict[str, Any]:
    """Colour, dashes and marker of a line. Lines that share a colour differ in dashes and marker."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.5,
    }


def label_lines(axes: Axes, labels: dict[str, tuple[float, float, str]], size: float = 8, room: float = 0.45) -> None:
    """Write the name of each line beside its last point, moved up or down until no two names touch.

    `labels` has for each name the last point (x, y) and the colour. The limits and scales of the axes must be final,
    except for the right end, which moves: `room` is the width of the names, relative to that of the data.
    """
    axes.figure.draw_without_rendering()  # settles the height of the axes
    to_pixels, (left, right) = axes.transData, axes.get_xlim()
    start, end = to_pixels.transform([(left, 1), (right, 1)])[:, 0]
    axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
    axes.xaxis.minorticks_off()
    axes.set_xlim(left, to_pixels.inverted().transform((end + room * (end - start), 1))[0])
    to_axes = axes.transData + axes.transAxes.inverted()
    line = 1.4 * size / 72 * axes.figure.dpi / axes.get_window_extent().height  # height of a name; the axes have 1
    ends = sorted((float(to_axes.transform((x, y))[1]), name) for name, (x, y, _) in labels.items())
    steps = line * np.arange(len(ends))
    nearest = isotonic_regression([height for height, _ in ends] - steps).x  # least squares, at least a step apart
    places = np.clip(nearest, line / 2, 1 - line / 2 - steps[-1]) + steps
    for (_, name), place in zip(ends, places, strict=True):
        x, y, color = labels[name]
        axes.annotate(
            name, (x, y), (1 / (1 + room) + 0.03, place), textcoords="axes fraction", color=color, fontsize=size,
            va="center", arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "relpos": (0, 0.5)},
        )  # fmt: skip
