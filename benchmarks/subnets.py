"""Compare the subnets that a search over a supernet chooses with random subnets of equal FLOPs, on unseen tasks.

python benchmarks/subnets.py --imgnet DIR --supernet FILE

Tasks are random classes, drawn from a seed that no training used. A bound is a quantile of random subnets' FLOPs. For
each task and bound the generator makes candidates with 90 % to 100 % of the bound, and the predictor chooses one. The
chosen subnet's measured accuracy is compared with the mean of random subnets whose FLOPs differ by at most 2 %. The
supernet's weights give all accuracies, on held-out images, after batch norm was calibrated on the task's training
images. The random subnets also tell how well the predictor ranks on tasks that did not choose its epoch.
"""

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.pages import RESULTS, table
from benchmarks.script import benchmark_parser, keep_result
from benchmarks.validation import correlations, validation_scores, within_tasks
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.environment import choose_device, keep_freed_memory, random_generator
from metad2a.core.progress import progress
from metad2a.core.values import positive_int
from metad2a.data.features import Features, check_extractor, find_features, load_features
from metad2a.database.items import draw_item, name_classes
from metad2a.database.workers import EvaluatorOptions
from metad2a.metatrain.models import find_checkpoint, load_model
from metad2a.metatrain.predictor_objective import centered_by_task
from metad2a.metatrain.score import score
from metad2a.metatrain.tuples import FEATURES_NAME, load_tuples
from metad2a.searches.generate import generate
from metad2a.searches.report import interval
from metad2a.spaces.ofa_mbv3.layers import EXPANSIONS, KERNELS, LARGEST, MAX_DEPTH, SMALLEST
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET
from metad2a.spaces.ofa_mbv3.supernet import read_supernet

SHARD = 1_000_000  # no database has so high a shard number, so its tasks are new
QUANTILES = (0.25, 0.5, 0.75)
TOLERANCE = 0.02
RIDGE = 30.0  # penalty of the linear baseline
POOL = 5000  # random subnets, among which those of equal FLOPs are found


def classes_of(features: Features, rows: list[int]) -> Features:
    """The features of the classes `rows`, as a dataset."""
    parts = features.images.split(features.counts.tolist())
    names = [features.class_names[c] for c in rows]
    images = torch.cat([parts[c] for c in rows])
    return Features("task", images, features.counts[rows], names, features.extractor, features.source)


