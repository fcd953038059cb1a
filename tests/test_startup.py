"""A search imports what it needs and nothing else, and its picture and intervals need no large package."""

import json
import os
import statistics
import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from metad2a import spaces
from metad2a.core.statistics import interval
from metad2a.reports.drawing import architecture_svg

UNNEEDED = ("scipy", "matplotlib", "torchvision", "sympy", "ofa", "ray", "requests", "torch._dynamo", "pandas")
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]  # hours that ten patients slept longer
SEARCH = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
import torch
before = set(sys.modules)
import main
main.main("--model search --data-name cifar10 --gpu cpu".split())
code = main.main("--model search --data-name cifar10 --num-gen-arch 2 --num-draws 1 --num-sample 2 --gpu cpu".split())
print(json.dumps([code, sorted(set(sys.modules) - before)]))
"""


def test_a_search_imports_only_what_it_needs():
    """Some of these take seconds each."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", SEARCH], capture_output=True, text=True, env=environment)
    code, imported = json.loads(result.stdout.splitlines()[-1])
    assert code == 0, result.stderr
    assert "metad2a.searches.instant" in imported
    assert not set(UNNEEDED) & set(imported)


def test_the_interval_is_students():
    """The example of Student (1908)."""
    mean, half = interval(SLEEP)
    assert mean == pytest.approx(1.58)
    assert half == pytest.approx(2.26215716 * statistics.stdev(SLEEP) / 10**0.5, rel=1e-6)  # Student's t, 9 degrees
    assert interval([3.0]) == (3.0, 0.0)


@pytest.mark.parametrize("name", spaces.NAMES)
def test_the_picture_shows_every_edge(name, monkeypatch):
    space = spaces.get(name)
    text = space.to_text(space.sample(1, torch.Generator().manual_seed(0))[0])
    nodes, edges = space.drawing(space.from_text(text))
    for kept in (edges, edges[1:], []):
        monkeypatch.setattr(space, "drawing", lambda arch, kept=kept: (nodes, kept))
        assert architecture_svg(space, text).count("<polyline") == len(kept)
