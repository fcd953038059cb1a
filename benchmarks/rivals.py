"""Every search method on every table: python benchmarks/rivals.py

Writes benchmarks/results/rivals.json: for each dataset and method the accuracy of its choices, what they cost, which
cells they are, its choice against cost; and what depth, width and speed of convergence searchers prefer (Shu et al.,
ICLR 2020). A dataset that is measured again replaces its part of the file.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from metad2a import spaces
from metad2a.core.cli import positive_int, run, seed_number
from metad2a.core.environment import provenance
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, write_json
from metad2a.core.messages import log
from metad2a.core.statistics import interval
from metad2a.rivals import METHODS
from metad2a.rivals.compare import Row, problem_of, rows_of, run_all, usable
from metad2a.rivals.options import ALL, CompareOptions
from metad2a.rivals.table import CLASSES, TableProblem
from metad2a.spaces.nasbench201.cell_features import convolutions, depth_and_width
from metad2a.spaces.nasbench201.cells import parse

SUBNETS = "imagenet-224"
DATASETS = (*CLASSES, SUBNETS)
STEPS = (1, 2, 5, 10, 20, 30, 50, 100, 150, 200, 300, 500)  # evaluations of the fewest epochs, at which curves are read
SHOWN_CELLS = 3
SHAPED = ("cifar10", "cifar100", "imagenet16-120")  # of which the accuracy after 12 epochs is known, too
TOP = 100


def mean_of(values: list[float]) -> dict[str, float]:
    mean, half = interval(values)
    return {"mean": mean, "interval_95": half}


def curve(problem: TableProblem, row: Row) -> list[list[float]]:
    """Pairs of a cost and the mean accuracy of the choices at that cost, where each search has one.

    The cost is in epochs; in evaluations where they cost no epochs.
    """
    unit, name = (problem.fidelities[0], "epochs") if problem.fidelities[0] else (1, "evaluations")
    points = []
    for limit in (0, *(unit * step for step in STEPS)):
        held = []
        for result in row.results:
            before = [step for step in result.trajectory if getattr(step.cost, name) <= limit]
            held += problem.judge([before[-1].arch]) if before else []
        if len(held) == len(row.results):
            points.append([limit, float(np.mean(held))])
    return points


def facts(problem: TableProblem, row: Row) -> dict[str, Any]:
    """What is kept of a method."""
    chosen = [result.chosen[0] for result in row.results]
    kept: dict[str, Any] = {
        "title": row.method.title,
        "source": row.method.source,
        "changes": row.method.changes,
        "mark": row.mark,
        "accuracy": mean_of(row.accuracy) | {"min": min(row.accuracy), "runs": len(row.accuracy)},
        "cost": {name: row.mean_cost(name) for name in ("evaluations", "epochs", "seconds")},
        "hits": sum(value >= problem.best - 1e-6 for value in row.accuracy),
        "cells": Counter(chosen).most_common(SHOWN_CELLS),
        "different": len(set(chosen)),
        "curve": curve(problem, row),
    }
    volumes = [result.notes["hypervolume"] for result in row.results if "hypervolume" in result.notes]
    return kept | ({"hypervolume": mean_of(volumes)} if volumes else {})


class Shapes:
    """Depth, width, convolutions and both accuracies of all cells (A,) on a dataset."""

    def __init__(self, dataset: str):
        space = spaces.get("nasbench201")
        self.rows = {arch: row for row, arch in enumerate(space.architectures)}
        cells = [parse(arch) for arch in space.architectures]
        shapes = [(*depth_and_width(cell), convolutions(cell)) for cell in cells]
        self.depth, self.width, self.convolutions = np.array(shapes, dtype=float).T
        self.short, self.long = (space.table[name][dataset].double().numpy() for name in ("valid_12", "test_200"))
        self.short_rank, self.long_rank = (values.argsort().argsort() for values in (self.short, self.long))

    def mean(self, rows: np.ndarray) -> dict[str, float]:
        """Of some cells; `rank_gain` is how many places of 15,625 they win between 12 and 200 epochs."""
        names = ("depth", "width", "convolutions", "short", "long")
        gain = float((self.long_rank - self.short_rank)[rows].mean())
        return {name: float(getattr(self, name)[rows].mean()) for name in names} | {"rank_gain": gain}

    def of_space(self) -> dict[str, dict[str, float]]:
        """All connected cells, the best ones after 12 and 200 epochs, and the widest of the shallow and deep."""
        connected = np.flatnonzero(self.depth > 0)
        return {
            "space": self.mean(connected),
            "best_short": self.mean(np.argsort(-self.short)[:TOP]),
            "best_long": self.mean(np.argsort(-self.long)[:TOP]),
        }

    def by_depth(self) -> list[dict[str, float]]:
        """Mean accuracies of the cells of each number of convolutions and depth."""
        found = []
        for number in range(1, 7):
            for depth in (1, 2, 3):
                rows = np.flatnonzero((self.convolutions == number) & (self.depth == depth))
                if len(rows):
                    cells = {"convolutions": number, "depth": depth, "cells": len(rows)}
                    found.append(
                        cells | {"short": float(self.short[rows].mean()), "long": float(self.long[rows].mean())}
                    )
        return found

    def gain_with_depth(self) -> float:
        """Spearman's correlation of depth and the places won between 12 and 200 epochs, connected cells."""
        from scipy.stats import spearmanr

        rows = self.depth > 0
        return float(spearmanr(self.depth[rows], (self.long_rank - self.short_rank)[rows]).statistic)


