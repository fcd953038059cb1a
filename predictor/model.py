"""The meta-performance predictor (MetaD2A section 3.2).

Dimensions: B pairs of dataset and graph, C classes, S images per class, D feature width, H hidden, Z latent,
N vertices, T vertex types.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn

from metad2a.core.published_weights import PublishedModel
from metad2a.core.schema import Size
from metad2a.graphs.batch import GraphBatch
from metad2a.graphs.encoder import GraphEncoder
from set_encoder.config import ModelConfig
from set_encoder.encoder import DatasetEncoder, Sets, class_counts

PUBLISHED_NAMES = {
    "dataset_encoder.": "",
    "graph_encoder.forward_pass.gru.": "grue_forward.",
    "graph_encoder.forward_pass.message.gate.": "gate_forward.0.",
    "graph_encoder.forward_pass.message.mapper.": "mapper_forward.0.",
    "graph_encoder.backward_pass.gru.": "grue_backward.",
    "graph_encoder.backward_pass.message.gate.": "gate_backward.0.",
    "graph_encoder.backward_pass.message.mapper.": "mapper_backward.0.",
    "graph_encoder.unify.": "hg_unify.0.",
    "graph_vector.": "fc1.",
    "score.": "pred_fc.",
}
PUBLISHED_UNUSED = ("fc2.", "hv_unify.", "set_fc.")


@dataclass(frozen=True)
class PredictorConfig(ModelConfig):
    """Sizes of a predictor (published: hs 512, nz 56) and its extensions."""

    members: Size = 1  # predictors in an ensemble
    class_count: bool = False  # the set vector encodes the number of classes, which attention pooling cannot see
    additive: bool = False  # the score is a blend with an `AdditiveScore`


class AdditiveScore(nn.Module):
    """A linear score of vertices, for search spaces such as MobileNetV3 in which accuracies nearly add up.

    score = constant + the sum over vertices of weight[vertex, type] (N, T). A regression sets it, not gradients.
    `share` is its weight in the predictor's score; the network has the rest.
    """

    def __init__(self, max_n: int, num_vertex_type: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(max_n, num_vertex_type), requires_grad=False)
        self.constant = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.share = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, types: torch.Tensor) -> torch.Tensor:
        """Scores (B,) of graphs with vertex types (B, N)."""
        return self.weight[torch.arange(len(self.weight), device=types.device), types].sum(1) + self.constant


class PredictorModel(PublishedModel):
    """score = Linear(tanh(Linear([set vector; graph vector]))) (MetaD2A section 3.2).

    With `config.additive`, a graph vector has Z + 1 numbers; the last number is the additive score, which evaluation
    mode blends into the score.
    """

    published_names, published_unused = PUBLISHED_NAMES, PUBLISHED_UNUSED
    costly = ("encode_set", "encode_graph")  # where a training step spends its time

    def __init__(self, config: PredictorConfig):
        super().__init__()
        self.config = config
        self.dataset_encoder = DatasetEncoder(config.feature_dim, config.nz)
        self.graph_encoder = GraphEncoder(config.max_n, config.num_vertex_type, config.hs)
        self.graph_vector = nn.Linear(config.hs, config.nz)
        self.score: Any = nn.Sequential(nn.Linear(2 * config.nz, config.hs), nn.Tanh(), nn.Linear(config.hs, 1))
        self.class_count = nn.Linear(1, config.nz) if config.class_count else None
        self.additive = AdditiveScore(config.max_n, config.num_vertex_type) if config.additive else None

    @property
    def graph_width(self) -> int:
        """Length of a graph vector."""
        return self.config.nz + self.config.additive

    def encode_set(self, x: Sets) -> torch.Tensor:
        """Encode draws `x`, for example (B, C, S, D), to set vectors (B, Z)."""
        set_vec = self.dataset_encoder(x)
        if self.class_count is None:
            return set_vec
        return set_vec + self.class_count(class_counts(x).to(set_vec).log()[:, None])

    def encode_graph(self, graphs: GraphBatch, share_states: bool = False) -> torch.Tensor:
        """Encode graphs to graph vectors (B, `graph_width`); `share_states` as in `GraphEncoder.forward`."""
        graph_vec = self.graph_vector(self.graph_encoder(graphs, share_states))  # (B, Z)
        return graph_vec if self.additive is None else torch.cat([graph_vec, self.additive(graphs.types)[:, None]], 1)

    def predict(self, set_vec: torch.Tensor, graph_vec: torch.Tensor) -> torch.Tensor:
        """Scores (B,) of pairs: set vectors (B, Z) and graph vectors (B, `graph_width`)."""
        network = self.score(torch.cat([set_vec, graph_vec[:, : self.config.nz]], dim=-1)).squeeze(-1)  # (B,)
        return self._blended(network, graph_vec)

    def predict_all(self, set_vec: torch.Tensor, graph_vec: torch.Tensor) -> torch.Tensor:
        """Scores (R, B) of every pair of R set vectors (R, Z) and B graph vectors (B, `graph_width`).

        Equal to `predict` on every pair. The first layer is linear, so each of its two halves is computed once.
        """
        first = self.score[0]
        set_half, graph_half = first.weight.split(self.config.nz, dim=1)  # (H, Z) each
        from_set = nn.functional.linear(set_vec, set_half, first.bias)  # (R, H)
        from_graph = nn.functional.linear(graph_vec[:, : self.config.nz], graph_half)  # (B, H)
        network = torch.stack([self.score[1:](row + from_graph).squeeze(-1) for row in from_set])  # (R, B)
        return self._blended(network, graph_vec)

    def _blended(self, network: torch.Tensor, graph_vec: torch.Tensor) -> torch.Tensor:
        """The network's scores (..., B); in evaluation mode blended with the additive scores."""
        if self.additive is None or self.training:
            return network
        return torch.lerp(network, graph_vec[:, -1].expand_as(network), self.additive.share)
