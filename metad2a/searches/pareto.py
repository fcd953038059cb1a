"""The Pareto front of predicted accuracy and a cost, found by NSGA-II (Deb et al., IEEE TEC 2002, from `pymoo`).

The generated candidates of the search are the first population.

Dimensions: n architectures, G genes.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from metad2a import spaces
from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.messages import counted
from metad2a.core.progress import progress
from metad2a.core.statistics import nondominated
from metad2a.searches.options import PREDICTOR, UNIVERSAL, SearchOptions
from metad2a.searches.ranking import measure_latency, predict, sorted_ranking
from metad2a.searches.report import COSTS, Ranking
from metad2a.searches.session import Session

POPULATION, GENERATIONS = 100, 40
TRIES = 5  # attempts of a generation at new children: a small space may have no more
NUM_TIMED = 40  # measured networks that the latency estimate is fitted to


def check_pareto(options: SearchOptions) -> None:
    """Raise a UserError if all architectures of the space are ranked anyway, or `pymoo` is not installed."""
    if options.ranking == UNIVERSAL and spaces.get(options.search_space).architectures is not None:
        raise UserError(
            f"--pareto needs generated candidates, but {options.search_space} is ranked whole: its ranking_run_1.csv "
            f"has every cell's costs. Add --ranking {PREDICTOR} to generate some."
        )
    if importlib.util.find_spec("pymoo") is None:
        raise UserError("--pareto needs the package pymoo. Install it with: pip install pymoo")


def front(objectives: np.ndarray) -> np.ndarray:
    """Rows of (n, 2), both to minimise, that no other row dominates; the first of equal rows."""
    return np.array(sorted(nondominated([(cost, -other) for cost, other in objectives.tolist()])), dtype=int)


def hypervolume(objectives: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> float:
    """The hypervolume of rows (n, 2), scaled to 0..1 between two corners, with reference point 1.01."""
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=np.array([1.01, 1.01]))((objectives - lowest) / (highest - lowest)))


def evolve(
    choices: np.ndarray,
    first: np.ndarray,
    evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    generations: int,
    seed: int,
) -> np.ndarray:
    """NSGA-II's last population (n, G).

    Args:
        choices: (G,), the number of values of each gene.
        first: (n, G), the first population.
        evaluate: from genes (n, G) to objectives (n, 2), to minimise, and constraints (n, any), at most 0 if met.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.core.mating import Mating
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.pntx import TwoPointCrossover
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.selection.tournament import TournamentSelection
    from pymoo.optimize import minimize

    num_constraints = evaluate(first[:1])[1].shape[1]

    class Predicted(Problem):
        def __init__(self) -> None:
            sizes = {"n_var": len(choices), "n_obj": 2, "n_ieq_constr": num_constraints}
            super().__init__(**sizes, xl=0, xu=choices - 1, vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            out["F"], constraints = evaluate(x)
            if num_constraints:
                out["G"] = constraints

    distinct = DefaultDuplicateElimination()
    operators = TwoPointCrossover(prob=0.9), PM(eta=1.0, vtype=float, repair=RoundingRepair())
    selection = TournamentSelection(func_comp=binary_tournament)
    mating = Mating(selection, *operators, eliminate_duplicates=distinct, n_max_iterations=TRIES)
    algorithm = NSGA2(pop_size=len(first), sampling=first, mating=mating, eliminate_duplicates=distinct)
    return minimize(Predicted(), algorithm, ("n_gen", generations), seed=seed).pop.get("X").astype(int)


class Evaluated:
    """Predicts architectures, computes their costs, and keeps all within the limits."""

    def __init__(self, session: Session, cost: str, run: int):
        self.session, self.cost, self.run = session, cost, run
        self.objectives: dict[str, list[float]] = {}  # error and cost, by text
        self.estimate = estimate_latency(session) if cost == "latency" else None

    def __call__(self, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Objectives (n, 2), error and cost, and by how much the limits of the search are exceeded."""
        session, space = self.session, self.session.space
        archs = [space.from_genes(row.tolist()) for row in genes]
        mean, _ = predict(session, archs, self.run)
        costs = [session.limits.cost(arch) for arch in archs]
        measure = self.estimate or (lambda arch, cost: cost[self.cost])
        objectives = np.stack([100 - mean, [measure(a, c) for a, c in zip(archs, costs, strict=True)]], axis=1)
        over = [[cost[name] - limit for name, limit in session.limits.limits.items()] for cost in costs]
        constraints = np.array(over, dtype=float).reshape(len(archs), -1)
        within = np.less_equal(constraints, 0).all(axis=1)
        self.objectives |= {
            space.to_text(arch): row for arch, row, ok in zip(archs, objectives.tolist(), within, strict=True) if ok
        }
        return objectives, constraints

    def best(self) -> list[Any]:
        """The front of all evaluated architectures within the limits."""
        texts = list(self.objectives)
        rows = front(np.array(list(self.objectives.values())))
        return [self.session.space.from_text(texts[row]) for row in rows]


def estimate_latency(session: Session) -> Callable[[Any, dict[str, float]], float]:
    """Estimate milliseconds from FLOPs, parameters and layers: a sum with weights fitted to measured networks."""
    from scipy.optimize import nnls

    from metad2a.networks.latency import latency  # imports PyTorch

    space, options, classes = session.space, session.options, session.classes.number

    def parts(arch: Any, cost: dict[str, float]) -> list[float]:
        return [cost["flops"], cost["params"], len(space.drawing(arch)[0]), 1.0]

    archs = space.sample(NUM_TIMED, random_generator(options.seed))
    timed = progress(archs, desc="latency", unit="network", leave=False)
    milliseconds = [latency(space, arch, classes, options.latency_batch, options.device) for arch in timed]
    weights, _ = nnls(np.array([parts(arch, space.cost(arch, classes)) for arch in archs]), np.array(milliseconds))
    return lambda arch, cost: float(np.dot(weights, parts(arch, cost)))


def pareto_front(session: Session, ranking: Ranking, run: int) -> Ranking:
    """The front of accuracy against `--pareto`, most accurate first, evolved from the candidates of a ranking.

    The evolution uses estimated latencies; then the latency of each member of the front is measured.
    """
    space, cost = session.space, str(session.options.pareto)
    evaluated = Evaluated(session, cost, run)
    first = [space.genes(space.from_text(text)) for text in ranking.texts[:: -(-len(ranking.texts) // POPULATION)]]
    evolve(np.array(space.gene_choices), np.array(first), evaluated, GENERATIONS, session.options.seed + run)
    archs = evaluated.best()
    members = sorted_ranking(session, archs, *predict(session, archs, run))
    return measure_latency(session, members, len(members.texts)) if cost == "latency" else members


def front_text(members: Ranking, cost: str, num_rows: int = 10) -> str:
    """The size of a front, and some of its rows, evenly spaced."""
    import torch

    rows = torch.linspace(0, len(members.texts) - 1, min(num_rows, len(members.texts))).long().tolist()
    heading, digits = COSTS[cost]
    lines = [f"{counted(len(members.texts), 'architecture')} are best in accuracy and {heading}; some of them:"]
    lines += [f"  {members.predicted[i]:6.2f} %  {members.costs[i][cost]:9.{digits}f} {heading}" for i in rows]
    return "\n".join(lines)
