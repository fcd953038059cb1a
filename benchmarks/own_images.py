"""A search on a budget beside one training: python benchmarks/own_images.py --data-name NAME --image-folder DIR

--way search runs `main.py --model search --budget` (and goes on with it, where it was killed); --way first trains what
the instant search puts first, --way random a cell drawn at random, each until the same budget is spent. All by one
protocol. Adds to benchmarks/results/own_images.json.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from metad2a.core.budget import parse_budget
from metad2a.core.cli import run
from metad2a.core.environment import choose_device, provenance, random_generator
from metad2a.core.files import ROOT, display_path, write_json
from metad2a.core.statistics import share_interval
from metad2a.searches.budget.plan import FULL, LONG, SHORT, Rung
from metad2a.searches.budget.search import spend
from metad2a.searches.budget.session import BudgetSearch
from metad2a.searches.options import SearchOptions

OUTPUT = ROOT / "benchmarks" / "results" / "own_images.json"


class OneTraining(BudgetSearch):
    """The whole budget for one cell that no evidence chose."""

    chosen: int

    def planned(self) -> dict[int, Rung]:
        """One rung, whose training has everything."""
        rung = super().planned()[FULL]
        none = {fidelity: replace(rung, fidelity=fidelity, count=0) for fidelity in (SHORT, LONG)}
        return none | {FULL: replace(rung, cost=self.options.budget.amount, count=1)}

    def goes_on(self, rung: Rung) -> bool:
        return rung.fidelity == FULL and not self.state.of_rung(FULL)

    def choose(self, rung: Rung) -> int | None:
        return self.chosen if rung.fidelity == FULL else None


def measure(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    options = SearchOptions(
        device=choose_device(args.gpu),
        data_name=args.data_name,
        image_folder=args.image_folder,
        data_path=args.data_path,
        save_path=f"{args.save_path}/{args.way}",
        budget=parse_budget(args.budget),
        resume=True,
    )
    search = BudgetSearch(options) if args.way == "search" else OneTraining(options)
    if isinstance(search, OneTraining):
        allowed = search.setup.allowed
        drawn = int(allowed[torch.randint(len(allowed), (1,), generator=random_generator(args.seed))])
        search.chosen = drawn if args.way == "random" else int(allowed[search.surrogate.prior[allowed].argmax()])
    value = spend(search)
    found: dict[str, Any] = json.loads(OUTPUT.read_text()) if OUTPUT.is_file() else {"result": {}}
    entry = {name: value[name] for name in ("budget", "spent", "choice", "network", "images")}
    entry |= {"trainings": len(value["trials"]), "resumed": len(value["history"].get("resumed", []))}
    counts = {trial["rung"]: trial for trial in value["trials"]}
    entry["rungs"] = {rung: sum(t["rung"] == rung for t in value["trials"]) for rung in counts}
    entry["network"] = {name: entry["network"][name] for name in ("x-test", "x-test_low", "x-test_high")}
    found["result"].setdefault(args.data_name, {})[args.way] = entry
    found["history"] = provenance(args.seed, device=options.device, threads=args.threads)
    write_json(OUTPUT, found)
    low, high = share_interval(entry["network"]["x-test"], entry["images"]["x-test"])
    print(
        f"{display_path(OUTPUT)}: {args.data_name} {args.way} {entry['network']['x-test']:.2f} [{low:.2f}, {high:.2f}]"
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=("search", "first", "random"), default="search")
    parser.add_argument("--data-name", required=True)
    parser.add_argument("--image-folder", required=True)
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--save-path", default="results/own_images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=333)
    parser.add_argument("--gpu")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
