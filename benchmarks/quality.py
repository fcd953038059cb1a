"""Measure what the search finds, against the benchmark's table: python benchmarks/quality.py

Writes one result file (JSON) a section to benchmarks/results, from which benchmarks/make_results.py makes RESULTS.md.
Accuracies are looked up in NAS-Bench-201; nothing here trains a network or chooses anything by a test accuracy.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.validation import NUM_SAMPLE, correlations, validation_scores
from metad2a import spaces
from metad2a.core.cli import gpu_option, positive_int, run
from metad2a.core.environment import choose_device, provenance, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, write_json
from metad2a.core.messages import log
from metad2a.data.features import Features, find_features, load_features
from metad2a.metatrain.fit import BEST
from metad2a.metatrain.models import load_model
from metad2a.metatrain.tuples import FEATURES_NAME, Tuples, load_tuples
from metad2a.searches import report
from metad2a.searches.generate import GRAPHS_PER_ROUND, decode_round, generate_candidates
from metad2a.searches.options import SearchOptions
from metad2a.searches.ranking import rank
from metad2a.searches.report import Ranking
from metad2a.searches.session import Session
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse, to_string
from predictor.ensemble import PredictorEnsemble

DATASETS = ("cifar10", "imagenet16-120")
CANDIDATES = (50, 100, 500, 2000, None)
DRAWS = (1, 3, 10, 30, 100)
OTHER_DATASET = {"cifar10": ("mnist", "imagenet16-120"), "imagenet16-120": ("mnist", "cifar10")}
NUM_CANDIDATES = 500  # of a search and of every baseline
POPULATION, TOURNAMENT = 10, 3  # of regularized evolution, as NAS-Bench-201's authors set it


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
                device=self.device,
                num_gen_arch=NUM_CANDIDATES,
                num_runs=self.args.num_runs,
                seed=self.args.seed,
                generator_checkpoint=self.args.generator_checkpoint,
                predictor_checkpoint=self.args.predictor_checkpoint,
            )
            self.sessions[dataset] = Session(options, ("generator", "predictor"))
        session = self.sessions[dataset]
        session.options = replace(session.options, num_gen_arch=NUM_CANDIDATES, num_draws=10)
        session.options = replace(session.options, **changes)
        return session

    def database(self, kind: str) -> tuple[Features, Tuples]:
        """The meta-training images and the tuples of "generator" or "predictor"."""
        features = load_features(find_features(FEATURES_NAME, self.args.data_path), FEATURES_NAME)
        return features, load_tuples(kind, self.space, self.args.data_path, features.num_classes)

    def study(self, name: str) -> Path:
        """The best checkpoint of a variant of benchmarks/study.py."""
        return Path(self.args.save_path) / "study" / name / "predictor" / "model" / BEST

    def ranked_by(self, dataset: str, archs: list[str], keys: list[float]) -> Ranking:
        """Architectures ranked by something else than the predictor."""
        known = self.space.known_accuracy(dataset)
        order = sorted(range(len(archs)), key=lambda i: -keys[i])
        texts = [archs[i] for i in order]
        return Ranking(texts, [keys[i] for i in order], [known[t] for t in texts], max(known.values()))

    def runs(self, work: Callable[[int], Ranking]) -> dict[str, Any]:
        """Figures of `work(run)` over all runs, timed."""
        rankings = []
        for number in range(1, self.args.num_runs + 1):
            start = time.perf_counter()
            ranking = work(number)
            rankings.append(replace(ranking, stages={"all": time.perf_counter() - start}))
        hits = sum("trained_until_benchmark_best" in ranking.figures() for ranking in rankings)
        return {
            "summary": report.summarize(rankings),
            "runs": len(rankings),
            "hits": hits,
            "best_after": [max(rankings[0].known[: i + 1]) for i in range(min(100, len(rankings[0].known)))],
            "first_choices": [ranking.texts[0] for ranking in rankings],
        }


def searched(session: Session) -> Callable[[int], Ranking]:
    return lambda number: rank(session, generate_candidates(session, number)[0], number)


def measure_search(lab: Lab) -> dict[str, Any]:
    """(a) the search as it is, and (b) with other numbers of candidates and draws."""
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
    """(c) the predictor against validation tuples and against the whole table."""
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


def measure_baselines(lab: Lab) -> dict[str, Any]:
    """(d) what a sceptic would ask for, at the same number of candidates."""
    archs = lab.space.all_architectures()
    result = {}
    for dataset in DATASETS:
        early = dict(zip(archs, lab.space.table["valid_12"][dataset].tolist(), strict=True))
        result[dataset] = {
            "random": lab.runs(lambda r, d=dataset: random_order(lab, d, r)),
            "random_12_epochs": lab.runs(lambda r, d=dataset, e=early: random_search(lab, d, e, r)),
            "evolution_12_epochs": lab.runs(lambda r, d=dataset, e=early: evolution(lab, d, e, r)),
        }
        if dataset != "imagenet16-120":
            transferred = list(lab.space.known_accuracy("imagenet16-120").values())
            work = lab.runs(lambda r, d=dataset, t=transferred: lab.ranked_by(d, archs, t))
            result[dataset]["transfer"] = work
    return result


def random_order(lab: Lab, dataset: str, number: int) -> Ranking:
    archs = random_candidates(lab, number)
    return lab.ranked_by(dataset, archs, [0.0] * len(archs))


def random_search(lab: Lab, dataset: str, early: dict[str, float], number: int) -> Ranking:
    """500 random architectures, ranked by their validation accuracy after 12 epochs."""
    archs = random_candidates(lab, number)
    return lab.ranked_by(dataset, archs, [early[arch] for arch in archs])


def evolution(lab: Lab, dataset: str, early: dict[str, float], number: int) -> Ranking:
    """Regularized evolution (Real et al., AAAI 2019) by validation accuracy after 12 epochs, 500 evaluations."""
    rng, space = random.Random(number), lab.space
    population = rng.sample(space.all_architectures(), POPULATION)
    seen = dict.fromkeys(population)
    evaluated = len(population)
    while evaluated < NUM_CANDIDATES:
        parent = max(rng.sample(population, TOURNAMENT), key=early.__getitem__)
        child = parse(parent)
        edge = rng.randrange(len(child))
        child[edge] = rng.choice([op for op in range(len(OPERATIONS)) if op != child[edge]])
        population = [*population[1:], to_string(child)]
        seen[population[-1]] = None
        evaluated += 1
    return lab.ranked_by(dataset, list(seen), [early[arch] for arch in seen])


def measure_ablations(lab: Lab) -> dict[str, Any]:
    """(e) each part of the method replaced by nothing."""
    result = {}
    for dataset in DATASETS:
        session = lab.session(dataset)
        result[dataset] = {
            "whole": lab.runs(searched(session)),
            "random_candidates": lab.runs(lambda r, s=session: rank(s, random_candidates(lab, r), r)),
            "random_choice": lab.runs(
                lambda r, s=session, d=dataset: shuffled(lab, d, generate_candidates(s, r)[0], r)
            ),
        }
        for other in OTHER_DATASET[dataset]:
            result[dataset][f"sees_{other}"] = lab.runs(lambda r, d=dataset, o=other: seeing(lab, d, o, r))
    return result


def random_candidates(lab: Lab, number: int) -> list[str]:
    return random.Random(number).sample(lab.space.all_architectures(), NUM_CANDIDATES)


def shuffled(lab: Lab, dataset: str, archs: list[str], number: int) -> Ranking:
    rng = random.Random(number)
    return lab.ranked_by(dataset, archs, [rng.random() for _ in archs])


def seeing(lab: Lab, dataset: str, other: str, number: int) -> Ranking:
    """A search on `other`, judged on `dataset`: generator and predictor are shown the wrong images."""
    ranking = searched(lab.session(other))(number)
    return lab.ranked_by(dataset, ranking.texts, ranking.predicted)


def measure_generator(lab: Lab) -> dict[str, Any]:
    """Validity, uniqueness, novelty and quality of what is generated, beside random sampling."""
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


def measure_predictors(lab: Lab) -> dict[str, Any]:
    """The predictors of benchmarks/study.py that have the published size, alone and joined."""
    features, tuples = lab.database("predictor")
    truth = tuples.accuracy[tuples.validation].numpy()
    paths = {name: lab.study(name) for name in ("full-published", "full-ema", "full-benchmark-task")}
    models = {name: load_model("predictor", lab.space, path, lab.device)[0] for name, path in paths.items()}
    result = {}
    for names in (n for size in range(1, len(models) + 1) for n in combinations(models, size)):
        ensemble = PredictorEnsemble(replace(models[names[0]].config, members=len(names))).to(lab.device).eval()
        ensemble.members = torch.nn.ModuleList(models[name] for name in names)
        rng = random_generator(lab.args.seed, lab.device)
        scores = validation_scores(ensemble, lab.space, features, tuples, 10, rng)
        entry = {"validation": correlations(scores.mean(0), truth)}
        for dataset in DATASETS:
            session = lab.session(dataset)
            shipped, session.models["predictor"] = session.models["predictor"], ensemble
            entry[dataset] = lab.runs(searched(session))
            session.models["predictor"] = shipped
        result[" + ".join(names)] = entry
    return result


def measure_trained(lab: Lab) -> dict[str, Any]:
    """What `main.py --model train_arch` has trained below --save-path."""
    rows = []
    for path in sorted(Path(lab.args.save_path).glob("train_arch/*/*/result.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        known = lab.space.known_accuracy(found["dataset"]) or {}
        names = ("dataset", "architecture", "flops", "params", "mean", "interval_95", "num_images")
        row = {name: found[name] for name in names} | {"benchmark": known.get(found["architecture"])}
        protocol = {name: found["protocol"][name] for name in ("epochs", "batch_size", "augment", "precision")}
        rows.append(row | {"protocol": protocol, "seeds": [run["seed"] for run in found["runs"]]})
    if not rows:
        raise UserError(f"No result.json below {lab.args.save_path}/train_arch: train with main.py --model train_arch.")
    return {"networks": sorted(rows, key=lambda row: (row["dataset"], -row["mean"]))}


def shares(archs: list[str | None], trained: set[str], known: dict[str, float] | None) -> dict[str, float]:
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
    "baselines": measure_baselines,
    "ablations": measure_ablations,
    "generator": measure_generator,
    "predictors": measure_predictors,
    "trained": measure_trained,
}


def measure(args: argparse.Namespace) -> None:
    lab = Lab(args)
    for section in args.sections.split(",") if args.sections else SECTIONS:
        start = time.perf_counter()
        result = SECTIONS[section](lab)
        sources = next(iter(lab.sessions.values())).sources if lab.sessions else {}
        history = provenance(args.seed, device=lab.device, threads=torch.get_num_threads(), **sources)
        path = Path(args.output) / f"{section}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"history": history, "result": result}, indent=None)
        log.info(f"{path}: {time.perf_counter() - start:.0f} s")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", help=f"some of: {','.join(SECTIONS)} (default all)")
    parser.add_argument("--num-runs", type=positive_int, default=10)
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--save-path", default="results")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results"))
    parser.add_argument("--predictor-checkpoint")
    parser.add_argument("--generator-checkpoint")
    parser.add_argument("--seed", type=int, default=333)
    gpu_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
