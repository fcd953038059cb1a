"""Fast forms against slow, obvious ones."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from generator.model import GeneratorConfig, GeneratorModel
from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.graphs import GraphBatch
from metad2a.graphs.propagation import propagate
from predictor.ensemble import PredictorEnsemble
from predictor.model import PredictorConfig, PredictorModel
from set_encoder.encoder import SharedImages
from set_encoder.modules import MAB, PMA, SetPool

pytestmark = pytest.mark.numeric


def random_graphs(n, max_n, num_types, rng):
    """DAGs of full size with random types and edges."""
    types = torch.randint(2, num_types, (n, max_n), generator=rng)
    types[:, 0], types[:, -1] = 0, 1
    adj = torch.triu(torch.rand(n, max_n, max_n, generator=rng) < 0.5, diagonal=1)
    return GraphBatch(types, adj, torch.full((n,), max_n))


@pytest.fixture(scope="module", params=["nasbench201", "ofa_mbv3"])
def models(request):
    torch.manual_seed(0)
    space = spaces.get(request.param)
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "feature_dim": 10}
    generator = GeneratorModel(GeneratorConfig(hs=12, nz=12, **sizes))
    return space, generator.eval(), PredictorModel(PredictorConfig(hs=16, nz=8, **sizes)).eval()


def one_hot_gru(cell, vertex_type, h):
    """torch's own GRU cell on a one-hot input."""
    x = F.one_hot(torch.tensor([vertex_type]), cell.input_size).float()
    return torch.nn.GRUCell.forward(cell, x, h)


def slow_message(module, h, vertex, max_n):
    x = torch.cat([h, F.one_hot(torch.tensor([vertex]), max_n).float()], dim=-1)
    return torch.sigmoid(module.gate(x)) * module.mapper(x)


def slow_direction(direction, types, adj, order):
    """One graph, one vertex, one edge at a time."""
    states = {}
    for v in order:
        incoming = torch.zeros(1, direction.gru.hidden_size)
        for u in states:
            if adj[u][v]:
                incoming = incoming + slow_message(direction.message, states[u], u, len(types))
        states[v] = one_hot_gru(direction.gru, types[v], incoming)
    return states[order[-1]]


def test_graph_encoder_equals_the_slow_form(models, rng):
    space, _, predictor = models
    graphs = random_graphs(5, space.max_n, space.num_vertex_type, rng)
    encoder, N = predictor.graph_encoder, space.max_n
    expected = []
    for types, adj in zip(graphs.types.tolist(), graphs.adj, strict=True):
        last = slow_direction(encoder.forward_pass, types, adj, list(range(N)))
        first = slow_direction(encoder.backward_pass, types, adj.T, list(range(N - 1, -1, -1)))
        expected.append(encoder.unify(torch.cat([last, first], dim=-1)))
    torch.testing.assert_close(encoder(graphs), torch.cat(expected), rtol=1e-5, atol=1e-6)


def test_shared_states_equal_the_plain_encoding(models, rng):
    space, _, predictor = models
    same_edges = space.encode(space.sample(200, rng))
    any_edges = random_graphs(50, space.max_n, space.num_vertex_type, rng)
    for graphs in (same_edges, any_edges, GraphBatch.cat([same_edges, any_edges, same_edges]), same_edges[:1]):
        shared = predictor.encode_graph(graphs, share_states=True)
        torch.testing.assert_close(shared, predictor.encode_graph(graphs), rtol=1e-5, atol=1e-6)


def slow_propagate(gates, adj, init, hidden, stacked):
    """`propagate` step by step, differentiated by autograd."""
    (weight_h, bias_h), (weight_m, bias_m) = hidden, stacked
    states, messages, incoming = [], [], torch.zeros_like(gates[:, :, 0, : weight_h.shape[2]]) if init is None else init
    for v in range(gates.shape[2]):
        if v > 0:
            incoming = sum(adj[:, :, u, v, None] * messages[u] for u in range(v))  # (P, B, H)
        reset_i, update_i, new_i = gates[:, :, v].chunk(3, dim=-1)  # (P, B, H) each
        reset_h, update_h, new_h = (incoming @ weight_h.mT + bias_h[:, None]).chunk(3, dim=-1)
        update = torch.sigmoid(update_i + update_h)
        new = torch.tanh(new_i + torch.sigmoid(reset_i + reset_h) * new_h)
        states.append((1 - update) * new + update * incoming)
        gate, mapped = (states[v] @ weight_m.mT + bias_m[:, v, None]).chunk(2, dim=-1)
        messages.append(torch.sigmoid(gate) * mapped)
    messages[-1] = torch.zeros_like(messages[-1])  # the last vertex sends none
    return torch.stack(states), torch.stack(messages)  # (N, P, B, H) each


