"""The surrogate of the search on a budget, and what the search trains next."""

import pytest
import torch

from metad2a.rankings.universal import load
from metad2a.searches.budget.loop import AT_RANDOM, next_cell
from metad2a.searches.budget.surrogate import Observation, Scale, Surrogate
from metad2a.spaces.nasbench201.cell_features import published_features


@pytest.fixture(scope="module")
def features():
    return published_features()


@pytest.fixture(scope="module")
def ranking():
    return load().of_classes()[0].double()


def seen(values, cells):
    return [Observation(cell, values[cell].item()) for cell in cells]


def spread(ranking, count=12):
    """Cells all over the ranking."""
    return ranking.argsort(descending=True)[torch.linspace(0, 4000, count).long()].tolist()


def test_without_observations_the_order_is_the_rankings(features, ranking):
    surrogate = Surrogate(features, ranking)
    assert surrogate.quality().argsort(descending=True)[:50].tolist() == ranking.argsort(descending=True)[:50].tolist()


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.1, 90.0), (3.0, -40.0)])
def test_scale_and_level_of_the_accuracies_do_not_matter(features, ranking, scale, offset):
    """ImageNet16-120's numbers are not the user's."""
    orders = []
    for values in (ranking, scale * ranking + offset):
        surrogate = Surrogate(features, ranking)
        surrogate.learn(seen(values, spread(ranking)))
        orders.append(surrogate.quality())
    same = torch.corrcoef(torch.stack(orders))[0, 1]
    assert same > 0.999


def test_trust_in_the_ranking_is_learned(features, ranking):
    """Where accuracies fall with the ranking, the surrogate turns it around."""
    surrogate, cells = Surrogate(features, ranking), spread(ranking, 30)
    surrogate.learn(seen(-ranking, cells))
    assert torch.corrcoef(torch.stack([surrogate.quality(), ranking]))[0, 1] < -0.5
    surrogate.learn(seen(ranking, cells))
    assert torch.corrcoef(torch.stack([surrogate.quality(), ranking]))[0, 1] > 0.8


def test_observations_narrows_the_interval_which_holds_what_was_seen(features, ranking):
    surrogate, cells = Surrogate(features, ranking), spread(ranking)
    surrogate.learn(seen(ranking, cells))
    mean, low, high = surrogate.accuracy()
    assert (low <= mean).all()
    assert (mean <= high).all()
    width, known = high - low, torch.zeros(len(ranking), dtype=torch.bool)
    known[cells] = True
    assert width[known].median() < 0.5 * width[~known].median()
    assert (mean[cells] - ranking[cells]).abs().median() < 1


def test_known_noise_widens_the_interval(features, ranking):
    cells, widths = spread(ranking), []
    for variance in (0.0, 25.0):
        surrogate = Surrogate(features, ranking)
        surrogate.learn([Observation(cell, ranking[cell].item(), variance) for cell in cells])
        _, low, high = surrogate.accuracy()
        widths.append((high - low)[cells[0]].item())
    assert widths[1] > 2 * widths[0]


def test_a_training_that_ends_high_moves_its_cell_up(features, ranking):
    """Level and scale of the accuracies are others than the ranking's."""
    surrogate, cells = Surrogate(features, ranking), spread(ranking)
    good = cells[6]
    values = 0.5 * ranking + 3
    values[good] = values.max() + 5
    before = Surrogate(features, ranking).quality()
    surrogate.learn(seen(values, cells))
    after = surrogate.quality()
    place = [(x > x[good]).sum().item() for x in (before, after)]
    assert place[1] < place[0] / 2


def test_improvement_is_none_for_the_best_and_positive_elsewhere(features, ranking):
    surrogate, cells = Surrogate(features, ranking), spread(ranking)
    surrogate.learn(seen(ranking, cells))
    gain = surrogate.improvement()
    assert gain[cells[0]] < 1e-5
    assert (gain >= 0).all()
    assert gain.max() > 0


def test_scale_there_and_back():
    values = torch.tensor([10.0, 60.0, 90.0, 94.0], dtype=torch.float64)
    scale = Scale.of(values, torch.zeros(4))
    torch.testing.assert_close(scale.back(scale(values)), values)
    assert scale.back(torch.tensor([0.1], dtype=torch.float64)) > 94


def test_proposals_begin_with_the_ranking_test_it_and_repeat_nothing(features, ranking):
    surrogate, observations, taken = Surrogate(features, ranking), [], []
    allowed = ranking.argsort(descending=True)[:400].sort().values
    for number in range(8):
        cell = next_cell(surrogate, observations, set(taken), allowed, torch.Generator().manual_seed(number))
        taken.append(cell)
        observations += seen(ranking, [cell])
    assert len(set(taken)) == 8
    assert set(taken) <= set(allowed.tolist())
    best = ranking.argsort(descending=True).tolist()
    assert [taken[0], taken[2]] == best[:2]
    assert all(taken[number] not in best[:3] for number in AT_RANDOM)


def test_with_all_cells_taken_there_is_no_next_one(features, ranking):
    surrogate, best = Surrogate(features, ranking), ranking.argsort(descending=True)
    rng = torch.Generator().manual_seed(0)
    assert next_cell(surrogate, [], set(), best, rng) == int(best[0])
    assert next_cell(surrogate, [], set(best[:2].tolist()), best[:2], rng) is None


def test_the_search_beats_the_ranking_alone_on_the_benchmark(features):
    """Held out: each cell's prior is of the meta-training that did not know it."""
    from metad2a.spaces.nasbench201.space import NASBench201

    space = NASBench201()
    table = torch.from_numpy(space.table["test_200"]["imagenet16-120"].astype(float)[space.cheapest_members()])
    prior = torch.from_numpy(load().held_out()).double()
    surrogate, observations = Surrogate(features, prior), []
    every = torch.arange(len(table))
    for number in range(15):
        taken = {o.cell for o in observations}
        cell = next_cell(surrogate, observations, taken, every, torch.Generator().manual_seed(number))
        observations += seen(table, [cell])
    found = max(o.value for o in observations)
    assert found > table[prior.argmax()] + 0.2
