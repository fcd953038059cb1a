"""What is installed is what is there, and every file that names the version names the same one."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib

import pytest
from helpers import ROOT

import metad2a

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_mypy_judges_what_is_installed():
    installed = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert PROJECT["tool"]["mypy"]["packages"] == [name.rstrip("*") for name in installed]


def test_the_command_is_the_program():
    assert PROJECT["project"]["scripts"] == {"metad2a": "metad2a.__main__:main"}


def test_the_requirements_are_the_dependencies():
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert dynamic["dependencies"] == {"file": "requirements.txt"}
    assert dynamic["version"] == {"attr": "metad2a.core.version.__version__"}
    named = (ROOT / "requirements.txt").read_text()
    for name in ("torch", "torchvision", "python-igraph", "nas-bench-201", "scipy", "tqdm", "requests"):
        assert f"\n{name}>=" in named
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment that has the wheel of this tree, and the dependencies of this Python; returns its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("metad2a", "set_encoder", "generator", "predictor"):
        shutil.copytree(ROOT / name, folder / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, folder / "tree")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheel = ["wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(folder), str(folder / "tree")]
    subprocess.run([*pip, *wheel], check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    python = ["--python", str(folder / "env" / "bin" / "python")]
    subprocess.run([*pip, *python, "install", "-q", "--no-deps", "--no-index", str(built)], check=True)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "env", packages


OWN = (
    "training",
    "images",
    "engine",
    "main",
    "database",
    "networks",
    "pages",
    "evidence",
    "graphs",
    "metadata",
    "search",
)
SCRIPT = """
import training, images, engine, main
import metad2a
result = metad2a.search("cifar10", max_flops=60)
from generator.model import GeneratorModel
from predictor.model import PredictorModel
from metad2a import search, spaces
assert callable(search) and {training.mine, images.mine, engine.mine, main.mine} == {True}
print(metad2a.__file__, GeneratorModel.__module__, spaces.get("ofa_mbv3").name)
print(result.architectures[0])
"""


def test_the_wheel_installs_four_packages_with_the_assets(installed):
    _, packages = installed
    names = {path.name for path in packages.iterdir() if not path.name.endswith((".dist-info", ".pth"))}
    assert names == {"metad2a", "set_encoder", "generator", "predictor"}
    shipped = {path.relative_to(ROOT) for path in (ROOT / "metad2a" / "assets").rglob("*") if path.is_file()}
    assert {
        path.relative_to(packages) for path in (packages / "metad2a" / "assets").rglob("*") if path.is_file()
    } == shipped
    assert (packages / "metad2a" / "reports" / "templates" / "page.html.j2").is_file()


def test_the_wheel_works_beside_modules_of_the_users_own(installed, tmp_path):
    environment, packages = installed
    for name in OWN:
        (tmp_path / f"{name}.py").write_text("mine = True\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("")
    (tmp_path / "script.py").write_text(SCRIPT)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(*words):
        return subprocess.run(words, capture_output=True, text=True, env=clean, cwd=tmp_path)

    done = run(str(environment / "bin" / "python"), "script.py")
    assert done.returncode == 0, done.stderr
    first, best = done.stdout.splitlines()[-2:]
    assert first == f"{packages / 'metad2a' / '__init__.py'} generator.model ofa_mbv3"
    done = run(str(environment / "bin" / "metad2a"), "search", "cifar10", "--max-flops", "60")
    assert done.returncode == 0, done.stderr
    assert best in done.stdout
    done = run(str(environment / "bin" / "metad2a"), "meta-train", "--help")
    assert done.stdout.startswith("usage: metad2a meta-train [options]")
    done = run(str(environment / "bin" / "metad2a"), "finetune", "--data-name", "cifar10", "--arch", "x")
    assert (done.returncode, "metad2a get-files ofa-supernet" in done.stderr) == (2, True), done.stderr


def test_the_version_is_the_same_everywhere():
    citation, changes = ((ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "CHANGELOG.md"))
    assert re.findall(r"^version: (.*)$", citation, flags=re.MULTILINE) == [metad2a.__version__]
    assert re.findall(r"^## (\S+)", changes, flags=re.MULTILINE)[:2] == ["Unreleased", metad2a.__version__]
    python = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"Python {python}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_hook_before_a_commit_is_the_ruff_of_the_constraints():
    hooks, constraints = ((ROOT / name).read_text() for name in (".pre-commit-config.yaml", "constraints.txt"))
    assert f"ruff=={re.search(r'rev: v(.*)', hooks)[1]}" in constraints.splitlines()
