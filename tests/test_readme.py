"""What the README promises exists."""

import re

from conftest import ROOT

import build_database
import main
import process_dataset
import train_supernet
from evaluation import main as evaluation


def test_nothing_is_left_to_fill_in():
    for path in ("README.md", "data/README.md"):
        assert not re.search(r"@[A-Z]+@", (ROOT / path).read_text())


def test_commands_are_ones_that_the_programs_take():
    """Every command of the README that has options of ours parses."""
    modules = {
        "main.py": main,
        "process_dataset.py": process_dataset,
        "build_database.py": build_database,
        "train_supernet.py": train_supernet,
        "evaluation/main.py": evaluation,
    }
    parsers = {program: module.build_parser() for program, module in modules.items()}
    found = 0
    for line in re.findall(r"^\$ python (.*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        program, _, options = line.split("#")[0].partition(" ")
        if program in parsers:
            parsers[program].parse_args(options.replace("NAME", "x").split())
            found += 1
    assert found >= 8


def test_files_that_are_named_exist():
    text = (ROOT / "README.md").read_text()
    for path in set(re.findall(r"`((?:assets|benchmarks|get_files|engine|tests)/[\w./]*)`", text)):
        assert (ROOT / path).exists(), path
