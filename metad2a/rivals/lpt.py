"""LPT, learning by passing tests: a tester creates tests that are hard for the learner and still meaningful.

It has three levels, and each unrolls one step of the level below (Du et al., 2020, equations 1 to 8):

1. The learner, a supernet with weights W and architecture A, lowers its training loss: W'(A) = W - lr dL(W, A).
2. The tester, a network with encoder E and classifier X, learns from the training images and from the test that its
   creator C made: (E', X')(C) = (E, X) - lr d[L(E, X) + gamma mean_b f(b) l(E, X; b)].
3. A lowers, and C raises, mean_b f(b) l(W'(A), A; b) - lambda L_valid((E', X')(C)). Only C affects the second term.

f(b) in 0..1 says how much of image b of the test bank is in the test: C's softmax on E's features.

Dimensions: B images of a batch, K classes, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call

from metad2a.rivals.differentiable import Darts, step
from metad2a.rivals.supernet_search import Batch, SupernetRun

Parameters = dict[str, torch.Tensor]
WIDTHS = (3, 16, 32, 32, 64)  # channels of the tester's layers


class Tester(nn.Module):
    """A small network of four convolutions; batch norm uses the statistics of the batch."""

    def __init__(self, num_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        for number, (c_in, c_out) in enumerate(pairwise(WIDTHS)):
            norm = nn.BatchNorm2d(c_out, track_running_stats=False)
            layers += [nn.Conv2d(c_in, c_out, 3, 2 if number else 1, 1, bias=False), norm, nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised images (B, 3, H, W) -> features (B, D) and logits (B, K)."""
        features = self.encoder(images).mean(dim=(2, 3))
        return features, self.classifier(features)


def unrolled(loss: torch.Tensor, parameters: Parameters, lr: float) -> Parameters:
    """Parameters after one step of gradient descent, as a function of everything that the loss depends on."""
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, allow_unused=True)
    return {
        name: value if gradient is None else value - lr * gradient
        for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
    }


def in_test(creator: nn.Linear, features: torch.Tensor) -> torch.Tensor:
    """f (B,): how much of each image of the bank is in the test."""
    return creator(features).softmax(dim=1)[:, 1]


def weighted(share: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """mean_b f(b) l(b) for shares (B,), logits (B, K) and labels (B,)."""
    return (share * F.cross_entropy(logits, labels, reduction="none")).mean()


def test_loss(
    learner: Callable[[Parameters, torch.Tensor], torch.Tensor],
    weights: Parameters,
    train: Batch,
    bank: Batch,
    share: torch.Tensor,
    lr: float,
) -> torch.Tensor:
    """The learner's loss on the test after one step on training images, as a function of A and of `share` (B,); the
    learner maps weights and images to logits, and depends on A."""
    after = unrolled(F.cross_entropy(learner(weights, train[0]), train[1]), weights, lr)
    return weighted(share, learner(after, bank[0]), bank[1])


@dataclass(frozen=True)
class Lpt(Darts):
    """DARTS' supernet is the learner; the other half of the images is the test bank and validates the tester."""

    name: ClassVar[str] = "lpt"
    title: ClassVar[str] = "LPT"
    source: ClassVar[str] = "Du et al., 2020"
    changes: ClassVar[str] = "the tester is a network of four convolutions, not ResNet-18"

    epochs: int = 50
    gamma: float = 1.0
    tradeoff: float = 1.0  # lambda

    def prepare(self, run: SupernetRun) -> None:
        super().prepare(run)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=run.rng)))
            tester = Tester(run.problem.num_classes).to(run.device)
            creator = nn.Linear(tester.classifier.in_features, 2).to(run.device)
        tester_optimizer = torch.optim.SGD(tester.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        creator_optimizer = self.adam(creator.parameters())
        run.extra |= {"tester": tester, "tester_optimizer": tester_optimizer}
        run.extra |= {"creator": creator, "creator_optimizer": creator_optimizer}

    def architecture_step(self, run: SupernetRun, train: Batch, valid: Batch) -> None:
        """One step of the architecture and of the creator (level 3), then of the tester (level 2)."""
        half = len(valid[1]) // 2
        bank, held_out = (valid[0][:half], valid[1][:half]), (valid[0][half:], valid[1][half:])
        tester, creator, lr = run.extra["tester"], run.extra["creator"], run.rate

        def learner(weights: Parameters, images: torch.Tensor) -> torch.Tensor:
            return functional_call(run.net, weights, (images, self.mixture(run)))

        after = unrolled(self.tester_loss(run, train, bank), dict(tester.named_parameters()), lr)
        features, _ = functional_call(tester, after, (bank[0],))
        weights = dict(run.net.named_parameters())
        hard = test_loss(learner, weights, train, bank, in_test(creator, features), lr)
        meaningful = F.cross_entropy(functional_call(tester, after, (held_out[0],))[1], held_out[1])
        values = list(creator.parameters())
        for_creator = torch.autograd.grad(self.tradeoff * meaningful - hard, values, retain_graph=True)
        self.step(run, hard)
        step(run.extra["creator_optimizer"], values, for_creator)
        optimizer = run.extra["tester_optimizer"]
        for group in optimizer.param_groups:
            group["lr"] = lr
        values = list(tester.parameters())
        step(optimizer, values, torch.autograd.grad(self.tester_loss(run, train, bank), values))

    def tester_loss(self, run: SupernetRun, train: Batch, bank: Batch) -> torch.Tensor:
        """L(E, X) + gamma mean_b f(b) l(E, X; b), as a function of the tester and the creator."""
        tester, creator = run.extra["tester"], run.extra["creator"]
        features, logits = tester(bank[0])
        on_test = weighted(in_test(creator, features), logits, bank[1])
        return F.cross_entropy(tester(train[0])[1], train[1]) + self.gamma * on_test
