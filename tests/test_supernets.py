"""Methods that search on images, against cases worked by hand; the command line is in test_compare_real.py."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from scipy.stats import spearmanr

from metad2a.core.files import load_torch
from metad2a.rivals import fisher, lpt, naswot_score
from metad2a.rivals.differentiable import Darts, Gdas, PCDarts, edge_weights, sampled
from metad2a.rivals.mdenas import Multinomials
from metad2a.rivals.mdenas_supernet import MdenasSupernet
from metad2a.rivals.supernet import MixedEdge, Mixture, Supernet, path, shuffle
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse
from metad2a.spaces.nasbench201.network import NASBench201Network

ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# NASWOT


def test_the_kernel_counts_equal_places():
    codes = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0]])
    kernel = naswot_score.code_kernel(codes)
    assert kernel.tolist() == [[4, 2, 0], [2, 4, 2], [0, 2, 4]]
    assert naswot_score.log_determinant(kernel) == pytest.approx(math.log(4 * 12 - 2 * 8))


def test_equal_images_have_no_score():
    assert naswot_score.log_determinant(naswot_score.code_kernel(torch.ones(3, 5))) == naswot_score.NO_SCORE


@pytest.mark.parametrize(
    ("arch", "convolutions"),
    [
        (ARCH, 3),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|", 0),  # neither has a gradient
        ("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|", 2),
    ],
)
def test_relus_without_a_gradient_do_not_count(monkeypatch, arch, convolutions):
    widths = []
    kernel = naswot_score.code_kernel
    monkeypatch.setattr(naswot_score, "code_kernel", lambda codes: widths.append(codes.shape[1]) or kernel(codes))
    naswot_score.score(NASBench201Network(arch, 10, 4, 2), torch.randn(3, 3, 32, 32))
    cells = [4 * 32 * 32, 8 * 16 * 16, 16 * 8 * 8]
    reductions = [4 * 32 * 32, 8 * 16 * 16, 8 * 16 * 16, 16 * 8 * 8]
    assert sorted(widths) == sorted(2 * convolutions * cells + reductions + [16 * 8 * 8])


def photograph_like(n, side=32):
    """n images (n, 3, side, side) whose amplitude falls with frequency, as that of photographs does."""
    rng = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(side)[:, None].square() + torch.fft.rfftfreq(side).square()
    amplitude = frequency.clamp(min=1 / side**2).rsqrt()
    parts = (torch.randn(n, colours, side, side, generator=rng) for colours in (1, 3))
    grey, colour = (torch.fft.irfft2(torch.fft.rfft2(part) * amplitude) for part in parts)
    images = grey + colour / 2
    return images / images.std()


def test_scores_rank_as_the_published_ones(space):
    """A few architectures and images; docs/results/images.md has 200 on CIFAR-10."""
    published = space.training_free_scores("cifar10")
    known = [arch for arch in space.architectures if np.isfinite(published[arch])]
    archs = [known[i] for i in np.random.default_rng(0).choice(len(known), 12, replace=False)]
    images = photograph_like(12)
    scores = []
    for arch in archs:
        torch.manual_seed(0)
        scores.append(naswot_score.score(NASBench201Network(arch, 10), images))
    assert spearmanr(scores, [published[arch] for arch in archs]).statistic > 0.9


# The supernet


def test_a_path_is_the_network_of_its_architecture():
    supernet, network = Supernet(3, 4, 1), NASBench201Network(ARCH, 3, 4, 1)
    operations = parse(ARCH)
    state = supernet.state_dict()
    for name in network.state_dict():
        parts = name.split(".")
        if parts[2:3] == ["layers"]:  # blocks.0.layers.<edge>.0.weight
            edge = int(parts[3])
            parts[2:4] = ["edges", str(edge), "layers", str(operations[edge])]
        if (found := state.get(".".join(parts))) is not None:
            network.state_dict()[name].copy_(found)
    images = torch.randn(5, 3, 32, 32)
    expected = network.train()(images)
    assert torch.allclose(supernet(images, path(operations)), expected, atol=1e-4)
    assert torch.allclose(supernet.eval()(images, path(operations)), expected, atol=1e-4)  # statistics of the batch


def test_shuffled_channels():
    x = torch.arange(8.0).view(1, 8, 1, 1)
    assert shuffle(x, 4).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_partial_channels():
    """A quarter of 8 channels goes through the operations, here half of each pixel; the others pass by."""
    edge = MixedEdge(8, share=4)
    assert edge.layers[OPERATIONS.index("nor_conv_3x3")][0].weight.shape == (2, 2, 3, 3)
    weights = torch.zeros(6, 5)
    weights[1, OPERATIONS.index("skip_connect")] = 0.5
    x = torch.arange(1.0, 9.0).view(1, 8, 1, 1).expand(2, 8, 2, 2)
    out = edge(x, F.relu(x), Mixture(weights, edges=torch.full((6,), 10.0)), 1)
    assert out[1, :, 1, 1].tolist() == [5, 30, 50, 70, 10, 40, 60, 80]  # 10 x shuffle of (0.5, 1, 3, 4, 5, 6, 7, 8)


def test_edges_that_meet_share_their_weight():
    weights = edge_weights(torch.tensor([5.0, 0.0, math.log(3), 0.0, 0.0, math.log(2)]))
    assert weights.tolist() == pytest.approx([1, 0.25, 0.75, 0.25, 0.25, 0.5])


def test_gdas_computes_one_operation_with_the_gradient_of_all():
    alpha = torch.randn(6, 5, requires_grad=True)
    gumbel = torch.randn(6, 5)
    mixture = sampled(alpha, gumbel, 2.0)
    soft = ((alpha.log_softmax(1) + gumbel) / 2).softmax(1)
    assert mixture.paths == tuple(soft.argmax(1).tolist())
    assert torch.allclose(mixture.operations, F.one_hot(soft.argmax(1), 5).float())
    factor = torch.randn(6, 5)
    ours, theirs = (torch.autograd.grad((part * factor).sum(), alpha)[0] for part in (mixture.operations, soft))
    assert torch.allclose(ours, theirs)
    # in an edge only the drawn operation is computed, and every weight has a gradient
    edge, x = MixedEdge(4), torch.randn(2, 4, 6, 6)
    called = []
    for number, layer in enumerate(edge.layers):
        layer.register_forward_hook(lambda *_, number=number: called.append(number))
    weights = torch.zeros(6, 5)
    weights[2, 3] = 1
    weights.requires_grad_()
    edge(x, F.relu(x), Mixture(weights, paths=(0, 0, 3, 0, 0, 0)), 2).sum().backward()
    assert called == [3]
    assert weights.grad[2, [0, 1, 2, 4]].tolist() == [x.numel()] * 4  # each is added everywhere


# Differentiable search


def toy_run(method, **more):
    """What a method needs of a run, on random images."""
    run = SimpleNamespace(device=torch.device("cpu"), rng=torch.Generator().manual_seed(1), extra={}, rate=0.1, **more)
    run.done = more.get("done", 0.5)
    run.net = Supernet(3, 4, 1, method.share)
    run.problem = SimpleNamespace(num_classes=3)
    method.prepare(run)
    return run


def batch(n=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 32, 32, generator=rng), torch.arange(n) % 3


@pytest.mark.parametrize("method", [Darts(), Gdas(), PCDarts(), lpt.Lpt()], ids=lambda method: method.name)
def test_an_architecture_step_leaves_the_weights(method):
    run = toy_run(method)
    weights = [value.clone() for value in run.net.parameters()]
    before = {name: value.detach().clone() for name, value in run.parameters.items()}
    method.architecture_step(run, batch(seed=1), batch(seed=2))
    assert all(map(torch.equal, weights, run.net.parameters()))
    assert all(not torch.equal(before[name], value) for name, value in run.parameters.items())
    assert all(value.grad is None for value in run.net.parameters())


def test_pc_darts_warms_up():
    run = toy_run(PCDarts(), done=0.29)
    before = run.parameters["alpha"].detach().clone()
    PCDarts().architecture_step(run, batch(), batch())
    assert torch.equal(before, run.parameters["alpha"])


def test_the_step_is_adams_by_the_gradient():
    """Adam's first step is the learning rate against the sign of the gradient."""
    method = Darts(arch_weight_decay=0.0)
    run = toy_run(method)
    before = run.parameters["alpha"].detach().clone()
    factor = torch.randn(6, 5)
    method.step(run, (run.parameters["alpha"] * factor).sum())
    assert torch.allclose(run.parameters["alpha"], before - method.arch_lr * factor.sign(), atol=1e-6)


