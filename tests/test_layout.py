"""Imports go one way: no circle between packages or files, and the ground knows nothing of what stands on it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "main",
    "metad2a",
    "process_dataset",
    "build_database",
    "build_mobilenetv3",
    "train_supernet",
}  # the files at the top
# From the ground up: a package imports from those before it alone.
FLOORS = (
    "engine",
    "get_files",
    "images",
    "training",
    "set_encoder",
    "graphs",
    "search_spaces",
    "pages",
    "generator",
    "predictor",
    "meta_train",
    "database",
    "networks",
    "evaluation",
    "meta_test",
    "baselines",
    "evidence",
)


def modules():
    """Module name -> file, of everything but tests and benchmarks."""
    files = [path for name in FLOORS for path in (ROOT / name).rglob("*.py")] + [
        ROOT / f"{name}.py" for name in COMMANDS
    ]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


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


def test_packages_import_from_the_floors_below_alone(imports):
    wrong = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if (here := name.partition(".")[0]) not in COMMANDS
        and (there := other.partition(".")[0]) != here
        and (there in COMMANDS or FLOORS.index(there) >= FLOORS.index(here))
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


def test_every_folder_of_code_is_a_known_package():
    folders = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/**/__init__.py")}
    assert {name for name in folders if not name.startswith(".")} == set(FLOORS)


@pytest.mark.parametrize(
    ("document", "section", "line"),
    [("README.md", "Layout", r"- (`\w+/`.*?):"), ("CONTRIBUTING.md", "Where things are", r"\| (`\w+/`) \|")],
)
def test_the_documents_list_the_commands_and_packages_that_there_are(document, section, line):
    """Packages from the ground up."""
    text = (ROOT / document).read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    listed = [name for names in re.findall(f"^{line}", text, flags=re.MULTILINE) for name in re.findall(r"\w+", names)]
    assert tuple(listed) == FLOORS
    assert set(re.findall(r"`(\w+)\.py`", text)) == COMMANDS == {path.stem for path in ROOT.glob("*.py")}
    named = {name for name in re.findall(r"`(\w+)/`", text) if not (ROOT / name).is_dir()}
    assert not named
