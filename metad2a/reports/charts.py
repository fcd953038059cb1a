"""Charts as SVG that takes the colours of its page, light or dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 56, WIDTH - 12, 12, HEIGHT - 44  # edges of the plot
COLOURS = 6  # the template defines this many
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        kind: "dots", "marks" (larger dots, each with a text of `titles`) or "line".
    """

    name: str
    points: Points
    kind: str = "dots"
    titles: Sequence[str] = ()


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= wanted)
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class _Axis:
    """A linear or logarithmic scale from values to pixels."""

    def __init__(self, values: list[float], start: float, end: float, log: bool = False):
        self.log = log and min(values) > 0
        values = [math.log10(value) for value in values] if self.log else values
        low, high = min(values), max(values)
        spare = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
        self.low, self.high, self.start, self.end = low - spare, high + spare, start, end

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


def chart(series: Sequence[Series], x_label: str, y_label: str, log: bool = False) -> Markup:
    """Draw all series in one picture with a legend; empty if no point is finite.

    Args:
        log: use a logarithmic horizontal axis if all its values are positive.
    """
    shown = [replace(each, points=[p for p in each.points if all(map(math.isfinite, p))]) for each in series]
    points = [point for each in shown for point in each.points]
    if not points:
        return Markup("")
    x = _Axis([point[0] for point in points], LEFT, RIGHT, log)
    y = _Axis([point[1] for point in points], BOTTOM, TOP)
    coloured = [(number % COLOURS, each) for number, each in enumerate(shown) if each.points]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart">',
        f"<title>{escape(y_label)} against {escape(x_label)}</title>",
        *(_tick(f"{value:.6g}", LEFT, RIGHT, y(value), y(value), "end") for value in y.ticks()),
        *(_tick(f"{value:.6g}", x(value), x(value), TOP, BOTTOM, "middle") for value in x.ticks()),
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(13 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}'
        "</text>",
        *(_draw(each, colour, x, y) for colour, each in coloured),
        "</svg>",
    ]
    legend = " ".join(f'<span><i class="s{colour}"></i>{escape(each.name)}</span>' for colour, each in coloured)
    return Markup("".join(parts) + (f'<p class="legend">{legend}</p>' if len(coloured) > 1 else ""))


def _tick(label: str, x1: float, x2: float, y1: float, y2: float, anchor: str) -> str:
    """A line of the grid, and its label below it ("middle") or to the left ("end")."""
    at_x, at_y = (x1 - 6, y1 + 4) if anchor == "end" else (x1, y2 + 16)
    return (
        f'<line class="grid" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'
        f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{label}</text>'
    )


def _draw(series: Series, colour: int, x: _Axis, y: _Axis) -> str:
    places = [(f"{x(a):.1f}", f"{y(b):.1f}") for a, b in series.points]
    if series.kind == "dots":
        return f'<path class="s{colour} dots" d="{"".join(f"M{a} {b}h0" for a, b in places)}"/>'
    if series.kind == "marks":
        titles = series.titles or [""] * len(places)
        return "".join(
            f'<circle class="s{colour}" cx="{a}" cy="{b}" r="4"><title>{escape(title)}</title></circle>'
            for (a, b), title in zip(places, titles, strict=True)
        )
    return f'<path class="s{colour} line" d="M{"L".join(f"{a} {b}" for a, b in places)}"/>'