class Bench:
    """Everything that is loaded once."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.device = args, choose_device(args.gpu)
        self.space = spaces.get("ofa_mbv3")
        self.features = load_features(find_features(FEATURES_NAME, args.data_path), FEATURES_NAME)
        self.names, self.numbers = name_classes(self.features, args.class_order)
        self.models = {}
        for kind in ("generator", "predictor"):
            path = find_checkpoint(kind, self.space, args.save_path, None)
            self.models[kind], checkpoint = load_model(kind, self.space, path, self.device)
            check_extractor(self.features, checkpoint.extractor, self.models[kind].config.feature_dim, kind)
        options = EvaluatorOptions(
            self.space.name, args.imgnet, tuple(self.names), args.supernet, args.num_calibration, 0, str(self.device)
        )
        self.evaluator = self.space.evaluator(options)
        supernet = read_supernet(args.supernet)
        self.config, self.epochs = supernet["config"], supernet.get("epoch")
        self.space = self.space.sized(self.config.image_size, self.config.width_mult)
        self.pool = self.space.sample(POOL, random_generator(args.seed))
        self.pool_flops = self.flops(self.pool)

    def flops(self, archs: list) -> torch.Tensor:
        return self.space.costs(archs, self.config.num_classes)[0]

    def accuracy(self, arch, item) -> float:
        """Measured accuracy (%). All architectures of a task use the same calibration images."""
        return self.evaluator.evaluate(arch, item.classes, random_generator(item.seed))

    def choose(self, features: Features, bound: float, seed: int):
        """The candidate within 90 % to 100 % of a bound that the predictor puts first, None without candidates."""
        args, rng = self.args, random_generator(seed, self.device)

        def accept(arch) -> bool:
            return 0.9 * bound <= self.flops([arch]).item() <= bound

        made = generate(
            self.models["generator"], self.space, features, args.num_gen_arch, args.num_sample, rng, accept=accept
        )
        if not made.archs:
            return None
        return made.archs[int(self.scores(features, made.archs, rng).argmax())]

    def scores(self, features: Features, archs: list, rng: torch.Generator) -> torch.Tensor:
        return score(self.models["predictor"], self.space, features, archs, 10, self.args.num_sample, rng)

    def describe_supernet(self) -> dict[str, Any]:
        """The supernet's sizes, and the accuracy of its largest and smallest subnet on all classes."""
        whole = SimpleNamespace(classes=list(range(len(self.names))), seed=self.args.seed)
        return {
            "classes": self.config.num_classes,
            "width_mult": self.config.width_mult,
            "image_size": self.config.image_size,
            "epochs": self.epochs,
            "largest": self.accuracy(LARGEST, whole),
            "smallest": self.accuracy(SMALLEST, whole),
        }

    def validate(self) -> dict[str, Any]:
        """The predictor's correlations on the validation tuples of its database, and the spread of the accuracies."""
        args = self.args
        tuples = load_tuples("predictor", self.space, args.data_path, self.features.num_classes)
        rng, rows = random_generator(args.seed, self.device), tuples.validation
        predictor = self.models["predictor"]
        score = validation_scores(predictor, self.space, self.features, tuples, 10, rng, args.num_sample).mean(0)
        truth, task = tuples.accuracy[rows].numpy(), tuples.task[rows].numpy()
        accuracy, of = tuples.accuracy.double(), tuples.task
        known = tuples.training.tolist()
        self.weights = ridge([tuples.archs[row] for row in known], accuracy[known], of[known])
        blind = (layer_features([tuples.archs[row] for row in rows.tolist()]) @ self.weights).numpy()
        sizes = (tuples.task_classes[of] >= 0).sum(dim=1)
        return {
            "tuples": len(of),
            "tasks": len(of.unique()),
            "validation_tuples": len(rows),
            "std": accuracy.std().item(),
            "std_within_tasks": centered_by_task(accuracy, of).square().mean().sqrt().item(),
            "correlation_with_log_classes": torch.corrcoef(torch.stack([sizes.double().log(), accuracy]))[0, 1].item(),
            **correlations(score, truth),
            **within_tasks(score, truth, task),
            "layers alone": within_tasks(blind, truth, task),
        }

    def task(self, number: int) -> list[dict[str, Any]]:
        """A row for each bound that has candidates."""
        item = draw_item(self.space, len(self.names), 1, self.args.seed, SHARD, number)
        features = classes_of(self.features, [self.numbers[c] - 1 for c in item.classes]).to(self.device)
        rows = []
        for quantile in QUANTILES:
            bound = self.pool_flops.quantile(quantile).item()
            if (chosen := self.choose(features, bound, item.seed)) is None:
                continue
            flops = self.flops([chosen]).item()
            near = ((self.pool_flops - flops).abs() <= TOLERANCE * flops).nonzero()[:, 0]
            order = torch.randperm(len(near), generator=random_generator(item.seed))[: self.args.num_random]
            archs = [self.pool[i] for i in near[order].tolist()]
            random = [self.accuracy(arch, item) for arch in archs]
            row = {"task": number, "classes": len(item.classes), "quantile": quantile, "mflops": flops}
            row |= {"chosen": self.accuracy(chosen, item), "random": sum(random) / len(random)}
            row["random_accuracies"] = random
            row["layers_alone"] = (layer_features(archs) @ self.weights).tolist()
            row["random_scores"] = self.scores(features, archs, random_generator(item.seed, self.device)).tolist()
            rows.append(row)
        return rows


