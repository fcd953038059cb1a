"""A linear score of vertices, for search spaces such as MobileNetV3 in which accuracies nearly add up.

Dimensions: B graphs, N vertices, T vertex types.
"""

import torch
import torch.nn as nn


class AdditiveScore(nn.Module):
    """score = constant + the sum over vertices of weight[vertex, type] (N, T). A regression sets it, not gradients.

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
