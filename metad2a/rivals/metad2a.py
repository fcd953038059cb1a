"""MetaD2A itself, as `search` runs it, beside the other methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from metad2a.data.features import find_features
from metad2a.rivals.base import Method, Problem

SHOWN = 30  # choices in a result


@dataclass(frozen=True)
class MetaD2A(Method):
    """The first choice of the universal ranking: it trains nothing, and the dataset makes no difference."""

    name: ClassVar[str] = "metad2a"
    title: ClassVar[str] = "MetaD2A, `--ranking universal`"
    source: ClassVar[str] = "Lee et al., ICLR 2021"
    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    follow_best: ClassVar[bool] = False
    learned_from: ClassVar[tuple[str, ...]] = ("imagenet16-120",)
    changes: ClassVar[str] = "all cells ranked by what is known of photographs"

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        problem.choose(*self.ranking(problem)[:SHOWN])

    def ranking(self, problem: Problem) -> list[Any]:
        """The cheapest cell of each class of equal cells, best first."""
        from metad2a.rankings.universal import load

        archs = problem.space.all_architectures()
        cells = [archs[number] for number in problem.space.cheapest_members()]
        return [cells[i] for i in load().of_classes()[0].argsort(descending=True, stable=True).tolist()]


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
    learned_from: ClassVar[tuple[str, ...]] = ("imagenet16-120",)

    candidates: int = 500

    def check(self, problem: Problem) -> None:
        super().check(problem)
        find_features(problem.dataset, problem.search_options.get("data_path", "data"))  # downloads nothing
        self.session(problem)  # raises what is missing

    def session(self, problem: Problem) -> Any:
        """The models and features for the dataset."""
        return _session(problem.dataset, problem.space.name, self.candidates, tuple(problem.search_options.items()))

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        from metad2a.searches.generate import generate_candidates
        from metad2a.searches.ranking import rank

        session, number = self.session(problem), int(rng.integers(1, 10**6))
        ranking = rank(session, generate_candidates(session, number)[0], number)
        problem.choose(*map(problem.space.from_text, ranking.texts[:SHOWN]))


@lru_cache(maxsize=1)
def _session(dataset: str, space: str, candidates: int, options: tuple[tuple[str, Any], ...]) -> Any:
    import torch

    from metad2a.searches.options import SearchOptions
    from metad2a.searches.session import Session

    given: Mapping[str, Any] = {"device": torch.device("cpu")} | dict(options)
    chosen = SearchOptions(data_name=dataset, search_space=space, num_gen_arch=candidates, num_runs=1, **given)
    return Session(chosen, ("generator", "predictor"))
