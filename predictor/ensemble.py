"""Several predictors as one.

Dimensions: M members; B, Z, R as in `predictor.model`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn as nn

from metad2a.core.published_weights import PublishedModel
from metad2a.graphs.batch import GraphBatch
from predictor.model import PredictorConfig, PredictorModel
from set_encoder.encoder import Sets


class PredictorEnsemble(PublishedModel):
    """Predictors with one configuration; the score is the mean of their scores.

    The methods are those of `PredictorModel`. Set vectors and graph vectors of the members lie side by side,
    (..., M * Z) and (..., M * `graph_width`).
    """

    def __init__(self, config: PredictorConfig):
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(PredictorModel(replace(config, members=1)) for _ in range(config.members))

    def encode_set(self, x: Sets) -> torch.Tensor:
        return torch.cat([member.encode_set(x) for member in self.members], dim=-1)

    def encode_graph(self, graphs: GraphBatch, share_states: bool = False) -> torch.Tensor:
        return torch.cat([member.encode_graph(graphs, share_states) for member in self.members], dim=-1)

    def predict(self, set_vec: torch.Tensor, graph_vec: torch.Tensor) -> torch.Tensor:
        return torch.stack([m.predict(s, g) for m, s, g in self._parts(set_vec, graph_vec)]).mean(dim=0)

    def predict_all(self, set_vec: torch.Tensor, graph_vec: torch.Tensor) -> torch.Tensor:
        return torch.stack([m.predict_all(s, g) for m, s, g in self._parts(set_vec, graph_vec)]).mean(dim=0)

    def _parts(self, sets: torch.Tensor, graphs: torch.Tensor) -> Iterator[tuple[Any, torch.Tensor, torch.Tensor]]:
        """Each member with its set vectors and its graph vectors."""
        nz, width = self.config.nz, self.members[0].graph_width
        return zip(self.members, sets.split(nz, dim=-1), graphs.split(width, dim=-1), strict=True)


Predictor = PredictorModel | PredictorEnsemble


def build_predictor(config: PredictorConfig) -> Predictor:
    return PredictorModel(config) if config.members == 1 else PredictorEnsemble(config)
