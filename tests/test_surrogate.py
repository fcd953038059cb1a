"""The surrogate of the search on a budget, and what the search trains next."""

import time

import numpy as np
import pytest
from scipy.optimize import check_grad

from metad2a.rankings import kinds
from metad2a.searches.budget.loop import AT_RANDOM, next_cell
from metad2a.searches.budget.surrogate import OFFSET, TERMS, Observation, Scale, Surrogate
from metad2a.spaces.nasbench201 import tasks


@pytest.fixture(scope="module")
def features(space):
    return {name: np.asarray(x) for name, x in space.features().items()}


@pytest.fixture(scope="module")
def cells(space):
    """Classes of equal cells that can learn."""
    archs = space.architectures
    return np.array([kind for kind, i in enumerate(space.cheapest_members()) if space.can_learn(archs[i])])


@pytest.fixture
def surrogate(features, cells):
    return Surrogate(features, cells, kinds.load(cells, kinds.left_out("cifar10")))


@pytest.fixture(scope="module")
def accuracy(space, cells):
    """Validation accuracies on CIFAR-10 of the functions' cheapest cells."""
    return tasks.values("cifar10")[space.cheapest_members()][cells]


def seen(surrogate, values, places):
    return [Observation(int(surrogate.cells[place]), float(values[place])) for place in places]


def spread(surrogate, count=12):
    """Places all over the mean order."""
    return np.argsort(-surrogate.prior)[np.linspace(0, 4000, count).astype(int)]


def test_without_observations_the_order_is_the_mean_order(surrogate):
    assert np.array_equal(surrogate.quality().argsort(), surrogate.kinds.mean.argsort())


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.1, 90.0), (3.0, -40.0)])
def test_scale_and_level_of_the_accuracies_do_not_matter(features, cells, accuracy, scale, offset):
    orders = []
    for values in (accuracy, scale * accuracy + offset):
        surrogate = Surrogate(features, cells, kinds.load(cells))
        surrogate.learn(seen(surrogate, values, spread(surrogate)))
        orders.append(surrogate.quality())
    assert np.corrcoef(orders)[0, 1] > 0.999


def test_the_posterior_is_that_of_the_textbook(surrogate, accuracy):
    """Rasmussen and Williams, equations 2.25 and 2.26, with whole matrices and an inverse."""
    places = spread(surrogate, 8)
    surrogate.learn(seen(surrogate, accuracy, places))
    h = surrogate.hyperparameters
    every = np.stack([surrogate.kernels(place) for place in range(len(surrogate.cells))[:40]], axis=1)
    chosen = np.stack([surrogate.kernels(place) for place in places], axis=1)
    sizes = h["scale"] ** 2 * np.array([h[name] for name in TERMS])
    among = np.tensordot(sizes, chosen[:, :, places], 1) + OFFSET + np.eye(8) * (h["scale"] ** 2 * h["noise"] + 1e-6)
    cross = np.tensordot(sizes, every[:, :, places], 1) + OFFSET
    residual = surrogate.scale(accuracy[places]) - h["scale"] * surrogate.prior[places]
    mean = h["scale"] * surrogate.prior[:40] + cross @ np.linalg.inv(among) @ residual
    variance = np.tensordot(sizes, np.stack([every[:, i, i] for i in range(40)], axis=1), 1) + OFFSET
    variance = variance - np.einsum("ij,jk,ik->i", cross, np.linalg.inv(among), cross)
    found, deviation = surrogate.warped_accuracy()
    np.testing.assert_allclose(found[:40], mean, atol=1e-6)
    np.testing.assert_allclose(deviation[:40], np.sqrt(variance), atol=1e-5)


def test_the_gradient_of_the_loss_is_that_of_differences(surrogate, accuracy):
    surrogate.learn(seen(surrogate, accuracy, spread(surrogate)))
    for shift in (0.0, 0.5):
        start = surrogate.logarithms + shift
        slope = np.linalg.norm(surrogate.loss(start)[1])
        assert check_grad(lambda x: surrogate.loss(x)[0], lambda x: surrogate.loss(x)[1], start) < 1e-4 * (1 + slope)


def test_rows_are_kept_when_observations_are_added(features, cells, accuracy, surrogate):
    """Learning one after the other gives what learning all at once does."""
    other, places = Surrogate(features, cells, surrogate.kinds), spread(surrogate)
    for count in range(1, 13):
        surrogate.learn(seen(surrogate, accuracy, places[:count]), refit=False)
    other.learn(seen(other, accuracy, places), refit=False)
    np.testing.assert_allclose(surrogate.quality(), other.quality())
    surrogate.learn(seen(surrogate, accuracy, places[::-1]), refit=False)
    np.testing.assert_allclose(surrogate.quality(), other.quality(), atol=1e-8)


