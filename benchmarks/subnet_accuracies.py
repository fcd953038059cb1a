"""Learn ImageNet accuracies of MobileNetV3 subnets from few of them: python benchmarks/subnet_accuracies.py

Writes benchmarks/results/subnet_accuracies.json, section by section (--sections; the others are kept):

- learning: Pearson and Spearman correlations on subnets that were left out, within each resolution, by ridge regression
  on the layers, the Gaussian process, the same with all tuples of the other resolutions;
- encoder: the same of the graph encoder, and of its mean with the regression of `--regression yes`;
- regret: points that the first choice within a bound on FLOPs is below the best, both among subnets that the process
  has not seen;
- search: the first of 200 generated candidates within a bound against random ones, as the process predicts them;
- front: hypervolumes of `--pareto flops`, of as many random subnets, of NSGANetV2 (the process measures), of the
  measured subnets.

Dimensions: n tuples, P subnets.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy import stats
from sklearn.linear_model import RidgeCV

from metad2a import spaces
from metad2a.core.budget import Budget
from metad2a.core.cli import positive_int, run
from metad2a.core.environment import provenance, random_generator
from metad2a.core.files import display_path, write_json
from metad2a.core.messages import log
from metad2a.core.statistics import interval
from metad2a.data.features import find_features, load_features
from metad2a.metatrain.additive import PENALTIES, fit_additive
from metad2a.metatrain.models import find_checkpoint, load_model
from metad2a.rankings import subnets
from metad2a.rankings.fit_subnets import Learning, fit
from metad2a.rivals.base import Problem
from metad2a.rivals.nsganet import NsgaNet
from metad2a.searches.generate import generate
from metad2a.searches.instant import generate_and_rank
from metad2a.searches.options import UNIVERSAL, SearchOptions
from metad2a.searches.pareto import GENERATIONS, POPULATION, hypervolume, pareto_front
from metad2a.searches.session import Session
from metad2a.spaces.ofa_mbv3.table import NUM_CLASSES, measured
from predictor.model import PredictorConfig, PredictorModel

TARGET = Path(__file__).parent / "results" / "subnet_accuracies.json"
SECTIONS = ("learning", "encoder", "regret", "search", "front")
COUNTS, FEW_SPLITS = (100, 300, 1000), 2
LEAST_HELD_OUT = 190  # subnets that a correlation is of
BOUNDS = (200, 250, 300, 350, 400)
NUM_CANDIDATES, NUM_DRAWS = 200, 5
NSGANET_EVALUATIONS = 348  # as many as the paper's on ImageNet: 100, then 31 rounds of 8
CORNERS = (22.0, 100.0), (30.0, 520.0)  # error (%) and MFLOPs that hypervolumes are scaled to
HIDDEN, EPOCHS, BATCH = 128, 40, 32  # of the graph encoder
space = spaces.get("ofa_mbv3")
Predictions = dict[str, torch.Tensor]


def layer_choices(data: Learning) -> torch.Tensor:
    """(n, 120) float64: kernel and expansion of each layer as one-hots, 0 where the layer is not there."""
    kernel, expansion, there = data.features["layers"].unflatten(1, (3, -1)).unbind(1)
    hots = [((values == level) & (there > 0)).double() for values in (kernel, expansion) for level in (-1, 0, 1)]
    return torch.cat(hots, 1)


def ridge(choices: torch.Tensor, value: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Predictions (P,) of rows `wanted`; the penalty is the best of 13 by leaving out one tuple at a time."""
    learned = RidgeCV(PENALTIES).fit(choices.numpy(), value.numpy())
    return torch.from_numpy(learned.predict(wanted.numpy()))


