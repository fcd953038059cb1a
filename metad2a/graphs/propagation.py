"""GRU, messages and propagation of encoder and decoder (D-VAE, Zhang et al., NeurIPS 2019, section 3).

Dimensions: B graphs, N vertices, T vertex types, H hidden width, P passes.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class TypedGRUCell(nn.GRUCell):
    """A GRU cell whose input is a one-hot vertex type, so that the input product is a table look-up."""

    def type_gates(self, types: torch.Tensor) -> torch.Tensor:
        """Input part of the gates for `types` (...); returns (..., 3H)."""
        return F.embedding(types, self.weight_ih.T) + self.bias_ih

    def forward(self, gates: torch.Tensor, h: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """One step from input gates (..., 3H) and a state (..., H); returns the new state (..., H)."""
        reset_i, update_i, new_i = gates.chunk(3, dim=-1)
        reset_h, update_h, new_h = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
        reset, update = torch.sigmoid(reset_i + reset_h), torch.sigmoid(update_i + update_h)
        new = torch.tanh(new_i + reset * new_h)
        return new + update * (h - new)


class GatedMessage(nn.Module):
    """m(u) = sigmoid(W_g [h_u; e_u] + b_g) * (W_m [h_u; e_u]); e_u is the one-hot number of vertex u."""

    def __init__(self, hs: int, max_n: int):
        super().__init__()
        self.hs = hs
        self.gate = nn.Linear(hs + max_n, hs)
        self.mapper = nn.Linear(hs + max_n, hs, bias=False)

    def stacked_weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Stack gate and mapper for one product: weights (2H, H) of states, and biases (N, 2H) of vertices."""
        columns = torch.cat([self.gate.weight, self.mapper.weight])  # (2H, H + N)
        return columns[:, : self.hs].contiguous(), columns[:, self.hs :].T + F.pad(self.gate.bias, (0, self.hs))


