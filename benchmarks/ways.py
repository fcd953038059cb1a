"""Does one way ever beat `search --budget`? python benchmarks/ways.py FOLDER ...

Each FOLDER has a sub-folder of images for each class, or parts train and test. For each folder, budget and seed, four
methods get the same time: the search, linear classifiers, the backbone trained further, and the instant ranking's first
choice trained from nothing. All are tested on the same images, which chose nothing. The search with --from-scratch is
compared with the first choice only.

A process runs each method. Finished methods are kept, so a killed command goes on where it was.
Writes benchmarks/results/ways.json.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from matplotlib.figure import Figure
from torchvision.transforms.v2 import functional as TF

from benchmarks.pages import OURS, RESULTS, new_figure, style, table
from benchmarks.script import benchmark_parser
from metad2a.core.cli import run
from metad2a.core.environment import choose_device, keep_freed_memory, provenance
from metad2a.core.errors import UserError
from metad2a.core.files import write_json
from metad2a.core.messages import log
from metad2a.core.options import prepare
from metad2a.networks import load_network
from metad2a.searches.budget.search import spend
from metad2a.searches.budget.session import BudgetSearch
from metad2a.searches.budget.trials import FURTHER, LINEAR, NEW, PAUSED, Trial, judged
from metad2a.searches.options import SearchOptions, name_the_dataset

SEARCH, SCRATCH = "search", "from-scratch"
ONE_WAY = {"linear": LINEAR, "further": FURTHER, "first": NEW}  # methods with one way
BUDGETS = "1m,3m,10m,30m"


class OneWay(BudgetSearch):
    """A search with one way for the whole budget."""

    method = "linear"

    def add_trainings(self, left: float) -> None:
        before = len(self.state.trials)
        super().add_trainings(left)
        if self.method == "first":
            self.state.trials[before:] = []
            cell, arch, _ = self.ranked[0]
            self.state.add(status=PAUSED, way=NEW, arch=arch, cell=cell, side=self.space.image_size)
        else:
            kept = [trial for trial in self.state.trials[before:] if trial.way == ONE_WAY[self.method]][:1]
            self.state.trials[before:] = []
            for trial in kept:
                about = {name: getattr(trial, name) for name in ("way", "arch", "side", "base")}
                self.state.add(status=PAUSED, **about)

    def best(self) -> Trial | None:
        own = judged(trial for trial in self.state.trials if trial.way == ONE_WAY[self.method])
        return next(iter(own), None) or super().best()


def one(args: argparse.Namespace) -> dict[str, Any]:
    """Run one method on one folder; returns its figures."""
    keep_freed_memory()  # as the command line does
    start, (folder, budget, method, seed) = time.monotonic(), args.one
    scratch = method in (SCRATCH, "first")
    given: dict[str, Any] = {"images": folder, "budget": budget, "gpu": args.gpu, "seed": int(seed)}
    given |= {"from_scratch": scratch, "overwrite": True, "data_path": args.data_path}
    given |= {"save_path": f"{args.save_path}/{method}-{seed}"}
    options = prepare(SearchOptions, name_the_dataset({k: v for k, v in given.items() if v}))
    kind = BudgetSearch if method in (SEARCH, SCRATCH) else type(method, (OneWay,), {"method": method})
    search = kind(options)
    value = spend(search)
    data, network = search.data, load_network(search.folder / "network.pt")
    hits = ""
    with torch.inference_mode():
        for rows in torch.arange(len(data.test)).split(64):
            part = data.test[rows]
            pixels = TF.resize(part.pixels.permute(0, 3, 1, 2), [network.image_size] * 2, antialias=True)
            hits += "".join(map(str, (network(pixels / 255).argmax(1) == part.labels).int().tolist()))
    curves = [{name: way[name] for name in ("title", "way", "curve", "seconds")} for way in value["ways"]]
    return {
        "classes": len(data.class_names), "train": len(data.train), "title": value["choice"]["title"],
        "way": value["choice"]["way"], "x-valid": value["choice"]["x-valid"], "x-test": value["network"]["x-test"],
        "hits": hits, "seconds": value["spent"]["seconds"], "wall": time.monotonic() - start,
        "curves": curves if method in (SEARCH, SCRATCH) else [],
    }  # fmt: skip


def measure(args: argparse.Namespace) -> None:
    if args.one:
        print(json.dumps(one(args)))
        return
    if not args.folders:
        raise UserError("Give folders of images.")
    rows: list[dict[str, Any]] = read_rows(args.output)
    done = {(r["folder"], r["budget"], r["method"], r["seed"]) for r in rows}
    methods = args.methods.split(",")
    for budget in args.budgets.split(","):
        for seed in range(args.seed, args.seed + args.num_runs):
            for folder in args.folders:
                for method in methods:
                    key = (Path(folder).name, budget, method, seed)
                    if key in done:
                        continue
                    rows.append(
                        dict(zip(("folder", "budget", "method", "seed"), key, strict=True)) | child(args, folder, key)
                    )
                    log.info(f"{' '.join(map(str, key))}: x-test {rows[-1]['x-test']:.2f} %, {rows[-1]['way']}")
                    device = choose_device(args.gpu)
                    history = provenance(args.seed, device=device, threads=args.threads, load=args.load)
                    write_json(args.output, {"history": history, "result": {"rows": rows}}, indent=None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["result"]["rows"] if path.is_file() else []


def child(args: argparse.Namespace, folder: str, key: tuple[str, str, str, int]) -> dict[str, Any]:
    """Run one method in a new process."""
    _, budget, method, seed = key
    line = [sys.executable, __file__, "--one", folder, budget, method, str(seed), "--data-path", args.data_path]
    line += ["--save-path", args.save_path, *(["--gpu", args.gpu] if args.gpu else []), "--threads", str(args.threads)]
    started = time.monotonic()
    found = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise UserError(f"{' '.join(map(str, key))} failed; its error is above.")
    return json.loads(found.stdout.splitlines()[-1]) | {"process": time.monotonic() - started}


FILES = {"ways": "python benchmarks/ways.py FOLDER ..."}
TITLES = {"search": "`search --budget`", "linear": "linear classifier", "further": "backbone", "first": "first choice",
          "from-scratch": "`--from-scratch`"}  # fmt: skip


def paired(ours: str, other: str) -> tuple[float, float]:
    """How many points ours is above another method on the same images, and two standard errors of that."""
    a, b = (np.array(list(map(int, hits))) for hits in (ours, other))
    difference = a - b
    return 100 * difference.mean(), 200 * difference.std() / np.sqrt(len(difference))


def groups(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, list[dict[str, Any]]]]:
    """Rows by folder and budget, then by method, in the order of seeds."""
    found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        found.setdefault((row["folder"], row["budget"]), {}).setdefault(row["method"], []).append(row)
    return found


def cell(ours: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    """A method's mean accuracy, marked where it is above the search's by more than two standard errors."""
    mean = np.mean([row["x-test"] for row in found])
    seeds = {row["seed"] for row in ours} & {row["seed"] for row in found}
    a, b = ("".join(row["hits"] for row in rows if row["seed"] in seeds) for rows in (ours, found))
    gain, errors = paired(a, b) if len(a) == len(b) and a else (0.0, 0.0)
    return f"{mean:.1f}{' **above**' if gain < -errors else ''}"


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Each folder and budget: the search beside the methods with one way."""
    rows, scratch = [], []
    for (folder, budget), methods in groups(results["ways"]["rows"]).items():
        for own, others, target in (("search", ONE_WAY, rows), ("from-scratch", ("first",), scratch)):
            if own not in methods:
                continue
            ours = methods[own]
            chosen = sorted({row["way"] for row in ours})
            target.append([
                folder, budget, f"**{np.mean([row['x-test'] for row in ours]):.1f}**", ", ".join(chosen),
                *(cell(ours, methods[name]) if name in methods else "" for name in others),
            ])  # fmt: skip
    head = ["images", "budget", "`search --budget`", "what it chose"]
    return {
        "ways": table([*head, *(TITLES[name] for name in ONE_WAY)], rows),
        "ways-scratch": table([*head[:2], TITLES["from-scratch"], head[3], TITLES["first"]], scratch),
    }


