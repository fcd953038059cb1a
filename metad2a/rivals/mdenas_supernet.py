"""MDENAS with shared weights, as in the paper: an epoch trains one path of a supernet."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from metad2a.rivals.mdenas import Multinomials
from metad2a.rivals.supernet import NUM_EDGES, NUM_OPERATIONS, path
from metad2a.rivals.supernet_search import SupernetMethod, SupernetRun


@dataclass(frozen=True)
class MdenasSupernet(SupernetMethod):
    """The weights of a random path learn for an epoch; its accuracy on the other half moves probability."""

    name: ClassVar[str] = "mdenas-supernet"
    title: ClassVar[str] = "MDENAS, supernet"
    source: ClassVar[str] = "Zheng et al., ICCV 2019"
    changes: ClassVar[str] = "batches of 64 and weight decay as the other supernets; 200 epochs"

    epochs: int = 200
    alpha: float = 0.01

    def prepare(self, run: SupernetRun) -> None:
        run.extra["multinomials"] = Multinomials((NUM_OPERATIONS,) * NUM_EDGES)

    def epoch(self, run: SupernetRun) -> torch.Tensor:
        multinomials = run.extra["multinomials"]
        seed = int(torch.randint(2**31, (), generator=run.rng))
        genes = multinomials.sample(np.random.default_rng(seed))
        mixture = path(genes, run.device)
        losses = [run.weight_step(batch, mixture) for batch in run.batches(run.train, self.batch)]
        multinomials.learn(genes, run.accuracy(mixture), self.alpha)
        return torch.stack(losses).mean()

    def derive(self, run: SupernetRun) -> list[int]:
        return run.extra["multinomials"].best()