def by_graph(data: Learning, size: int, rows: torch.Tensor, wanted: torch.Tensor, seed: int) -> Predictions:
    """Predictions (P,) of the predictor's graph encoder and head, with a dataset vector of zeros.

    `graph` is the network's, `graph_and_ridge` the mean with the additive score's.
    """
    torch.manual_seed(seed)
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type}
    model = PredictorModel(PredictorConfig(hs=HIDDEN, nz=56, **sizes, additive=True))
    graphs = space.encode([space.canonical(arch) for arch in data.table.archs])
    mean, std = data.accuracy[rows].mean(), data.accuracy[rows].std()
    target = ((data.accuracy - mean) / std).float()
    fit_additive(model.additive, graphs.types[rows], target[rows], space.vertex_features())
    descent = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, EPOCHS * -(-len(rows) // BATCH))

    def scores(part: torch.Tensor) -> torch.Tensor:
        return model.predict(torch.zeros(len(part), 56), model.encode_graph(graphs[part]))

    for _ in range(EPOCHS):
        for part in rows[torch.randperm(len(rows))].split(BATCH):
            loss = (scores(part) - target[part]).square().mean()
            descent.zero_grad()
            loss.backward()
            descent.step()
            schedule.step()
    found = {}
    with torch.inference_mode():
        model.eval()
        for name, share in (("graph", 0.0), ("graph_and_ridge", 0.5)):
            model.additive.share.fill_(share)
            found[name] = scores(wanted).double() * std + mean
    return found


def judge(predicted: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    return float(np.corrcoef(predicted, truth)[0, 1]), float(stats.spearmanr(predicted, truth).statistic)


def by_regression(data: Learning, size: int, rows: torch.Tensor, wanted: torch.Tensor, split: int) -> Predictions:
    """Predictions (P,) of ridge regression and the process, in the first splits with the other resolutions' tuples."""
    archs, others = [data.table.archs[row] for row in wanted.tolist()], (data.table.image_size != size).nonzero()[:, 0]
    choices = layer_choices(data)
    found = {
        "ridge": ridge(choices[rows], data.accuracy[rows], choices[wanted]),
        "process": fit(data, rows)[0].predict(archs, size)[0],
    }
    if split < FEW_SPLITS:
        found["process_all"] = fit(data, torch.cat([rows, others]))[0].predict(archs, size)[0]
    return found


def correlations(
    section: str, sizes: Iterable[int], splits: int, predict: Callable[..., Predictions]
) -> dict[str, Any]:
    """Figures of every way to learn from random tuples of a resolution, over random splits."""
    data, result = Learning.of(measured()), {}
    for size, count in itertools.product(sizes, COUNTS):
        every = data.table.rows(size)
        if len(every) - count < LEAST_HELD_OUT:
            continue
        found = []
        for split in range(splits):
            here = every[torch.randperm(len(every), generator=random_generator(split))]
            rows, wanted = here[:count], here[count:]
            predictions = predict(data, size, rows, wanted, split)
            found.append({name: judge(values, data.accuracy[wanted]) for name, values in predictions.items()})
        figures = {}
        for name in found[0]:
            columns = zip(*(row[name] for row in found if name in row), strict=True)
            figures[name] = {
                key: dict(zip(("mean", "interval_95"), interval(list(values)), strict=True))
                for key, values in zip(("pearson", "spearman"), columns, strict=True)
            } | {"splits": sum(name in row for row in found)}
        result[f"{size},{count}"] = figures
        keep(section, result)
        log.info(f"{size} px, {count}: " + ", ".join(f"{k} {v['pearson']['mean']:.4f}" for k, v in figures.items()))
    return result


def learning(args: argparse.Namespace) -> dict[str, Any]:
    return correlations("learning", reversed(subnets.SIZES), args.splits, by_regression)


def encoder(args: argparse.Namespace) -> dict[str, Any]:
    return correlations("encoder", (224, 192), min(args.splits, FEW_SPLITS), by_graph)


def regret(args: argparse.Namespace) -> dict[str, Any]:
    """At 224 pixels, in folds: each is judged by what learned from the others."""
    data = Learning.of(measured())
    here, choices = data.table.rows(224), layer_choices(data)
    flops = torch.tensor([space.cost(arch, NUM_CLASSES)["flops"] for arch in data.table.archs])
    found: dict[str, dict[int, list[float]]] = {
        name: {b: [] for b in BOUNDS} for name in ("process", "ridge", "random")
    }
    for part in here[torch.randperm(len(here), generator=random_generator(0))].chunk(args.splits):
        rows = torch.arange(len(data.table))[~torch.isin(torch.arange(len(data.table)), part)]
        ranking, (known,) = fit(data, rows)[0], (rows[torch.isin(rows, here)],)
        predicted = {
            "process": ranking.predict([data.table.archs[row] for row in part.tolist()], 224)[0],
            "ridge": ridge(choices[known], data.accuracy[known], choices[part]),
        }
        for bound in BOUNDS:
            within = flops[part] <= bound
            truth = data.accuracy[part][within]
            for name, values in predicted.items():
                found[name][bound].append((truth.max() - truth[values[within].argmax()]).item())
            found["random"][bound].append((truth.max() - truth.mean()).item())
    return {
        name: {
            str(bound): {**dict(zip(("mean", "interval_95"), interval(values), strict=True)), "max": max(values)}
            for bound, values in row.items()
        }
        for name, row in found.items()
    }


def search(args: argparse.Namespace) -> dict[str, Any]:
    """First choices within bounds among generated and among random candidates, for CIFAR-10's images."""
    model, _ = load_model("generator", space, find_checkpoint("generator", space, "none", None), torch.device("cpu"))
    features = load_features(find_features("cifar10", "none"), "cifar10").to(torch.device("cpu"))
    ranking, whole = subnets.load(), measured()
    here = whole.rows(224)
    costs = torch.tensor([space.cost(whole.archs[row], NUM_CLASSES)["flops"] for row in here.tolist()])
    result: dict[str, Any] = {}
    for bound in BOUNDS:
        rows: dict[str, list[float]] = {"generated": [], "random": [], "seconds": []}
        for seed in range(NUM_DRAWS):
            rng = random_generator(seed)

            def allow(arch: Any, bound: int = bound) -> bool:
                return space.cost(arch, NUM_CLASSES)["flops"] <= bound

            start = time.process_time()
            made = generate(model, space, features, NUM_CANDIDATES, 20, rng, accept=allow).archs
            rows["generated"].append(ranking.predict(made, 224)[0].max().item())
            rows["seconds"].append(time.process_time() - start)
            drawn = [arch for arch in space.sample(40 * NUM_CANDIDATES, rng) if allow(arch)][:NUM_CANDIDATES]
            rows["random"].append(ranking.predict(drawn, 224)[0].max().item() if drawn else float("nan"))
        best = whole.accuracy[here][costs <= bound].max().item()
        result[str(bound)] = {name: float(np.mean(values)) for name, values in rows.items()} | {"table_best": best}
        log.info(f"{bound}: {result[str(bound)]}")
    return result


class Predicted(Problem):
    """The process stands for measuring: an accuracy is what it predicts."""

    form = "table"

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        return subnets.load().predict(archs, 224)[0].tolist()

    def judge(self, texts: list[str]) -> list[float]:
        return self.measure([space.from_text(text) for text in texts], 1)


def front(args: argparse.Namespace) -> dict[str, Any]:
    """Hypervolumes of accuracy, as the process predicts it, and FLOPs for 1,000 classes."""
    options = SearchOptions(
        device=torch.device("cpu"), search_space=space.name, data_name="cifar10", data_path="none", save_path="none",
        ranking=UNIVERSAL, num_gen_arch=POPULATION, num_runs=1, pareto="flops",
    )  # fmt: skip
    session, whole = Session(options, ["generator"]), measured()
    found: dict[str, list[list[Any]]] = {"pareto": [], "generated": [], "random": [], "nsganetv2": []}
    for run_number in range(1, NUM_DRAWS + 1):
        ranking = generate_and_rank(session, run_number)
        for name, texts in (("generated", ranking.texts), ("pareto", pareto_front(session, ranking, run_number).texts)):
            found[name].append([space.from_text(text) for text in texts])
        found["random"].append(space.sample(POPULATION * GENERATIONS, random_generator(run_number)))
        problem = Predicted("imagenet", space, NUM_CLASSES, (1,), Budget(evaluations=NSGANET_EVALUATIONS))
        rounds = (NSGANET_EVALUATIONS - NsgaNet.first) // NsgaNet.batch
        NsgaNet(rounds=rounds).run(problem, run_number)
        found["nsganetv2"].append([space.from_text(text) for text, _ in problem.measured])
    rows = whole.rows(224)
    archs = [whole.archs[row] for row in rows.tolist()]
    volumes = {name: [volume(several) for several in runs] for name, runs in found.items()}
    volumes["table"] = [volume(archs)]
    volumes["table_measured"] = [volume(archs, whole.accuracy[rows])]
    counts = {name: float(np.mean([len(several) for several in runs])) for name, runs in found.items()}
    for name, values in volumes.items():
        log.info(f"{name}: {np.mean(values):.4f}")
    return {
        name: dict(zip(("mean", "interval_95"), interval(values), strict=True))
        | {"architectures": counts.get(name, len(archs))}
        for name, values in volumes.items()
    }


def volume(archs: list[Any], accuracy: torch.Tensor | None = None) -> float:
    """Hypervolume of architectures, by the process where their accuracies are not given."""
    if accuracy is None:
        accuracy = subnets.load().predict(archs, 224)[0]
    flops = space.costs(archs, NUM_CLASSES)[0]
    return hypervolume(np.stack([100 - accuracy.numpy(), flops.numpy()], axis=1), *map(np.array, CORNERS))


def keep(section: str, result: dict[str, Any]) -> None:
    """Write a section's results beside those of the others."""
    value = json.loads(TARGET.read_text()) if TARGET.is_file() else {"result": {}, "history": {}}
    value["result"][section] = result
    sources = {"device": "cpu", "threads": torch.get_num_threads()}
    value["history"] = provenance(0, **sources) | {"command": "python benchmarks/subnet_accuracies.py"}  # all sections
    write_json(TARGET, value)


def main(args: argparse.Namespace) -> None:
    for name in args.sections:
        keep(name, globals()[name](args))
    print(f"{display_path(TARGET)} is written")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--splits", type=positive_int, default=5, help="random splits, or folds (default 5)")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), main))
