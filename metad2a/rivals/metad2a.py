"""MetaD2A itself, as `search` runs it with and without a budget, beside the other methods."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from metad2a.data.feature_files import find_features
from metad2a.rankings import kinds, universal
from metad2a.rivals.base import Method, Problem
from metad2a.searches.options import SearchOptions
from metad2a.searches.ranking import rank
from metad2a.searches.session import Session

SHOWN = 30  # choices in a result
LEARNED = "imagenet16-120"  # its accuracies made the ranking and the predictor


def cells_by_class(problem: Problem) -> dict[int, Any]:
    """A cell of each class of equal cells that can learn, by its class: the cheapest that the problem can measure."""
    space, known = problem.space, set(map(problem.text_of, problem.candidates() or ()))
    archs, classes = space.all_architectures(), np.asarray(space.classes_of_equals()).tolist()
    cheapest, found = set(space.cheapest_members()), dict[int, Any]()
    for number, (arch, kind) in enumerate(zip(archs, classes, strict=True)):
        if arch in known and space.can_learn(arch) and (number in cheapest or kind not in found):
            found[kind] = arch
    return found


@dataclass(frozen=True)
class MetaD2A(Method):
    """The first choice of the universal ranking: it trains nothing, and the dataset makes no difference."""

    name: ClassVar[str] = "metad2a"
    title: ClassVar[str] = "MetaD2A, `--ranking universal`"
    source: ClassVar[str] = "Lee et al., ICLR 2021"
    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    follow_best: ClassVar[bool] = False
    learned_from: ClassVar[tuple[str, ...]] = (LEARNED,)
    changes: ClassVar[str] = "all cells ranked by what is known of photographs"

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        problem.choose(*self.ranking(problem)[:SHOWN])

    def ranking(self, problem: Problem) -> list[Any]:
        """The cheapest cell of each class of equal cells, best first."""
        cells, accuracy = cells_by_class(problem), universal.load().of_classes()[0]
        return [cells[i] for i in np.argsort(-accuracy, kind="stable").tolist() if i in cells]


@dataclass(frozen=True)
class MetaD2ATrained(MetaD2A):
    """The best of the first `first` choices after full training: the paper's protocol, which sees test accuracies."""

    name: ClassVar[str] = "metad2a-trained"
    title: ClassVar[str] = "MetaD2A, its first 30 trained"
    follow_best: ClassVar[bool] = True
    length: ClassVar[int] = -1  # index into the problem's fidelities

    first: int = 30

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        for arch in self.ranking(problem)[: self.first]:
            problem.evaluate(arch, problem.fidelities[self.length])


@dataclass(frozen=True)
class MetaD2AShort(MetaD2ATrained):
    """The best of the first `first` choices after the fewest epochs."""

    name: ClassVar[str] = "metad2a-short"
    title: ClassVar[str] = "MetaD2A, its first 30 trained briefly"
    needs_short: ClassVar[bool] = True
    length: ClassVar[int] = 0


@dataclass(frozen=True)
class MetaD2APredictor(Method):
    """The first choice of the paper's method: the generator's candidates, ranked by the predictor.

    Both see the dataset's features, which must exist already.
    """

    name: ClassVar[str] = "metad2a-predictor"
    title: ClassVar[str] = "MetaD2A, `--ranking predictor`"
    source: ClassVar[str] = "Lee et al., ICLR 2021"
    follow_best: ClassVar[bool] = False
    learned_from: ClassVar[tuple[str, ...]] = (LEARNED,)

    candidates: int = 500

    def check(self, problem: Problem) -> None:
        super().check(problem)
        find_features(problem.dataset, problem.search_options.get("data_path", "data"))  # downloads nothing
        self.session(problem)  # raises what is missing

    def session(self, problem: Problem) -> Session:
        """The models and features for the dataset."""
        return _session(problem.dataset, problem.space.name, self.candidates, tuple(problem.search_options.items()))

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        from metad2a.searches.generate import generate_candidates  # imports PyTorch

        session, number = self.session(problem), int(rng.integers(1, 10**6))
        ranking = rank(session, generate_candidates(session, number)[0], number)
        problem.choose(*map(problem.space.from_text, ranking.texts[:SHOWN]))


@lru_cache(maxsize=1)
def _session(dataset: str, space: str, candidates: int, options: tuple[tuple[str, Any], ...]) -> Session:
    given: dict[str, Any] = {"gpu": "cpu"} | dict(options)
    chosen = SearchOptions(data_name=dataset, search_space=space, num_gen_arch=candidates, num_runs=1, **given)
    return Session(chosen, ("generator", "predictor"))


@dataclass(frozen=True)
class BudgetSearch(Method):
    """Trains the most promising cell by a surrogate that starts from other tasks, `trainings` times.

    It trains one cell of each class of equal cells, for the fewest epochs, and chooses the cell that the surrogate
    then ranks first. It knows nothing of the benchmark's task that it searches.
    """

    name: ClassVar[str] = "budget"
    title: ClassVar[str] = "MetaD2A with a budget"
    source: ClassVar[str] = "this project"
    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    follow_best: ClassVar[bool] = False
    trainings: int = 100
    ranked: bool = True  # otherwise the first cells are random, and no other task is known
    group: bool = False  # also know nothing of tasks that share the task's images

    def search(self, problem: Problem, rng: np.random.Generator) -> dict[str, Any]:
        from metad2a.searches.budget.loop import learn, next_cell
        from metad2a.searches.budget.surrogate import Observation, Surrogate

        cells = cells_by_class(problem)
        allowed = np.array(sorted(cells))
        known = kinds.load(allowed, kinds.left_out(problem.dataset, self.group)) if self.ranked else None
        surrogate = Surrogate(problem.space.features(), allowed, known)
        observations: list[Observation] = []
        for _ in range(self.trainings):
            cell = next_cell(surrogate, observations, [o.cell for o in observations], rng)
            if cell is None:
                break
            observations.append(Observation(cell, problem.evaluate(cells[cell])))
            learn(surrogate, observations)
            problem.choose(cells[int(allowed[surrogate.quality().argmax()])])
        return {"hyperparameters": surrogate.hyperparameters}
