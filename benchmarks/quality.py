"""Measure what `--ranking predictor` finds, against the benchmark's table: python benchmarks/quality.py

Writes one result file a section to benchmarks/results. Accuracies are looked up in NAS-Bench-201: nothing here trains a
network, and no test accuracy chooses anything.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matplotlib.figure import Figure

from benchmarks.pages import COLOURS, NAMES, OURS, RESULTS, label_lines, new_figure, spread, style, summary_cell, table
from benchmarks.script import benchmark_parser, keep_result
from benchmarks.validation import NUM_SAMPLE, correlations, validation_scores
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.environment import choose_device, random_generator
from metad2a.core.values import positive_int
from metad2a.data.feature_files import find_features
from metad2a.data.features import Features, load_features
from metad2a.metatrain.tuples import FEATURES_NAME, Tuples, load_tuples
from metad2a.searches import report
from metad2a.searches.generate import GRAPHS_PER_ROUND, decode_round, generate_candidates
from metad2a.searches.options import SearchOptions
from metad2a.searches.ranking import rank
from metad2a.searches.report import Ranking
from metad2a.searches.session import Session

DATASETS = ("cifar10", "imagenet16-120")
CANDIDATES = (50, 100, 500, 2000, None)
DRAWS = (1, 3, 10, 30, 100)
OTHER_DATASET = {"cifar10": ("mnist", "imagenet16-120"), "imagenet16-120": ("mnist", "cifar10")}
NUM_CANDIDATES = 500


class Lab:
    """Sessions and tables, opened once."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.space = spaces.get("nasbench201")
        self.device = choose_device(args.gpu)
        self.sessions: dict[str, Session] = {}

    def session(self, dataset: str, **changes: Any) -> Session:
        """A search on `dataset`; `changes` are options other than the default."""
        if dataset not in self.sessions:
            options = SearchOptions(
                data_name=dataset,
                data_path=self.args.data_path,
                save_path=self.args.save_path,
                gpu=self.args.gpu,
                num_runs=self.args.num_runs,
                seed=self.args.seed,
                generator_checkpoint=self.args.generator_checkpoint,
                predictor_checkpoint=self.args.predictor_checkpoint,
            )
            self.sessions[dataset] = Session(options, ("generator", "predictor"))
        session = self.sessions[dataset]
        session.options = replace(session.options, **{"num_gen_arch": NUM_CANDIDATES, "num_draws": 10} | changes)
        return session

    def database(self, kind: str) -> tuple[Features, Tuples]:
        """The meta-training images and the tuples of "generator" or "predictor"."""
        features = load_features(find_features(FEATURES_NAME, self.args.data_path), FEATURES_NAME)
        return features, load_tuples(kind, self.space, self.args.data_path, features.num_classes)

    def ranked_by(self, dataset: str, archs: list[str], scores: list[float]) -> Ranking:
        """Rank architectures by the given scores instead of the predictor's."""
        accuracy = self.space.known_accuracy(dataset)
        order = sorted(range(len(archs)), key=lambda i: -scores[i])
        texts = [archs[i] for i in order]
        return Ranking(texts, [scores[i] for i in order], [accuracy[t] for t in texts], max(accuracy.values()))

    def runs(self, work: Callable[[int], Ranking]) -> dict[str, Any]:
        """Figures of `work(run)` over all runs, timed."""
        rankings = []
        for number in range(1, self.args.num_runs + 1):
            start = time.perf_counter()
            ranking = work(number)
            rankings.append(replace(ranking, stages={"all": time.perf_counter() - start}))
        return {
            "summary": report.summarize(rankings),
            "runs": len(rankings),
            "best_after": [max(rankings[0].known[: i + 1]) for i in range(min(100, len(rankings[0].known)))],
        }


def searched(session: Session) -> Callable[[int], Ranking]:
    return lambda number: rank(session, generate_candidates(session, number)[0], number)


def measure_search(lab: Lab) -> dict[str, Any]:
    """The search as it is, and with other numbers of candidates and draws."""
    result = {}
    for dataset in DATASETS:
        searched(lab.session(dataset))(0)  # warm-up
        result[dataset] = {
            "default": lab.runs(searched(lab.session(dataset))),
            "candidates": {
                str(n or "all"): lab.runs(searched(lab.session(dataset, num_gen_arch=n))) for n in CANDIDATES
            },
            "draws": {str(n): lab.runs(searched(lab.session(dataset, num_draws=n))) for n in DRAWS},
        }
    return result


