"""Do the meta-training tuples tell which architecture suits which dataset? python benchmarks/dataset_effect.py

Writes two studies to benchmarks/results/dataset_effect.json.

- interaction: an additive model (operations and their pairs, classes of the task) predicts the tuples' accuracies. A
  regression then predicts its errors from products of operations and principal components of the task's features. The
  figure is the cross-validated correlation, with whole tasks held out. Two checks stand beside it: the features of
  shuffled tasks, which must give 0, and errors with an interaction of known size added, which must be found.
- predictor: how much of the shipped predictor's scores is not the sum of a task's term and an architecture's term.

Dimensions: n tuples, C classes, D feature width, J components, F features.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.lines import PENALTIES, one_hot, operations_and_pairs, ridge
from benchmarks.pages import RESULTS, spread, summarize, table
from benchmarks.script import benchmark_parser, keep_result
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.environment import choose_device, random_generator
from metad2a.core.messages import log
from metad2a.core.values import positive_int
from metad2a.data.feature_files import find_features
from metad2a.data.features import Features, load_features
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.models import find_checkpoint, load_model
from metad2a.metatrain.objectives import to_percent
from metad2a.metatrain.score import encode_architectures
from metad2a.metatrain.tuples import FEATURES_NAME, Tuples, load_tuples
from metad2a.spaces.nasbench201.cells import parse

FOLDS = 10
NUM_COMPONENTS = 32
INTERACTION_PENALTY = 1000.0
PLANTED = (0.25, 0.5, 1.0)  # points of standard deviation
NUM_TASKS, NUM_ARCHITECTURES, NUM_SAMPLE = 50, 500, 20


def components(classes: np.ndarray, tasks: np.ndarray, number: int) -> np.ndarray:
    """Principal components (n, J), with unit variance, of tasks' mean features, from those of their classes (C, D)."""
    means = classes[tasks].mean(1)
    left, _, _ = np.linalg.svd(means - means.mean(0), full_matrices=False)
    return left[:, :number] * np.sqrt(len(means))


