"""Conversions and their inverses, validity, and the benchmark's table."""

import random

import igraph
import pytest
import torch

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.graphs import GraphBatch

FIRST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
ofa = spaces.get("ofa_mbv3")


def test_unknown_space():
    with pytest.raises(UserError, match="nasbench201, ofa_mbv3"):
        spaces.get("darts")


def test_the_whole_space_survives_graphs_and_back(space):
    assert len(set(space.architectures)) == space.size == 15625
    graphs = space.encode(space.architectures)
    assert space.encode(space.architectures).equal(graphs)
    assert space.decode(graphs) == space.architectures


def test_a_published_graph(space):
    graph = space.encode([FIRST])
    assert graph.types.tolist() == [[0, 5, 5, 5, 3, 5, 5, 1]]
    edges = [(0, 1), (1, 2), (1, 3), (1, 5), (2, 3), (2, 6), (3, 4), (3, 6), (4, 5), (5, 6), (6, 7)]
    assert [tuple(e) for e in graph.adj[0].nonzero().tolist()] == edges


@pytest.mark.parametrize("text", ["", "|none~0|", FIRST.replace("3x3", "5x5"), FIRST + "|", FIRST.replace("~1", "~2")])
def test_bad_architecture_strings(space, text):
    with pytest.raises(UserError):
        space.encode([text])


def test_an_unknown_operation_is_named(space):
    with pytest.raises(UserError, match="dil_conv"):
        space.from_text(FIRST.replace("skip_connect", "dil_conv"))


def is_valid_by_igraph(types, edges, space):
    """The rules of the paper's code, on an igraph graph."""
    graph = igraph.Graph(len(types), edges, directed=True)
    inner = range(1, len(types) - 1)
    return (
        len(types) == space.max_n
        and graph.is_dag()
        and types[0] == 0
        and types[-1] == 1
        and all(t > 1 for t in types[1:-1])
        and graph.degree(0, mode="out") > 0
        and graph.degree(len(types) - 1, mode="in") > 0
        and all(graph.degree(v, mode=mode) > 0 for v in inner for mode in ("in", "out"))
    )


def test_validity_agrees_with_igraph_on_random_graphs(space):
    rng = random.Random(0)
    types, edges = [], []
    for _ in range(3000):
        n = rng.choice([2, 5, 7, 8, 8, 8, 8, 8, 8])
        row = [0, *(rng.choice([2, 3, 4, 5, 6]) for _ in range(n - 2)), 1]
        if rng.random() < 0.2:
            row[rng.randrange(n)] = rng.randrange(7)
        keep = rng.uniform(0.4, 0.9)
        types.append(row)
        edges.append([(u, v) for v in range(n) for u in range(v) if rng.random() < keep])
    graphs = GraphBatch.from_lists(types, edges, space.max_n)
    expected = [is_valid_by_igraph(t, e, space) for t, e in zip(types, edges, strict=True)]
    assert 100 < sum(expected) < 2900
    assert space.valid(graphs).tolist() == expected


def test_backward_edges_are_invalid(space):
    graph = space.encode([FIRST])
    adj = graph.adj.clone()
    adj[0, 5, 2] = True
    assert space.valid(graph).tolist() == [True]
    assert space.valid(GraphBatch(graph.types, adj, graph.num_vertices)).tolist() == [False]


def test_table_holds_the_benchmark(space):
    best = {name: max(space.known_accuracy(name).values()) for name in ("cifar10", "cifar100", "imagenet16-120")}
    assert best == pytest.approx({"cifar10": 94.3733, "cifar100": 73.5133, "imagenet16-120": 47.3111}, abs=1e-4)
    known = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
    assert space.known_accuracy("cifar10")[known] == pytest.approx(93.66, abs=1e-4)
    assert space.table["valid_12"]["cifar10"][space.architectures.index(known)] == pytest.approx(82.834, abs=1e-4)
    assert space.known_accuracy("mnist") is None


def test_ofa_graphs_and_back(rng):
    archs = ofa.sample(300, rng)
    graphs = ofa.encode(archs)
    assert ofa.valid(graphs).all()
    assert ofa.decode(graphs) == archs
    assert all(ofa.from_text(str(arch)) == arch for arch in archs[:20])


def test_ofa_layers_of_a_stage_must_agree_on_depth(rng):
    graphs = ofa.encode(ofa.sample(1, rng))
    types = graphs.types.clone()
    types[0, 2] = 2 + (types[0, 2] - 2 + 9) % 27  # the second layer of the first stage at another depth
    assert ofa.decode(GraphBatch(types, graphs.adj, graphs.num_vertices)) == [None]


def test_ofa_text_ignores_inactive_layers(rng):
    arch = ofa.sample(1, rng)[0]
    arch["d"][0] = 2
    inactive = {**arch, "ks": [*arch["ks"][:3], 7, *arch["ks"][4:]], "e": [*arch["e"][:2], 6, *arch["e"][3:]]}
    active = {**arch, "ks": [10 - arch["ks"][0], *arch["ks"][1:]]}
    if arch["ks"][0] == 5:
        active["ks"][0] = 3
    assert ofa.to_text(inactive) == ofa.to_text(arch)
    assert ofa.to_text(active) != ofa.to_text(arch)


@pytest.mark.parametrize("text", ["{}", "[1]", "import os", "{'ks': [3], 'e': [3], 'd': [2]}"])
def test_bad_ofa_text(text):
    with pytest.raises(UserError):
        ofa.from_text(text)


def test_a_space_too_large_to_list_says_so():
    with pytest.raises(UserError, match="cannot be ranked whole"):
        ofa.all_architectures()


def test_samples_are_even(space, rng):
    counts = torch.bincount(space.encode(space.sample(5000, rng)).types[:, 1:-1].flatten(), minlength=7)[2:]
    assert ((counts - 6000).abs() < 5 * (6000 * 0.8) ** 0.5).all()
