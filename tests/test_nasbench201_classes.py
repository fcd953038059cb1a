"""Cells that compute the same function."""

import pytest
import torch

from metad2a.spaces.nasbench201 import cell_features
from metad2a.spaces.nasbench201.cells import parse
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
    sizes = equivalence_classes().bincount()
    assert len(sizes) == 4930
    assert int(sizes.sum()) == space.size
    assert int(sizes.min()) >= 1
    for row in (0, 1, 3124, 3125, 15624):
        cell = expression(parse(space.architectures[row]))
        same = equivalence_classes() == equivalence_classes()[row]
        members = [space.architectures[i] for i in same.nonzero()[:, 0].tolist()]
        assert all(expression(parse(member)) == cell for member in members)


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
    x, weight = torch.tensor(0.7), torch.tensor([0.0, 0.0, 1.3, 0.9, 0.6])

    def value(operations):
        nodes, edges = [x, 0 * x, 0 * x, 0 * x], iter(operations)
        for node in (1, 2, 3):
            for source, operation in zip(range(node), edges, strict=False):
                if operation == SKIP:
                    nodes[node] = nodes[node] + nodes[source]
                elif operation != NONE:
                    nodes[node] = nodes[node] + torch.sin(weight[operation] * nodes[source])
        return nodes[-1]

    values = torch.stack([value(parse(arch)) for arch in space.architectures])
    assert torch.allclose(at_class_means(values), values, atol=1e-5)


@pytest.mark.parametrize(("dataset", "sd"), [("cifar10", 0.25), ("cifar100", 0.42), ("imagenet16-120", 0.60)])
def test_within_a_class_the_table_differs_by_its_noise_alone(dataset, sd):
    accuracy = space.table["test_200"][dataset].double()
    assert noise(accuracy) == pytest.approx(sd, abs=0.01)
    spread = accuracy.std()
    shuffled = accuracy[torch.randperm(len(accuracy), generator=torch.Generator().manual_seed(0))]
    assert noise(shuffled) > 0.9 * spread > 10 * sd


def test_means_of_classes():
    values = torch.stack([torch.ones(space.size), equivalence_classes().float()], dim=1)
    means = class_means(values)
    assert torch.equal(means[:, 0], torch.ones(len(means)))
    assert torch.equal(at_class_means(values), values)


def test_the_cheapest_of_each_class():
    cheapest = space.cheapest_members()
    assert equivalence_classes()[cheapest].tolist() == list(range(int(equivalence_classes().max()) + 1))
    costs = torch.tensor([tuple(space.cost(arch, 10).values()) for arch in space.architectures], dtype=torch.float64)
    least = torch.full((len(cheapest), 2), torch.inf, dtype=torch.float64)
    least.scatter_reduce_(0, equivalence_classes()[:, None].expand(-1, 2), costs, "amin")
    assert torch.equal(costs[cheapest], least)


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