def products(operations: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """Products (n, 30 * J) of operation indicators and task components (n, J)."""
    return (one_hot(operations)[:, :, None] * tasks[:, None, :]).reshape(len(tasks), -1)


def cross_validated(design: np.ndarray, targets: np.ndarray, penalty: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Predictions (n,) of a ridge regression, each by the regression that did not see the tuple's fold."""
    predicted = np.empty(len(targets))
    for number in range(FOLDS):
        out = fold == number
        weights = ridge(design[~out], targets[~out], penalty)
        predicted[out] = targets[~out].mean() + (design[out] - design[~out].mean(0)) @ weights
    return predicted


class Interaction:
    """The errors of an additive model of the tuples, and the search for an interaction in them."""

    def __init__(self, features: Features, tuples: Tuples, rng: np.random.Generator):
        self.rng = rng
        self.operations = np.array([parse(arch) for arch in tuples.archs])
        self.task = tuples.task.numpy()
        self.classes = tuples.task_classes[tuples.task].numpy()
        images = features.images.double().split(features.counts.tolist())
        means = torch.stack([part.mean(0) for part in images]).numpy()  # (C, D)
        self.components = components(means, self.classes, NUM_COMPONENTS)
        additive = operations_and_pairs(self.operations)
        has_class = np.zeros((len(self.task), features.num_classes))
        np.put_along_axis(has_class, self.classes, 1, axis=1)
        singles = one_hot(self.operations).shape[1]
        self.penalty = np.repeat(PENALTIES, [singles, additive.shape[1] - singles, features.num_classes])
        self.design = np.concatenate([additive, has_class], axis=1)
        self.design -= self.design.mean(0)
        self.accuracy = tuples.accuracy.double().numpy()
        self.fold = rng.permutation(int(self.task.max()) + 1)[self.task] % FOLDS  # a task's tuples share a fold
        self.additive = cross_validated(self.design, self.accuracy, self.penalty, self.fold)
        self.residual = self.accuracy - self.additive

    def correlation(self, targets: np.ndarray, tasks: np.ndarray) -> float:
        """Correlation of targets (n,) with their predictions from operations and task components (n, J)."""
        design = products(self.operations, tasks)
        predicted = cross_validated(design, targets, np.full(design.shape[1], INTERACTION_PENALTY), self.fold)
        return float(np.corrcoef(predicted, targets)[0, 1])

    def shuffled(self) -> np.ndarray:
        """The components (n, J) of other tasks."""
        distinct, place = np.unique(self.task, return_inverse=True)
        first = np.array([np.flatnonzero(place == number)[0] for number in range(len(distinct))])
        return self.components[first][self.rng.permutation(len(distinct))][place]

    def planted(self, size: float) -> np.ndarray:
        """Residuals (n,) with a random interaction of `size` points of standard deviation added."""
        design = products(self.operations, self.components)
        effect = design @ self.rng.standard_normal(design.shape[1])
        return self.residual + size * (effect - effect.mean()) / effect.std()


def measure_interaction(features: Features, tuples: Tuples, seed: int, repetitions: int) -> dict[str, Any]:
    runs = []
    for number in range(repetitions):
        study = Interaction(features, tuples, np.random.default_rng(seed + number))
        figures = {
            "additive": float(np.corrcoef(study.additive, study.accuracy)[0, 1]),
            "residual_deviation": float(study.residual.std()),
            "interaction": study.correlation(study.residual, study.components),
            "shuffled": study.correlation(study.residual, study.shuffled()),
        }
        figures |= {f"planted_{size}": study.correlation(study.planted(size), study.components) for size in PLANTED}
        log.info(", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        runs.append(figures)
    return {"tuples": len(tuples.archs), "repetitions": repetitions, "figures": summarize(runs)}


@torch.inference_mode()
def measure_predictor(features: Features, tuples: Tuples, args: argparse.Namespace) -> dict[str, Any]:
    """How the shipped predictor's scores vary: with the task, with the architecture, and with both together."""
    space, device = spaces.get("nasbench201"), choose_device(args.gpu)
    path = find_checkpoint("predictor", space, args.save_path, None, args.predictor_checkpoint)
    model, checkpoint = load_model("predictor", space, path, device)
    model.eval()
    rng = random_generator(args.seed, device)
    draws = TaskDraws(features, tuples, NUM_SAMPLE, device)
    tasks = torch.randperm(len(tuples.task_classes), generator=random_generator(args.seed))[:NUM_TASKS].to(device)
    set_vec = model.encode_set(draws.images(draws.index(tasks, rng)))
    graph_vec = encode_architectures(model, space, space.sample(NUM_ARCHITECTURES, random_generator(args.seed)))
    scores = to_percent(model.predict_all(set_vec, graph_vec).double().cpu(), checkpoint.target).numpy()
    task, architecture = scores.mean(1, keepdims=True), scores.mean(0, keepdims=True)
    both = scores - task - architecture + scores.mean()
    values = {"task": task, "architecture": architecture, "interaction": both}
    shares = {name: float(value.var() / scores.var()) for name, value in values.items()}
    deviations = {f"{name}_deviation": float(value.std()) for name, value in values.items()}
    order = np.argsort(np.argsort(scores, axis=1), axis=1)
    return shares | deviations | {"rank_correlation": float(np.corrcoef(order)[0, 1:].min())}


def measure(args: argparse.Namespace) -> None:
    features = load_features(find_features(FEATURES_NAME, args.data_path), FEATURES_NAME)
    tuples = load_tuples("predictor", spaces.get("nasbench201"), args.data_path, features.num_classes)
    result = {
        "interaction": measure_interaction(features, tuples, args.seed, args.repetitions),
        "predictor": measure_predictor(features, tuples, args),
    }
    log.info(json.dumps(result["predictor"]))
    keep_result(args.output, result, args, tuples=tuples.source)


FILES = {"dataset_effect": "python benchmarks/dataset_effect.py"}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """The search for an interaction in the tuples, and the parts of the predictor's scores."""
    figures, predictor = results["dataset_effect"]["interaction"]["figures"], results["dataset_effect"]["predictor"]
    labels = {"interaction": "the tuples", "shuffled": "the tuples, each with another task's images"}
    labels |= {f"planted_{size}": f"the tuples plus an interaction of {size} points" for size in PLANTED}
    rows = [[label, spread(figures[name], 3)] for name, label in labels.items()]
    interaction = table(["data", "cross-validated correlation"], rows)
    rows = [
        [name, f"{predictor[f'{name}_deviation']:.4f}", f"{100 * predictor[name]:.5f} %"]
        for name in ("task", "architecture", "interaction")
    ]
    parts = table(
        ["the predictor's scores vary with the", "standard deviation (points)", "share of the variance"], rows
    )
    return {"interaction": interaction, "score-parts": parts}


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, RESULTS / "dataset_effect.json")
    parser.add_argument("--repetitions", type=positive_int, default=3, help="cross-validations, each with other folds")
    parser.add_argument("--predictor-checkpoint")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
