"""Set Transformer blocks with the paper's names (Lee et al., ICML 2019, section 3; MetaD2A section 3.1).

Dimensions: B sets, n elements of a set, m queries, d width, h heads.

Three details follow the published model and differ from the Set Transformer: attention is scaled by the full width d
instead of the width of a head, there is no layer norm, and the residual is the projected query.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

NUM_HEADS = 4


def mask_scores(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Give absent elements the attention score minus infinity, hence no weight."""
    return scores if mask is None else scores.masked_fill(~mask, -math.inf)


class MAB(nn.Module):
    """Multihead attention block: O = q + softmax(q k^T / sqrt(d)) v per head, then O + relu(fc_o(O)).

    The inputs have widths `dim_q` (queries) and `dim_k` (keys and values); d is a multiple of the number of heads.
    """

    def __init__(self, dim_q: int, dim_k: int, d: int):
        super().__init__()
        self.d = d
        self.fc_q = nn.Linear(dim_q, d)
        self.fc_k = nn.Linear(dim_k, d)
        self.fc_v = nn.Linear(dim_k, d)
        self.fc_o = nn.Linear(d, d)

    def forward(self, q_in: torch.Tensor, k_in: torch.Tensor) -> torch.Tensor:
        """Attend from `q_in` (B, m, dim_q) to `k_in` (B, n, dim_k); returns (B, m, d)."""
        (q,), (k,), (v,) = (self._heads(x) for x in (self.fc_q(q_in), self.fc_k(k_in), self.fc_v(k_in)))
        return self._attend(q, k, v)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Project `x` (..., dim) in one product to query, key and value for self-attention; returns (..., 3d)."""
        layers = self.fc_q, self.fc_k, self.fc_v
        weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
        return F.linear(x, weight, bias)

    def self_attend(self, qkv: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend from a set to itself, given its projection (B, n, 3d) and the `mask` (B, n) of present elements."""
        q, k, v = self._heads(qkv)
        return self._attend(q, k, v, mask)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """Split t projections (B, n, t * d) into heads (t, B, h, n, d/h) in one copy."""
        B, n, width = x.shape
        split = x.view(B, n, width // self.d, NUM_HEADS, self.d // NUM_HEADS)
        return split.permute(2, 0, 3, 1, 4).contiguous()

    def _attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attend from q (B, h, m, d/h) to k, v (B, h, n, d/h) and apply the output layer; returns (B, m, d).

        Plain batched products train faster on these small sets than the fused attention kernels.
        """
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.d)  # (B, h, m, n)
        weights = mask_scores(scores, None if mask is None else mask[:, None, None]).softmax(dim=-1)
        out = (q + weights @ v).transpose(1, 2).flatten(2)  # (B, m, d)
        return out + F.relu(self.fc_o(out))


class SAB(nn.Module):
    """Self-attention block: MAB(X, X)."""

    def __init__(self, dim_in: int, d: int):
        super().__init__()
        self.mab = MAB(dim_in, dim_in, d)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, n, dim_in) -> (B, n, d); `mask` (B, n) as in `MAB.self_attend`."""
        return self.mab.self_attend(self.mab.project(x), mask)


class PMA(nn.Module):
    """Pooling by multihead attention with one learned seed: MAB(S, X)."""

    def __init__(self, d: int):
        super().__init__()
        self.S = nn.Parameter(torch.empty(1, 1, d))
        nn.init.xavier_uniform_(self.S)
        self.mab = MAB(d, d, d)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, n, d) -> (B, 1, d); `mask` (B, n) as in `MAB.self_attend`.

        Equal to `self.mab(S, x)`. All sets share one query, so no element needs its own key and value:
        q.(W_k x) = (W_k^T q).x, and the weighted sum of W_v x is W_v times the weighted sum of x.
        """
        mab, heads = self.mab, (NUM_HEADS, -1)
        q = mab.fc_q(self.S).view(heads)  # (h, d/h)
        key = torch.einsum("he,hed->hd", q, mab.fc_k.weight.unflatten(0, heads))  # (h, d)
        key_bias = (q * mab.fc_k.bias.view(heads)).sum(-1)  # (h,)
        scores = F.linear(x, key, key_bias) / math.sqrt(mab.d)  # (B, n, h)
        weights = mask_scores(scores, None if mask is None else mask[..., None]).softmax(dim=1)
        pooled = weights.transpose(1, 2) @ x  # (B, h, d)
        value = torch.einsum("bhd,hed->bhe", pooled, mab.fc_v.weight.unflatten(0, heads))  # (B, h, d/h)
        out = (q + value + mab.fc_v.bias.view(heads)).flatten(1)[:, None]  # (B, 1, d)
        return out + F.relu(mab.fc_o(out))


class SetPool(nn.Module):
    """Permutation-invariant pooling of a set to one vector: SAB, SAB, PMA, Linear."""

    def __init__(self, dim_in: int, d: int):
        super().__init__()
        self.enc = nn.Sequential(SAB(dim_in, d), SAB(d, d))
        self.dec = nn.Sequential(PMA(d), nn.Linear(d, d))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, n, dim_in) -> (B, d); `mask` (B, n) as in `MAB.self_attend`."""
        return self.forward_projected(self.project(x), mask)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Project each element for the first block, whatever its set: (..., dim_in) -> (..., 3d)."""
        return self.enc[0].mab.project(x)

    def forward_projected(self, qkv: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool sets, given their elements' projections (B, n, 3d); returns (B, d)."""
        x = self.enc[1](self.enc[0].mab.self_attend(qkv, mask), mask)  # (B, n, d)
        return self.dec[1](self.dec[0](x, mask)).squeeze(1)