def test_darts_derives_the_largest():
    run = toy_run(Darts())
    run.parameters["alpha"].data = torch.eye(5)[[4, 0, 1, 2, 3, 0]]
    assert Darts().derive(run) == [4, 0, 1, 2, 3, 0]


# MDENAS


def test_mdenas_learns_from_its_paths():
    """Two epochs by hand: the second path is better, so what only the first had loses 0.01 wherever they differ."""
    method = MdenasSupernet()
    paths, found = iter([[0] * 6, [0, 1, 1, 1, 1, 1]]), iter([50.0, 60.0])
    run = SimpleNamespace(
        extra={}, rng=torch.Generator(), device="cpu", train=None, net=None, batches=lambda *_: [None],
        weight_step=lambda *_: torch.tensor(1.0), accuracy=lambda mixture: next(found),
    )  # fmt: skip
    method.prepare(run)
    known = run.extra["multinomials"]
    known.sample = lambda rng: next(paths)
    method.epoch(run)
    # after one sample: 0 was trained more than any other and is better, so that nothing is moved
    assert known.theta[0].tolist() == pytest.approx([0.2] * 5)
    method.epoch(run)
    assert known.trained[0].tolist() == [2, 0, 0, 0, 0]
    assert known.accuracy[1].tolist() == [50, 60, 0, 0, 0]
    assert known.theta[0].tolist() == pytest.approx([0.2] * 5)
    assert known.theta[1].tolist() == pytest.approx([0.19, 0.21, 0.2, 0.2, 0.2])
    assert method.derive(run) == [0, 1, 1, 1, 1, 1]
    again = Multinomials((5,) * 6)
    again.load_state_dict(known.state_dict())
    assert [list(row) for row in again.theta] == [list(row) for row in known.theta]


