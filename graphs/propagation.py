"""The two pieces that encoder and decoder share (D-VAE, Zhang et al., NeurIPS 2019, section 3).

Dimensions: B graphs, N vertices, T vertex types, H hidden width.
"""

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F


class TypedGRUCell(nn.GRUCell):
    """A GRU cell whose input is a one-hot vertex type, so the input product is a table look-up."""

    def type_gates(self, types: torch.Tensor) -> torch.Tensor:
        """Input half of the gates for `types` (...); returns (..., 3H)."""
        return F.embedding(types, self.weight_ih.T) + self.bias_ih

    def forward(self, gates: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """One step from the gates (..., 3H) of the types and a state (..., H); returns (..., H)."""
        reset_i, update_i, new_i = gates.chunk(3, dim=-1)
        reset_h, update_h, new_h = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
        reset, update = torch.sigmoid(reset_i + reset_h), torch.sigmoid(update_i + update_h)
        new = torch.tanh(new_i + reset * new_h)
        return new + update * (h - new)


class GatedMessage(nn.Module):
    """m(u) = sigmoid(W_g [h_u; e_u] + b_g) * (W_m [h_u; e_u]), with e_u the one-hot number of vertex u."""

    def __init__(self, hs: int, max_n: int):
        super().__init__()
        self.hs = hs
        self.gate = nn.Linear(hs + max_n, hs)
        self.mapper = nn.Linear(hs + max_n, hs, bias=False)

    def prepare(self) -> Callable[[torch.Tensor, int | torch.Tensor], torch.Tensor]:
        """The message function m(h, vertex), with both weights joined once for all the steps of a pass.

        It takes states h (..., H) that belong to `vertex`, a number or a tensor (...), and returns (..., H).
        """
        columns = torch.cat([self.gate.weight, self.mapper.weight])  # (2H, H + N)
        weight = columns[:, : self.hs].contiguous()
        bias = columns[:, self.hs :].T + F.pad(self.gate.bias, (0, self.hs))  # (N, 2H), the one-hot half

        def message(h: torch.Tensor, vertex: int | torch.Tensor) -> torch.Tensor:
            gate, mapped = (F.linear(h, weight) + bias[vertex]).chunk(2, dim=-1)
            return torch.sigmoid(gate) * mapped

        return message
