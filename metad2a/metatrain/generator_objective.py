"""Meta-training of the generator (MetaD2A sections 3.1 and 4.1).

Dimensions: B tuples, Z latent.
"""

import torch

from generator.model import GeneratorModel
from metad2a.core.environment import random_generator
from metad2a.graphs.batch import GraphBatch
from metad2a.metatrain.draws import Batch, TaskDraws
from metad2a.metatrain.fit import Objective
from metad2a.metatrain.tuples import Tuples
from metad2a.spaces.base import SearchSpace


class GeneratorObjective(Objective):
    """Negative evidence lower bound of the tuples' graphs. Validation also decodes one graph per tuple."""

    def __init__(
        self, model: GeneratorModel, draws: TaskDraws, tuples: Tuples, graphs: GraphBatch, space: SearchSpace, seed: int
    ):
        super().__init__(model, draws, tuples, graphs, seed)
        self.space, self.seed = space, seed
        self.training_archs = {space.to_text(tuples.archs[i]) for i in tuples.training.tolist()}

    def _posterior(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the latent, (B, Z) each."""
        mu, logvar = self.model.set_encode(self.draws.images(batch.image_rows))
        return mu[batch.position], logvar[batch.position]

    def loss(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        batch = self.draws.batch(rows, rng)
        return self.model.loss(*self._posterior(batch), self.graphs[batch.rows], rng)[0]

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        self.model.eval()
        rng = random_generator(self.seed, self.draws.device)
        loss, decoded = 0.0, []
        for batch in self.validation_batches:
            mu, logvar = self._posterior(batch)
            loss += self.model.loss(mu, logvar, self.graphs[batch.rows])[0].item()
            decoded += self.space.decode(self.model.decode(mu, stochastic=True, rng=rng))
        valid = [self.space.to_text(arch) for arch in decoded if arch is not None]
        distinct = set(valid)
        return {
            "validation_loss": loss / len(decoded),
            "valid": len(valid) / len(decoded),
            "distinct": len(distinct) / max(len(valid), 1),
            "novel": len(distinct - self.training_archs) / max(len(distinct), 1),
        }
