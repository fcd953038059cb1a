"""The Gaussian process over cells, on few of them, and the ranking that is shipped."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from metad2a.core.arrays import load_arrays, save_arrays
from metad2a.core.errors import UserError
from metad2a.rankings import fit_universal as training
from metad2a.rankings import universal
from metad2a.rankings.fit_universal import (
    KERNELS,
    Accuracies,
    NormalScale,
    Process,
    fit,
    matern,
    mean_posterior,
    posterior,
    validate,
)
from metad2a.rankings.universal import FORMAT
from metad2a.spaces.base import random_parts
from metad2a.spaces.nasbench201.cell_features import cell_features, path_counts
from metad2a.spaces.nasbench201.cells import live_operations, parse
from metad2a.spaces.nasbench201.classes import equivalence_classes, expression, first_members
from metad2a.spaces.nasbench201.space import NASBench201

NONE, SKIP, CONV1, CONV3, POOL = range(5)
NUM_CELLS = 120
FORM = KERNELS[-1]


@pytest.fixture(scope="module")
def shipped():
    return universal.load()


@pytest.fixture(scope="module")
def small():
    """Features of 120 cells and accuracies that are a smooth function of them, with noise."""
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(NUM_CELLS, 2, generator=rng).double()
    counts = torch.randint(0, 3, (NUM_CELLS, 3), generator=rng).double()
    features = {"paths": counts, "scores": scores, "operations": counts[:, :2]}
    value = torch.sin(scores[:, 0]) + 0.5 * counts[:, 0] + 0.1 * torch.randn(NUM_CELLS, generator=rng).double()
    scale = NormalScale(torch.linspace(10, 47, 100))
    return features, Accuracies(value - value.mean(), torch.full((NUM_CELLS,), 0.01).double(), scale)


def test_the_first_member_stands_for_its_class():
    classes = equivalence_classes()
    assert classes[first_members()].tolist() == list(range(int(classes.max()) + 1))


def test_live_operations_compute_the_same_and_have_no_dead_edge():
    space = NASBench201()
    for arch in space.architectures[::37]:
        operations = parse(arch)
        live = live_operations(operations)
        assert expression(live) == expression(operations)
        for edge in (i for i, op in enumerate(live) if op != NONE):
            without = [NONE if i == edge else op for i, op in enumerate(live)]
            assert expression(without) != expression(live)


def test_paths():
    counts = path_counts([CONV3, SKIP, CONV1, SKIP, CONV3, CONV1])
    # direct: (); 0-1-3: 3x3, 3x3; 0-2-3: 1x1; 0-1-2-3: 3x3, 1x1, 1x1
    assert sum(counts) == 4
    assert counts[0] == 1
    assert counts[1:4] == [1, 0, 0]
    assert sum(counts[4:13]) == 1
    assert sum(counts[13:]) == 1
    assert sum(path_counts([NONE] * 6)) == 0


def test_equal_cells_have_equal_paths():
    space, paths = NASBench201(), {}
    for arch, number in zip(space.architectures[::11], equivalence_classes()[::11].tolist(), strict=True):
        counts = path_counts(parse(arch))
        assert paths.setdefault(number, counts) == counts


def test_features_of_all_cells():
    scores = torch.arange(4930.0).view(-1, 1).repeat(1, 2)
    features = cell_features(scores)
    assert {name: tuple(x.shape) for name, x in features.items()} == {
        "paths": (4930, 40), "operations": (4930, 30), "scores": (4930, 2)}  # fmt: skip
    assert bool((features["scores"].diff(dim=0) > 0).all())
    assert features["scores"].std(0).tolist() == pytest.approx([1, 1], abs=0.01)


def test_scale_is_monotone_and_inverts():
    table = torch.randn(1000, generator=torch.Generator().manual_seed(1)).double() * 5 + 40
    scale = NormalScale(table)
    assert torch.allclose(scale.back(scale(table)), table)
    assert scale(table).std().item() == pytest.approx(1, abs=0.02)
    assert bool((scale.slope(table, 0.5) > 0).all())


def test_kernel_against_its_formula():
    a, b = torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[1.0, 3.0]]).double()
    r = math.sqrt(3) * math.sqrt(5)
    assert matern(a, b).item() == pytest.approx((1 + r) * math.exp(-r), rel=1e-6)
    assert matern(a, a).item() == pytest.approx(1, rel=1e-6)


def test_posterior_against_the_textbook(small):
    features, data = small
    process = Process(features, FORM).requires_grad_(False)
    cells, wanted = torch.arange(80), torch.arange(70, 120)
    mean, deviation = posterior(process, data, cells, wanted)
    noise = process.unexplained.exp() + process.noise_factor.exp() * data.variance[cells]
    inverse = torch.linalg.inv(process.covariance(cells, cells) + torch.diag(noise))
    cross = process.covariance(wanted, cells)
    assert torch.allclose(mean, cross @ inverse @ data.value[cells])
    variance = process.covariance(wanted, wanted) - cross @ inverse @ cross.T
    assert torch.allclose(deviation.square(), variance.diagonal() + process.unexplained.exp(), atol=1e-6)


def test_processes_are_averaged_as_a_mixture(small):
    features, data = small
    processes = [Process(features, form).requires_grad_(False) for form in KERNELS]
    cells, wanted = torch.arange(80), torch.arange(80, 120)
    mean, deviation = mean_posterior(processes, data, cells, wanted)
    found = [posterior(process, data, cells, wanted) for process in processes]
    assert torch.allclose(mean, (found[0][0] + found[1][0]) / 2)
    squares = sum(m.square() + d.square() for m, d in found) / 2  # the mixture's second moment
    assert torch.allclose(deviation.square(), squares - mean.square())


def test_learning_makes_held_out_cells_likelier_and_the_errors_honest(small):
    features, data = small
    held_out = random_parts(NUM_CELLS, 4)[0]
    cells = torch.tensor([cell for cell in range(NUM_CELLS) if cell not in held_out.tolist()])
    before = validate([Process(features, FORM).requires_grad_(False)], data, cells, held_out)
    after = validate([fit(Process(features, FORM), data, cells, seed=1, steps=40)], data, cells, held_out)
    assert after["log_density"] > before["log_density"]
    assert after["spearman"] > 0.9
    assert 0.5 <= after["within_1_deviation"] <= 0.9


def test_a_meta_training_can_be_repeated(small, monkeypatch):
    monkeypatch.setattr(training, "STEP_CELLS", 20)  # each step draws some of the cells
    features, data = small
    cells = torch.arange(60)
    first, again, other = (fit(Process(features, FORM), data, cells, seed, steps=3).parts for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_cell_is_held_out_once():
    parts = random_parts(4930, 5)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(4930))
    assert sorted(seed % 5 for seed in universal.SEEDS) == [0, 1, 2, 3, 4]


def test_the_shipped_ranking_predicts_what_it_has_not_seen(shipped):
    space = NASBench201()
    accuracy = space.table["test_200"]["imagenet16-120"]
    held_out = shipped.held_out()[equivalence_classes()]
    assert stats.spearmanr(held_out, accuracy).statistic > 0.97
    mean, deviation = (column[equivalence_classes()] for column in shipped.of_classes())
    assert mean.shape == deviation.shape == (space.size,)
    assert (deviation > 0).all()
    assert stats.spearmanr(mean, accuracy).statistic > stats.spearmanr(held_out, accuracy).statistic


def test_the_shipped_seeds_are_validated(shipped):
    value = load_arrays(universal.SHIPPED, "")
    assert value["seeds"] == list(universal.SEEDS)
    for figures in value["validation"]:
        assert figures["spearman"] > 0.97
        assert 0.6 < figures["within_1_deviation"] < 0.85
        assert 0.9 < figures["within_2_deviations"] < 0.99


def test_files_that_are_no_ranking(tmp_path):
    with pytest.raises(UserError, match=r"rankings\.fit_universal"):
        universal.load(tmp_path / "none.npz")
    save_arrays(tmp_path / "other.npz", {"format": "other"})
    with pytest.raises(UserError, match="not a universal ranking"):
        universal.load(tmp_path / "other.npz")
    value = {"format": FORMAT, "mean": np.zeros((5, 3)), "deviation": np.zeros((5, 3)), "partial": np.zeros((5, 3))}
    save_arrays(tmp_path / "short.npz", value)
    with pytest.raises(UserError, match="4930"):
        universal.load(tmp_path / "short.npz")


def test_an_existing_file_is_not_replaced(tmp_path, capsys):
    target = tmp_path / "u.pt"
    target.write_bytes(b"mine")
    assert training.main([str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert target.read_bytes() == b"mine"
