"""How accuracy against budget is counted."""

import math

import pytest
import torch

from benchmarks import budget, budget_results


@pytest.fixture(scope="module")
def table():
    return budget.Table("cifar10")


def test_the_best_so_far_begins_where_there_is_one():
    assert budget.best_so_far([math.nan, 3.0, math.nan, 2.0, 5.0]) == [None, 3.0, 3.0, 3.0, 5.0]


def test_hyperband_pays_for_its_short_trainings(table):
    """A bracket: 16 for 12 epochs (192), then the best and two more for 200; the first is finished after 392."""
    found = budget.hyperband(table, 1)
    assert [math.isnan(value) for value in found[:4]] == [True, False, False, False]
    per_cycle = 16 * 12 + 3 * 200
    assert sum(not math.isnan(value) for value in found) <= math.ceil(100 * 200 / per_cycle) * 3
    without = budget.hyperband(budget.Table("ninapro"), 1)
    assert not any(math.isnan(value) for value in without)


def test_imagenets_prior_is_held_out(table):
    other = budget.Table("imagenet16-120")
    assert not torch.equal(other.prior, table.prior)
    assert torch.equal(budget.Table("ninapro").prior, table.prior)


def test_evolution_changes_one_edge(table):
    rows = budget.evolution(table, table.short, 3, 30)
    assert len(rows) == 30
    assert rows == budget.evolution(table, table.short, 3, 30)
    texts = [table.space.architectures[row] for row in rows]
    assert len(set(texts[:10])) == 10


def test_where_another_way_is_ahead_is_counted():
    def curves(*values):
        return [[value + seed / 100 for value in values] for seed in range(3)]

    found = {"prior": curves(1.0, 2.0, 3.0), "no_prior": curves(0.0, 2.5, 3.0)}
    found |= {"evolution": curves(0.0, 0.0, 0.0), "hyperband": [[None, 0.0, 0.0]] * 3}
    assert budget_results.behind({"x": {"curves": found}}) == {"x": {"above": 1, "sure": 1}}
    assert budget_results.spread([]) == ""
