"""Differentiable search with a supernet: DARTS, GDAS and PC-DARTS.

The weights learn from one half of the images and the architecture's parameters from the other, in turns (Liu et al.,
"DARTS", ICLR 2019, algorithm 1, first order). In NAS-Bench-201 each edge gets the operation with the largest parameter,
which may be `none` (Dong and Yang, 2020).

Dimensions: E = 6 edges, O = 5 operations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.rivals.supernet import NUM_EDGES, NUM_OPERATIONS, Mixture
from metad2a.rivals.supernet_search import Batch, SupernetMethod, SupernetRun
from metad2a.spaces.nasbench201.cells import CELL_EDGES


def step(optimizer: torch.optim.Optimizer, values: list[Any], gradients: Iterable[torch.Tensor]) -> None:
    """One step of an optimizer of parameters with these gradients."""
    for value, gradient in zip(values, gradients, strict=True):
        value.grad = gradient
    optimizer.step()


@dataclass(frozen=True)
class Darts(SupernetMethod):
    """Every edge is the sum of all operations, weighted by a softmax."""

    name: ClassVar[str] = "darts"
    title: ClassVar[str] = "DARTS, first order"
    source: ClassVar[str] = "Liu et al., ICLR 2019"
    parameter_shapes: ClassVar[dict[str, tuple[int, ...]]] = {"alpha": (NUM_EDGES, NUM_OPERATIONS)}

    arch_lr: float = 3e-4
    arch_betas: tuple[float, float] = (0.5, 0.999)
    arch_weight_decay: float = 1e-3

    def prepare(self, run: SupernetRun) -> None:
        shapes = self.parameter_shapes.items()
        first = {name: nn.Parameter(1e-3 * torch.randn(shape, generator=run.rng)) for name, shape in shapes}
        run.parameters = nn.ParameterDict(first).to(run.device)
        run.arch_optimizer = self.adam(run.parameters.parameters())
        run.extra |= {"parameters": run.parameters, "arch_optimizer": run.arch_optimizer}

    def adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        """The optimizer of the architecture."""
        return torch.optim.Adam(parameters, self.arch_lr, self.arch_betas, weight_decay=self.arch_weight_decay)

    def mixture(self, run: SupernetRun) -> Mixture:
        """The supernet's mixture at the current parameters, with gradients."""
        return Mixture(run.parameters["alpha"].softmax(dim=1))

    def epoch(self, run: SupernetRun) -> torch.Tensor:
        losses = []
        halves = (run.batches(part, self.batch) for part in (run.train, run.valid))
        for train, valid in zip(*halves, strict=False):  # one half of an odd number has one image more
            self.architecture_step(run, train, valid)
            with torch.no_grad():
                mixture = self.mixture(run)
            losses.append(run.weight_step(train, mixture))
        return torch.stack(losses).mean()

    def architecture_step(self, run: SupernetRun, train: Batch, valid: Batch) -> None:
        """One step of the architecture's parameters by the loss on the other half, at the current weights."""
        loss = F.cross_entropy(run.net(valid[0], self.mixture(run)), valid[1])
        self.step(run, loss)

    def step(self, run: SupernetRun, loss: torch.Tensor) -> None:
        """One step of Adam on a loss."""
        values = list(run.parameters.values())
        step(run.arch_optimizer, values, torch.autograd.grad(loss, values))

    def derive(self, run: SupernetRun) -> list[int]:
        return run.parameters["alpha"].argmax(dim=1).tolist()


@dataclass(frozen=True)
class Gdas(Darts):
    """Gumbel noise draws one operation for each edge; the temperature falls."""

    name: ClassVar[str] = "gdas"
    title: ClassVar[str] = "GDAS"
    source: ClassVar[str] = "Dong and Yang, CVPR 2019"

    epochs: int = 250
    first_temperature: float = 10.0
    last_temperature: float = 0.1

    def mixture(self, run: SupernetRun) -> Mixture:
        alpha = run.parameters["alpha"]
        exponential = torch.empty(alpha.shape).exponential_(generator=run.rng).to(alpha)
        temperature = self.first_temperature + (self.last_temperature - self.first_temperature) * run.done
        return sampled(alpha, -exponential.log(), temperature)


def sampled(alpha: torch.Tensor, gumbel: torch.Tensor, temperature: float) -> Mixture:
    """One operation for each edge, with weight 1 and the gradient of the soft choice (GDAS, equations 3 to 5), from
    `alpha` (E, O) and noise `gumbel` (E, O)."""
    soft = ((alpha.log_softmax(dim=1) + gumbel) / temperature).softmax(dim=1)
    chosen = soft.argmax(dim=1)
    hard = F.one_hot(chosen, alpha.shape[1]).to(soft)
    return Mixture(hard - soft.detach() + soft, paths=tuple(chosen.tolist()))


@dataclass(frozen=True)
class PCDarts(Darts):
    """Operations see a quarter of the channels; edges have weights too."""

    name: ClassVar[str] = "pc-darts"
    title: ClassVar[str] = "PC-DARTS"
    source: ClassVar[str] = "Xu et al., ICLR 2020"
    share: ClassVar[int] = 4
    parameter_shapes: ClassVar[dict[str, tuple[int, ...]]] = Darts.parameter_shapes | {"beta": (NUM_EDGES,)}

    warm_up: float = 0.3  # in this share of the epochs only the weights learn, 15 of 50

    def mixture(self, run: SupernetRun) -> Mixture:
        edges = edge_weights(run.parameters["beta"])
        return Mixture(run.parameters["alpha"].softmax(dim=1), edges)

    def architecture_step(self, run: SupernetRun, train: Batch, valid: Batch) -> None:
        if run.done >= self.warm_up:
            super().architecture_step(run, train, valid)


def edge_weights(beta: torch.Tensor) -> torch.Tensor:
    """Edges' weights (E,): a softmax of `beta` (E,) over the edges to each node (PC-DARTS, equation 2)."""
    targets = torch.tensor([target for target, _ in CELL_EDGES], device=beta.device)
    return torch.cat([beta[targets == node].softmax(dim=0) for node in (1, 2, 3)])  # edges are in the order of nodes
