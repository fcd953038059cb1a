"""Graph encoder: asynchronous message passing in both directions (D-VAE section 3.2).

Dimensions: B graphs, N vertices, T vertex types, H hidden width, K distinct states of one vertex.
"""

import torch
import torch.nn as nn

from metad2a.graphs.batch import GraphBatch
from metad2a.graphs.propagation import GatedMessage, TypedGRUCell, message, propagate


class Direction(nn.Module):
    """One pass over the vertices, forward or backward.

    The backward pass is a forward pass over flipped graphs; the methods number vertices in the order of the visit.
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
        """`GatedMessage.stacked_weights` in the order of the visit."""
        weight, bias = self.message.stacked_weights()
        return weight, bias.flip(0) if self.flip else bias

    def last_state_shared(self, graphs: GraphBatch) -> torch.Tensor:
        """State (B, H) of the last vertex, computing equal states of different graphs only once. No gradients.

        A state depends only on the vertex type and the predecessors' states, so graphs that agree so far share it. This
        saves about three quarters of the work for a whole search space.
        """
        types, adj = self.visited(graphs)
        weight, bias = self.stacked_weights()
        state_id = torch.zeros_like(types)  # (B, N), numbers of the distinct states
        messages: list[torch.Tensor] = []  # (K, H) for each vertex
        for v in range(graphs.max_n):
            senders = [u for u in range(v) if bool(adj[:, u, v].any())]
            key = types[:, v]
            for u in senders:  # combine two keys at a time, so that the integers stay small
                incoming = torch.where(adj[:, u, v], state_id[:, u] + 1, 0)
                key = torch.unique(key * (len(messages[u]) + 1) + incoming, return_inverse=True)[1]
            _, state_id[:, v] = torch.unique(key, return_inverse=True)
            num_states = int(state_id[:, v].max()) + 1
            example = torch.zeros(num_states, dtype=torch.long, device=key.device)  # (K,), a graph with each state
            example.scatter_(0, state_id[:, v], torch.arange(len(key), device=key.device))
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

        `share_states` computes equal states only once, without gradients. It pays for many graphs on a CPU; a GPU would
        wait for the host, which must know the number of states.
        """
        if share_states and bool((graphs.num_vertices == self.max_n).all()):
            last, first = (d.last_state_shared(graphs) for d in (self.forward_pass, self.backward_pass))
        else:
            states = self._states(graphs)
            last = states[graphs.num_vertices - 1, 0, torch.arange(len(graphs), device=graphs.types.device)]
            first = states[-1, 1]
        return self.unify(torch.cat([last, first], dim=-1))  # (B, H)

    def _states(self, graphs: GraphBatch) -> torch.Tensor:
        """States (N, 2, B, H) in the order of the visit, both passes together."""
        passes = (self.forward_pass, self.backward_pass)
        types, adj = (torch.stack(t) for t in zip(*(p.visited(graphs) for p in passes), strict=True))
        gates = torch.stack([p.gru.type_gates(t) for p, t in zip(passes, types, strict=True)])  # (2, B, N, 3H)
        hidden = (torch.stack([p.gru.weight_hh for p in passes]), torch.stack([p.gru.bias_hh for p in passes]))
        weights, biases = zip(*(p.stacked_weights() for p in passes), strict=True)
        return propagate(gates, adj, None, hidden, (torch.stack(weights), torch.stack(biases)))[0]