def message(state: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Messages (B, H) of one vertex from its states (B, H), stacked weights (2H, H) and the vertex's bias (2H,)."""
    gate, mapped = F.linear(state, weight, bias).chunk(2, dim=-1)  # (B, 2H) to (B, H) each
    return torch.sigmoid(gate) * mapped


Pair = tuple[torch.Tensor, torch.Tensor]


def propagate(gates: torch.Tensor, adj: torch.Tensor, init: torch.Tensor | None, hidden: Pair, stacked: Pair) -> Pair:
    """Compute states and messages of all vertices of known graphs: h_v = GRU(type v, sum of its incoming messages).

    P passes, each with its own weights, share the batched products. Vertices are in the order of the visit.

    Args:
        gates: (P, B, N, 3H), input part of the GRU's gates.
        adj: (P, B, N, N) bool, `adj[p, b, u, v]` is True if vertex u sends to v; u < v.
        init: (P, B, H), the state before the first vertex; None for zero.
        hidden: weights (P, 3H, H) and bias (P, 3H) of the GRU's hidden part.
        stacked: weights (P, 2H, H) and bias (P, N, 2H) of the messages.

    Returns:
        States (N, P, B, H) and messages (N, P, B, H); the last vertex sends no message, its entry is zero.
    """
    return _Propagate.apply(gates, adj.to(gates.dtype), init, *hidden, *stacked)


class _Propagate(torch.autograd.Function):
    """The loop of `propagate` with a hand-written gradient; the tests compare it with autograd on the plain loop.

    Autograd would add up N small products for each weight's gradient and keep every intermediate result. Here one
    product covers all N steps, and each step writes into tensors that are allocated once. On a CPU this takes a fifth
    of the time for the generator's width (H = 56).
    """

    @staticmethod
    def forward(ctx, gates, adj, init, weight_h, bias_h, weight_m, bias_m):
        P, B, N, _ = gates.shape
        H = weight_h.shape[2]
        adj = adj.permute(2, 3, 0, 1).unsqueeze(-1)  # (N, N, P, B, 1)
        # On a CPU the products below are twice as fast with transposed copies
        across_h, across_m = weight_h.transpose(1, 2).contiguous(), weight_m.transpose(1, 2).contiguous()
        incoming, states, messages, new_hidden, new, gate, mapped = (gates.new_empty(N, P, B, H) for _ in range(7))
        reset_update = gates.new_empty(N, P, B, 2 * H)
        for v in range(N):
            if v == 0:
                incoming[0] = 0 if init is None else init
            else:
                torch.sum(adj[:v, v] * messages[:v], dim=0, out=incoming[v])
            if v == 0 and init is None:
                hidden = bias_h[:, None].expand(P, B, -1)
            else:
                hidden = torch.baddbmm(bias_h[:, None], incoming[v], across_h)  # (P, B, 3H)
            new_hidden[v] = hidden[..., 2 * H :]
            torch.sigmoid(gates[:, :, v, : 2 * H] + hidden[..., : 2 * H], out=reset_update[v])
            reset, update = reset_update[v].chunk(2, dim=-1)
            torch.tanh(torch.addcmul(gates[:, :, v, 2 * H :], reset, new_hidden[v]), out=new[v])
            torch.lerp(new[v], incoming[v], update, out=states[v])
            if v == N - 1:  # the last vertex sends no message
                gate[v], mapped[v], messages[v] = 0, 0, 0
                break
            product = torch.baddbmm(bias_m[:, v, None], states[v], across_m)  # (P, B, 2H)
            torch.sigmoid(product[..., :H], out=gate[v])
            mapped[v] = product[..., H:]
            torch.mul(gate[v], mapped[v], out=messages[v])
        ctx.has_init = init is not None
        ctx.save_for_backward(adj, weight_h, weight_m, incoming, states, new_hidden, reset_update, new, gate, mapped)
        return states, messages

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_states, grad_messages):
        adj, weight_h, weight_m, incoming, states, new_hidden, reset_update, new, gate, mapped = ctx.saved_tensors
        N, P, B, H = states.shape
        grad_messages = grad_messages.clone()  # later vertices add their gradients
        grad_init = None
        grad_gates, grad_hidden = states.new_empty(P, B, N, 3 * H), states.new_empty(P, N, B, 3 * H)
        grad_product = states.new_empty(P, N, B, 2 * H)
        for v in range(N - 1, -1, -1):
            reset, update = reset_update[v].chunk(2, dim=-1)
            if v == N - 1:
                grad_product[:, v], grad_state = 0, grad_states[v]
            else:
                grad_mapped = grad_messages[v] * gate[v]
                grad_product[:, v] = torch.cat([grad_mapped * (1 - gate[v]) * mapped[v], grad_mapped], dim=-1)
                grad_state = torch.baddbmm(grad_states[v], grad_product[:, v], weight_m)
            grad_update = grad_state * (incoming[v] - new[v]) * update * (1 - update)
            grad_new = grad_state * (1 - update) * (1 - new[v].square())  # before tanh
            grad_reset = grad_new * new_hidden[v] * reset * (1 - reset)
            grad_gates[:, :, v] = torch.cat([grad_reset, grad_update, grad_new], dim=-1)
            grad_hidden[:, v] = torch.cat([grad_reset, grad_update, grad_new * reset], dim=-1)
            if v > 0 or ctx.has_init:
                grad_incoming = torch.baddbmm(grad_state * update, grad_hidden[:, v], weight_h)
            if v > 0:
                grad_messages[:v].addcmul_(adj[:v, v], grad_incoming)
            elif ctx.has_init:
                grad_init = grad_incoming
        flat_hidden, flat_product = grad_hidden.flatten(1, 2), grad_product.flatten(1, 2)  # (P, N * B, ...)
        by_pass = (t.transpose(0, 1).flatten(1, 2) for t in (incoming, states))
        grad_weight_h, grad_weight_m = (
            torch.bmm(grad.transpose(1, 2), t) for grad, t in zip((flat_hidden, flat_product), by_pass, strict=True)
        )
        return (grad_gates, None, grad_init, grad_weight_h, flat_hidden.sum(1), grad_weight_m, grad_product.sum(2))
