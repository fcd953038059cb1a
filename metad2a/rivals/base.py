"""What a search method is, what it searches, and what it returns.

A method asks a `Problem` for accuracies. The problem knows where they come from: a benchmark's table, or networks
trained on images. So a method is written once for both forms, and all methods share one clock.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.core.budget import Budget, Cost
from metad2a.core.errors import UserError
from metad2a.core.messages import counted
from metad2a.rivals import REAL, TABLE
from metad2a.spaces.base import SearchSpace

IDLE = 10_000  # after so many calls in a row without a new architecture, a search ends


class BudgetSpent(Exception):
    """The next evaluation is beyond the budget. Problems raise it, and `Method.run` catches it."""


@dataclass(frozen=True)
class Step:
    """The method's choice from this cost to the next step."""

    cost: Cost
    arch: str


@dataclass(frozen=True)
class Result:
    """What one search chose and what it cost."""

    method: str
    seed: int
    chosen: list[str]  # texts of architectures, the choice first, then the next best if the method ranks them
    trajectory: list[Step]  # the choice against cost; the last step is `chosen[0]`
    cost: Cost
    oracle: bool  # whether the method saw a test accuracy
    notes: dict[str, Any]  # further figures, for example a surrogate's correlation


class Problem(ABC):
    """Architectures of a space on one dataset, and what it costs to evaluate them. Raises a UserError if the budget is
    too small for one evaluation.

    Args:
        num_classes: K.
        fidelities: numbers of epochs after which the problem knows accuracies, in rising order.
        budget: of one search.
        oracle_fidelities: the fidelities with test accuracies.

    Attributes:
        form: "table" or "real".
        scores_networks: `training_free` works.
        charge_repeats: charge for an architecture each time; otherwise the second evaluation is free.
        follow_best: the choice is the best measured accuracy; otherwise the method calls `choose`.
        used_oracle: whether the method saw a test accuracy.
        search_options: fields of `metad2a.searches.options.SearchOptions` that lead to the dataset's features.
    """

    form: ClassVar[str]
    scores_networks = charge_repeats = False

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
        self.budget, self.search_options = budget, dict[str, Any]()
        self.begin()
        if not budget.allows(Cost(1, float(self.fidelities[0]))):
            limits = ", ".join(counted(value, name.removesuffix("s")) for name, value in budget.limits.items())
            raise UserError(
                f"The budget of {limits} is too small: one evaluation on {dataset} takes "
                f"{counted(self.fidelities[0], 'epoch')}. "
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
        """The cost of the search so far."""
        return Cost(self._evaluations, self._epochs, self.seconds())

    def seconds(self) -> float:
        """Seconds of the search so far; a resumed search includes those before it was killed."""
        return time.perf_counter() - self._started

    @abstractmethod
    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        """Accuracies (%) of architectures, or scores if the dataset has no accuracy; `evaluate_all` calls this."""

    @abstractmethod
    def judge(self, texts: list[str]) -> list[float]:
        """Test accuracies (%) of chosen architectures after their final training: for reports, never for methods."""

    def text_of(self, arch: Any) -> str:
        """The text under which the problem knows an architecture; equal ones may share it, and are charged once."""
        return self.space.to_text(arch)

    def sample(self, n: int, rng: np.random.Generator) -> list[Any]:
        """`n` independent uniform draws from the architectures that the problem can measure."""
        import torch

        return self.space.sample(n, torch.Generator().manual_seed(int(rng.integers(2**31))))

    def candidates(self) -> list[Any] | None:
        """All architectures that the problem can measure, None if there are too many."""
        return self.space.architectures

    def nearest(self, genes: Sequence[int], fresh: bool = False) -> Any:
        """The architecture with these genes, or the nearest that the problem can measure; `fresh` prefers one that was
        not measured yet."""
        return self.space.from_genes(genes)

    def cost_of(self, arch: Any) -> dict[str, float]:
        """`flops` and `params` in millions."""
        return self.space.cost(arch, self.num_classes)

    def training_free(self, archs: list[Any]) -> list[float]:
        """NASWOT's score of each network at initialisation, minus infinity if it has none; costs no epochs."""
        raise NotImplementedError

    def evaluate(self, arch: Any, epochs: int | None = None) -> float:
        """`evaluate_all` for one architecture."""
        return self.evaluate_all([arch], epochs)[0]

    def evaluate_all(self, archs: list[Any], epochs: int | None = None) -> list[float]:
        """Accuracies (%) that a method may use, by default after the fewest epochs.

        The budget is charged for each new architecture. If it cannot pay for a whole batch, the architectures that it
        can pay for are measured (and may become the choice) before the exception. Raises BudgetSpent if the budget is
        spent, or the method has asked for nothing new for a long time."""
        epochs = self.fidelities[0] if epochs is None else epochs
        texts = [self.text_of(arch) for arch in archs]
        new = dict(zip(texts, archs, strict=True))
        if not self.charge_repeats:
            new = {text: arch for text, arch in new.items() if (text, epochs) not in self.measured}
        self._idle = 0 if new else self._idle + 1
        paid = [text for text in new if self._pay(epochs)]
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

    def spend(self, epochs: float) -> None:
        """Charge for an epoch of a supernet, or the like. Raises BudgetSpent if the budget cannot pay for it."""
        if not self._pay(epochs, evaluations=0):
            raise BudgetSpent

    def _pay(self, epochs: float, evaluations: int = 1) -> bool:
        after = Cost(self._evaluations + evaluations, self._epochs + epochs, self.seconds())
        if not self.budget.allows(after):
            return False
        self._evaluations, self._epochs = after.evaluations, after.epochs
        return True

    def choose(self, *archs: Any) -> None:
        """Make the first architecture the choice; the others are the next best."""
        texts = [self.text_of(arch) for arch in archs]
        if texts[:1] != self.chosen[:1]:
            self.trajectory.append(Step(self.cost, texts[0]))
        self.chosen = texts

    def ranked(self) -> list[str]:
        """Texts of the measured architectures, best first; those with longer training come before others."""
        best: dict[str, tuple[int, float]] = {}
        for (text, epochs), value in self.measured.items():
            best[text] = max(best.get(text, (0, -np.inf)), (epochs, value))
        return sorted(best, key=lambda text: best[text], reverse=True)


@dataclass(frozen=True)
class Method(ABC):
    """A way to search. Its fields are its hyper-parameters, by default as published."""

    name: ClassVar[str]  # for `--methods`
    title: ClassVar[str]  # for tables
    source: ClassVar[str]  # the paper
    spaces: ClassVar[tuple[str, ...] | None] = None  # names of the search spaces that it supports; None: all with genes
    forms: ClassVar[tuple[str, ...]] = (TABLE, REAL)  # the forms that it supports
    follow_best: ClassVar[bool] = True  # its choice is the best accuracy that it measured, or it calls `Problem.choose`
    needs_scores: ClassVar[bool] = False  # it uses `Problem.training_free`
    needs_short: ClassVar[bool] = False  # it uses accuracies after fewer epochs than the most
    learned_from: ClassVar[tuple[str, ...]] = ()  # datasets whose accuracies it has seen: there it is in sample
    changes: ClassVar[str] = ""  # what differs from the published protocol

    @abstractmethod
    def search(self, problem: Problem, rng: np.random.Generator) -> dict[str, Any] | None:
        """Search until done, or until the problem raises `BudgetSpent`, which the method need not catch.

        Given the same accuracies it must ask for the same architectures: a killed search is resumed by a replay. It
        may return notes for the result."""

    def check(self, problem: Problem) -> None:
        """Refuse a problem that the method cannot search. Raises a UserError if the method does not support the space
        or the form, or the problem lacks what it needs."""
        space = problem.space
        if not (space.gene_choices if self.spaces is None else space.name in self.spaces):
            spaces = "spaces that have genes" if self.spaces is None else ", ".join(self.spaces)
            raise UserError(f"{self.name} does not know the search space {space.name}: it searches {spaces}.")
        if problem.form not in self.forms:
            raise UserError(f"{self.name} has no {problem.form} form: use --form {self.forms[0]}.")
        if self.needs_scores and not problem.scores_networks:
            raise UserError(f"{self.name} needs training-free scores: there are none of {space.name} here.")
        if self.needs_short and len(problem.fidelities) < 2:
            hint = ": give --search-epochs two numbers" if problem.form == REAL else ""
            raise UserError(f"{self.name} needs accuracies after fewer epochs, too: {problem.dataset} has none{hint}.")

    def run(self, problem: Problem, seed: int) -> Result:
        """Search a problem with one seed. Raises a UserError if the method cannot search it, or chose nothing within
        the budget."""
        self.check(problem)
        problem.begin(self.follow_best)
        notes = None
        with suppress(BudgetSpent):
            notes = self.search(problem, np.random.default_rng(seed))
        if not problem.chosen:
            raise UserError(f"{self.name} chose nothing on {problem.dataset}: its budget is too small. Raise --budget.")
        chosen = list(dict.fromkeys([*problem.chosen, *(problem.ranked() if self.follow_best else [])]))
        return Result(self.name, seed, chosen, problem.trajectory, problem.cost, problem.used_oracle, notes or {})