# LPT


def linear_world():
    """A learner and a tester that are linear in double precision, and batches of them."""
    rng = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    labels = torch.tensor([0, 1, 2, 1])
    return draw, {"w": draw(3, 5).requires_grad_()}, (draw(4, 5), labels), (draw(4, 5), labels)


def test_an_unrolled_step_by_hand():
    """loss a w^2 from w: w - lr 2 a w, whose derivative by a is -2 lr w."""
    w, a = (torch.tensor(value, requires_grad=True) for value in (3.0, 2.0))
    other = torch.tensor(7.0, requires_grad=True)
    after = lpt.unrolled(a * w**2, {"w": w, "other": other}, 0.1)
    assert after["w"].item() == pytest.approx(3 - 0.1 * 12)
    assert after["other"] is other
    assert torch.autograd.grad(after["w"], a)[0].item() == pytest.approx(-0.6)


def test_the_architectures_gradient_is_through_the_unrolled_weights():
    draw, weights, train, bank = linear_world()
    architecture, share = draw(5).requires_grad_(), torch.rand(4, dtype=torch.float64)

    def loss(architecture):
        def learner(weights, x):
            return (x * architecture) @ weights["w"].T

        return lpt.test_loss(learner, weights, train, bank, share, 0.3)

    [gradient] = torch.autograd.grad(loss(architecture), architecture)
    step = 1e-6
    for i in range(5):
        moved = [architecture.detach().clone() for _ in range(2)]
        moved[0][i] += step
        moved[1][i] -= step
        numeric = (loss(moved[0]) - loss(moved[1])) / (2 * step)
        assert gradient[i].item() == pytest.approx(numeric.item(), rel=1e-5)


