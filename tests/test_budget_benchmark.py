"""How accuracy against budget is counted."""

from dataclasses import replace

import pytest

from benchmarks import budget
from metad2a import rivals
from metad2a.core.budget import Budget
from metad2a.rivals.table import LONG, SHORT, table_of


@pytest.fixture(scope="module")
def table():
    return table_of("cifar10")


@pytest.fixture
def full(table):
    return budget.Trainings(replace(table, columns={LONG: table.columns[LONG]}), Budget(epochs=100.0 * LONG))


def test_the_best_so_far_begins_with_the_first_finished_training(full):
    full.finished = [(392.0, 3.0), (592.0, 2.0), (1000.0, 5.0)]
    assert full.best_so_far()[:5] == [None, 3.0, 3.0, 3.0, 5.0]


def test_repeated_trainings_are_charged_again(full, space):
    arch = space.architectures[7]
    for number in (1, 2, 3):
        full.evaluate(arch)
        assert full.cost.epochs == number * LONG
    assert [epochs for epochs, _ in full.finished] == [LONG, 2 * LONG, 3 * LONG]


def test_hyperband_pays_for_its_short_trainings(table):
    """Full trainings are finished later than after 1, 2, 3 ... times 200 epochs, and not all architectures get one."""
    problem = budget.Trainings(table, Budget(epochs=20.0 * LONG))
    budget.SEARCHES["hyperband"].run(problem, 1)
    assert sum(epochs == SHORT for _, epochs in problem.measured) > len(problem.finished) > 0
    assert all(epochs >= (number + 1) * LONG + SHORT for number, (epochs, _) in enumerate(problem.finished))


def test_hyperband_without_short_trainings_is_random_search():
    table = table_of("ninapro")
    curves = [budget.full_curve(table, budget.SEARCHES[name], 1) for name in ("hyperband", "random")]
    assert curves[0] == curves[1]
    assert None not in curves[0]


def test_a_choice_after_short_trainings_is_the_one_of_that_time(table):
    evolution = budget.SEARCHES["evolution"]
    whole = budget.after_short(table, evolution, (10, 30), 3)
    assert budget.after_short(table, evolution, (10,), 3)["10"] == whole["10"]


def test_imagenets_ranking_is_held_out(monkeypatch):
    """On the dataset that made the ranking, the first cell is the best of the cross-validated ranking."""
    from metad2a.rankings.universal import load

    for dataset, ranking in (("imagenet16-120", load().held_out()), ("cifar10", load().of_classes()[0])):
        problem = budget.TableProblem(table_of(dataset), Budget(evaluations=1))
        result = rivals.get("budget").run(problem, 0)
        first = problem.space.architectures[problem.space.cheapest_members()[int(ranking.argmax())]]
        assert result.chosen[0] == first


def test_budgets_at_which_another_search_is_ahead_are_counted():
    def curves(*values):
        return [[value + seed / 100 for value in values] for seed in range(3)]

    figures = {"prior": curves(1.0, 2.0, 3.0), "no_prior": curves(0.0, 2.5, 3.0)}
    figures |= {"evolution": curves(0.0, 0.0, 0.0), "hyperband": [[None, 0.0, 0.0]] * 3}
    assert budget.behind({"x": {"curves": figures}}) == {"x": {"above": 1, "sure": 1}}
    assert budget.curve_cell(figures["hyperband"], 1) == ""
