"""What is installed is what is there, and every file that names the version names the same one."""

import re
import tomllib

from conftest import ROOT
from test_layout import COMMANDS, FLOORS

import engine
import main

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_packages_that_are_installed_and_those_that_mypy_judges_are_the_tree():
    installed = PROJECT["tool"]["setuptools"]
    found = [path.parent.relative_to(ROOT) for name in FLOORS for path in (ROOT / name).rglob("__init__.py")]
    assert sorted(installed["packages"]) == sorted([*(".".join(path.parts) for path in found), "assets"])
    assert {name for name in installed["packages"] if "." not in name} == {*FLOORS, "assets"}
    assert set(installed["py-modules"]) == COMMANDS
    judged = PROJECT["tool"]["mypy"]
    assert set(judged["packages"]) == set(FLOORS)
    assert set(judged["modules"]) == COMMANDS


def test_the_command_is_the_program():
    assert PROJECT["project"]["scripts"] == {"metad2a": f"{main.__name__}:{main.main.__name__}"}


def test_what_is_installed_to_develop_has_what_the_program_needs():
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert (ROOT / "requirements.txt").read_text().splitlines()[0] == f"-r {dynamic['dependencies']['file']}"
    assert "torch>=" in (ROOT / dynamic["dependencies"]["file"]).read_text()
    assert dynamic["version"] == {"attr": "engine.__version__"}


def test_the_version_is_the_same_everywhere():
    citation, changes = ((ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "CHANGELOG.md"))
    assert re.findall(r"^version: (.*)$", citation, flags=re.MULTILINE) == [engine.__version__]
    assert re.findall(r"^## (\S+)", changes, flags=re.MULTILINE)[:2] == ["Unreleased", engine.__version__]
    python = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"Python {python}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {python}" in (engine.__doc__ or "")


def test_the_hook_before_a_commit_is_the_ruff_of_the_constraints():
    hooks, constraints = ((ROOT / name).read_text() for name in (".pre-commit-config.yaml", "constraints.txt"))
    assert f"ruff=={re.search(r'rev: v(.*)', hooks)[1]}" in constraints.splitlines()
