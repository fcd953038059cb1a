"""What else the universal ranking could learn from: python benchmarks/kernels.py

The Gaussian process of `meta_train.universal` with other inputs, each judged by cross-validation in the ImageNet16-120
table: five folds of whole classes of equal cells, a meta-training each. Writes benchmarks/results/kernels.json. The
figures on CIFAR-10 and CIFAR-100 (the mean of the five, learned from all cells) are there to be seen, not to choose by.

Dimensions: K classes of equal cells (4,930), A architectures (15,625).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.lines import Lines, figures
from benchmarks.lines import build_parser as lines_parser
from engine.cli import positive_int, run
from engine.files import ROOT, write_json
from engine.messages import log
from engine.runs import provenance
from meta_train.universal import BENCHMARK, SEEDS, Accuracies, accuracies, fit, posterior, published_features
from search_spaces.nasbench201.classes import at_class_means, class_means, parts_of_cells

KEPT = ("first_choice", "until_best_class", "spearman", "ndcg")
JUDGED = ("cifar10", "cifar100")


def normal(values: torch.Tensor) -> torch.Tensor:
    """Standardised means (K, 1) of the classes, of values (A,)."""
    means = class_means(values.double())
    return ((means - means.mean()) / means.std())[:, None]


def variants(lines: Lines) -> dict[str, dict[str, torch.Tensor]]:
    """Features of the cells, each (K, F), by what they are called. The kernel on paths is multiplied by the one on
    "scores"; where there are none, that is 1."""
    shipped = published_features()
    none, table = torch.zeros_like(shipped["scores"][:, :1]), lines.space.table
    costs = normal(torch.from_numpy(np.log1p(lines.flops)))
    short = normal(table["valid_12"][BENCHMARK])
    tuples = normal(torch.from_numpy(lines.ridge_on_tuples))
    more = {
        "+ accuracy after 12 epochs": short,
        "+ that, FLOPs and the tuples' effects": torch.cat([costs, short, tuples], dim=1),
    }
    return {
        "paths, operations": shipped | {"scores": none},
        "paths x training-free scores, operations (shipped)": shipped,
        **{name: shipped | {"scores": torch.cat([shipped["scores"], x], dim=1)} for name, x in more.items()},
    }


def learned(features: dict[str, torch.Tensor], data: Accuracies, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict with one variant, in normal quantiles (K,): each cell without its fold, and with all cells."""
    every = torch.arange(len(data.value))
    held_out, whole = torch.empty_like(data.value), torch.zeros_like(data.value)
    for seed, fold in zip(SEEDS, parts_of_cells(len(every), len(SEEDS)), strict=True):
        process = fit(features, data, every[~torch.isin(every, fold)], seed, steps)
        held_out[fold], _ = posterior(process, data, every[~torch.isin(every, fold)], fold)
        whole += posterior(process, data, every, every)[0] / len(SEEDS)
    return held_out, whole


def judge(lines: Lines, scores: dict[str, torch.Tensor]) -> dict[str, dict[str, float]]:
    """Figures of a ranking on each table, from scores (K,) of the classes."""
    result = {}
    for dataset, score in scores.items():
        # the table to choose by has its noise taken out as far as equal cells tell it
        table = torch.from_numpy(lines.tables[dataset])
        truth = (at_class_means(table) if dataset == BENCHMARK else table).numpy()
        found = figures(score.numpy()[lines.classes], truth, lines.classes, np.random.default_rng(lines.args.seed))
        result[dataset] = {name: found[name] for name in KEPT}
    return result


def measure(args: argparse.Namespace) -> None:
    lines, data, result = Lines(args), accuracies(), {}
    for name, features in variants(lines).items():
        held_out, whole = learned(features, data, args.steps)
        result[name] = judge(lines, {BENCHMARK: held_out} | dict.fromkeys(JUDGED, whole))
        log.info(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in result[name][BENCHMARK].items()))
    if args.joint:
        joint = {dataset: torch.from_numpy(lines.joint_mean(dataset)) for dataset in JUDGED}
        joint[BENCHMARK] = torch.from_numpy(lines.joint_held_out())
        result["meta-trained predictors, five seeds"] = judge(lines, joint)
        weight = lines.weight_of_joint
        sums = {dataset: torch.from_numpy(lines.universal_and_joint(dataset)) for dataset in JUDGED}
        sums[BENCHMARK] = torch.from_numpy(lines.universal_and_joint(BENCHMARK, held_out=True))
        result[f"the shipped process and these, weight {weight:g} chosen by cross-validation"] = judge(lines, sums)
    history = provenance(args.seed, device="cpu", threads=torch.get_num_threads())
    write_json(args.output, {"history": history | {"steps": args.steps}, "result": result})
    log.info(f"{args.output} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = lines_parser(__doc__)
    parser.add_argument("--steps", type=positive_int, default=40, help="of the hyperparameters' descent")
    parser.set_defaults(output=str(ROOT / "benchmarks" / "results" / "kernels.json"))
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
