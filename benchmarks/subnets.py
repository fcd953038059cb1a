"""What a search over a supernet is worth: chosen subnets against random ones of equal FLOPs, on tasks never seen.

python benchmarks/subnets.py --imgnet DIR --supernet FILE --out FILE

For each task (random classes, drawn from a seed of their own) and each bound (a quantile of random subnets' FLOPs) the
generator makes candidates of 90 % to 100 % of the bound, the predictor chooses one, and its measured accuracy is
compared with the mean of random subnets whose FLOPs differ from its by 2 % at most. Accuracies are measured as the
database's are: with the supernet's weights, batch norm calibrated on the task's training images, on held-out images.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tqdm import tqdm

import search_spaces
from database.items import draw_item, name_classes
from database.workers import EvaluatorOptions
from engine.cli import gpu_option, not_negative_int, positive_int, run
from engine.files import write_text
from engine.runs import choose_device, keep_freed_memory, provenance, random_generator
from generator.generate import generate
from loading import find_checkpoint, load_model
from predictor.score import score
from report import interval
from supernet.model import PUBLISHED, read_supernet
from tasks.features import Features, check_extractor, find_features, load_features
from tasks.meta_train import FEATURES_NAME

SHARD = 1_000_000  # no database has that many
QUANTILES = (0.25, 0.5, 0.75)
TOLERANCE = 0.02
POOL = 5000  # random subnets that those of equal FLOPs are taken from


def classes_of(features: Features, rows: list[int]) -> Features:
    """The features of some classes, as a dataset of its own."""
    parts = features.images.split(features.counts.tolist())
    names = [features.class_names[c] for c in rows]
    images = torch.cat([parts[c] for c in rows])
    return Features("task", images, features.counts[rows], names, features.extractor, features.source)


class Bench:
    """Everything that is loaded once."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.device = args, choose_device(args.gpu)
        self.space = search_spaces.get("ofa_mbv3")
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
        config = read_supernet(args.supernet)["config"]
        self.sizes = (config.num_classes, config.image_size, config.width_mult)
        self.pool = self.space.sample(POOL, random_generator(args.seed))
        self.pool_flops = self.flops(self.pool)

    def flops(self, archs: list) -> torch.Tensor:
        return self.space.costs(archs, *self.sizes)[0]

    def accuracy(self, arch, item) -> float:
        """Measured with the same calibration images for every architecture of a task."""
        return self.evaluator.evaluate(arch, item.classes, random_generator(item.seed))

    def choose(self, features: Features, bound: float, seed: int):
        """The best predicted of the candidates within 90 % to 100 % of a bound, None where there are none."""
        args, rng = self.args, random_generator(seed, self.device)

        def accept(arch) -> bool:
            return 0.9 * bound <= self.flops([arch]).item() <= bound

        made = generate(
            self.models["generator"], self.space, features, args.num_gen_arch, args.num_sample, rng, accept=accept
        )
        if not made.archs:
            return None
        scores = score(self.models["predictor"], self.space, features, made.archs, 10, args.num_sample, rng)
        return made.archs[int(scores.argmax())]

    def task(self, number: int) -> list[dict[str, float]]:
        """A row for each bound."""
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
            random = [self.accuracy(self.pool[i], item) for i in near[order].tolist()]
            row = {"task": number, "classes": len(item.classes), "quantile": quantile, "mflops": flops}
            row |= {"chosen": self.accuracy(chosen, item), "random": sum(random) / len(random)}
            row["share_beaten"] = sum(row["chosen"] > value for value in random) / len(random)
            rows.append(row | {"random_mflops": self.pool_flops[near[order]].mean().item()})
        return rows


def summarize(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean gain over random subnets with its 95 % interval, for every bound and for the tasks' means over bounds."""
    groups = {f"quantile {q}": [row for row in rows if row["quantile"] == q] for q in QUANTILES}
    summary = {}
    for name, group in groups.items():
        if group:
            mean, half = interval([row["chosen"] - row["random"] for row in group])
            figures = {key: interval([row[key] for row in group])[0] for key in ("mflops", "chosen", "random")}
            beaten = interval([row["share_beaten"] for row in group])[0]
            summary[name] = {**figures, "gain": mean, "interval_95": half, "beaten": beaten, "tasks": len(group)}
    tasks = sorted({row["task"] for row in rows})
    means = [interval([r["chosen"] - r["random"] for r in rows if r["task"] == task])[0] for task in tasks]
    mean, half = interval(means)
    return summary | {"all": {"gain": mean, "interval_95": half, "tasks": len(tasks)}}


def measure(args: argparse.Namespace) -> None:
    keep_freed_memory()
    bench = Bench(args)
    rows = [row for number in tqdm(range(args.num_tasks), unit="task") for row in bench.task(number)]
    summary = summarize(rows)
    for name, figures in summary.items():
        print(name + ": " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    history = provenance(args.seed, imgnet=args.imgnet, supernet=args.supernet)
    write_text(args.out, json.dumps({"summary": summary, "rows": rows, "history": history}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--imgnet", required=True)
    add("--class-order")
    add("--supernet", default=str(PUBLISHED))
    add("--data-path", default="data")
    add("--save-path", default="results")
    add("--num-tasks", type=positive_int, default=20)
    add("--num-gen-arch", type=positive_int, default=100, help="candidates of a task and bound (default 100)")
    add("--num-random", type=positive_int, default=5, help="random subnets of equal FLOPs (default 5)")
    add("--num-calibration", type=positive_int, default=2000)
    add("--num-sample", type=positive_int, default=20)
    add("--seed", type=not_negative_int, default=333)
    add("--out", default="results/ofa_mbv3/subnets.json")
    gpu_option(parser)
    sys.exit(run(parser, measure))
