"""Cells that compute the same function."""

import numpy as np
import pytest

from metad2a.spaces.nasbench201 import cell_features
from metad2a.spaces.nasbench201.cells import all_cells, cell_rows, live_operations, parse, to_string
from metad2a.spaces.nasbench201.classes import (
    at_class_means,
    class_means,
    equivalence_classes,
    expression,
    noise,
)
from metad2a.spaces.nasbench201.space import NASBench201

NONE, SKIP, CONV1, CONV3, POOL = range(5)
space = NASBench201()


def published_form(operations):
    """The text by which the benchmark's authors tell cells apart (NAS-Bench-201, section 3.1)."""
    nodes, edges = ["0"], iter(operations)
    for node in (1, 2, 3):
        terms = []
        for source, operation in zip(range(node), edges, strict=False):
            if operation == NONE or nodes[source] == "#":
                terms.append("#")
            else:
                terms.append(nodes[source] if operation == SKIP else f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def test_how_many_classes_there_are():
    sizes = np.bincount(equivalence_classes())
    assert len(sizes) == 4930
    assert int(sizes.sum()) == space.size
    assert int(sizes.min()) >= 1
    for row in (0, 1, 3124, 3125, 15624):
        cell = expression(parse(space.architectures[row]))
        same = equivalence_classes() == equivalence_classes()[row]
        members = [space.architectures[i] for i in np.flatnonzero(same).tolist()]
        assert all(expression(parse(member)) == cell for member in members)


def test_what_is_known_of_all_cells_at_once_is_known_of_each():
    """The slow and obvious form: one cell after the other."""
    numbers = {}
    every = [parse(arch) for arch in space.architectures]
    slow = [numbers.setdefault(expression(operations), len(numbers)) for operations in every]
    assert equivalence_classes().tolist() == slow
    assert cell_rows().tolist() == every == [list(cell) for cell in all_cells()]
    assert space.architectures == [to_string(operations) for operations in every]
    assert space.all_can_learn().tolist() == [CONV1 in live or CONV3 in live for live in map(live_operations, every)]
    costs = [space.cost(arch, 7) for arch in space.architectures]
    together = space.costs_of_all(7)
    assert all(together[name].tolist() == [cost[name] for cost in costs] for name in ("flops", "params"))


def test_the_published_classes_are_6466_and_lie_within_ours():
    theirs = {}
    for arch, number in zip(space.architectures, equivalence_classes().tolist(), strict=True):
        theirs.setdefault(published_form(parse(arch)), set()).add(number)
    assert len(theirs) == 6466
    split = [numbers for form, numbers in theirs.items() if len(numbers) > 1]
    assert not split


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([CONV3, NONE, NONE, SKIP, NONE, NONE], [NONE, CONV1, NONE, SKIP, NONE, NONE]),  # nothing leaves the node
        ([NONE, NONE, CONV3, SKIP, POOL, NONE], [NONE, NONE, NONE, SKIP, NONE, POOL]),  # nothing reaches the node
        ([SKIP, NONE, SKIP, NONE, NONE, CONV3], [NONE, NONE, NONE, CONV3, NONE, NONE]),  # a chain of skips
        ([CONV1, POOL, NONE, NONE, CONV3, SKIP], [POOL, CONV1, NONE, NONE, SKIP, CONV3]),  # nodes 1 and 2 exchanged
        ([CONV1, SKIP, SKIP, NONE, NONE, SKIP], [CONV1, NONE, NONE, SKIP, SKIP, NONE]),  # a sum skipped into the output
    ],
)
def test_equal_cells(one, other):
    assert expression(one) == expression(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([NONE, NONE, NONE, SKIP, NONE, NONE], [NONE] * 6),
        ([SKIP, NONE, NONE, SKIP, SKIP, NONE], [NONE, NONE, NONE, SKIP, NONE, NONE]),  # 2 x is not x
        ([CONV3, CONV3, NONE, NONE, SKIP, SKIP], [CONV3, NONE, NONE, NONE, SKIP, NONE]),  # two sets of weights
        ([CONV1, NONE, CONV3, NONE, NONE, SKIP], [CONV3, NONE, CONV1, NONE, NONE, SKIP]),  # the order of a chain
    ],
)
def test_different_cells(one, other):
    assert expression(one) != expression(other)


def test_equal_cells_are_equal_networks():
    """Every operation a nonlinear function of a number: the members of a class give the same number."""
    x, weight = 0.7, [0.0, 0.0, 1.3, 0.9, 0.6]

    def value(operations):
        nodes, edges = [x, 0 * x, 0 * x, 0 * x], iter(operations)
        for node in (1, 2, 3):
            for source, operation in zip(range(node), edges, strict=False):
                if operation == SKIP:
                    nodes[node] = nodes[node] + nodes[source]
                elif operation != NONE:
                    nodes[node] = nodes[node] + np.sin(weight[operation] * nodes[source])
        return nodes[-1]

    values = np.array([value(parse(arch)) for arch in space.architectures])
    assert np.allclose(at_class_means(values), values, atol=1e-5)


@pytest.mark.parametrize(("dataset", "sd"), [("cifar10", 0.25), ("cifar100", 0.42), ("imagenet16-120", 0.60)])
def test_within_a_class_the_table_differs_by_its_noise_alone(dataset, sd):
    accuracy = space.table["test_200"][dataset].astype(float)
    assert noise(accuracy) == pytest.approx(sd, abs=0.01)
    spread = accuracy.std()
    shuffled = np.random.default_rng(0).permutation(accuracy)
    assert noise(shuffled) > 0.9 * spread > 10 * sd


def test_means_of_classes():
    values = np.stack([np.ones(space.size), equivalence_classes().astype(float)], axis=1)
    means = class_means(values)
    assert np.array_equal(means[:, 0], np.ones(len(means)))
    assert np.array_equal(at_class_means(values), values)


def test_the_cheapest_of_each_class():
    cheapest = space.cheapest_members()
    assert equivalence_classes()[cheapest].tolist() == list(range(int(equivalence_classes().max()) + 1))
    costs = np.array([tuple(space.cost(arch, 10).values()) for arch in space.architectures])
    least = np.full((len(cheapest), 2), np.inf)
    np.minimum.at(least, equivalence_classes(), costs)
    assert np.array_equal(costs[cheapest], least)


@pytest.mark.parametrize(
    ("operations", "depth", "width", "convolutions"),
    [
        ([0, 0, 0, 3, 0, 0], 1, 1, 1),  # input to output
        ([3, 0, 3, 0, 0, 3], 3, 1, 3),  # a chain: its first node alone hangs on the input
        ([3, 3, 0, 3, 3, 3], 2, 1 + 1 + 1 / 3, 5),  # two beside each other, and the input into the output
        ([3, 3, 3, 3, 3, 3], 3, 1 + 1 / 2 + 1 / 3, 6),
        ([3, 0, 3, 1, 0, 0], 1, 1, 0),  # nodes 1 and 2 lead nowhere
        ([0, 3, 3, 0, 3, 4], 2, 1, 1),  # node 1 is not reached
        ([3, 3, 3, 0, 0, 0], 0, 0, 0),  # nothing reaches the output
    ],
)
def test_shapes_by_hand(operations, depth, width, convolutions):
    assert cell_features.cell_shape(operations) == (depth, pytest.approx(width), convolutions)
