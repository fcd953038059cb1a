"""What meta-training adds to the universal ranking: python benchmarks/joint.py --joint FOLDER

FOLDER holds five predictors, <fold>/predictor, meta-trained on the tuples and on the ImageNet16-120 accuracies after
200 and after 12 epochs, each without a fifth of the benchmark's distinct cells:

    python main.py --model predictor --benchmark-task imagenet16-120,imagenet16-120@12 --benchmark-fold 0

Writes benchmarks/results/joint.json: how they rank the cells that they left out, alone and beside the universal
ranking. What they weigh there is chosen by these cells. The figures on CIFAR-10 and CIFAR-100 are there to be seen,
not to choose by.

Dimensions: K classes of equal cells (4,930), A architectures (15,625).
"""

import argparse
import json
import sys
from functools import cached_property
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.lines import TRANSFERRED, Lines, Scorer, figures, ndcg
from benchmarks.lines import build_parser as lines_parser
from metad2a.core.cli import run
from metad2a.core.environment import provenance
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, write_json
from metad2a.core.messages import log
from metad2a.core.statistics import interval
from metad2a.metatrain.models import find_checkpoint
from metad2a.spaces.base import random_parts
from metad2a.spaces.nasbench201.classes import at_class_means, class_means, equivalence_classes

KEPT = ("first_choice", "until_best_class", "spearman", "ndcg")
DATASETS = (TRANSFERRED, "cifar10", "cifar100")


class Joint(Lines):
    """And what the predictors say that learned the benchmark's tasks."""

    @cached_property
    def joint(self) -> list[Scorer]:
        """The predictors that learned tuples and benchmark tasks, of each of the folds that they leave out.

        Raises:
            UserError: one is missing.
        """
        folders = [Path(self.args.joint) / str(fold) for fold in range(len(self.universal.mean))]
        paths = [find_checkpoint("predictor", self.space, folder, None, None) for folder in folders]
        if shipped := [folder for folder, path in zip(folders, paths, strict=True) if folder not in path.parents]:
            raise UserError(f"--joint: {shipped[0]} has no predictor. --help has the command that trains it.")
        return [Scorer(self, path) for path in paths]

    def joint_mean(self, dataset: str) -> np.ndarray:
        """The mean (K,) of all predictors of `joint`, each standardised, by classes of equal cells."""
        return np.mean([self.by_class(scorer.scores(dataset, 1)) for scorer in self.joint], axis=0)

    def joint_held_out(self) -> np.ndarray:
        """(K,) of each class the score of the predictor that left it out, on `TRANSFERRED`."""
        values = np.empty(int(self.classes.max()) + 1)
        for fold, cells in enumerate(random_parts(len(values), len(self.joint))):
            values[cells.numpy()] = self.by_class(self.joint[fold].scores(TRANSFERRED, 1))[cells.numpy()]
        return values

    def by_class(self, scores: np.ndarray) -> np.ndarray:
        """Scores (A,) at the classes' means, (K,), standardised."""
        means = class_means(torch.from_numpy(scores).double()).numpy()
        return (means - means.mean()) / means.std()

    @cached_property
    def weight_of_joint(self) -> float:
        """What the joint predictors weigh beside the universal ranking, chosen by cross-validation.

        Of 0, 0.05, .. 1 the one with the highest nDCG@100 of held-out cells on `TRANSFERRED`, at the classes' means.
        """
        truth = at_class_means(torch.from_numpy(self.tables[TRANSFERRED])).numpy()
        shipped, joint = universal(self, TRANSFERRED), self.joint_held_out()
        weights = np.arange(21) / 20
        found = [
            ndcg(np.argsort(-((1 - w) * shipped + w * joint)[self.classes], kind="stable"), truth) for w in weights
        ]
        log.info(
            "nDCG@100 of held-out cells by the weight of the joint predictors: "
            + json.dumps(np.round(found, 4).tolist())
        )
        return float(weights[int(np.argmax(found))])


def judge(lines: Joint, dataset: str, scores: np.ndarray) -> dict[str, float]:
    """Figures of a ranking, from scores (K,). The table that is chosen by is taken at the means of equal cells."""
    table = torch.from_numpy(lines.tables[dataset])
    truth = (at_class_means(table) if dataset == TRANSFERRED else table).numpy()
    found = figures(scores[lines.classes], truth, lines.classes, np.random.default_rng(lines.args.seed))
    return {name: found[name] for name in KEPT}


def universal(lines: Joint, dataset: str) -> np.ndarray:
    """(K,), on the table that it learned each cell without its fold."""
    ranking = lines.universal
    scores = ranking.held_out()[equivalence_classes()] if dataset == TRANSFERRED else ranking.scores()[0]
    return lines.by_class(scores.double().numpy())


def measure(args: argparse.Namespace) -> None:
    lines = Joint(args)
    weight = lines.weight_of_joint
    result: dict[str, dict[str, dict[str, float]]] = {"universal": {}, "joint": {}, "both": {}}
    for dataset in DATASETS:
        alone = lines.joint_held_out() if dataset == TRANSFERRED else lines.joint_mean(dataset)
        shipped = universal(lines, dataset)
        scores = {"universal": shipped, "joint": alone, "both": (1 - weight) * shipped + weight * alone}
        for name, values in scores.items():
            result[name][dataset] = judge(lines, dataset, values)
            log.info(f"{dataset}, {name}: " + ", ".join(f"{k} {v:.4f}" for k, v in result[name][dataset].items()))
    mean, half = interval([scorer.metrics["correlation"] for scorer in lines.joint])
    validation = {"mean": mean, "interval_95": half}
    history = provenance(args.seed, device="cpu", threads=torch.get_num_threads())
    write_json(args.output, {"history": history, "weight": weight, "validation": validation, "result": result})
    log.info(f"{args.output} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = lines_parser(__doc__)
    parser.add_argument("--joint", required=True, help="folder of the five predictors: <fold>/predictor/model/...")
    parser.set_defaults(output=str(ROOT / "benchmarks" / "results" / "joint.json"))
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