def plots(results: dict[str, Any]) -> dict[str, Figure]:
    """The curves of the ways in each search with the longest measured budget of a folder."""
    longest = {row["folder"]: row for row in results["ways"]["rows"] if row["method"] == "search"}
    figure = new_figure(10, 3.2 * ((len(longest) + 1) // 2))
    for axes, (folder, row) in zip(figure.subplots((len(longest) + 1) // 2, 2).flat, longest.items(), strict=False):
        axes.set(title=f"{folder}, {row['budget']}", xlabel="seconds on this way", ylabel="x-valid (%)")
        for number, curve in enumerate(curve for curve in row["curves"] if curve["curve"]):
            look = style(number) | ({"color": OURS} if curve["title"] == row["title"] else {})
            axes.plot(*zip(*curve["curve"], strict=True), **look, label=curve["title"][:40])
    return {"ways": figure}


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, RESULTS / "ways.json")
    parser.add_argument("folders", nargs="*", help="folders of images")
    parser.add_argument("--budgets", default=BUDGETS)
    parser.add_argument(
        "--methods", default=",".join([SEARCH, *ONE_WAY]), help="some of search, from-scratch and the ways"
    )
    parser.add_argument("--num-runs", type=int, default=1, help="seeds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--load", default="", help="what else the machine did, for the record")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    return parser


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    measure(args)


if __name__ == "__main__":
    sys.exit(run(build_parser(), main))
