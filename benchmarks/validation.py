"""Correlation of a predictor on the meta-validation tuples: python benchmarks/validation.py

It draws each task once, as training validates, and several times, as a search scores. If tasks have several
architectures, it also prints the mean correlation within tasks, which does not reward knowing how hard a task is.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy import stats

from benchmarks.script import benchmark_parser
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.environment import choose_device, random_generator
from metad2a.data.feature_files import find_features
from metad2a.data.features import Features, check_extractor, load_features
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.models import find_checkpoint, load_model
from metad2a.metatrain.objectives import TARGET_SCALE, standard_error, to_percent
from metad2a.metatrain.tuples import FEATURES_NAME, Tuples, load_tuples
from metad2a.spaces.base import SearchSpace
from predictor.model import PredictorModel

NUM_SAMPLE = 20


def within_tasks(score: np.ndarray, truth: np.ndarray, task: np.ndarray) -> dict[str, float]:
    """Mean over tasks of the correlation of their architectures; tasks with fewer than three do not count."""
    groups = [task == number for number in np.unique(task)]
    groups = [group for group in groups if group.sum() >= 3 and np.ptp(truth[group]) > 0]
    if not groups:
        return {}
    return {
        f"{name} within {len(groups)} tasks": float(np.mean([f(score[g], truth[g]).statistic for g in groups]))
        for name, f in (("Pearson", stats.pearsonr), ("Spearman", stats.spearmanr))
    }


@torch.inference_mode()
def validation_scores(
    model: PredictorModel,
    space: SearchSpace,
    features: Features,
    tuples: Tuples,
    num_draws: int,
    rng: torch.Generator,
    num_sample: int = NUM_SAMPLE,
) -> np.ndarray:
    """Scores (R, n) of the n validation tuples for each of R draws of their tasks."""
    device = rng.device
    draws, rows = TaskDraws(features, tuples, num_sample, device), tuples.validation
    graph_vec = model.encode_graph(space.encode([tuples.archs[row] for row in rows.tolist()]).to(device))
    scores = []
    for _ in range(num_draws):
        set_vec = torch.cat(
            [model.encode_set(draws.images(b.image_rows))[b.position] for b in draws.batches(rows, rng)]
        )
        scores.append(model.predict(set_vec, graph_vec).cpu().numpy())
    return np.stack(scores)


def correlations(scores: Sequence[float], truth: Sequence[float]) -> dict[str, float]:
    """Pearson, Spearman and Kendall correlations."""
    tests = {"Pearson": stats.pearsonr, "Spearman": stats.spearmanr, "Kendall": stats.kendalltau}
    return {name: float(test(scores, truth).statistic) for name, test in tests.items()}


def measure(args: argparse.Namespace) -> None:
    device, space = choose_device(args.gpu), spaces.get(args.search_space)
    path = find_checkpoint("predictor", space, args.save_path, None, args.predictor_checkpoint)
    model, checkpoint = load_model("predictor", space, path, device)
    features = load_features(find_features(FEATURES_NAME, args.data_path), FEATURES_NAME)
    check_extractor(features, checkpoint.extractor, model.config.feature_dim, "predictor")
    tuples = load_tuples("predictor", space, args.data_path, features.num_classes, args.allow_pickle)
    rng = random_generator(args.seed, device)
    scores = validation_scores(model, space, features, tuples, args.num_draws, rng, args.num_sample)
    truth, task = tuples.accuracy[tuples.validation].numpy(), tuples.task[tuples.validation].numpy()
    print(f"{path}, {len(truth)} validation tuples of {tuples.source}")
    for draws in sorted({1, args.num_draws}):
        score = scores[:draws].mean(0)
        figures = correlations(score, truth) | within_tasks(score, truth, task)
        print(f"{draws:>3} draws: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    if args.record:
        error = to_percent(scores.mean(0), checkpoint.target) - truth
        loss = float(np.mean((error / TARGET_SCALE / checkpoint.target["std"]) ** 2))
        figures = {"correlation": correlations(scores.mean(0), truth)["Pearson"], "validation_loss": loss}
        replace(checkpoint, metrics=checkpoint.metrics | figures).save(path)
        print(f"recorded; standard error {standard_error(figures, checkpoint.target):.2f} points")


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--search-space", default="nasbench201", choices=spaces.NAMES)
    parser.add_argument("--num-sample", type=int, default=20)
    parser.add_argument("--predictor-checkpoint")
    parser.add_argument("--num-draws", type=int, default=10)
    parser.add_argument("--allow-pickle", action="store_true")
    parser.add_argument(
        "--record", action="store_true", help="write the correlation and the error over all draws into the checkpoint"
    )
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
