"""Search methods beside ours: each against a case worked by hand, and none sees what it must not."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from metad2a import rivals
from metad2a.core.budget import Budget, Cost
from metad2a.core.errors import UserError
from metad2a.rivals import REAL, TABLE, nsganet
from metad2a.rivals.base import IDLE, BudgetSpent, Method, Problem
from metad2a.rivals.bayesian import BayesianOptimisation, expected_improvement
from metad2a.rivals.evolution import RegularizedEvolution, mutate
from metad2a.rivals.halving import Hyperband, SuccessiveHalving
from metad2a.rivals.mdenas import Mdenas, Multinomials
from metad2a.rivals.naswot import Naswot
from metad2a.rivals.surrogates import Surrogates
from metad2a.rivals.table import CLASSES, LONG, SHORT, table_problem
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse, to_string
from metad2a.spaces.nasbench201.tasks import TRANSNAS_NAMES

CHEAP = [
    name
    for name in rivals.METHODS
    if TABLE in rivals.get(name).forms and name not in ("nsganetv2", "metad2a-predictor")
]
SMALL = {
    "nsganetv2": {"first": 20, "rounds": 2, "population": 12, "generations": 4},
    "bayesian": {"evaluations": 30, "pool": 200},
    "budget": {"trainings": 12},
}


class Made(Problem):
    """Cells whose accuracy is a function of their operations and of the epochs."""

    form = TABLE
    scores_networks = True

    def __init__(self, space, accuracy, fidelities=(1,), budget=None, oracle=()):
        self.accuracy, self.asked = accuracy, []
        super().__init__("made", space, 10, fidelities, budget or Budget(evaluations=60), oracle)

    def measure(self, archs, epochs):
        self.asked += [(arch, epochs) for arch in archs]
        return [float(self.accuracy(parse(arch), epochs)) for arch in archs]

    def judge(self, texts):
        return [0.0 for _ in texts]

    def training_free(self, archs):
        return [float(sum(parse(arch))) for arch in archs]


def threes(operations, epochs=1):
    """The more 3x3 convolutions the better."""
    return 10.0 * operations.count(OPERATIONS.index("nor_conv_3x3"))


def cell(*operations):
    return to_string(list(operations))


def small(name):
    return dataclasses.replace(rivals.get(name), **SMALL.get(name, {}))


# What a problem charges and records


def test_a_network_is_paid_for_once(space):
    problem = Made(space, threes, (12,))
    problem.evaluate_all([cell(3, 0, 0, 0, 0, 0), cell(0, 0, 0, 0, 0, 0)])
    problem.evaluate(cell(3, 0, 0, 0, 0, 0))
    assert (problem.cost.evaluations, problem.cost.epochs) == (2, 24)


def test_what_the_budget_pays_for_of_a_batch_counts(space):
    problem = Made(space, threes, (12,), Budget(epochs=24))
    with pytest.raises(BudgetSpent):
        problem.evaluate_all([cell(0, 0, 0, 0, 0, 0), cell(3, 3, 0, 0, 0, 0), cell(3, 3, 3, 3, 3, 3)])
    assert problem.chosen == [cell(3, 3, 0, 0, 0, 0)]
    assert problem.cost.evaluations == 2


def test_the_trajectory_has_a_step_for_each_better_choice(space):
    problem = Made(space, threes)
    for ops in ((0,) * 6, (3, 0, 0, 0, 0, 0), (1,) * 6, (3, 3, 0, 0, 0, 0)):
        problem.evaluate(cell(*ops))
    assert [step.cost.evaluations for step in problem.trajectory] == [1, 2, 4]
    assert problem.ranked()[:2] == [cell(3, 3, 0, 0, 0, 0), cell(3, 0, 0, 0, 0, 0)]


def test_what_was_trained_longer_is_the_choice(space):
    problem = Made(space, lambda ops, epochs: threes(ops) - 50 * (epochs > 1), (1, 9), oracle=(9,))
    problem.evaluate(cell(3, 3, 3, 3, 3, 3))
    assert not problem.used_oracle
    problem.evaluate(cell(3, 3, 3, 3, 3, 0), 9)
    assert problem.used_oracle
    assert problem.chosen == [cell(3, 3, 3, 3, 3, 0)]


def test_a_method_that_has_run_dry_ends(space):
    problem = Made(space, threes)
    for _ in range(IDLE + 1):
        problem.evaluate(cell(0, 0, 0, 0, 0, 0))
    with pytest.raises(BudgetSpent):
        problem.evaluate(cell(0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("budget", [Budget(epochs=11), Budget(evaluations=0), Budget(evaluations=9, epochs=5)])
def test_a_budget_without_an_evaluation_is_refused(space, budget):
    with pytest.raises(UserError, match=r"too small.*12 epochs"):
        Made(space, threes, (12,), budget)


def test_a_budget_in_time_ends_a_search(space):
    result = rivals.get("random").run(Made(space, threes, budget=Budget(seconds=0.3)), 0)
    assert 0.2 < result.cost.seconds < 10


# Each method


@pytest.mark.parametrize("name", rivals.METHODS)
def test_every_method_says_what_it_is(name):
    method = rivals.get(name)
    assert method.name == name
    assert method.title
    assert method.source
    assert type(method).__doc__
    assert set(method.forms) <= {TABLE, REAL}


@pytest.mark.parametrize(
    "name", ["random", "evolution", "assisted-evolution", "bayesian", "budget", "mdenas", "nsganetv2"]
)
def test_a_seed_decides_all(space, name):
    problems = [Made(space, threes, budget=Budget(evaluations=30)) for _ in range(3)]
    results = [small(name).run(problem, seed) for problem, seed in zip(problems, (1, 1, 2), strict=True)]
    assert problems[0].asked == problems[1].asked
    drawn = name != "budget"  # a search that knows other tasks draws nothing
    assert (problems[0].asked != problems[2].asked) == drawn
    assert results[0].chosen == results[1].chosen
    assert results[0].cost.evaluations <= 30


def test_random_search_takes_the_best_of_what_it_drew(space):
    problem = Made(space, threes, budget=Budget(evaluations=10))
    result = rivals.get("random").run(problem, 3)
    assert len(problem.asked) == result.cost.evaluations == 10
    assert threes(parse(result.chosen[0])) == max(threes(parse(arch)) for arch, _ in problem.asked)


def test_a_mutant_differs_in_one_gene(rng):
    generator = np.random.default_rng(0)
    parent, choices = [0, 1, 2, 1], [2, 2, 3, 5]
    seen = set()
    for _ in range(300):
        child = mutate(parent, choices, generator)
        places = [i for i in range(4) if child[i] != parent[i]]
        assert len(places) == 1
        assert 0 <= child[places[0]] < choices[places[0]]
        seen.add((places[0], child[places[0]]))
    assert len(seen) == 1 + 1 + 2 + 4


def test_evolution_takes_children_of_the_youngest_ten(space):
    method = RegularizedEvolution(population=4, tournament=2)
    problem = Made(space, threes, budget=Budget(evaluations=40))
    method.run(problem, 0)
    asked = [parse(arch) for arch, _ in problem.asked]
    for number in range(4, len(asked)):
        differences = [sum(a != b for a, b in zip(asked[number], other, strict=True)) for other in asked[:number]]
        assert min(differences) == 1  # of what was living: what is asked twice is not in the list


def test_the_oldest_dies_however_good(space):
    first = [cell(3, 3, 3, 3, 3, 3), cell(0, 0, 0, 0, 0, 0)]
    problem = Made(space, threes, budget=Budget(evaluations=4))
    # Both are always drawn, so the first child is of the best; then that is gone, and the next is of the child.
    problem.sample = lambda n, rng: first
    with pytest.raises(BudgetSpent):
        RegularizedEvolution(population=2, tournament=2).search(problem, np.random.default_rng(0))
    asked = [parse(arch) for arch, _ in problem.asked]
    assert sum(a != b for a, b in zip(asked[2], asked[0], strict=True)) == 1
    assert sum(a != b for a, b in zip(asked[3], asked[2], strict=True)) == 1


def test_assisted_evolution_begins_with_the_best_scores(space):
    method = rivals.get("assisted-evolution")
    problem = Made(space, threes)
    drawn = problem.sample(20, np.random.default_rng(5))
    first = method.first(problem, np.random.default_rng(5))
    scores = sorted(problem.training_free(drawn), reverse=True)
    assert problem.training_free(first) == scores[:10]


def test_naswot_trains_nothing(space):
    problem = Made(space, threes)
    result = Naswot(samples=50).run(problem, 1)
    assert result.cost.evaluations == 0
    assert not problem.asked
    drawn = problem.sample(50, np.random.default_rng(1))
    assert sum(parse(result.chosen[0])) == max(sum(parse(arch)) for arch in drawn)


def test_naswot_finds_what_its_paper_says():
    """92.81 +- 0.99, 69.48 +- 1.70 and 43.10 +- 3.16 of 100 cells (Table 2)."""
    for dataset, published, deviation in (("cifar10", 92.81, 0.99), ("cifar100", 69.48, 1.70)):
        problem = table_problem(dataset)
        found = problem.judge([Naswot().run(problem, seed).chosen[0] for seed in range(40)])
        assert abs(np.mean(found) - published) < deviation


def test_expected_improvement_by_hand():
    gain = expected_improvement(np.array([1.0, 1.0, 3.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0]), 1.0)
    assert gain == pytest.approx([1 / np.sqrt(2 * np.pi), 0.0, 2.0, 0.0], abs=1e-9)


def test_bayesian_optimisation_finds_a_sum_of_its_operations(space):
    best = [3, 1, 2, 4, 3, 3]
    problem = Made(space, lambda ops, _: 10 * sum(a == b for a, b in zip(ops, best, strict=True)))
    method = BayesianOptimisation(evaluations=60, pool=300)
    assert method.run(problem, 0).chosen[0] == to_string(best)
    assert rivals.get("random").run(problem, 0).chosen[0] != to_string(best)


def test_the_budget_loop_trains_no_function_twice_and_follows_the_surrogate(space):

    problem = Made(space, threes)
    result = small("budget").run(problem, 0)
    cheapest = {space.architectures[number] for number in space.cheapest_members()}
    asked = [arch for arch, _ in problem.asked]
    assert len(set(asked)) == len(asked) == result.cost.evaluations == 12
    assert set(asked) <= cheapest
    assert result.trajectory[0].cost.evaluations == 1
    assert threes(parse(result.chosen[0])) >= 40  # chance has 12


def promoted(space, method, values):
    """Numbers of the drawn architectures that were trained longer; number i has accuracy values[i]."""
    order: dict[str, int] = {}

    class Drawn(Made):
        def measure(self, archs, epochs):
            self.asked += [(arch, epochs) for arch in archs]
            return [values[order.setdefault(arch, len(order))] for arch in archs]

    problem = Drawn(space, None, (1, 2), Budget(evaluations=10_000), oracle=(2,))

    def draw(n, rng):
        if len(order) == len(values):
            raise BudgetSpent
        return [space.architectures[len(order)]]

    problem.sample = draw
    method.run(problem, 0)
    return [order[arch] for arch, epochs in problem.asked if epochs == 2]


def test_halving_promotes_the_better_half_of_what_was_there(space):
    # Of 1: it. Of 50, 40: the best. Of 50, 40, 60: the best (3 // 2). Of four: the best two.
    assert promoted(space, SuccessiveHalving(reduction=2), [50, 40, 60, 55, 30, 70]) == [0, 2, 3, 5]


def test_hyperband_lets_some_bad_ones_go_on(space):
    falling = [float(99 - i) for i in range(60)]
    halved = promoted(space, SuccessiveHalving(reduction=3), falling)
    both = promoted(space, Hyperband(), falling)
    assert halved == [0]
    assert 5 < len(both) < 60


def test_halving_needs_two_lengths_of_training(space):
    with pytest.raises(UserError, match="fewer epochs"):
        SuccessiveHalving().run(Made(space, threes), 0)


def test_mdenas_moves_probability_as_its_paper_says():
    known = Multinomials((3,))
    third = 1 / 3
    known.learn([0], 50.0, 0.01)
    assert known.theta[0] == pytest.approx([third] * 3)  # nothing to compare with: the others were not trained
    known.learn([1], 60.0, 0.01)  # as often trained, and better
    assert known.theta[0] == pytest.approx([third - 0.01, third + 0.01, third])
    known.learn([1], 40.0, 0.01)  # trained more, and worse
    assert known.theta[0] == pytest.approx([third] * 3)
    known.learn([2], 70.0, 0.01)  # 0 as often, 1 more, both worse; 1 still loses to 0 as well
    assert known.theta[0] == pytest.approx([third, third - 0.02, third + 0.02])


def test_mdenas_takes_no_more_than_there_is():
    known = Multinomials((2,))
    known.theta[0][:] = [0.004, 0.996]
    known.trained[0][:], known.accuracy[0][:] = [1, 1], [10.0, 20.0]
    known.learn([1], 30.0, 0.01)
    assert known.theta[0] == pytest.approx([0.004, 0.996])  # 0 trained less: it keeps what it has
    known.learn([0], 5.0, 0.01)
    assert known.theta[0] == pytest.approx([0.0, 1.0])
    assert known.decided


def test_mdenas_learns_which_operation_is_good(space):
    problem = Made(space, threes, budget=Budget(evaluations=400))
    result = Mdenas(alpha=0.02).run(problem, 0)
    assert threes(parse(result.chosen[0])) >= 30  # chance has 12


def test_a_front_by_hand():
    rows = np.array([[1.0, 5], [2, 3], [3, 3], [4, 1], [5, 2], [1, 5]])
    assert sorted(map(tuple, rows[nsganet.front(rows)].tolist())) == [(1, 5), (2, 3), (4, 1)]
    assert len(nsganet.front(rows)) == 3


def test_a_hypervolume_by_hand():
    rows = np.array([[0.0, 10.0], [5.0, 0.0]])  # scaled: (0, 1) and (0.5, 0)
    expected = 0.51 * 1.01 + 0.5 * 0.01
    assert nsganet.hypervolume(rows, np.array([0.0, 0]), np.array([10.0, 10])) == pytest.approx(expected)


def test_the_even_ones_are_taken():
    known = np.array([0.0, 10.0])
    assert nsganet.evenly(known, np.array([1.0, 5.0, 9.5]), 1) == [1]
    assert nsganet.evenly(known, np.array([1.0, 5.0, 2.4, 7.6, 9.5]), 3) == [1, 2, 3]
    assert nsganet.evenly(known, np.array([1.0]), 8) == [0]


def test_surrogates_order_what_is_a_sum(space):
    rng = np.random.default_rng(0)
    genes = rng.integers(0, 5, (150, 6))
    effects = rng.normal(size=(6, 5))
    truth = effects[np.arange(6), genes].sum(1)
    surrogates = Surrogates(space)
    predict = surrogates.fit(genes[:100], truth[:100], rng)
    assert surrogates.chosen == "process"  # operations are no scale, and it is smooth
    assert np.corrcoef(predict(genes[100:]), truth[100:])[0, 1] > 0.95


def test_nsganet_begins_with_the_ends_and_reports_a_front(space):
    problem = Made(space, threes)
    result = small("nsganetv2").run(problem, 0)
    flops = [space.cost(arch, 10)["flops"] for arch, _ in problem.asked[:2]]
    assert flops[0] == min(space.cost(arch, 10)["flops"] for arch in space.architectures)
    assert flops[1] == max(space.cost(arch, 10)["flops"] for arch in space.architectures)
    assert result.cost.evaluations <= 20 + 2 * 8
    front = result.notes["front"]
    assert [point["mflops"] for point in front] == sorted(point["mflops"] for point in front)
    assert [point["accuracy"] for point in front] == sorted(point["accuracy"] for point in front)
    assert 0 < result.notes["hypervolume"] <= 1.01**2


def test_nsganet_tells_what_it_had_when_the_budget_ended(space):
    result = small("nsganetv2").run(Made(space, threes, budget=Budget(evaluations=23)), 0)
    assert result.cost.evaluations == 23
    assert result.notes["front"]


def test_metad2a_chooses_what_the_search_does(space):
    from metad2a.rankings.universal import load
    from metad2a.spaces.nasbench201.classes import equivalence_classes

    problem = table_problem("cifar10")
    results = {name: rivals.get(name).run(problem, 0) for name in ("metad2a", "metad2a-short", "metad2a-trained")}
    scores = dict(zip(space.architectures, load().of_classes()[0][equivalence_classes()].tolist(), strict=True))
    assert scores[results["metad2a"].chosen[0]] == max(scores.values())
    assert results["metad2a"].cost.evaluations == 0
    for name, column in (("metad2a-short", SHORT), ("metad2a-trained", LONG)):
        values = problem.columns[column]
        assert results[name].chosen[0] == max(results["metad2a"].chosen, key=lambda text: values[text])
    assert not any(result.oracle for result in results.values())


def test_transfer_lends_the_best_of_another_table(space):
    known = space.known_accuracy("imagenet16-120")
    part = {text: value for text, value in known.items() if "avg_pool" not in text}
    for dataset, values in (("darcy", known), ("jigsaw", part)):
        problem = table_problem(dataset)
        best = problem.text_of(max(values, key=lambda text: values[text]))
        assert rivals.get("transfer").run(problem, 0).chosen[0] == best
    with pytest.raises(UserError, match="nothing on itself"):
        rivals.get("transfer").run(table_problem("imagenet16-120"), 0)


# Nothing leaks


@pytest.mark.parametrize("name", CHEAP)
def test_test_accuracies_choose_nothing(name):
    problem = table_problem("cifar10", budget=Budget(epochs=1200))
    before = small(name).run(problem, 0)
    problem.final = dict(zip(problem.final, reversed(problem.final.values()), strict=True))
    after = small(name).run(problem, 0)
    assert before.chosen == after.chosen
    assert not before.oracle


def test_where_there_is_one_figure_all_who_train_are_oracles():
    problem = table_problem("ninapro", budget=Budget(evaluations=12))
    assert problem.fidelities == (LONG,)
    assert rivals.get("evolution").run(problem, 0).oracle
    assert not rivals.get("metad2a").run(problem, 0).oracle


# Tables


def test_the_tables_are_the_benchmarks(space):
    for dataset in CLASSES:
        problem, known = table_problem(dataset), space.known_accuracy(dataset)
        assert len(problem.known) == (866 if dataset in TRANSNAS_NAMES else 4852)
        for text in list(problem.known)[:3] if known else ():
            assert problem.judge([text]) == [known[text]]
    assert table_problem("cifar10").budget == Budget(epochs=6000.0)
    assert table_problem("darcy").budget == Budget(epochs=100_000.0)


def test_equal_cells_are_one_function_and_charged_once(space):
    """Two cells that differ only in an edge that leads nowhere."""
    problem = table_problem("ninapro")
    first, second = cell(3, 0, 0, 3, 0, 0), cell(0, 0, 3, 3, 0, 0)
    assert problem.evaluate(second) == problem.evaluate(cell(0, 0, 0, 3, 0, 0))
    assert problem.evaluate_all([second, second]) == [problem.evaluate(second)] * 2
    assert problem.cost.evaluations == 1
    assert problem.chosen == [cell(0, 0, 0, 3, 0, 0)]
    assert problem.evaluate(first) == problem.evaluate(second)
    assert problem.cost.evaluations == 1


def test_a_part_of_the_space_is_a_table(space):
    """The tasks of TransNAS-Bench-101 know no cell with pooling, and each method keeps to the others."""
    problem = table_problem("autoencoder", budget=Budget(evaluations=12))
    for name in (name for name in CHEAP if name not in ("halving", "hyperband", "metad2a-short")):
        result = small(name).run(problem, 1)
        assert all("avg_pool" not in text for text in result.chosen), name
        assert problem.judge(result.chosen[:1])[0] <= problem.best


def test_a_table_of_subnets_has_those_that_were_measured():
    problem = table_problem("imagenet-224", "ofa_mbv3")
    arch = problem.archs[7]
    genes = problem.space.genes(arch)
    assert problem.nearest(genes) == arch
    assert problem.best == pytest.approx(77.47, abs=0.01)
    problem.evaluate(arch)
    assert problem.cost.epochs == 0
    stranger = [2] * len(genes)
    assert problem.space.to_text(problem.space.from_genes(stranger)) not in problem.final
    near = problem.nearest(stranger)
    assert problem.space.to_text(near) in problem.final
    problem.evaluate(near)
    assert problem.nearest(stranger, fresh=True) != near


@pytest.mark.parametrize("name", ["random", "evolution", "mdenas", "nsganetv2"])
def test_methods_search_subnets(name):
    problem = table_problem("imagenet-224", "ofa_mbv3", Budget(evaluations=60))
    result = small(name).run(problem, 0)
    assert result.oracle
    assert 20 <= result.cost.evaluations <= 60
    assert set(result.chosen) <= set(problem.final)


def test_genes_and_back(space, rng):
    from metad2a import spaces

    for known in (space, spaces.get("ofa_mbv3")):
        for arch in known.sample(20, rng):
            genes = known.genes(arch)
            assert all(0 <= gene < choices for gene, choices in zip(genes, known.gene_choices, strict=True))
            assert known.to_text(known.from_genes(genes)) == known.to_text(arch)


# Bad input


@pytest.mark.parametrize("name", ["metad2a", "transfer", "naswot", "assisted-evolution"])
def test_a_method_that_does_not_know_the_space_says_so(name):
    with pytest.raises(UserError, match=rf"{name}.*(ofa_mbv3|none of)"):
        rivals.get(name).run(table_problem("imagenet-224", "ofa_mbv3"), 0)


def test_a_space_without_genes_is_refused(space):
    problem = Made(space, threes)
    problem.space = SimpleNamespace(name="other", gene_choices=())
    with pytest.raises(UserError, match="random does not know the search space other"):
        rivals.get("random").run(problem, 0)


def test_a_form_that_a_method_lacks_is_refused(space):
    class Pictures(Method):
        name, title, source, forms = "pictures", "", "", (REAL,)

        def search(self, problem, rng):
            raise AssertionError

    with pytest.raises(UserError, match="no table form: use --form real"):
        Pictures().run(Made(space, threes), 0)


def test_costs_compare():
    assert Budget(epochs=10).allows(Cost(99, 10.0, 1e9))
    assert not Budget(epochs=10).allows(Cost(1, 10.5))