def layer_features(archs: list[dict[str, list[int]]]) -> torch.Tensor:
    """Kernel and expansion of every layer (0 for inactive layers) and depth of every stage: (n, 85) double."""
    rows = []
    for arch in archs:
        active = [i % MAX_DEPTH < arch["d"][i // MAX_DEPTH] for i in range(len(arch["ks"]))]
        choices = [("ks", KERNELS[1:]), ("e", EXPANSIONS[1:])]
        one_hot = [on * (v == c) for k, cs in choices for c in cs for on, v in zip(active, arch[k], strict=True)]
        rows.append([*one_hot, *arch["d"]])
    return torch.tensor(rows, dtype=torch.double)


def ridge(archs: list[dict[str, list[int]]], accuracy: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
    """Weights (85,) of `layer_features` for accuracies (n,) within tasks (n,): a baseline that sees no images."""
    x = torch.stack([centered_by_task(column, task) for column in layer_features(archs).T], dim=1)
    penalty = RIDGE * torch.eye(x.shape[1], dtype=torch.double)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ centered_by_task(accuracy, task))


def ranking(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The predictor's correlations on the random subnets of the new tasks."""
    score, truth = (np.array([x for row in rows for x in row[name]]) for name in ("random_scores", "random_accuracies"))
    task = np.array([row["task"] for row in rows for _ in row["random_scores"]])
    blind = np.array([x for row in rows for x in row["layers_alone"]])
    figures = correlations(score, truth) | within_tasks(score, truth, task) | {"tuples": len(task)}
    return figures | {"layers alone": within_tasks(blind, truth, task)}


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean gain over random subnets and its 95 % interval, for every bound and over the tasks' mean gains."""
    groups = {f"quantile {q}": [row for row in rows if row["quantile"] == q] for q in QUANTILES}
    summary = {}
    for name, group in groups.items():
        if group:
            mean, half = interval([row["chosen"] - row["random"] for row in group])
            figures = {key: interval([row[key] for row in group])[0] for key in ("mflops", "chosen", "random")}
            summary[name] = {**figures, "gain": mean, "interval_95": half, "tasks": len(group)}
    tasks = sorted({row["task"] for row in rows})
    means = [interval([r["chosen"] - r["random"] for r in rows if r["task"] == task])[0] for task in tasks]
    mean, half = interval(means)
    return summary | {"all": {"gain": mean, "interval_95": half, "tasks": len(tasks)}}


def measure(args: argparse.Namespace) -> None:
    keep_freed_memory()
    bench = Bench(args)
    database = bench.validate()
    rows = [row for number in progress(range(args.num_tasks), unit="task") for row in bench.task(number)]
    summary = summarize(rows)
    result = {"supernet": bench.describe_supernet(), "database": database, "new tasks": ranking(rows)}
    print(json.dumps(result | summary, indent=1))
    keep_result(args.output, result | {"summary": summary, "rows": rows}, args, supernet=args.supernet)


FILES = {"subnets": "python benchmarks/subnets.py --imgnet DIR --supernet FILE"}


def correlation_row(label: str, count: int, figures: dict[str, Any]) -> list[str]:
    within = {key.split()[0]: value for key, value in figures.items() if "within" in key}
    blind = {key.split()[0]: value for key, value in figures["layers alone"].items()}
    values = (figures["Pearson"], within["Pearson"], within["Spearman"], blind["Pearson"], blind["Spearman"])
    return [label, f"{count:,}", *(f"{value:.3f}" for value in values)]


def tables(results: dict[str, Any]) -> dict[str, str]:
    """The predictor's correlations, and chosen against random subnets."""
    found = results["subnets"]
    rows = [
        correlation_row("validation tuples", found["database"]["validation_tuples"], found["database"]),
        correlation_row("random subnets of new tasks", found["new tasks"]["tuples"], found["new tasks"]),
    ]
    head = ["", "tuples", "Pearson", "Pearson within tasks", "Spearman within tasks"]
    values = {"subnets-correlation": table([*head, "Pearson, ridge", "Spearman, ridge"], rows)}
    rows = []
    for name, figures in found["summary"].items():
        cells = [f"{figures[key]:.2f}" if key in figures else "-" for key in ("mflops", "chosen", "random")]
        rows.append([name, str(figures["tasks"]), *cells, f"{figures['gain']:.2f} ± {figures['interval_95']:.2f}"])
    head = ["bound on FLOPs", "tasks", "MFLOPs", "chosen (%)", "random, equal FLOPs (%)", "gain (points)"]
    return values | {"subnets-gain": table(head, rows)}


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, RESULTS / "subnets.json")
    add = parser.add_argument
    add("--imgnet", required=True)
    add("--class-order")
    add("--supernet", default=PUBLISHED_SUPERNET)
    add("--num-tasks", type=positive_int, default=20)
    add("--num-gen-arch", type=positive_int, default=100, help="candidates for each task and bound (default 100)")
    add("--num-random", type=positive_int, default=5, help="random subnets of equal FLOPs (default 5)")
    add("--num-calibration", type=positive_int, default=2000)
    add("--num-sample", type=positive_int, default=20)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