def measure_correlation(lab: Lab) -> dict[str, Any]:
    """Correlation of the predictor with the validation tuples and with the whole table."""
    session = lab.session("cifar10")
    model = session.models["predictor"]
    features, tuples = lab.database("predictor")
    truth = tuples.accuracy[tuples.validation].numpy()
    scores = validation_scores(model, lab.space, features, tuples, 10, random_generator(lab.args.seed, lab.device))
    result = {"validation": {"1": correlations(scores[0], truth), "10": correlations(scores.mean(0), truth)}}
    for dataset in DATASETS:
        ranking = rank(lab.session(dataset, num_gen_arch=None), lab.space.all_architectures(), 1)
        predicted = dict(zip(ranking.texts, ranking.predicted, strict=True))
        result[dataset] = {
            "correlation": correlations(ranking.predicted, ranking.known),
            "predicted": [round(predicted[arch], 2) for arch in lab.space.all_architectures()],
        }
    return result


def measure_ablations(lab: Lab) -> dict[str, Any]:
    """The search without one of its parts, or with the images of another dataset."""
    result = {}
    for dataset in DATASETS:
        session = lab.session(dataset)
        result[dataset] = {
            "whole": lab.runs(searched(session)),
            "random_candidates": lab.runs(
                lambda r, s=session: rank(s, random.Random(r).sample(lab.space.all_architectures(), NUM_CANDIDATES), r)
            ),
            "random_choice": lab.runs(
                lambda r, s=session, d=dataset: shuffled(lab, d, generate_candidates(s, r)[0], r)
            ),
        }
        for other in OTHER_DATASET[dataset]:
            result[dataset][f"sees_{other}"] = lab.runs(lambda r, d=dataset, o=other: seeing(lab, d, o, r))
    return result


def shuffled(lab: Lab, dataset: str, archs: list[str], number: int) -> Ranking:
    rng = random.Random(number)
    return lab.ranked_by(dataset, archs, [rng.random() for _ in archs])


def seeing(lab: Lab, dataset: str, other: str, number: int) -> Ranking:
    """A search that sees the images of `other`, judged on `dataset`."""
    ranking = searched(lab.session(other))(number)
    return lab.ranked_by(dataset, ranking.texts, ranking.predicted)


def measure_generator(lab: Lab) -> dict[str, Any]:
    """Validity, uniqueness, novelty and quality of generated architectures, beside random samples."""
    space = lab.space
    _, tuples = lab.database("generator")
    trained = {space.to_text(tuples.archs[row]) for row in tuples.training.tolist()}
    result: dict[str, Any] = {"decoded": GRAPHS_PER_ROUND, "training_architectures": len(trained)}
    for dataset in (*DATASETS, "mnist"):
        session = lab.session(dataset)
        rng = random_generator(lab.args.seed, lab.device)
        archs = decode_round(session.models["generator"], space, session.features, NUM_SAMPLE, rng)
        result[dataset] = shares(archs, trained, space.known_accuracy(dataset))
    archs = space.sample(GRAPHS_PER_ROUND, random_generator(lab.args.seed))
    for dataset in DATASETS:
        result[f"random, {dataset}"] = shares(archs, trained, space.known_accuracy(dataset))
    return result


def shares(archs: list[str | None], trained: set[str], known: dict[str, float] | None) -> dict[str, float]:
    """Shares of valid graphs (others are None), of distinct architectures among them, and of untrained among these."""
    valid = [arch for arch in archs if arch is not None]
    distinct = set(valid)
    values = {
        "valid": len(valid) / len(archs),
        "distinct": len(distinct) / len(valid),
        "novel": len(distinct - trained) / len(distinct),
    }
    if known:
        values["mean_accuracy"] = sum(known[arch] for arch in distinct) / len(distinct)
    return values


SECTIONS = {
    "search": measure_search,
    "correlation": measure_correlation,
    "ablations": measure_ablations,
    "generator": measure_generator,
}

FILES = {name: f"python benchmarks/quality.py --sections {name}" for name in SECTIONS}
# From the paper: accuracy (%) and search time (GPU seconds) on CIFAR-10
PAPER = {"oracle of the top 30, paper": (94.37, 69), "PC-DARTS, paper": (93.66, 10395)}
FIGURES = {
    "first_choice": "first choice (%)",
    "oracle_of_top_30": "oracle of the top 30 (%)",
    "trained_until_best_candidate": "trainings until the best candidate",
    "trained_until_benchmark_best": "trainings until the benchmark's best",
}
BASELINES = {
    "random": "random order of 500 cells",
    "random_12_epochs": "random search, 500 cells for 12 epochs",
    "evolution_12_epochs": "regularized evolution, 500 cells for 12 epochs",
    "transfer": "trivial transfer",
}
ABLATIONS = {
    "whole": "the whole method",
    "random_candidates": "500 random candidates instead of the generator's",
    "random_choice": "a random order instead of the predictor's",
}
PROTOCOL_EPOCHS, SHORT_TRAININGS = 200, 500 * 12  # epochs: of one choice, and of all short trainings of a baseline


