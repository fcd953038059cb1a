"""Meta-training of the predictor (MetaD2A sections 3.2 and 4.1).

Dimensions: B tuples, C classes, S images of a class, D feature width.
"""

import torch

from engine.runs import random_generator
from graphs.batch import GraphBatch
from predictor.model import PredictorModel
from tasks.draws import TaskDraws
from tasks.meta_train import Tuples

TARGET_SCALE = 100  # published: targets are z-scores over 100
VALIDATION_BATCH = 100


class PredictorObjective:
    """Summed squared error on ((accuracy - mean) / std) / 100, validated by Pearson correlation."""

    best_metric = "correlation"

    def __init__(self, model: PredictorModel, draws: TaskDraws, tuples: Tuples, graphs: GraphBatch, seed: int):
        self.model = model
        self.draws = draws
        self.graphs = graphs
        self.target = target_statistics(tuples)
        device = draws.device
        scaled = (tuples.accuracy - self.target["mean"]) / self.target["std"] / TARGET_SCALE
        self.scaled = scaled.to(device)  # (n,)
        self.training = tuples.training.to(device)
        self.validation = tuples.validation.to(device)
        # Drawn once: the best epoch must not be the luckiest draw.
        rng = random_generator(seed, device)
        self.validation_index = [draws.index(b, rng) for b in self.validation.split(VALIDATION_BATCH)]

    def loss(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        images = self.draws.images(self.draws.index(rows, rng))  # (B, C, S, D)
        return (self.scores(images, rows) - self.scaled[rows]).square().sum()

    def scores(self, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return self.model.predict(self.model.encode_set(images), self.model.encode_graph(self.graphs[rows]))

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        self.model.eval()
        batches = zip(self.validation_index, self.validation.split(VALIDATION_BATCH), strict=True)
        scores = torch.cat([self.scores(self.draws.images(index), rows) for index, rows in batches])
        truth = self.scaled[self.validation]
        return {
            "correlation": torch.corrcoef(torch.stack([scores, truth]))[0, 1].item(),
            "validation_loss": (scores - truth).square().mean().item(),
        }


def target_statistics(tuples: Tuples) -> dict[str, float]:
    """Mean and standard deviation of the training part's accuracies, in %."""
    accuracy = tuples.accuracy[tuples.training].double()
    return {"mean": accuracy.mean().item(), "std": max(accuracy.std().item(), 1e-6)}


def to_percent(scores: torch.Tensor, target: dict[str, float]) -> torch.Tensor:
    """Scores of the predictor as accuracies in %, on the scale of the meta-training database."""
    return scores * TARGET_SCALE * target["std"] + target["mean"]