@pytest.mark.parametrize("starts_at_zero", [True, False])
def test_propagation_and_its_gradient_equal_the_plain_form(rng, starts_at_zero):
    P, B, N, H = 2, 3, 5, 4

    def random(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64, requires_grad=True)

    adj = torch.triu(torch.rand(P, B, N, N, generator=rng) < 0.6, diagonal=1)
    gates, init = random(P, B, N, 3 * H), None if starts_at_zero else random(P, B, H)
    hidden, stacked = (random(P, 3 * H, H), random(P, 3 * H)), (random(P, 2 * H, H), random(P, N, 2 * H))
    inputs = [tensor for tensor in (gates, init, *hidden, *stacked) if tensor is not None]
    weights = [torch.randn(N, P, B, H, generator=rng, dtype=torch.float64) for _ in range(2)]
    results = []
    for form in (propagate, slow_propagate):
        found = form(gates, adj, init, hidden, stacked)
        gradients = torch.autograd.grad(sum((w * f).sum() for w, f in zip(weights, found, strict=True)), inputs)
        results.append([*found, *gradients])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain)


def slow_negative_log_likelihood(decoder, z, types, edges):
    """One graph, every decision in the order of the decoding, states recomputed after each."""
    N = len(types)
    h = [one_hot_gru(decoder.gru, types[0], torch.tanh(decoder.init_state(z)))]
    total = torch.zeros(())
    for v in range(1, N):
        total = total - decoder.add_vertex(h[v - 1]).log_softmax(-1)[0, types[v]]
        incoming = torch.zeros(1, decoder.hs)
        state = one_hot_gru(decoder.gru, types[v], incoming)
        for u in range(v - 1, -1, -1):
            logit = decoder.add_edge(torch.cat([h[u], state], dim=-1)).squeeze()
            edge = (u, v) in edges
            total = total - F.logsigmoid(logit if edge else -logit)
            if edge:
                incoming = incoming + slow_message(decoder.message, h[u], u, N)
            state = one_hot_gru(decoder.gru, types[v], incoming)
        h.append(state)
    return total


def test_likelihood_equals_the_step_by_step_form(models, rng):
    space, generator, _ = models
    graphs = random_graphs(3, space.max_n, space.num_vertex_type, rng)
    z = torch.randn(3, 12, generator=rng)
    expected = sum(
        slow_negative_log_likelihood(
            generator.decoder, z[b : b + 1], graphs.types[b].tolist(), set(map(tuple, graphs.adj[b].nonzero().tolist()))
        )
        for b in range(3)
    )
    torch.testing.assert_close(generator.decoder.negative_log_likelihood(z, graphs), expected, rtol=1e-5, atol=1e-5)


def test_decoding_one_by_one_equals_decoding_together(models, rng):
    _, generator, _ = models
    z = torch.randn(20, 12, generator=rng) * 3
    together = generator.decode(z, stochastic=False)
    assert GraphBatch.cat([generator.decode(row[None], stochastic=False) for row in z]).equal(together)


def test_draws_encoded_from_projected_images_equal_plain_encoding(models, rng):
    _, generator, predictor = models
    images = torch.randn(30, 10, generator=rng)
    index = torch.randint(30, (3, 4, 5), generator=rng)
    shared = SharedImages(images, index)
    torch.testing.assert_close(predictor.encode_set(shared), predictor.encode_set(images[index]))
    torch.testing.assert_close(generator.set_encode(shared), generator.set_encode(images[index]))


