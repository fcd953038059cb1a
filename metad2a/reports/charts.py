"""Charts as SVG that takes the colours of its page, light or dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from metad2a.reports.page import render_template

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 56, WIDTH - 12, 12, HEIGHT - 44  # edges of the plot
COLOURS = 6  # the template defines this many


@dataclass(frozen=True)
class Series:
    """Points of one colour."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "dots"  # or "marks" (larger dots, each with a text of `titles`), or "line"
    titles: Sequence[str] = ()


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= wanted)
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class _Axis:
    """A linear or logarithmic scale from values to pixels."""

    def __init__(self, values: list[float], start: float, end: float, log: bool = False, most: float = math.inf):
        self.log = log and min(values) > 0
        values = [math.log10(value) for value in values] if self.log else values
        low, high = min(values), max(values)
        spare = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
        self.low, self.high, self.start, self.end = low - spare, min(high + spare, max(high, most)), start, end

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if not self.log:
            return ticks(self.low, self.high)
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        marks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        shown = [mark for mark in marks if self.low <= math.log10(mark) <= self.high]
        return shown if len(shown) <= 7 else [mark for mark in shown if math.log10(mark) % 1 == 0]


def chart(series: Sequence[Series], x_label: str, y_label: str, log: bool = False, y_most: float = math.inf) -> Markup:
    """Draw all series in one picture with a legend; empty if no point is finite.

    `log` makes the horizontal axis logarithmic if all its values are positive. The vertical axis ends at `y_most`.
    """
    shown = [replace(each, points=[p for p in each.points if all(map(math.isfinite, p))]) for each in series]
    points = [point for each in shown for point in each.points]
    if not points:
        return Markup("")
    x = _Axis([point[0] for point in points], LEFT, RIGHT, log)
    y = _Axis([point[1] for point in points], BOTTOM, TOP, most=y_most)
    x_ticks, y_ticks = ([(f"{axis(v):.1f}", f"{v:.6g}") for v in axis.ticks()] for axis in (x, y))
    drawn = [
        (number % COLOURS, s.name, s.kind, [(f"{x(a):.1f}", f"{y(b):.1f}") for a, b in s.points], s.titles)
        for number, s in enumerate(shown)
        if s.points
    ]
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    labels = {"x_label": x_label, "y_label": y_label, "x_ticks": x_ticks, "y_ticks": y_ticks}
    return render_template("chart.svg.j2", series=drawn, **frame, **labels)
