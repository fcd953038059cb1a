"""NSGANetV2: a surrogate that is fitted in each round, and NSGA-II over its accuracies and exact FLOPs."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.rivals.base import BudgetSpent, Method, Problem
from metad2a.rivals.surrogates import Predict, Surrogates, gene_rows
from metad2a.searches.pareto import evolve, front, hypervolume


def evenly(measured: np.ndarray, offered: np.ndarray, number: int) -> list[int]:
    """Choose costs of `offered` (n,) that leave the most even gaps between them and the `measured` costs (m,).

    Each step takes the cost with the smallest standard deviation of the gaps.
    """
    taken: list[int] = []
    for _ in range(min(number, len(offered))):
        rest = [i for i in range(len(offered)) if i not in taken]
        unevenness = [np.diff(np.sort([*measured, *offered[taken], offered[i]])).std() for i in rest]
        taken.append(rest[int(np.argmin(unevenness))])
    return taken


@dataclass(frozen=True)
class NsgaNet(Method):
    """`first` architectures with the smallest and largest among them, then `rounds` of `batch`.

    The notes hold its front of accuracy against FLOPs. Its choice is the most accurate architecture.
    """

    name: ClassVar[str] = "nsganetv2"
    title: ClassVar[str] = "NSGANetV2"
    source: ClassVar[str] = "Lu et al., ECCV 2020"
    changes: ClassVar[str] = "a round's architectures are spaced greedily, not by a genetic algorithm"

    first: int = 100
    rounds: int = 30
    batch: int = 8
    population: int = 40
    generations: int = 20

    def search(self, problem: Problem, rng: np.random.Generator) -> dict[str, Any]:
        surrogates = Surrogates(problem.space)
        with suppress(BudgetSpent):
            problem.evaluate_all(self.begin(problem, rng))
            for _ in range(self.rounds):
                archive = Archive(problem)
                predict = surrogates.fit(gene_rows(problem.space, archive.archs), archive.accuracy, rng)
                problem.evaluate_all(self.propose(problem, archive, predict, int(rng.integers(2**31))))
        return Archive(problem).notes()

    def begin(self, problem: Problem, rng: np.random.Generator) -> list[Any]:
        """The first architectures: the smallest, the largest and random ones."""
        space, everything = problem.space, problem.candidates()
        if everything is None:
            ends = [space.from_genes([0] * len(space.gene_choices))]
            ends.append(space.from_genes([choices - 1 for choices in space.gene_choices]))
        else:
            flops = [problem.cost_of(arch)["flops"] for arch in everything]
            ends = [everything[int(np.argmin(flops))], everything[int(np.argmax(flops))]]
        archs = {problem.text_of(arch): arch for arch in ends}
        for arch in problem.sample(4 * self.first, rng):
            if len(archs) < self.first:
                archs.setdefault(problem.text_of(arch), arch)
        return list(archs.values())

    def propose(self, problem: Problem, archive: "Archive", predict: Predict, seed: int) -> list[Any]:
        """The architectures of a round: new ones of NSGA-II's last population, evenly spaced in FLOPs."""
        space = problem.space
        population = {problem.text_of(arch): arch for arch in self.evolve(problem, archive, predict, seed)}
        archs = [arch for text, arch in population.items() if text not in archive.texts]
        if not archs:
            return []
        flops = np.array([problem.cost_of(arch)["flops"] for arch in archs])
        best = front(np.stack([100 - predict(gene_rows(space, archs)), flops], axis=1))
        order = np.concatenate([best, np.setdiff1d(np.arange(len(archs)), best)])  # others if the front is short
        offered = order[: max(len(best), self.batch)]
        measured = archive.flops[archive.front()]
        return [archs[offered[i]] for i in evenly(measured, flops[offered], self.batch)]

    def evolve(self, problem: Problem, archive: "Archive", predict: Predict, seed: int) -> list[Any]:
        """NSGA-II's last population; the first one includes the archive's front."""
        space, choices = problem.space, np.array(problem.space.gene_choices)

        def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            archs = [problem.nearest(row.tolist()) for row in x]
            flops = [problem.cost_of(arch)["flops"] for arch in archs]
            return np.stack([100 - predict(gene_rows(space, archs)), flops], axis=1), np.empty((len(x), 0))

        seeded = gene_rows(space, archive.archs)[archive.front()][: self.population]
        others = np.random.default_rng(seed).integers(0, choices, (self.population - len(seeded), len(choices)))
        rows = evolve(choices, np.concatenate([seeded, others]), evaluate, self.generations, seed)
        return [problem.nearest(row.tolist()) for row in rows]


class Archive:
    """The architectures that a problem has measured, their accuracies (n,) and FLOPs (n,)."""

    def __init__(self, problem: Problem):
        self.texts = [text for text, _ in problem.measured]
        self.archs = [problem.space.from_text(text) for text in self.texts]
        self.accuracy = np.array(list(problem.measured.values()))
        self.flops = np.array([problem.cost_of(arch)["flops"] for arch in self.archs])
        self.objectives = np.stack([100 - self.accuracy, self.flops], axis=1)

    def front(self) -> np.ndarray:
        """Rows that no other row dominates."""
        return front(self.objectives)

    def notes(self) -> dict[str, Any]:
        """The front and its hypervolume."""
        if len(self.archs) < 2:
            return {}
        rows = self.front()
        points = sorted((float(self.flops[i]), float(self.accuracy[i]), self.texts[i]) for i in rows)
        volume = hypervolume(self.objectives[rows], self.objectives.min(0), self.objectives.max(0))
        return {
            "front": [{"mflops": flops, "accuracy": accuracy, "arch": text} for flops, accuracy, text in points],
            "hypervolume": volume,
        }
