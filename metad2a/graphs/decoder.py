"""Graph decoder: grows a graph vertex by vertex, edge by edge (D-VAE section 3.3, MetaD2A section 3.1).

Dimensions: B graphs, N vertices, T vertex types, H hidden width, Z latent, P = N(N-1)/2 vertex pairs u < v.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.graphs.batch import INPUT_TYPE, OUTPUT_TYPE, GraphBatch
from metad2a.graphs.propagation import GatedMessage, TypedGRUCell, message, propagate


class GraphDecoder(nn.Module):
    """Decodes latent vectors to graphs and measures the likelihood of given graphs."""

    source: torch.Tensor
    target: torch.Tensor

    def __init__(self, max_n: int, num_vertex_type: int, hs: int, nz: int):
        super().__init__()
        self.max_n = max_n
        self.hs = hs
        self.init_state = nn.Linear(nz, hs)
        self.gru = TypedGRUCell(num_vertex_type, hs)
        self.message = GatedMessage(hs, max_n)
        self.add_vertex = nn.Sequential(nn.Linear(hs, 2 * hs), nn.ReLU(), nn.Linear(2 * hs, num_vertex_type))
        self.add_edge: Any = nn.Sequential(nn.Linear(2 * hs, 4 * hs), nn.ReLU(), nn.Linear(4 * hs, 1))
        # On the meta device this would import PyTorch's compiler, which takes seconds
        source, target = torch.triu_indices(max_n, max_n, offset=1, device="cpu")
        self.register_buffer("source", source, persistent=False)  # (P,) u of every pair u < v
        self.register_buffer("target", target, persistent=False)  # (P,) v

    def negative_log_likelihood(self, z: torch.Tensor, graphs: GraphBatch) -> torch.Tensor:
        """-log p(graphs | z) for z (B, Z) with teacher forcing, summed over the batch (MetaD2A eq. 5, first term).

        All true states are known in advance. When edge (u, v) is decided, vertex v has received the messages of its
        predecessors above u. An exclusive reversed cumulative sum gives them for all pairs at once.
        """
        gates = self.gru.type_gates(graphs.types)  # (B, N, 3H)
        before = torch.tanh(self.init_state(z))  # (B, H), the state before vertex 0
        hidden = (self.gru.weight_hh[None], self.gru.bias_hh[None])
        weight, bias = self.message.stacked_weights()
        results = propagate(gates[None], graphs.adj[None], before[None], hidden, (weight[None], bias[None]))
        states, messages = (t[:, 0].transpose(0, 1) for t in results)  # (B, N, H) each
        return self._vertex_nll(states, graphs) + self._edge_nll(states, messages, gates, graphs)

    def _vertex_nll(self, states: torch.Tensor, graphs: GraphBatch) -> torch.Tensor:
        logits = self.add_vertex(states[:, :-1])  # (B, N - 1, T): the type of v from the state of v - 1
        target = graphs.types[:, 1:].masked_fill(~self._present(graphs)[:, 1:], -100)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100, reduction="sum")

    def _edge_nll(
        self, states: torch.Tensor, messages: torch.Tensor, gates: torch.Tensor, graphs: GraphBatch
    ) -> torch.Tensor:
        sent = graphs.adj[..., None] * messages[:, :, None]  # (B, u, v, H)
        incoming = sent.flip(1).cumsum(1).flip(1) - sent  # (B, u, v, H), the messages from above u
        partial = self.gru(gates[:, self.target], incoming[:, self.source, self.target])  # (B, P, H)
        logits = self.add_edge(torch.cat([states[:, self.source], partial], dim=-1)).squeeze(-1)  # (B, P)
        truth = graphs.adj[:, self.source, self.target].to(logits.dtype)
        present = self._present(graphs)[:, self.target].to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, truth, weight=present, reduction="sum")

    def _present(self, graphs: GraphBatch) -> torch.Tensor:
        number = torch.arange(self.max_n, device=graphs.types.device)
        return number < graphs.num_vertices[:, None]  # (B, N)

    @torch.no_grad()
    def decode(self, z: torch.Tensor, stochastic: bool, rng: torch.Generator | None = None) -> GraphBatch:
        """Decode `z` (B, Z) to B graphs: sample every decision, or take the most likely type and edges above 0.5."""
        B, N, device = len(z), self.max_n, z.device
        types = torch.zeros(B, N, dtype=torch.long, device=device)
        adj = torch.zeros(B, N, N, dtype=torch.bool, device=device)
        num_vertices = torch.full((B,), N, dtype=torch.long, device=device)
        growing = torch.ones(B, dtype=torch.bool, device=device)
        types[:, 0] = INPUT_TYPE
        h = self.gru(self.gru.type_gates(types[:, 0]), torch.tanh(self.init_state(z)))  # (B, H)
        weight, bias = self.message.stacked_weights()
        messages = [message(h, weight, bias[0])]
        source_half, target_half = self.add_edge[0].weight.split(self.hs, dim=1)  # (4H, H) each
        sources = [F.linear(h, source_half, self.add_edge[0].bias)]  # (B, 4H), the part of u in Linear([h_u; h_v])
        for v in range(1, N):
            new_type = self._choose_type(h, v, stochastic, rng)  # (B,)
            types[:, v] = torch.where(growing, new_type, INPUT_TYPE)
            ends = growing & (new_type == OUTPUT_TYPE)
            adj[:, :v, v] = ends[:, None] & ~adj[:, :v, :v].any(dim=2)  # from every vertex without a successor
            num_vertices = torch.where(ends, v + 1, num_vertices)
            growing = growing & ~ends
            if v == N - 1:
                break
            gates = self.gru.type_gates(types[:, v])  # (B, 3H)
            incoming = z.new_zeros(B, self.hs)
            h = self.gru(gates, incoming)
            draws = torch.rand(v, B, generator=rng, device=device) if stochastic else z.new_full((v, B), 0.5)
            for u in range(v - 1, -1, -1):
                hidden = F.relu(sources[u] + F.linear(h, target_half))  # (B, 4H)
                edge = (self.add_edge[2](hidden).squeeze(-1).sigmoid() > draws[u]) & growing
                adj[:, u, v] |= edge
                incoming = incoming + edge[:, None] * messages[u]
                h = self.gru(gates, incoming)
            messages.append(message(h, weight, bias[v]))
            sources.append(F.linear(h, source_half, self.add_edge[0].bias))
        return GraphBatch(types, adj, num_vertices)

    def _choose_type(self, h: torch.Tensor, v: int, stochastic: bool, rng: torch.Generator | None) -> torch.Tensor:
        """Type of vertex v from the state `h` (B, H) of the last vertex; the output at v = N - 1."""
        if v == self.max_n - 1:
            return torch.full((len(h),), OUTPUT_TYPE, device=h.device)
        logits = self.add_vertex(h)  # (B, T)
        if stochastic:
            return torch.multinomial(logits.softmax(-1), 1, generator=rng).squeeze(1)
        return logits.argmax(-1)
