"""Graph encoder: asynchronous message passing in both directions (D-VAE section 3.2).

Dimensions: B graphs, N vertices, T vertex types, H hidden width, K distinct states of a vertex.
"""

import torch
import torch.nn as nn

from graphs.batch import GraphBatch
from graphs.propagation import GatedMessage, TypedGRUCell


class Direction(nn.Module):
    """One pass over the vertices: h_v = GRU(type v, sum of the messages of its neighbours before it)."""

    def __init__(self, max_n: int, num_vertex_type: int, hs: int):
        super().__init__()
        self.gru = TypedGRUCell(num_vertex_type, hs)
        self.message = GatedMessage(hs, max_n)

    def forward(self, types: torch.Tensor, adj: torch.Tensor, order: list[int]) -> torch.Tensor:
        """States of all vertices, computed in `order`.

        Args:
            types: (B, N) long.
            adj: (B, N, N) bool, `adj[b, u, v]` says that v receives u's message.

        Returns:
            (B, N, H), by vertex number.
        """
        gates = self.gru.type_gates(types)  # (B, N, 3H)
        weights = adj.to(gates.dtype)
        message = self.message.prepare()
        states, messages = {}, []  # messages: in `order`, each (B, H)
        for step, v in enumerate(order):
            if step == 0:
                incoming = gates.new_zeros(len(types), self.gru.hidden_size)
            else:
                incoming = torch.einsum("bu,ubh->bh", weights[:, order[:step], v], torch.stack(messages))
            states[v] = self.gru(gates[:, v], incoming)  # (B, H)
            if step < len(order) - 1:
                messages.append(message(states[v], v))
        return torch.stack([states[v] for v in range(len(order))], dim=1)

    def last_state_shared(self, types: torch.Tensor, adj: torch.Tensor, order: list[int]) -> torch.Tensor:
        """State of the last vertex in `order`, each distinct state computed once.

        A vertex's state depends only on its type and on the states it hears from, so graphs that agree so
        far share it. With an architecture space enumerated this saves about three quarters of the work.
        Equal to `forward(...)[:, order[-1]]`. For graphs that have all N vertices, without gradients.

        Returns:
            (B, H).
        """
        state_id = torch.zeros_like(types)  # (B, N): which distinct state each vertex has
        messages: dict[int, torch.Tensor] = {}  # vertex -> (K, H)
        message = self.message.prepare()
        state = None
        for step, v in enumerate(order):
            before = [u for u in order[:step] if bool(adj[:, u, v].any())]
            key = types[:, v]
            for u in before:  # pair keys one by one, so that they stay small and exact
                heard = torch.where(adj[:, u, v], state_id[:, u] + 1, 0)
                key = torch.unique(key * (len(messages[u]) + 1) + heard, return_inverse=True)[1]
            _, inverse = torch.unique(key, return_inverse=True)
            state_id[:, v] = inverse
            num_states = int(inverse.max()) + 1
            numbers = torch.arange(len(key), device=key.device)
            example = torch.zeros(num_states, dtype=torch.long, device=key.device).scatter_(0, inverse, numbers)
            gates = self.gru.type_gates(types[example, v])  # (K, 3H)
            incoming = gates.new_zeros(num_states, self.gru.hidden_size)
            for u in before:
                incoming += adj[example, u, v, None] * messages[u][state_id[example, u]]
            state = self.gru(gates, incoming)  # (K, H)
            if step < len(order) - 1:
                messages[v] = message(state, v)
        return state[state_id[:, order[-1]]]


class GraphEncoder(nn.Module):
    """Graph state = Linear([forward state of the last vertex; backward state of vertex 0])."""

    def __init__(self, max_n: int, num_vertex_type: int, hs: int):
        super().__init__()
        self.max_n = max_n
        self.forward_pass = Direction(max_n, num_vertex_type, hs)
        self.backward_pass = Direction(max_n, num_vertex_type, hs)
        self.unify = nn.Linear(2 * hs, hs)

    def forward(self, graphs: GraphBatch, share_states: bool = False) -> torch.Tensor:
        """Encode graphs to (B, H).

        Args:
            share_states: compute states that several graphs have in common once. Exact, without gradients;
                pays when many graphs are encoded at a time.
        """
        up, down = list(range(self.max_n)), list(range(self.max_n - 1, -1, -1))
        adj, adj_back = graphs.adj, graphs.adj.transpose(1, 2)
        if share_states and bool((graphs.num_vertices == self.max_n).all()):
            last = self.forward_pass.last_state_shared(graphs.types, adj, up)
            first = self.backward_pass.last_state_shared(graphs.types, adj_back, down)
        else:
            rows = torch.arange(len(graphs), device=graphs.types.device)
            last = self.forward_pass(graphs.types, adj, up)[rows, graphs.num_vertices - 1]
            first = self.backward_pass(graphs.types, adj_back, down)[:, 0]
        return self.unify(torch.cat([last, first], dim=-1))  # (B, H)
