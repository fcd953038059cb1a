"""What a search method is, what it searches on, and what it hands back.

A method asks a `Problem` for accuracies. Where they come from is the problem's business: a benchmark's table, or
networks trained on images. So one method has both forms, and all of them one clock.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from metad2a.core.errors import UserError
from metad2a.rivals.cost import REAL, TABLE, Budget, Cost
from metad2a.spaces.base import SearchSpace

IDLE = 10_000  # evaluations in a row that measure nothing new: then a method has run dry


class BudgetSpent(Exception):
    """Raised by a problem when the next evaluation is beyond the budget; `Method.run` catches it."""


@dataclass(frozen=True)
class Step:
    """The choice that a method would make after a cost; it holds until the next step."""

    cost: Cost
    arch: str


@dataclass(frozen=True)
class Result:
    """What a method found.

    Attributes:
        method, dataset, form, seed: of what; the form is "table" or "real".
        chosen: texts of architectures, the choice first; what follows are the next best, where the method ranks them.
        trajectory: its choice against cost; the last one is `chosen[0]`.
        cost: of the whole search.
        oracle: whether anything that it looked at was a test accuracy.
        parameters: hyper-parameters.
        notes: figures of its own, for example a surrogate's correlation.
    """

    method: str
    dataset: str
    form: str
    seed: int
    chosen: list[str]
    trajectory: list[Step]
    cost: Cost
    oracle: bool
    parameters: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)


class Problem(ABC):
    """Architectures of a space on one dataset, and what they cost to measure.

    Attributes:
        dataset: its name.
        space: the search space.
        form: "table" or "real".
        num_classes: K.
        fidelities: epochs after which an accuracy can be asked for, fewest first.
        oracle_fidelities: those whose accuracies are test accuracies.
        budget: of one search.
        follow_best: whether the best accuracy measured is the choice, so that `choose` need not be called.
        used_oracle: whether a test accuracy was looked at.
        search_options: fields of `metad2a.searches.options.SearchOptions` that lead to the dataset's features, where
            they are not the defaults.
    """

    form: ClassVar[str]
    search_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        dataset: str,
        space: SearchSpace,
        num_classes: int,
        fidelities: Sequence[int],
        budget: Budget,
        oracle_fidelities: Sequence[int] = (),
    ):
        self.dataset, self.space, self.num_classes = dataset, space, num_classes
        self.fidelities, self.oracle_fidelities = tuple(fidelities), frozenset(oracle_fidelities)
        self.budget = budget
        self.begin()
        if not budget.allows(Cost(1, float(self.fidelities[0]))):
            limits = ", ".join(f"{value:g} {name}" for name, value in asdict(budget).items() if value is not None)
            raise UserError(
                f"The budget of {limits} is too small: one evaluation on {dataset} takes {self.fidelities[0]} epochs. "
                "Give a larger --budget."
            )

    def begin(self, follow_best: bool = True) -> None:
        """Forget an earlier search, and start the clock."""
        self.follow_best, self.used_oracle = follow_best, False
        self.measured: dict[tuple[str, int], float] = {}
        self.trajectory: list[Step] = []
        self.chosen: list[str] = []
        self._evaluations, self._epochs, self._idle = 0, 0.0, 0
        self._best = (0, -np.inf)
        self._started = time.perf_counter()

    @property
    def cost(self) -> Cost:
        """Of the search so far."""
        return Cost(self._evaluations, self._epochs, self.seconds())

    def seconds(self) -> float:
        """Of the search so far; a resumed one adds those before it was killed."""
        return time.perf_counter() - self._started

    @abstractmethod
    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        """Accuracies (%) of architectures that `evaluate` asks for, each once; a score where there is no accuracy.

        Raises:
            UserError: one cannot be measured.
        """

    @abstractmethod
    def judge(self, texts: list[str]) -> list[float]:
        """Test accuracies (%) of chosen architectures after their final training: for reports, not for methods."""

    def price(self, text: str, epochs: int) -> float:
        """Epochs to be paid for an accuracy after `epochs`; fewer where a training goes on from an earlier one."""
        return float(epochs)

    def sample(self, n: int, rng: np.random.Generator) -> list[Any]:
        """`n` architectures drawn independently and evenly from those that can be measured."""
        import torch

        return self.space.sample(n, torch.Generator().manual_seed(int(rng.integers(2**31))))

    def candidates(self) -> list[Any] | None:
        """All architectures that can be measured, where they can be listed."""
        return self.space.architectures

    def nearest(self, genes: Sequence[int], fresh: bool = False) -> Any:
        """The architecture of a space's genes; where not every one can be measured, the nearest that can.

        Args:
            fresh: of these the nearest that was not measured yet.
        """
        return self.space.from_genes(genes)

    def cost_of(self, arch: Any) -> dict[str, float]:
        """`flops` and `params` in millions."""
        return self.space.cost(arch, self.num_classes)

    @property
    def scores_networks(self) -> bool:
        """Whether `training_free` knows a score of each network."""
        return type(self).training_free is not Problem.training_free

    def training_free(self, archs: list[Any]) -> list[float]:
        """NASWOT's score of each network as initialised, minus infinity where it has none; at no epochs.

        Raises:
            UserError: there is none of this dataset or space.
        """
        raise UserError(f"There are no training-free scores of {self.space.name} on {self.dataset} here.")

    @property
    def images(self) -> Any:
        """The `metad2a.data.image_data.ImageData` of a real problem.

        Raises:
            UserError: a table has none.
        """
        raise UserError(f"{self.dataset} is looked up in a table here, which has no images: use --form real.")

    def evaluate(self, arch: Any, epochs: int | None = None) -> float:
        """`evaluate_all` of one architecture."""
        return self.evaluate_all([arch], epochs)[0]

    def evaluate_all(self, archs: list[Any], epochs: int | None = None) -> list[float]:
        """Accuracies (%) by which a method may choose, after the fewest epochs where it does not say.

        The budget is charged for each architecture that was not measured before. Of a batch that it cannot pay for,
        those that it can are measured (and may become the choice) before the exception.

        Raises:
            BudgetSpent: it pays for no more, or nothing new was asked for in a long time.
        """
        epochs = self.fidelities[0] if epochs is None else epochs
        texts = [self.space.to_text(arch) for arch in archs]
        new = {text: arch for text, arch in zip(texts, archs, strict=True) if (text, epochs) not in self.measured}
        self._idle = 0 if new else self._idle + 1
        paid = [text for text in new if self._pay(self.price(text, epochs))]
        values = self.measure([new[text] for text in paid], epochs) if paid else []
        self.used_oracle |= bool(paid) and epochs in self.oracle_fidelities
        for text, value in zip(paid, values, strict=True):
            self.measured[text, epochs] = value
            if self.follow_best and (epochs, value) > self._best:
                self._best = (epochs, value)
                self.choose(new[text])
        if len(paid) < len(new) or self._idle > IDLE:
            raise BudgetSpent
        return [self.measured[text, epochs] for text in texts]

    def spend(self, epochs: float, evaluations: int = 0) -> None:
        """Charge for what is not an evaluation, for example an epoch of a supernet.

        Raises:
            BudgetSpent: the budget does not pay for it.
        """
        if not self._pay(epochs, evaluations):
            raise BudgetSpent

    def _pay(self, epochs: float, evaluations: int = 1) -> bool:
        after = Cost(self._evaluations + evaluations, self._epochs + epochs, self.seconds())
        if not self.budget.allows(after):
            return False
        self._evaluations, self._epochs = after.evaluations, after.epochs
        return True

    def choose(self, *archs: Any) -> None:
        """Make this the choice from here on; further architectures are the next best."""
        texts = [self.space.to_text(arch) for arch in archs]
        if texts[:1] != self.chosen[:1]:
            self.trajectory.append(Step(self.cost, texts[0]))
        self.chosen = texts

    def ranked(self) -> list[str]:
        """Texts of what was measured, best first; longer trained ones before others."""
        best: dict[str, tuple[int, float]] = {}
        for (text, epochs), value in self.measured.items():
            best[text] = max(best.get(text, (0, -np.inf)), (epochs, value))
        return sorted(best, key=lambda text: best[text], reverse=True)


@dataclass(frozen=True)
class Method(ABC):
    """A way to search. Its fields are its hyper-parameters, by default as published.

    Attributes:
        name: as given to `--methods`.
        title: as tables show it.
        source: the paper.
        spaces: names of the search spaces that it knows; None for any that has genes.
        forms: of "table" and "real", those that it has.
        follow_best: whether its choice is the best accuracy that it measured; else it calls `Problem.choose`.
        needs_scores: whether it asks for `Problem.training_free`.
        needs_short: whether it asks for accuracies after fewer epochs than the most.
        learned_from: datasets whose accuracies it learned beforehand, on which it is judged in sample.
        changes: what differs from the published protocol, in words.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    spaces: ClassVar[tuple[str, ...] | None] = None
    forms: ClassVar[tuple[str, ...]] = (TABLE, REAL)
    follow_best: ClassVar[bool] = True
    needs_scores: ClassVar[bool] = False
    needs_short: ClassVar[bool] = False
    learned_from: ClassVar[tuple[str, ...]] = ()
    changes: ClassVar[str] = ""

    @abstractmethod
    def search(self, problem: Problem, rng: np.random.Generator) -> dict[str, Any] | None:
        """Search until done, or until the problem raises `BudgetSpent`, which need not be caught.

        Given the same accuracies it must ask for the same architectures again, so that a search which was killed is
        resumed by replaying what was measured.

        Returns:
            Notes for the result, or None.
        """

    def check(self, problem: Problem) -> None:
        """Refuse what the method cannot search.

        Raises:
            UserError: it does not know the space, does not have the form, or needs what the problem lacks.
        """
        space = problem.space
        known = bool(space.gene_choices) if self.spaces is None else space.name in self.spaces
        if not known:
            spaces = "spaces that have genes (search_spaces/base.py)" if self.spaces is None else ", ".join(self.spaces)
            raise UserError(f"{self.name} does not know the search space {space.name}: it searches {spaces}.")
        if problem.form not in self.forms:
            raise UserError(f"{self.name} has no {problem.form} form: use --form {self.forms[0]}.")
        if self.needs_scores and not problem.scores_networks:
            raise UserError(f"{self.name} needs training-free scores: there are none of {space.name} here.")
        if self.needs_short and len(problem.fidelities) < 2:
            hint = ": give --search-epochs two numbers" if problem.form == REAL else ""
            raise UserError(f"{self.name} needs accuracies after fewer epochs, too: {problem.dataset} has none{hint}.")

    def run(self, problem: Problem, seed: int) -> Result:
        """Search a problem with one seed.

        Raises:
            UserError: the method cannot search it, or chose nothing within the budget.
        """
        self.check(problem)
        problem.begin(self.follow_best)
        notes = None
        with suppress(BudgetSpent):
            notes = self.search(problem, np.random.default_rng(seed))
        if not problem.chosen:
            raise UserError(f"{self.name} chose nothing on {problem.dataset}: its budget is too small. Raise --budget.")
        chosen = [*problem.chosen, *(problem.ranked() if self.follow_best else [])]
        return Result(
            self.name,
            problem.dataset,
            problem.form,
            seed,
            list(dict.fromkeys(chosen)),
            problem.trajectory,
            problem.cost,
            problem.used_oracle,
            asdict(self),
            notes or {},
        )
