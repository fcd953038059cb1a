"""Numbers recorded from the published models (float32, CPU, eval mode), for both search spaces.

Our side computes in float64, so that what differs is the record's own rounding and no processor's.
"""

from pathlib import Path

import pytest
import torch

from generator.model import PUBLISHED_NAMES as GENERATOR_NAMES
from generator.model import GeneratorConfig, GeneratorModel
from metad2a import spaces
from metad2a.core.published_weights import published_name
from metad2a.graphs import GraphBatch
from predictor.model import PUBLISHED_NAMES as PREDICTOR_NAMES
from predictor.model import PredictorConfig, PredictorModel

pytestmark = pytest.mark.numeric

GOLDEN = Path(__file__).parent / "golden"


def batch(records, max_n):
    return GraphBatch.from_lists([r["types"] for r in records], [r["edges"] for r in records], max_n)


def close(actual, expected):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(actual, dtype=torch.float64), expected, rtol=1e-5, atol=1e-6)


class Case:
    def __init__(self, name):
        g = self.g = torch.load(GOLDEN / f"{name}.pt", weights_only=True)
        sizes = {"max_n": g["max_n"], "num_vertex_type": g["num_vertex_type"]}
        self.space = spaces.get(g["search_space"])
        self.generator = GeneratorModel(GeneratorConfig(hs=g["generator"]["hs"], nz=g["generator"]["nz"], **sizes))
        self.generator_skipped = self.generator.load_published(g["generator"]["state_dict"])
        self.predictor = PredictorModel(PredictorConfig(hs=g["predictor"]["hs"], nz=g["predictor"]["nz"], **sizes))
        self.predictor_skipped = self.predictor.load_published(g["predictor"]["state_dict"])
        self.generator.eval().double()
        self.predictor.eval().double()
        self.x = g["x"].double().unflatten(1, (g["num_class"], g["num_sample"]))
        self.graphs = batch(g["graphs"], g["max_n"])


@pytest.fixture(scope="module", params=["nasbench201", "ofa_mbv3"])
def case(request):
    return Case(request.param)


def test_skipped_names_are_exactly_the_unused_ones(case):
    assert case.generator_skipped == sorted(case.g["generator_unused"])
    assert case.predictor_skipped == sorted(case.g["predictor_unused"])


def test_set_encoding(case):
    mu, logvar = case.generator.set_encode(case.x)
    close(mu, case.g["set_mu"])
    close(logvar, case.g["set_logvar"])


def test_loss(case):
    loss, recon, kld = case.generator.loss(case.g["set_mu"].double(), case.g["set_logvar"].double(), case.graphs)
    close(loss, case.g["loss"])
    close(recon, case.g["recon"])
    close(kld, case.g["kld"])


def check_gradients(model, names, expected):
    actual = {published_name(name, names): p.grad.norm().item() for name, p in model.named_parameters()}
    assert set(actual) == set(expected)
    scale = sum(value**2 for value in expected.values()) ** 0.5
    for name, value in expected.items():
        assert actual[name] == pytest.approx(value, rel=1e-5, abs=1e-6 * scale), name


def test_generator_gradients(case):
    case.generator.zero_grad()
    case.generator.loss(*case.generator.set_encode(case.x), case.graphs)[0].backward()
    check_gradients(case.generator, GENERATOR_NAMES, case.g["generator_grad_norm"])


def test_predictor(case):
    set_vec, graph_vec = case.predictor.encode_set(case.x), case.predictor.encode_graph(case.graphs)
    close(set_vec, case.g["pred_set"])
    close(graph_vec, case.g["pred_graph"])
    score = case.predictor.predict(set_vec, graph_vec)
    close(score, case.g["pred_y"])
    case.predictor.zero_grad()
    loss = (score - case.g["pred_target"]).square().sum()
    close(loss, case.g["pred_loss"])
    loss.backward()
    check_gradients(case.predictor, PREDICTOR_NAMES, case.g["predictor_grad_norm"])


def test_deterministic_decoding(case):
    assert case.generator.decode(case.g["z"].double(), stochastic=False).equal(
        batch(case.g["decoded"], case.g["max_n"])
    )


def test_stochastic_decoding_frequencies(case):
    n, expected_n = 8000, case.g["sampled_n"]
    z = case.g["z"][:1].double().expand(n, -1)
    graphs = case.generator.decode(z, stochastic=True, rng=torch.Generator().manual_seed(0))
    T = case.g["num_vertex_type"]
    present = torch.arange(case.g["max_n"]) < graphs.num_vertices[:, None]
    types = torch.nn.functional.one_hot(graphs.types, T) * present[..., None]
    counts = {
        "sampled_type_count": types.sum(0),
        "sampled_edge_count": graphs.adj.sum(0),
        "sampled_vcount": graphs.num_vertices.bincount(minlength=case.g["max_n"] + 1),
    }
    for name, count in counts.items():
        p, q = count.double() / n, case.g[name].double() / expected_n
        pooled = (count.double() + case.g[name].double()) / (n + expected_n)
        error = (pooled * (1 - pooled) * (1 / n + 1 / expected_n)).sqrt()
        assert ((p - q).abs() <= 4 * error + 1e-12).all(), name


def test_valid_golden_graphs_are_the_encoding_of_an_architecture(case):
    archs = case.space.decode(case.graphs)
    valid = torch.tensor([arch is not None for arch in archs])
    assert valid.any()
    assert case.space.encode([arch for arch in archs if arch is not None]).equal(case.graphs[valid])
