"""Charts as SVG that takes the colours of its page, light or dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 12.0, 44.0  # margins
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """What one colour shows.

    Attributes:
        kind: "dots", "marks" (larger, each with a text of `titles`), "line" or "steps".
    """

    name: str
    points: Points
    kind: str = "dots"
    titles: Sequence[str] = ()


def front(points: Points) -> list[int]:
    """Numbers of the points (cost, value) that none other beats in both, cheapest first."""
    best, kept = -math.inf, []
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[number][1] > best:
            best = points[number][1]
            kept.append(number)
    return kept


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= wanted)
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class _Axis:
    """A scale from values to pixels, linear or logarithmic."""

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
    """Series in one picture with a legend; empty where there is no point that is finite.

    Args:
        log: a logarithmic horizontal axis, where all values are above 0.
    """
    finite = [
        Series(one.name, [p for p in one.points if all(map(math.isfinite, p))], one.kind, one.titles) for one in series
    ]
    points = [point for one in finite for point in one.points]
    if not points:
        return Markup("")
    x = _Axis([point[0] for point in points], LEFT, WIDTH - RIGHT, log)
    y = _Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" class="chart">',
        Markup("<title>{}</title>").format(f"{y_label} against {x_label}"),
    ]
    for value in y.ticks():
        parts.append(
            f'<line class="grid" x1="{LEFT:.0f}" x2="{WIDTH - RIGHT:.0f}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 6:.0f}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    for value in x.ticks():
        parts.append(
            f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP:.0f}" y2="{HEIGHT - BOTTOM:.0f}"/>'
        )
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 16:.0f}" text-anchor="middle">{value:.6g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            f"{middle:.0f}", f"{HEIGHT - 8:.0f}", x_label
        )
    )
    across = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        Markup('<text transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>').format(
            f"{across:.0f}", y_label
        )
    )
    parts += [_drawn(one, number % 6, x, y) for number, one in enumerate(finite) if one.points]
    legend = [
        Markup('<span><i class="s{}"></i>{}</span>').format(number % 6, one.name)
        for number, one in enumerate(finite)
        if one.points
    ]
    picture = Markup("".join(map(str, [*parts, "</svg>"])))
    return picture + (Markup('<p class="legend">{}</p>').format(Markup(" ").join(legend)) if len(legend) > 1 else "")


def _drawn(one: Series, colour: int, x: _Axis, y: _Axis) -> str:
    places = [(f"{x(a):.1f}", f"{y(b):.1f}") for a, b in one.points]
    if one.kind == "dots":
        return f'<path class="s{colour} dots" d="{"".join(f"M{a} {b}h0" for a, b in places)}"/>'
    if one.kind == "marks":
        titles = one.titles or [""] * len(places)
        return "".join(
            f'<circle class="s{colour}" cx="{a}" cy="{b}" r="4"><title>{escape(title)}</title></circle>'
            for (a, b), title in zip(places, titles, strict=True)
        )
    (a, b), *rest = places
    path = f"M{a} {b}" + "".join(f"H{a}V{b}" if one.kind == "steps" else f"L{a} {b}" for a, b in rest)
    return f'<path class="s{colour} line" d="{path}"/>'
