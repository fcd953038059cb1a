"""What is installed is what is there, and every file that names the version names the same one."""

import re
import tomllib

from conftest import ROOT

import metad2a

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_mypy_judges_what_is_installed():
    installed = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert PROJECT["tool"]["mypy"]["packages"] == [name.rstrip("*") for name in installed]


def test_the_command_is_the_program():
    assert PROJECT["project"]["scripts"] == {"metad2a": "metad2a.__main__:main"}


def test_what_is_installed_to_develop_has_what_the_program_needs():
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert (ROOT / "requirements.txt").read_text().splitlines()[0] == f"-r {dynamic['dependencies']['file']}"
    assert "torch>=" in (ROOT / dynamic["dependencies"]["file"]).read_text()
    assert dynamic["version"] == {"attr": "metad2a.api.__version__"}


def test_the_version_is_the_same_everywhere():
    citation, changes = ((ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "CHANGELOG.md"))
    assert re.findall(r"^version: (.*)$", citation, flags=re.MULTILINE) == [metad2a.__version__]
    assert re.findall(r"^## (\S+)", changes, flags=re.MULTILINE)[:2] == ["Unreleased", metad2a.__version__]
    python = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"Python {python}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_hook_before_a_commit_is_the_ruff_of_the_constraints():
    hooks, constraints = ((ROOT / name).read_text() for name in (".pre-commit-config.yaml", "constraints.txt"))
    assert f"ruff=={re.search(r'rev: v(.*)', hooks)[1]}" in constraints.splitlines()