def test_scores_of_all_pairs_equal_scores_of_each(models, rng):
    _, _, predictor = models
    set_vec, graph_vec = torch.randn(3, 8, generator=rng), torch.randn(7, 8, generator=rng)
    scores = predictor.predict_all(set_vec, graph_vec)
    for r in range(3):
        expected = predictor.predict(set_vec[r].expand(7, -1), graph_vec)
        torch.testing.assert_close(scores[r], expected, rtol=1e-5, atol=1e-6)


def test_an_ensembles_score_is_the_mean_of_its_members(models, rng):
    space, _, predictor = models
    ensemble = PredictorEnsemble(replace(predictor.config, members=3)).eval()
    x, graphs = torch.randn(2, 3, 4, 10, generator=rng), space.encode(space.sample(2, rng))
    scores = [m.predict(m.encode_set(x), m.encode_graph(graphs)) for m in ensemble.members]
    set_vec, graph_vec = ensemble.encode_set(x), ensemble.encode_graph(graphs, share_states=True)
    torch.testing.assert_close(ensemble.predict(set_vec, graph_vec), torch.stack(scores).mean(0))
    torch.testing.assert_close(ensemble.predict_all(set_vec, graph_vec).diagonal(), torch.stack(scores).mean(0))
    shared = SharedImages(x.flatten(0, 2), torch.arange(24).view(2, 3, 4))
    torch.testing.assert_close(ensemble.encode_set(shared), set_vec, rtol=1e-5, atol=1e-6)


def test_attention_equals_the_definition(rng):
    torch.manual_seed(0)
    mab = MAB(6, 7, 8)
    x, y = torch.randn(2, 3, 6, generator=rng), torch.randn(2, 5, 7, generator=rng)
    q, k, v = mab.fc_q(x), mab.fc_k(y), mab.fc_v(y)
    heads = []
    for h in range(4):
        part = slice(2 * h, 2 * h + 2)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 8**0.5).softmax(-1)
        heads.append(q[..., part] + weights @ v[..., part])
    out = torch.cat(heads, dim=-1)
    torch.testing.assert_close(mab(x, y), out + F.relu(mab.fc_o(out)))


def test_pooling_equals_attention_from_the_seed(rng):
    torch.manual_seed(0)
    pma, x = PMA(8), torch.randn(3, 5, 8, generator=rng)
    torch.testing.assert_close(pma(x), pma.mab(pma.S.expand(3, -1, -1), x))


def test_set_pool_ignores_the_order_of_a_set(rng):
    torch.manual_seed(0)
    pool, x = SetPool(6, 8), torch.randn(2, 5, 6, generator=rng)
    torch.testing.assert_close(pool(x), pool(x[:, torch.randperm(5, generator=rng)]))


def test_a_batch_of_one_keeps_its_shape(models, rng):
    space, generator, predictor = models
    x, graphs = torch.randn(1, 3, 4, 10, generator=rng), space.encode(space.sample(1, rng))
    assert predictor.predict(predictor.encode_set(x), predictor.encode_graph(graphs)).shape == (1,)
    mu, logvar = generator.set_encode(x)
    assert mu.shape == logvar.shape == (1, 12)
    assert generator.loss(mu, logvar, graphs)[0].shape == ()
    assert len(generator.decode(mu, stochastic=True)) == 1


def test_training_noise_comes_from_the_given_generator(models):
    space, generator, _ = models
    graphs, mu = space.encode(space.sample(2, torch.Generator())), torch.zeros(2, 12)
    generator.train()
    losses = [generator.loss(mu, mu, graphs, torch.Generator().manual_seed(s))[0].item() for s in (1, 1, 2)]
    generator.eval()
    assert losses[0] == losses[1] != losses[2]


def test_unequal_widths_of_the_generator_are_refused():
    with pytest.raises(UserError, match="--hs equal to --nz"):
        GeneratorConfig(8, 7, hs=512, nz=56)


@pytest.mark.parametrize("sizes", [{"hs": 0, "nz": 8}, {"hs": 8, "nz": 6}, {"hs": 8.0, "nz": 8}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(UserError):
        PredictorConfig(8, 7, **sizes)


def test_published_parameters_must_all_be_there(models):
    _, generator, _ = models
    with pytest.raises(UserError, match="it lacks"):
        generator.load_published({})
    with pytest.raises(UserError, match="unknown"):
        generator.load_published({"something.else": torch.zeros(1)})
