"""The package `ofa` as the other side: costs, sampling, weights; training and evaluating a toy supernet."""

import random

import pytest
import torch

import search_spaces

pytest.importorskip("ofa")
from supernet.model import SupernetConfig, build_supernet, subnet

space = search_spaces.get("ofa_mbv3")
TINY = SupernetConfig(num_classes=6, width_mult=0.25, image_size=32)


def profiled(network, side):
    """Multiply-accumulates and parameters as `ofa` counts them, in millions."""
    from ofa.utils.flops_counter import profile

    flops, _ = profile(network, (1, 3, side, side))
    return flops / 1e6, sum(p.numel() for p in network.parameters()) / 1e6


@pytest.mark.parametrize(("width", "side", "num_classes"), [(1.0, 224, 1000), (1.2, 160, 10), (0.35, 33, 7)])
def test_costs_equal_those_of_real_subnets(width, side, num_classes, rng):
    config = SupernetConfig(num_classes, width, side)
    net = build_supernet(config)
    archs = space.sample(3 if width < 1 else 1, rng)
    costs = space.costs(archs, num_classes, side, width).T.tolist()
    for arch, cost in zip(archs, costs, strict=True):
        assert cost == pytest.approx(profiled(subnet(net, arch), side), rel=1e-6)
    assert space.cost(archs[0], num_classes, side, width) == {"flops": costs[0][0], "params": costs[0][1]}


def test_a_cost_ignores_inactive_layers(rng):
    arch = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5}
    other = {"ks": [3, 3, 7, 7] * 5, "e": [3, 3, 6, 6] * 5, "d": [2] * 5}
    assert space.cost(arch, 1000) == space.cost(other, 1000)


def test_samples_are_those_of_once_for_all(rng):
    """Both draw each layer's kernel and expansion and each stage's depth evenly."""
    net, n = build_supernet(TINY), 400
    random.seed(0)
    theirs = [net.sample_active_subnet() for _ in range(n)]
    for archs in (theirs, space.sample(n, rng)):
        for key, choices in (("ks", (3, 5, 7)), ("e", (3, 4, 6)), ("d", (2, 3, 4))):
            drawn = torch.tensor([arch[key] for arch in archs])
            for choice in choices:
                share = (drawn == choice).float().mean(dim=0)
                assert ((share - 1 / 3).abs() < 5 * (2 / 9 / n) ** 0.5).all()


def test_a_subnet_computes_what_the_supernet_computes(rng):
    torch.manual_seed(0)
    net, x = build_supernet(TINY).eval(), torch.randn(2, 3, 32, 32)
    for arch in space.sample(3, rng):
        network = subnet(net, arch).eval()
        net.set_active_subnet(arch["ks"], arch["e"], arch["d"])
        torch.testing.assert_close(network(x), net(x), rtol=1e-4, atol=1e-5)