def figures_table(head: str, entries: dict[str, Any], labels: dict[str, str], timed: bool = False) -> str:
    """A row for each entry: its label, the four figures and, if wanted, the seconds of the search."""
    columns = FIGURES | ({"search_seconds": "seconds"} if timed else {})
    digits = {name: 1 if name.startswith("trained") else 2 for name in columns}
    rows = [
        [labels.get(name, name), *(summary_cell(entry, column, digits[column]) for column in columns)]
        for name, entry in entries.items()
    ]
    return table([head, *columns.values()], rows)


def paper_table(search: dict[str, Any], lines: dict[str, Any]) -> str:
    """The paper's figures on CIFAR-10 beside those of both rankings here."""
    entry, default = search["cifar10"]["default"], lines["tables"]["cifar10"]["lines"]
    shipped, transfer = default["universal_joined"], default["transfer"]
    rows = [
        ["oracle of the top 30 (%)", "94.37 ± 0.03", summary_cell(entry, "oracle_of_top_30"), "oracle_of_30", 2],
        ["first choice (%)", "not reported", summary_cell(entry, "first_choice"), "first_choice", 2],
        ["trainings until the benchmark's best", "not reported",
         summary_cell(entry, "trained_until_benchmark_best", 1), "until_best", 1],
    ]  # fmt: skip
    cells = [
        [label, paper, predictor, spread(shipped[name], digits), spread(transfer[name], digits)]
        for label, paper, predictor, name, digits in rows
    ]
    cells.append(["search time", "69 s on a GPU", summary_cell(entry, "search_seconds") + " s on a CPU", "-", "-"])
    return table(["CIFAR-10", "paper", "here, paper's method", "here, default ranking", "trivial transfer"], cells)


def generator_table(generator: dict[str, Any]) -> str:
    rows = []
    for name, found in generator.items():
        if isinstance(found, dict):
            source, _, dataset = name.rpartition(", ")
            quality = f"{found['mean_accuracy']:.2f}" if "mean_accuracy" in found else "-"
            parts = [f"{100 * found[key]:.1f} %" for key in ("valid", "distinct", "novel")]
            rows.append([f"{source or 'generator'}, {NAMES[dataset]}", *parts, quality])
    return table(["", "valid", "distinct among valid", "not in the training set", "mean real accuracy (%)"], rows)