def test_the_creator_learns_through_the_testers_step():
    """Its step is up mean f l - lambda L_valid, with the tester's unrolled step, by finite differences."""
    torch.set_default_dtype(torch.float64)
    try:
        method = lpt.Lpt(arch_weight_decay=0.0, gamma=0.7, tradeoff=1.3)
        run = toy_run(method, done=0.0)
        train, bank, held_out = (
            tuple(t.double() if t.is_floating_point() else t for t in batch(3, s)) for s in (1, 2, 3)
        )
        creator, tester = run.extra["creator"], run.extra["tester"]

        def objective():
            own = dict(tester.named_parameters())
            after = lpt.unrolled(method.tester_loss(run, train, bank), own, run.rate)
            features, _ = lpt.functional_call(tester, after, (bank[0],))
            share = lpt.in_test(creator, features)

            def learner(weights, x):
                return lpt.functional_call(run.net, weights, (x, method.mixture(run)))

            hard = lpt.test_loss(learner, dict(run.net.named_parameters()), train, bank, share, run.rate)
            meaningful = F.cross_entropy(lpt.functional_call(tester, after, (held_out[0],))[1], held_out[1])
            return (hard - method.tradeoff * meaningful).item()

        numeric = torch.zeros_like(creator.bias)
        for i in range(2):
            for step in (1e-5, -1e-5):
                creator.bias.data[i] += step
                numeric[i] += objective() / (2 * step)
                creator.bias.data[i] -= step
        valid = tuple(torch.cat(parts) for parts in zip(bank, held_out, strict=True))
        method.architecture_step(run, train, valid)
        assert torch.allclose(creator.bias.grad, -numeric, rtol=1e-3, atol=1e-8)
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_is_in_the_test():
    creator = nn.Linear(2, 2)
    with torch.no_grad():
        creator.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        creator.bias.zero_()
    share = lpt.in_test(creator, torch.tensor([[math.log(3), 9.0], [0.0, -9.0]]))
    assert share.tolist() == pytest.approx([0.75, 0.5])
    logits = torch.zeros(2, 4)
    assert lpt.weighted(share, logits, torch.tensor([0, 1])).item() == pytest.approx(math.log(4) * (0.75 + 0.5) / 2)


# Task similarity


def test_the_fisher_information_of_a_linear_layer():
    """The gradient of an image's loss is (p - y) x; its squares are averaged over images, not squared after."""
    network = nn.Linear(2, 2, bias=False)
    state = {"weight": torch.zeros(2, 2)}
    images, labels = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([0, 1])
    # p - y = (-1/2, 1/2) and (1/2, -1/2): squares 1/4 (1, 4) and 1/4 (9, 0) on either row
    assert fisher.fisher(network, state, images, labels).tolist() == pytest.approx([10 / 28, 4 / 28] * 2)


def test_the_distance_by_hand():
    first, second = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])
    expected = (math.log(2) + 0 + math.log(0.25 / 1e-10 + 1)) / 3
    assert fisher.distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert fisher.distance(first, first) == 0


def test_outputs_that_a_task_lacks_are_zero():
    state = fisher.padded(dict(fisher.small_network(3).state_dict()), 5)
    network = fisher.small_network(5)
    network.load_state_dict(state)
    assert network(torch.randn(2, 3, 32, 32))[:, 3:].tolist() == [[0, 0]] * 2


def test_a_task_is_nearest_to_itself():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    images = torch.randn(60, 3, 32, 32, generator=rng) / 4 + labels[:, None, None, None] / 2
    own = dict(fisher.learn(images, labels, 3, 3).state_dict())
    again = dict(fisher.learn(images[torch.arange(59, -1, -1)], labels.flip(0), 3, 3).state_dict())
    other = dict(fisher.learn(torch.randn(60, 3, 32, 32, generator=rng), labels, 3, 3).state_dict())
    found = fisher.distances({"itself": own, "again": again, "other": other}, own, images, labels)
    assert found["itself"] == 0
    assert 0 < found["again"] < found["other"]


def test_the_shipped_library(space):
    tasks = load_torch(fisher.LIBRARY, "")["tasks"]
    assert {"cifar10", "imagenet16-120"} <= set(tasks)
    for task in tasks.values():
        assert task["cells"] == [space.from_text(text) for text in task["cells"]]
