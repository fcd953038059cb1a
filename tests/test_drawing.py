"""Pictures of architectures: nothing crosses, nothing is covered, and little is left empty."""

from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from metad2a import spaces
from metad2a.reports.drawing import architecture_svg, plan
from metad2a.spaces.nasbench201.cells import CELL_EDGES

NODES = ["input", "1", "2", "output"]
ALL_EDGES = [(u, v, "nor_conv_3x3") for v, u in CELL_EDGES]
CELLS = [list(kept) for n in range(len(ALL_EDGES) + 1) for kept in combinations(ALL_EDGES, n)]


def segments(line):
    """Boxes (left, top, right, bottom) of a line's level and upright parts."""
    return [(min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b), (c, d) in pairwise(line)]


def meet(one, other):
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def label_box(label):
    (x, y), half = label.centre, label.width / 2
    return x - half, y - 9, x + half, y + 9


@pytest.mark.parametrize("edges", CELLS, ids=len)
def test_no_edge_of_a_cell_crosses_another_or_a_label(edges):
    drawn = plan(NODES, edges)
    for (i, one), (j, other) in combinations(enumerate(drawn.lines), 2):
        assert not any(meet(a, b) for a in segments(one) for b in segments(other)), (edges[i], edges[j])
    for number, label in enumerate(drawn.labels):
        box = label_box(label)
        others = [line for i, line in enumerate(drawn.lines) if i != number]
        assert not any(meet(box, part) for line in others for part in segments(line))
        assert not any(meet(box, node) for node in drawn.boxes)
        assert not any(meet(box, label_box(other)) for other in drawn.labels if other is not label)
        assert any(meet(box, part) for part in segments(drawn.lines[number]))
    inside = [point for line in drawn.lines for point in line]
    assert all(0 < x < drawn.width and 0 < y < drawn.height for x, y in inside)


@pytest.mark.parametrize("name", spaces.NAMES)
def test_the_picture_has_all_nodes_and_labels(name):
    chosen = spaces.get(name)
    if name == "nasbench201":
        arch = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    else:
        arch = str({"ks": [3] * 20, "e": [6] * 20, "d": [4] * 5})
    root = ElementTree.fromstring(architecture_svg(chosen, arch))
    texts = [node.text for node in root.iter() if node.tag.endswith("}text")]
    nodes, edges = chosen.drawing(chosen.from_text(arch))
    assert sorted(texts) == sorted([*nodes, *(label for *_, label in edges if label)])


def test_names_are_text_in_the_svg(space, monkeypatch):
    monkeypatch.setattr(space, "drawing", lambda arch: (["<script>", "b"], [(0, 1, "a&b")]), raising=False)
    text = architecture_svg(space, space.architectures[0])
    assert "<script>" not in text
    ElementTree.fromstring(text)