def preferences(dataset: str, rows: list[Row]) -> dict[str, Any]:
    """What the cells that each method chose look like."""
    shapes = Shapes(dataset)
    chosen = {
        row.method.name: shapes.mean(np.array([shapes.rows[result.chosen[0]] for result in row.results]))
        for row in rows
    }
    return {
        "space": shapes.of_space(),
        "methods": chosen,
        "by_depth": shapes.by_depth(),
        "gain_with_depth": shapes.gain_with_depth(),
    }


def cpu_seconds() -> float:
    """Of this process and those that it has awaited."""
    return sum(os.times()[:4])


def measure_dataset(args: argparse.Namespace, dataset: str) -> dict[str, Any]:
    options = CompareOptions(
        device=torch.device("cpu"),
        search_space="ofa_mbv3" if dataset == SUBNETS else "nasbench201",
        data_name=dataset,
        seed=args.seed,
        methods=args.methods,
        num_seeds=args.num_seeds,
        num_workers=args.num_workers,
        data_path=args.data_path,
        save_path=args.save_path,
    )
    start, before = time.perf_counter(), cpu_seconds()
    problem = problem_of(options)
    names = usable(problem, options)
    rows = rows_of(problem, run_all(problem, names, options))
    result = {
        "best": problem.best,
        "protocol": problem.protocol,
        "left_out": [name for name in METHODS if name not in names],
        "methods": {row.method.name: facts(problem, row) for row in rows},
        "seconds": time.perf_counter() - start,
        "cpu_seconds": cpu_seconds() - before,
        "workers": options.num_workers or os.cpu_count(),
    }
    return result | ({"preferences": preferences(dataset, rows)} if dataset in SHAPED else {})


def measure(args: argparse.Namespace) -> None:
    path = Path(args.out)
    tables: dict[str, Any] = {}
    if path.is_file():
        tables = json.loads(path.read_text(encoding="utf-8"))["result"]
    for dataset in args.datasets.split(","):
        if dataset not in DATASETS:
            raise UserError(f"There is no table of {dataset!r}: choose among {', '.join(DATASETS)}.")
        tables[dataset] = measure_dataset(args, dataset)
        history = provenance(args.seed, device="cpu", threads=1)
        ordered = {name: tables[name] for name in DATASETS if name in tables}
        write_json(path, {"history": history, "result": ordered}, indent=None)
        log.info(f"{dataset}: {tables[dataset]['seconds']:.0f} s, of processors {tables[dataset]['cpu_seconds']:.0f} s")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--datasets", default=",".join(DATASETS))
    add("--methods", default=ALL)
    add("--num-seeds", type=positive_int, default=10)
    add("--num-workers", type=positive_int, help="searches at a time (default: one for each core)")
    add("--data-path", default="data")
    add("--save-path", default="results")
    add("--seed", type=seed_number, default=333)
    add("--out", default=str(ROOT / "benchmarks" / "results" / "rivals.json"))
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
