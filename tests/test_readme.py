"""What the README promises exists."""

import re

from conftest import ROOT


def test_nothing_is_left_to_fill_in():
    for path in ("README.md", "data/README.md"):
        assert not re.search(r"@[A-Z]+@", (ROOT / path).read_text())


def test_files_that_are_named_exist():
    text = (ROOT / "README.md").read_text()
    for path in set(re.findall(r"`((?:assets|benchmarks|get_files|engine|tests)/[\w./]*)`", text)):
        assert (ROOT / path).exists(), path