def correlation_table(correlation: dict[str, Any]) -> str:
    rows = {f"400 validation tuples, draws: {n}": figures for n, figures in correlation["validation"].items()}
    rows |= {f"{NAMES[d]}, all 15,625 cells": correlation[d]["correlation"] for d in DATASETS}
    names = ("Pearson", "Spearman", "Kendall")
    return table(["", *names], [[label, *(f"{row[n]:.3f}" for n in names)] for label, row in rows.items()])


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables of docs/results/paper.md, and one for each dataset where a table belongs to a dataset."""
    values = {
        "paper": paper_table(results["search"], results["lines"]),
        "correlation": correlation_table(results["correlation"]),
        "generator": generator_table(results["generator"]),
    }
    for dataset in DATASETS:
        search, ablations = results["search"][dataset], results["ablations"][dataset]
        labels = BASELINES | {"default": "**MetaD2A, here**"}
        entries = {"default": search["default"]} | results["baselines"][dataset]
        values[f"baselines-{dataset}"] = figures_table("", entries, labels)
        for group in ("candidates", "draws"):
            values[f"{group}-{dataset}"] = figures_table(group, search[group], {}, timed=True)
        seen = {name: f"sees {NAMES[name[5:]]} instead" for name in ablations if name.startswith("sees_")}
        values[f"ablations-{dataset}"] = figures_table("", ablations, ABLATIONS | seen)
    return values


def plot_predicted(correlation: dict[str, Any]) -> Figure:
    """Real against predicted accuracy, one panel for each dataset."""
    space, figure = spaces.get("nasbench201"), new_figure()
    for axes, dataset in zip(figure.subplots(1, len(DATASETS)), DATASETS, strict=True):
        real = list(space.known_accuracy(dataset).values())
        axes.plot(correlation[dataset]["predicted"], real, ".", markersize=1.5, alpha=0.3, color=OURS)
        rank_correlation = correlation[dataset]["correlation"]["Spearman"]
        axes.set(xlabel="predicted accuracy (%)", ylabel="real accuracy (%)")
        axes.set_title(f"{NAMES[dataset]} (Spearman {rank_correlation:.2f})")
    return figure


def whole_cost(name: str, count: int) -> list[int]:
    """Epochs spent after 1 .. `count` choices of a line were trained, with the short trainings that ranked them."""
    before = SHORT_TRAININGS if name.endswith("_12_epochs") else 0
    return [before + PROTOCOL_EPOCHS * (i + 1) for i in range(count)]


def plot_trained(search: dict[str, Any], baselines: dict[str, Any]) -> Figure:
    """Best accuracy among the choices trained so far, against all epochs spent on CIFAR-10 (first run)."""
    figure = new_figure()
    axes = figure.add_subplot()
    axes.set(xscale="log", xlabel="epochs spent on CIFAR-10", ylabel="best accuracy so far (%)", ylim=(92, 94.6))
    labels = {
        "default": "MetaD2A, paper's method", "transfer": "trivial transfer", "random": "random order",
        "random_12_epochs": "random search, 12 epochs each", "evolution_12_epochs": "evolution, 12 epochs each",
    }  # fmt: skip
    entries = {"default": search["cifar10"]["default"]} | baselines["cifar10"]
    ends = {}
    for number, (name, label) in enumerate(labels.items()):
        best = entries[name]["best_after"]
        epochs, look = whole_cost(name, len(best)), style(number) | {"marker": ""}
        look |= {"color": OURS, "linewidth": 5, "alpha": 0.5} if name == "default" else {}
        axes.step(epochs, best, where="post", zorder=2 + number, **look)
        ends[label] = (epochs[-1], best[-1], look["color"])
    axes.set_xlim(150, 30_000)
    label_lines(axes, ends, room=0.4)
    return figure


def plot_time(search: dict[str, Any]) -> Figure:
    """Accuracy against search time on CIFAR-10, with the paper's points."""
    figure = new_figure()
    axes = figure.add_subplot()
    for label, (accuracy, seconds) in PAPER.items():
        axes.plot(seconds, accuracy, "s", color=COLOURS[0])
        axes.annotate(f"{label}\n{seconds:,} s (GPU)", (seconds, accuracy), (0, -8), textcoords="offset points",
                      ha="center", va="top", fontsize=9)  # fmt: skip
    entries = search["cifar10"]["candidates"]
    names = {"oracle_of_top_30": ("^--", COLOURS[2], "oracle of the top 30, here (CPU)")}
    names |= {"first_choice": ("o-", OURS, "first choice, here (CPU)")}
    for name, (look, color, label) in names.items():
        points = [(e["summary"]["search_seconds"]["mean"], e["summary"][name]["mean"]) for e in entries.values()]
        axes.plot(*zip(*points, strict=True), look, color=color)
        axes.annotate(label, points[2], (8, 8), textcoords="offset points", color=color, fontsize=9)
    counts = list(entries)  # the first two points touch, and so do the last two
    near = {1: f"{counts[0]} and {counts[1]}\ncandidates", 2: counts[2], 4: f"{counts[3]} and {counts[4]}"}
    for i, text in near.items():
        axes.annotate(
            text, points[i], (-12 if i == 1 else 0, -8), textcoords="offset points", va="top", ha="center", fontsize=8
        )
    axes.set(xscale="log", xlabel="search time (s)", ylabel="accuracy (%)")
    axes.set(xlim=(0.03, 60_000), ylim=(93.4, 94.6), title="CIFAR-10")
    return figure


def plots(results: dict[str, Any]) -> dict[str, Figure]:
    return {
        "predicted_against_real": plot_predicted(results["correlation"]),
        "choices_against_epochs": plot_trained(results["search"], results["baselines"]),
        "accuracy_against_time": plot_time(results["search"]),
    }


def measure(args: argparse.Namespace) -> None:
    lab = Lab(args)
    for section in args.sections.split(",") if args.sections else SECTIONS:
        result = SECTIONS[section](lab)
        sources = next(iter(lab.sessions.values())).sources if lab.sessions else {}
        keep_result(args.output / f"{section}.json", result, args, **sources)


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, RESULTS)
    parser.add_argument("--sections", help=f"some of {','.join(SECTIONS)} (default: all)")
    parser.add_argument("--num-runs", type=positive_int, default=10)
    parser.add_argument("--predictor-checkpoint")
    parser.add_argument("--generator-checkpoint")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
