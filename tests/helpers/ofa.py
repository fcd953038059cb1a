"""Meta-tests of the MobileNetV3 space."""

import csv

from metad2a import spaces

ofa = spaces.get("ofa_mbv3")


TEST = "--gpu 0 --model generator --search-space ofa_mbv3 --test --num-gen-arch 12"


def rows(folder, run=1):
    with (folder / "best_arch" / f"ranking_run_{run}.csv").open() as file:
        return list(csv.DictReader(file))
