"""What the README and its pages promise exists."""

import re

import pytest
from conftest import ROOT

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "RESULTS.md", "data/README.md"]
DOCUMENTS += [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def anchors(path):
    """Of the headings, as they are made for web pages."""
    prose = re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_nothing_is_left_to_fill_in(path):
    assert not re.search(r"@[A-Z]+@|@\w+[:/]", text_of(path))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_files_that_are_named_exist(path):
    for name in set(re.findall(r"`((?:assets|benchmarks|get_files|engine|tests|docs)/[\w./]*)`", text_of(path))):
        moved = path == "CHANGELOG.md" and name == "get_files/make_nasbench201_table.py"
        assert (ROOT / name).exists() != moved, name


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(path)):
        name, _, anchor = target.partition("#")
        file = (ROOT / path).parent / name if name else ROOT / path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_contents_are_all_sections():
    listed = set(re.findall(r"\(#([\w-]+)\)", text_of("README.md").partition("## Quick start")[0]))
    assert listed == anchors("README.md") - {"metad2a", "contents"}


def test_the_example_in_python_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", text_of("README.md"), flags=re.DOTALL)
    exec(code, {})
    first = text_of("README.md").partition("architecture\n")[2].splitlines()[0].split()[-1]
    assert capsys.readouterr().out.splitlines()[-1].startswith(first)


def test_the_search_prints_what_is_shown(command):
    """But for its seconds."""
    shown = text_of("README.md").partition("It prints:\n\n```text\n")[2].partition("```")[0]
    code, out, err = command("--gpu cpu --model search --data-name cifar10")
    assert code == 0, err

    def without_time(text):
        return [line for line in text.splitlines() if not line.startswith("search took")]

    printed = without_time(out)
    assert without_time(shown)[-len(printed) :] == printed