@pytest.mark.parametrize("task", ["room_layout", "autoencoder"])
def test_the_kind_of_task_is_learned(space, features, cells, task):
    """From functions that each known task prefers, the model learns an order that is nearer than the mean order."""
    values = tasks.values(task)[space.cheapest_members()]
    inside = cells[np.isfinite(values[cells])]
    known = kinds.load(inside, kinds.left_out(task))
    surrogate = Surrogate(features, inside, known)
    values, places = values[inside], known.values.argmax(0)
    surrogate.learn(seen(surrogate, values, dict.fromkeys(places.tolist())))
    ranks = [x.argsort().argsort() for x in (values, surrogate.prior, surrogate.quality())]
    before, after = (np.corrcoef(ranks[0], x)[0, 1] for x in ranks[1:])
    assert after > before + 0.05


def test_observations_narrow_the_interval_which_holds_what_was_seen(surrogate, accuracy):
    places = spread(surrogate)
    surrogate.learn(seen(surrogate, accuracy, places))
    mean, low, high = surrogate.accuracy()
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert np.median((high - low)[places]) < np.median(high - low)


def test_known_noise_widens_the_interval(features, cells, accuracy):
    widths = []
    for variance in (0.0, 25.0):
        surrogate = Surrogate(features, cells, kinds.load(cells))
        places = spread(surrogate)
        surrogate.learn([Observation(int(cells[i]), accuracy[i], variance) for i in places])
        _, low, high = surrogate.accuracy()
        widths.append((high - low)[places[0]])
    assert widths[1] > 1.5 * widths[0]


def test_improvement_is_none_for_the_best_and_positive_elsewhere(surrogate, accuracy):
    places = spread(surrogate)
    surrogate.learn(seen(surrogate, accuracy, places))
    gain = surrogate.improvement()
    best = places[surrogate.quality()[places].argmax()]
    assert gain[best] < 1e-5
    assert (gain >= 0).all()
    assert gain.max() > 0


def test_scale_there_and_back():
    values = np.array([10.0, 60.0, 90.0, 94.0])
    scale = Scale.of(values, np.zeros(4))
    np.testing.assert_allclose(scale.back(scale(values)), values)
    assert scale.back(np.array([0.1])) > 94


def test_a_probe_completes_those_before_it():
    """By hand: the first is best on average, the second on the task that the first is bad at."""
    values = np.array([[3.0, 3.0, 0.0], [2.0, 2.0, 1.0], [1.0, 0.0, 2.0], [0.0, 1.0, 3.0]])
    known = kinds.Kinds(("ninapro", "darcy", "jigsaw"), (values - values.mean(0)) / values.std(0))
    assert known.completion(np.zeros(4, dtype=bool)).argmax() == 0
    assert known.completion(np.array([True, False, False, False])).argmax() == 3


def test_a_task_left_out_is_not_known(cells):
    everything = kinds.load(cells)
    assert set(tasks.TASKS) < set(everything.names)
    assert len(everything.names) == 20
    assert set(everything.names) - set(kinds.load(cells, kinds.left_out("darcy")).names) == {"darcy"}
    left = set(everything.names) - set(kinds.load(cells, kinds.left_out("cifar10")).names)
    assert left == {"cifar10", *(name for name in everything.names if name.startswith("robustness cifar10 "))}
    assert not set(kinds.load(cells, kinds.left_out("normal", group=True)).names) & set(tasks.TRANSNAS_NAMES)


def test_photographs_count_as_one_task(cells):
    known = kinds.load(cells)
    weights = dict(zip(known.names, known.weights(robustness=1.0), strict=True))
    assert sum(weights[name] for name in tasks.PHOTOGRAPHS) == pytest.approx(weights["jigsaw"])
    robust = sum(weight for name, weight in weights.items() if name.startswith("robustness"))
    assert robust == pytest.approx(weights["darcy"])
    assert known.mean.std() == pytest.approx(1)
    assert known.mean @ known.values[:, known.names.index("cifar10")] > 0


@pytest.mark.parametrize("known", [True, False])
def test_proposals_repeat_nothing_and_end(features, cells, accuracy, known):
    few = cells[:9]
    surrogate, observations = Surrogate(features, few, kinds.load(few) if known else None), []
    for number in range(9):
        cell = next_cell(surrogate, observations, [o.cell for o in observations], np.random.default_rng(number))
        observations += seen(surrogate, accuracy, [int(np.searchsorted(few, cell))])
    assert sorted(o.cell for o in observations) == few.tolist()
    assert next_cell(surrogate, observations, few.tolist(), np.random.default_rng(0)) is None


def test_without_known_tasks_the_first_proposals_are_random(features, cells):
    surrogate = Surrogate(features, cells, None)
    first = {next_cell(surrogate, [], [], np.random.default_rng(seed)) for seed in range(5)}
    assert len(first) == 5
    assert AT_RANDOM == 4


def test_the_search_finds_the_best_photograph_cells_and_takes_little_time(features, cells, accuracy):
    """Thirty proposals among 4,852 functions; on a quiet core they take well below a second."""
    start = time.process_time()
    surrogate, observations = Surrogate(features, cells, kinds.load(cells, kinds.left_out("cifar10"))), []
    for _ in range(30):
        cell = next_cell(surrogate, observations, [o.cell for o in observations], np.random.default_rng(0))
        observations += seen(surrogate, accuracy, [int(np.searchsorted(cells, cell))])
    assert time.process_time() - start < 3
    better = (accuracy > max(o.value for o in observations[:10])).mean()
    assert better < 0.002
