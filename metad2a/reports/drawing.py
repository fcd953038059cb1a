"""Draw an architecture's graph as SVG: nodes in a row, edges past a node above or below the row, a label on each edge.

Edges do not cross if the graph allows it.
"""

from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape
from PIL import ImageFont

from metad2a.spaces.base import SearchSpace

Point = tuple[float, float]
Edge = tuple[int, int, str]

SIZE, SMALL = 16, 13  # letters of nodes and of labels, in pixels
NODE_HEIGHT, LEVEL, MARGIN, ARROW = 40.0, 34.0, 16.0, 9.0
GAP = 36.0  # between nodes without a label between them
IN_A_ROW = 6  # nodes of a chain
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
    'font-family="Helvetica, Arial, sans-serif" text-anchor="middle" fill="currentColor" color="#111" class="cell">'
    '<title>{title}</title>\n<marker id="arrow" markerUnits="userSpaceOnUse" markerWidth="{arrow}" markerHeight="8" '
    'refX="{arrow}" refY="4" orient="auto"><path d="M0 0L{arrow} 4L0 8"/></marker>\n'
)


@dataclass(frozen=True)
class Label:
    """Text centred at a point, on a box of the background's colour."""

    text: str
    centre: Point
    width: float


@dataclass(frozen=True)
class Plan:
    """Where everything is, in pixels from the upper left corner."""

    width: float
    height: float
    boxes: list[tuple[float, float, float, float]]  # left, top, right and bottom of each node
    nodes: list[str]
    lines: list[list[Point]]  # the corners of each edge; the last is the arrow's tip
    labels: list[Label]


def text_width(text: str, size: int) -> float:
    """Width of a text in pixels, with 8 % to spare for other fonts."""
    return 1.08 * ImageFont.load_default(size).getlength(text)


def plan(nodes: list[str], edges: list[Edge]) -> Plan:
    """Place the nodes and edges of a graph whose edges go from lower to higher numbers."""
    chain = len(nodes) > IN_A_ROW + 1 and edges == [(u, u + 1, "") for u in range(len(nodes) - 1)]
    return _chain(nodes) if chain else _row(nodes, edges)


