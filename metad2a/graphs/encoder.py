"""Graph encoder: asynchronous message passing in both directions (D-VAE section 3.2).

Dimensions: B graphs, N vertices, T vertex types, H hidden width, K distinct states of a vertex, 2 passes.
"""

import torch
import torch.nn as nn

from metad2a.graphs.batch import GraphBatch
from metad2a.graphs.propagation import GatedMessage, TypedGRUCell, message, propagate


class Direction(nn.Module):
    """Parameters of one pass over the vertices, forward or backward.

    The backward pass is a forward pass over flipped graphs: the methods count vertices in the order of the visit.
    """

    def __init__(self, max_n: int, num_vertex_type: int, hs: int, flip: bool):
        super().__init__()
        self.flip = flip
        self.gru = TypedGRUCell(num_vertex_type, hs)
        self.message = GatedMessage(hs, max_n)

    def visited(self, graphs: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Types (B, N) and edges (B, N, N)."""
        if self.flip:
            return graphs.types.flip(1), graphs.adj.transpose(1, 2).flip(1, 2)
        return graphs.types, graphs.adj

    def stacked_weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`GatedMessage.stacked_weights` by order of the visit."""
        weight, bias = self.message.stacked_weights()
        return weight, bias.flip(0) if self.flip else bias

    def last_state_shared(self, graphs: GraphBatch) -> torch.Tensor:
        """State (B, H) of the vertex visited last, each distinct state computed once.

        A vertex's state depends only on its type and its predecessors' states, so graphs that agree so far share it.
        With a search space enumerated this saves about three quarters of the work. Without gradients.
        """
        types, adj = self.visited(graphs)
        weight, bias = self.stacked_weights()
        state_id = torch.zeros_like(types)  # (B, N): which distinct state each vertex has
        messages: list[torch.Tensor] = []  # of each vertex, (K, H)
        for v in range(graphs.max_n):
            senders = [u for u in range(v) if bool(adj[:, u, v].any())]
            key = types[:, v]
            for u in senders:  # pair keys one by one, so that they stay small and exact
                incoming = torch.where(adj[:, u, v], state_id[:, u] + 1, 0)
                key = torch.unique(key * (len(messages[u]) + 1) + incoming, return_inverse=True)[1]
            _, state_id[:, v] = torch.unique(key, return_inverse=True)
            num_states = int(state_id[:, v].max()) + 1
            numbers = torch.arange(len(key), device=key.device)
            example = torch.zeros(num_states, dtype=torch.long, device=key.device)
            example.scatter_(0, state_id[:, v], numbers)  # a graph that has the state
            gates = self.gru.type_gates(types[example, v])  # (K, 3H)
            incoming = gates.new_zeros(num_states, self.gru.hidden_size)
            for u in senders:
                incoming += adj[example, u, v, None] * messages[u][state_id[example, u]]
            state = self.gru(gates, incoming)  # (K, H)
            messages.append(message(state, weight, bias[v]))
        return state[state_id[:, -1]]


class GraphEncoder(nn.Module):
    """Graph state = Linear([forward state of the last vertex; backward state of vertex 0])."""

    def __init__(self, max_n: int, num_vertex_type: int, hs: int):
        super().__init__()
        self.max_n = max_n
        self.forward_pass = Direction(max_n, num_vertex_type, hs, flip=False)
        self.backward_pass = Direction(max_n, num_vertex_type, hs, flip=True)
        self.unify = nn.Linear(2 * hs, hs)

    def forward(self, graphs: GraphBatch, share_states: bool = False) -> torch.Tensor:
        """Encode graphs to (B, H).

        Args:
            share_states: compute states that several graphs have in common once. Exact, without gradients; pays
                when many graphs are encoded at a time. The host has to know how many there are: for a CPU.
        """
        if share_states and bool((graphs.num_vertices == self.max_n).all()):
            last, first = (d.last_state_shared(graphs) for d in (self.forward_pass, self.backward_pass))
        else:
            states = self._states(graphs)
            last = states[graphs.num_vertices - 1, 0, torch.arange(len(graphs), device=graphs.types.device)]
            first = states[-1, 1]
        return self.unify(torch.cat([last, first], dim=-1))  # (B, H)

    def _states(self, graphs: GraphBatch) -> torch.Tensor:
        """States (N, 2, B, H) by order of the visit, both passes together."""
        passes = (self.forward_pass, self.backward_pass)
        types, adj = (torch.stack(t) for t in zip(*(p.visited(graphs) for p in passes), strict=True))
        gates = torch.stack([p.gru.type_gates(t) for p, t in zip(passes, types, strict=True)])  # (2, B, N, 3H)
        hidden = (torch.stack([p.gru.weight_hh for p in passes]), torch.stack([p.gru.bias_hh for p in passes]))
        weights, biases = zip(*(p.stacked_weights() for p in passes), strict=True)
        return propagate(gates, adj, None, hidden, (torch.stack(weights), torch.stack(biases)))[0]
