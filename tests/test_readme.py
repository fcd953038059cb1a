"""What the README and its pages promise exists, and the first pages stay short."""

import re

import pytest
from helpers import ROOT

from metad2a.commands.registry import COMMANDS
from metad2a.core.arrays import load_arrays
from metad2a.core.files import ASSETS
from metad2a.rivals import METHODS

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "RESULTS.md", "data/README.md"]
DOCUMENTS += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))]


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def prose_of(path):
    """A document without its blocks of code."""
    return re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)


def anchors(path):
    """The names that web pages give to the headings of a document."""
    prose = prose_of(path)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_nothing_is_left_to_fill_in(path):
    assert not re.search(r"@[A-Z]+@|@\w+[:/]", text_of(path))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_files_that_are_named_exist(path):
    if path == "CHANGELOG.md" or path.startswith("docs/results/"):
        return  # they also name files that have gone
    for name in set(re.findall(r"`((?:metad2a|benchmarks|get_files|tests|docs)/[\w./-]*)`", text_of(path))):
        example = path == "CONTRIBUTING.md" and name.endswith(("nasbench101.py", "local_search.py"))
        assert (ROOT / name).exists() != example, name


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose_of(path)):
        name, _, anchor = target.partition("#")
        file = (ROOT / path).parent / name if name else ROOT / path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_first_pages_are_short():
    assert len(text_of("README.md").encode()) <= 12_288
    columns = [
        line.count("|") - 1 for line in re.findall(r"^\|[ :|-]*-[ :|-]*\|$", text_of("RESULTS.md"), flags=re.MULTILINE)
    ]
    assert 1 <= len(columns) <= 8
    assert max(columns) <= 7


@pytest.mark.parametrize("path", DOCUMENTS)
def test_contents_are_all_sections(path):
    """If a document begins with a list of its sections, the list is complete."""
    sections = re.findall(r"^## (.*)$", prose_of(path), flags=re.MULTILINE)
    listed = re.findall(r"^- \[(.*)\]\(#[\w-]+\)$", text_of(path).partition("\n## ")[0], flags=re.MULTILINE)
    assert not listed or listed == sections


def test_pages_name_all_methods_devices_and_commands():
    assert {f"`{name}`" for name in METHODS} <= set(re.findall(r"`[^`]*`", text_of("docs/compare.md")))
    devices = load_arrays(ASSETS / "nasbench201" / "latency.npz", "")["ms"]
    assert {f"`{name}`" for name in devices} <= set(re.findall(r"`[^`]*`", text_of("docs/search.md")))
    pages = "".join(map(text_of, DOCUMENTS))
    assert all(f"main.py {name}" in pages for name in COMMANDS)


def test_the_example_in_python_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", text_of("README.md"), flags=re.DOTALL)
    exec(code, {})
    first = text_of("README.md").partition("architecture\n")[2].splitlines()[0].split()[-1]
    assert capsys.readouterr().out.splitlines()[-1].startswith(first)


def test_the_search_prints_what_is_shown(command):
    """In this order; "..." stands for what is left out."""
    shown = text_of("README.md").partition("It prints:\n\n```text\n")[2].partition("```")[0]
    code, out, err = command("search cifar10 --gpu cpu")
    assert code == 0, err
    printed = iter(out.splitlines())
    lines = [line for line in shown.splitlines() if line != "..."]
    assert len(lines) >= 6
    assert all(line in printed for line in lines)
