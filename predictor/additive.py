"""A regression on the vertices of a graph, a member of predictors where accuracies nearly add up: of MobileNetV3's.

Dimensions: B graphs, N vertices, T vertex types.
"""

import torch
import torch.nn as nn


class AdditiveScore(nn.Module):
    """score = constant + the sum over vertices of a weight of their number and type. It has no gradient.

    Attributes:
        weight: (N, T).
        constant: ().
        share: (), of it in the score of a predictor that has been trained; the network's is the rest.
    """

    def __init__(self, max_n: int, num_vertex_type: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(max_n, num_vertex_type), requires_grad=False)
        self.constant = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.share = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, types: torch.Tensor) -> torch.Tensor:
        """Scores (B,) of graphs of vertex types (B, N)."""
        return self.weight[torch.arange(len(self.weight), device=types.device), types].sum(1) + self.constant
