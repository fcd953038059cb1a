"""Imports go one way: no circle between packages or files, and the ground knows nothing of what stands on it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up: a package imports only from those before it.
FLOORS = (
    "metad2a.core",
    "metad2a.graphs",
    "set_encoder",
    "generator",
    "predictor",
    "metad2a.data",
    "metad2a.training",
    "metad2a.spaces",
    "metad2a.reports",
    "metad2a.rankings",
    "metad2a.metatrain",
    "metad2a.database",
    "metad2a.networks",
    "metad2a.finetuning",
    "metad2a.searches",
    "metad2a.rivals",
    "metad2a.commands",
)
TOP = {"metad2a", "metad2a.api", "metad2a.__main__"}


def modules():
    """Module name -> file, of everything but tests and benchmarks."""
    files = [
        path for name in ("metad2a", "set_encoder", "generator", "predictor") for path in (ROOT / name).rglob("*.py")
    ]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def floor(module):
    """The number of a module's package; the files at the top of `metad2a` stand above all."""
    return len(FLOORS) if module in TOP else next(i for i, p in enumerate(FLOORS) if f"{module}.".startswith(f"{p}."))


def imported(path, known):
    """Our modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            yield from (
                f"{node.module}.{n.name}" if f"{node.module}.{n.name}" in known else node.module for n in node.names
            )


@pytest.fixture(scope="module")
def imports():
    known = modules()
    return {name: set(imported(path, known)) - {name} for name, path in known.items()}


def test_packages_import_only_from_lower_packages(imports):
    wrong = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if other != "metad2a" and floor(other) >= floor(name) and floor(name) < len(FLOORS)
        if floor(other) != floor(name)
    ]
    assert not wrong


def test_no_file_imports_itself_through_others(imports):
    finished, circles = set(), []

    def visit(name, path):
        if name in path:
            circles.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in finished:
            for other in sorted(imports[name]):
                visit(other, [*path, name])
            finished.add(name)

    for name in imports:
        visit(name, [])
    assert not circles


def test_no_test_module_imports_another():
    """What several share stands in `tests/helpers` and, if it is a fixture, in `conftest.py`."""
    for path in (ROOT / "tests").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [name for name in names if name.split(".")[-1].startswith("test_") or "conftest" in name], path


def test_every_folder_of_code_is_a_known_package():
    folders = {path.parent.relative_to(ROOT).parts for path in ROOT.glob("*/**/__init__.py")}
    packages = {".".join(parts[:2]) for parts in folders if not parts[0].startswith((".", "tests"))} - {"metad2a"}
    assert packages == set(FLOORS)


def test_contributing_lists_the_packages_from_the_ground_up():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## Where things are\n")[1].split("\n## ")[0]
    listed = [row.replace("/", ".") for row in re.findall(r"^\| `([\w/]+)/` \|", text, flags=re.MULTILINE)]
    assert tuple(listed) == FLOORS
