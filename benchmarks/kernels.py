"""Kernels of the universal ranking, each cell predicted by a process that left it out: python benchmarks/kernels.py

The cells of equal function of the ImageNet16-120 table are divided into five parts; accuracies are their means. No
other table is looked at. Writes benchmarks/results/kernels.json after each kernel.

Dimensions: K cells, P and Q of them.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import one_hot

from benchmarks.lines import ndcg
from metad2a.core.cli import run
from metad2a.core.environment import provenance
from metad2a.core.files import display_path, write_json
from metad2a.core.messages import log
from metad2a.rankings.fit_universal import BENCHMARK, KERNELS, Form, Process, accuracies, fit, validate
from metad2a.rankings.gaussian_process import matern
from metad2a.rankings.universal import SEEDS
from metad2a.spaces.base import random_parts
from metad2a.spaces.nasbench201.cell_features import normal_quantiles, published_features
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse
from metad2a.spaces.nasbench201.classes import class_means, first_members
from metad2a.spaces.nasbench201.space import NASBench201

TARGET = Path(__file__).parent / "results" / "kernels.json"
BEST = 1000  # cells among which the order counts most
COMPARED_STEPS = 40  # a third of what the shipped processes take, enough to tell kernels apart
RESAMPLED = 500  # times, for the error of a difference
# A semicolon joins processes whose means are averaged, a plus kernels that are added, an asterisk kernels on kinds of
# features that are multiplied; `edges` is the smoothed transfer's, rho^(edges).
SHIPPED = "; ".join(" + ".join(map(" * ".join, form)) for form in KERNELS)
COMPARED = (
    "edges",
    "operations",
    "paths",
    "scores",
    "operations + edges",
    "operations * scores + operations",
    "operations * paths + operations",
    "operations + costs",
    "operations + 12 epochs",
    "paths + operations",
    "paths * scores",
    "paths + scores + operations",
    "paths * scores + operations",
    "paths * scores + operations + costs",
    "paths * scores + operations + 12 epochs",
    SHIPPED,
    "operations; paths + operations; paths * scores + operations",
    "operations; paths * scores + operations + 12 epochs",
)


def forms(name: str) -> tuple[Form, ...]:
    """The kernels of the processes that a name stands for."""
    return tuple(tuple(tuple(term.split(" * ")) for term in form.split(" + ")) for form in name.split("; "))


def features() -> dict[str, torch.Tensor]:
    """Of each cell, (K, F) float64: `cell_features`, edges, costs, and accuracy after 12 epochs."""
    space, first = NASBench201(), first_members()
    archs = [space.architectures[row] for row in first]
    costs = torch.tensor([list(space.cost(arch, 120).values()) for arch in archs], dtype=torch.float64).log()
    brief = space.known_accuracy(BENCHMARK, 12)
    short = class_means(torch.tensor([brief[space.to_text(arch)] for arch in space.architectures]).double())
    return published_features() | {
        "edges": one_hot(torch.tensor([parse(arch) for arch in archs]), len(OPERATIONS)).flatten(1).double(),
        "costs": (costs - costs.mean(0)) / costs.std(0),
        "12 epochs": normal_quantiles(short)[:, None],
    }


class Compared(Process):
    """A `Process` whose kernel on `edges` is rho^(number of edges that differ), each edge with a rho of its own."""

    def kernel(self, kind: str, here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        return torch.exp(-torch.cdist(here, there).square()) if kind == "edges" else matern(here, there)


def held_out(known: dict[str, torch.Tensor], name: str, steps: int) -> tuple[torch.Tensor, float]:
    """(K,) accuracies (%) of all cells, each by processes that left its part out, and their mean log density."""
    data = accuracies()
    every, predicted, density = torch.arange(len(data.value)), torch.empty_like(data.value), 0.0
    for seed, part in zip(SEEDS, random_parts(len(every), len(SEEDS)), strict=True):
        cells = every[~torch.isin(every, part)]
        processes = [fit(Compared(known, form), data, cells, seed, steps) for form in forms(name)]
        predicted[part], figures = validate(processes, data, cells, part)
        density += figures["log_density"] * len(part) / len(every)
    return data.scale.back(predicted), density


def judge_best(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Figures of the best cells, from predicted and true accuracies (K,)."""
    order, best = np.argsort(-predicted, kind="stable"), np.argsort(-truth, kind="stable")[:BEST]
    return {
        "spearman_best": float(stats.spearmanr(predicted[best], truth[best]).statistic),
        "ndcg": ndcg(order, truth),
    }


def judge(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """All figures of predicted against true accuracies (K,)."""
    order = np.argsort(-predicted, kind="stable")
    return {
        "spearman": float(stats.spearmanr(predicted, truth).statistic),
        "kendall": float(stats.kendalltau(predicted, truth).statistic),
        **judge_best(predicted, truth),
        "first": float(truth[order[0]]),
        "mean_10": float(truth[order[:10]].mean()),
    }


def differences(predicted: np.ndarray, shipped: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
    """What `predicted` is better by than `shipped` (K,), with its standard error, both over resampled cells."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(RESAMPLED):
        drawn = rng.integers(0, len(truth), len(truth))
        ours, theirs = (judge_best(values[drawn], truth[drawn]) for values in (predicted, shipped))
        rows.append({name: ours[name] - theirs[name] for name in ours})
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: {"mean": np.mean(values), "error": np.std(values)} for name, values in columns.items()}


def measure(args: argparse.Namespace) -> None:
    known, truth = features(), class_means(NASBench201().table["test_200"][BENCHMARK].double()).numpy()
    result: dict[str, dict[str, Any]] = {}
    shipped = held_out(known, SHIPPED, args.steps)
    for name in args.kernels:
        predicted, density = shipped if name == SHIPPED else held_out(known, name, args.steps)
        result[name] = judge(predicted.numpy(), truth) | {"log_density": density}
        log.info(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in result[name].items()))
        result[name]["difference"] = differences(predicted.numpy(), shipped[0].numpy(), truth)
        history = provenance(SEEDS[0], device="cpu", threads=torch.get_num_threads())
        write_json(TARGET, {"history": history, "result": result, "best": float(truth.max())})
    print(f"{display_path(TARGET)} is written")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", nargs="+", choices=COMPARED, default=list(COMPARED))
    parser.add_argument("--steps", type=int, default=COMPARED_STEPS, help="of the hyperparameters' descent")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