def _chain(nodes: list[str]) -> Plan:
    """A long chain, in rows from left to right."""
    width = max(text_width(name, SIZE) for name in nodes) + 24
    step, rows = width + GAP, (len(nodes) - 1) // IN_A_ROW + 1
    down = NODE_HEIGHT + GAP
    left, top = MARGIN + GAP / 2 + width / 2, MARGIN + NODE_HEIGHT / 2
    centres = [(left + step * (i % IN_A_ROW), top + down * (i // IN_A_ROW)) for i in range(len(nodes))]
    lines = []
    for (x, y), (to_x, to_y) in pairwise(centres):
        path = [(x + width / 2, y), (to_x - width / 2, to_y)]
        if to_y > y:
            middle, left = y + NODE_HEIGHT / 2 + GAP / 2, to_x - width / 2 - GAP / 2
            right = x + width / 2 + GAP / 2
            path[1:1] = [(right, y), (right, middle), (left, middle), (left, to_y)]
        lines.append(path)
    boxes = [(x - width / 2, y - NODE_HEIGHT / 2, x + width / 2, y + NODE_HEIGHT / 2) for x, y in centres]
    return Plan(2 * MARGIN + IN_A_ROW * step, 2 * MARGIN + rows * down - GAP, boxes, nodes, lines, [])


def _row(nodes: list[str], edges: list[Edge]) -> Plan:
    """All nodes in one row."""
    wide = [max(text_width(name, SIZE) + 24, NODE_HEIGHT) for name in nodes]
    between = [GAP] * (len(nodes) - 1)
    for u, v, label in edges:
        if v == u + 1 and label:
            between[u] = text_width(label, SMALL) + 2 * GAP
    lefts = [MARGIN + sum(wide[:i]) + sum(between[:i]) for i in range(len(nodes))]
    sides = _sides(edges)
    levels = {side: _levels([edge for edge in edges if sides.get(edge) == side]) for side in (-1, 1)}
    above, below = (max(levels[side].values(), default=0) * LEVEL for side in (-1, 1))
    row = MARGIN + above + NODE_HEIGHT / 2 + (SMALL / 2 if above else 0)
    top, bottom = row - NODE_HEIGHT / 2, row + NODE_HEIGHT / 2
    boxes = [(left, top, left + width, bottom) for left, width in zip(lefts, wide, strict=True)]
    ports = _ports(sides, boxes)
    lines, labels = [], []
    for edge in edges:
        u, v, label = edge
        if v == u + 1:
            line = [(boxes[u][2], row), (boxes[v][0], row)]
            centre = (boxes[u][2] + boxes[v][0] - ARROW) / 2, row
        else:
            side = sides[edge]
            border, (start, end) = row + side * NODE_HEIGHT / 2, ports[edge]
            level = border + side * LEVEL * levels[side][edge]
            line = [(start, border), (start, level), (end, level), (end, border)]
            centre = (start + end) / 2, level
        lines.append(line)
        if label:
            labels.append(Label(label, centre, text_width(label, SMALL) + 10))
    height = bottom + below + (SMALL / 2 if below else 0) + MARGIN
    return Plan(boxes[-1][2] + MARGIN, height, boxes, nodes, lines, labels)


def _crosses(one: Edge, other: Edge) -> bool:
    (a, b, _), (c, d, _) = sorted((one, other))
    return a < c < b < d


def _sides(edges: list[Edge]) -> dict[Edge, int]:
    """The side of each edge past a node, -1 above or 1 below the row: the side where it crosses fewer longer edges."""
    sides: dict[Edge, int] = {}
    for edge in sorted(edges, key=lambda e: e[0] - e[1]):
        if edge[1] - edge[0] > 1:
            crossed = [side for other, side in sides.items() if _crosses(edge, other)]
            sides[edge] = min((-1, 1), key=crossed.count)
    return sides


def _levels(edges: list[Edge]) -> dict[Edge, int]:
    """How far from the row each edge runs: farther than the shorter edges that it meets."""
    levels: dict[Edge, int] = {}
    for edge in sorted(edges, key=lambda e: e[1] - e[0]):
        met = [level for (a, b, _), level in levels.items() if a < edge[1] and edge[0] < b]
        levels[edge] = 1 + max(met, default=0)
    return levels


def _ports(sides: dict[Edge, int], boxes: list[tuple[float, float, float, float]]) -> dict[Edge, list[float]]:
    """Where on its nodes' borders each edge past a node leaves and arrives.

    Arriving edges are left of leaving ones, and longer edges outside shorter ones, so that they do not cross.
    """
    ends: dict[Edge, list[float]] = {edge: [0.0, 0.0] for edge in sides}
    for node, (left, _, right, _) in enumerate(boxes):
        for side in (-1, 1):
            arriving = sorted((e for e in sides if e[1] == node and sides[e] == side), key=lambda e: -e[0])
            leaving = sorted((e for e in sides if e[0] == node and sides[e] == side), key=lambda e: -e[1])
            places = [(e, 1) for e in arriving] + [(e, 0) for e in leaving]
            for i, (edge, end) in enumerate(places):
                ends[edge][end] = left + (right - left) * (i + 1) / (len(places) + 1)
    return ends


def architecture_svg(space: SearchSpace, text: str) -> Markup:
    """An architecture's graph as SVG in the text's colour, on the background of its surroundings."""
    places = plan(*space.drawing(space.from_text(text)))
    w, h = round(places.width), round(places.height)
    lines = [_line(points) for points in places.lines]
    boxes = [_node(name, *box) for name, box in zip(places.nodes, places.boxes, strict=True)]
    labels = [_label(label) for label in places.labels]
    parts = [HEAD.format(w=w, h=h, title=escape(text), arrow=ARROW), *lines, *boxes, *labels, "</svg>\n"]
    return Markup("".join(parts))


def _line(points: list[Point]) -> str:
    corners = "".join(f"{x:.1f},{y:.1f} " for x, y in points)
    style = 'fill="none" stroke="currentColor" stroke-width="1.5" marker-end="url(#arrow)"'
    return f'<polyline points="{corners}" {style}/>\n'


def _node(name: str, left: float, top: float, right: float, bottom: float) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="8" '
        'class="paper" fill="#fff" stroke="currentColor" stroke-width="1.5"/>\n'
        f'<text x="{(left + right) / 2:.1f}" y="{(top + bottom) / 2 + 5.5:.1f}" font-size="{SIZE}">{escape(name)}'
        "</text>\n"
    )


def _label(label: Label) -> str:
    (x, y), width = label.centre, label.width
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="18" class="paper" fill="#fff"/>\n'
        f'<text x="{x:.1f}" y="{y + 4.5:.1f}" font-size="{SMALL}">{escape(label.text)}</text>\n'
    )
