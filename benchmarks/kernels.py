"""Kernels of the universal ranking, each cell predicted by a process that left it out: python benchmarks/kernels.py

The cells of equal function of the ImageNet16-120 table are divided into five parts; accuracies are their means. No
other table is looked at. Writes benchmarks/results/kernels.json after each kernel.

Dimensions: K cells, P and Q of them.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.nn.functional import one_hot

from benchmarks.lines import ndcg
from engine.cli import run
from engine.files import display_path, write_json
from engine.messages import log
from engine.runs import provenance
from meta_train.universal import (
    BENCHMARK,
    NUM_STEPS,
    Process,
    accuracies,
    first_scales,
    fit,
    posterior,
)
from predictor.gaussian_process import matern
from predictor.universal import SEEDS
from search_spaces.nasbench201.cell_features import normal_quantiles, published_features
from search_spaces.nasbench201.cells import OPERATIONS, parse
from search_spaces.nasbench201.classes import class_means, first_members, parts_of_cells
from search_spaces.nasbench201.space import NASBench201

TARGET = Path(__file__).parent / "results" / "kernels.json"
BEST = 1000  # cells among which the order counts most
RESAMPLED = 500  # times, for the error of a difference
# A kernel is a sum of products of kernels on kinds of features; the first is the smoothed transfer's, rho^(edges).
KERNELS = {
    "edges": [["edges"]],
    "operations": [["operations"]],
    "paths": [["paths"]],
    "scores": [["scores"]],
    "operations + edges": [["operations"], ["edges"]],
    "operations * scores": [["operations", "scores"]],
    "operations * scores + operations": [["operations", "scores"], ["operations"]],
    "operations * paths": [["operations", "paths"]],
    "operations * paths + operations": [["operations", "paths"], ["operations"]],
    "operations + costs": [["operations"], ["costs"]],
    "operations + 12 epochs": [["operations"], ["brief"]],
    "paths + operations": [["paths"], ["operations"]],
    "paths * scores": [["paths", "scores"]],
    "paths + scores + operations": [["paths"], ["scores"], ["operations"]],
    "paths * scores + operations": [["paths", "scores"], ["operations"]],
    "paths * scores + operations + costs": [["paths", "scores"], ["operations"], ["costs"]],
    "paths * scores + operations + 12 epochs": [["paths", "scores"], ["operations"], ["brief"]],
}
SHIPPED = "operations"


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
        "brief": normal_quantiles(short)[:, None],
    }


class SumOfProducts(Process):
    """A `Process` of another kernel; on `edges` it is rho^(number of edges that differ), else Matern's."""

    def __init__(self, features: dict[str, torch.Tensor], form: list[list[str]]):
        kinds = list(dict.fromkeys(kind for product in form for kind in product))
        super().__init__(torch.cat([features[kind] for kind in kinds], dim=1))
        self.scales = nn.Parameter(torch.cat([first_scales(features[kind]) for kind in kinds]))
        self.widths = {kind: features[kind].shape[1] for kind in kinds}
        self.form = form
        self.parts = nn.Parameter(torch.tensor([1 / len(form)] * len(form) + [1.0], dtype=torch.float64).log())

    def covariance(self, cells: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        *shares, constant = self.parts.exp()
        widths = list(self.widths.values())
        here, there = ((self.features[chosen] * self.scales.exp()).split(widths, 1) for chosen in (cells, others))
        kernels = {
            kind: (rho_edges if kind == "edges" else matern)(x, y)
            for kind, x, y in zip(self.widths, here, there, strict=True)
        }
        return (
            sum(share * math.prod(kernels[k] for k in form) for share, form in zip(shares, self.form, strict=True))
            + constant
        )


def rho_edges(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """(P, Q): each edge that differs multiplies by a rho of its own."""
    return torch.exp(-torch.cdist(here, there).square())


def held_out(known: dict[str, torch.Tensor], form: list[list[str]], steps: int) -> torch.Tensor:
    """(K,) accuracies (%) of all cells, each by the process that left its part out."""
    data = accuracies()
    every, predicted = torch.arange(len(data.value)), torch.empty_like(data.value)
    for seed, part in zip(SEEDS, parts_of_cells(len(every), len(SEEDS)), strict=True):
        cells = every[~torch.isin(every, part)]
        process = fit(SumOfProducts(known, form), data, cells, seed, steps)
        predicted[part] = posterior(process, data, cells, part)[0]
    return data.scale.back(predicted)


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
    shipped = held_out(known, KERNELS[SHIPPED], args.steps).numpy()
    for name in args.kernels:
        predicted = shipped if name == SHIPPED else held_out(known, KERNELS[name], args.steps).numpy()
        result[name] = judge(predicted, truth)
        log.info(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in result[name].items()))
        result[name]["difference"] = differences(predicted, shipped, truth)
        history = provenance(SEEDS[0], device="cpu", threads=torch.get_num_threads())
        write_json(TARGET, {"history": history, "result": result, "best": float(truth.max())})
    print(f"{display_path(TARGET)} is written")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="of the hyperparameters' descent")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
