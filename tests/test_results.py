"""RESULTS.md, its pages and the README say what the result files say."""

import re

import numpy as np
import pytest
from helpers import ROOT
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from benchmarks import make_results, pages, quality
from metad2a.core.errors import UserError

PAGES = [ROOT / "RESULTS.md", *sorted((ROOT / "docs" / "results").glob("*.md"))]


def made(*options):
    make_results.make(make_results.build_parser().parse_args(list(options)))


def tables_of(text):
    """Number of columns of each table."""
    return [line.count("|") - 1 for line in re.findall(r"^\| ---.*$", text, flags=re.MULTILINE)]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A folder with all pages and plots, made from the result files."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_results, "RESULTS", folder)
        made("--output", str(folder))
    return folder


def test_results_are_what_the_result_files_give(everything):
    assert {path.relative_to(everything) for path in everything.rglob("*.md")} == {p.relative_to(ROOT) for p in PAGES}
    for path in PAGES:
        assert (everything / path.relative_to(ROOT)).read_text() == path.read_text(), path.name


def test_the_first_page_is_short():
    columns = tables_of((ROOT / "RESULTS.md").read_text())
    assert len(columns) <= 8
    assert max(columns) <= 7


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_table_says_where_it_comes_from(path):
    assert "Made by `python benchmarks/" in path.read_text()


def test_the_readmes_figures_are_those_of_the_results():
    section = (ROOT / "README.md").read_text().split("## Results")[1].split("\n## ")[0]
    figures = set(re.findall(r"\d+\.\d+ ± \d+\.\d+", section))
    assert len(figures) >= 4
    results = "".join(path.read_text() for path in PAGES)
    assert figures <= set(re.findall(r"\d+\.\d+ ± \d+\.\d+", results))


PLOTS = sorted((ROOT / "benchmarks" / "results").glob("*.png"))


def test_plots_are_drawn(everything):
    assert sorted(path.name for path in everything.glob("*.png")) == [path.name for path in PLOTS]
    shown = "".join(path.read_text() for path in PAGES)
    assert all(path.name in shown for path in PLOTS)


@pytest.mark.parametrize("path", PLOTS, ids=lambda path: path.name)
def test_plots_show_what_the_result_files_give(everything, path):
    """Fonts may differ: at most 1 % of the pixels have another colour."""
    drawn, wanted = (np.asarray(Image.open(file).convert("RGB")).astype(int) for file in (everything / path.name, path))
    assert drawn.shape == wanted.shape
    assert (np.abs(drawn - wanted).max(axis=2) > 64).mean() < 0.01


def test_names_of_lines_do_not_touch_and_stay_within_the_frame():
    figure = Figure()
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    heights = {"a": 0.999, "b": 0.999, "c": 0.5, "d": 0.5, "e": 0.0}
    pages.label_lines(axes, {name: (1, height, "C0") for name, height in heights.items()})
    figure.draw_without_rendering()
    frame, boxes = axes.get_window_extent(), [Text.get_window_extent(text) for text in axes.texts]
    assert all(frame.containsx(box.x0) and frame.containsx(box.x1) for box in boxes)
    assert all(frame.containsy(box.y0) and frame.containsy(box.y1) for box in boxes)
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])


def test_a_missing_result_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    with pytest.raises(UserError, match=r"search\.json is missing.*quality\.py --sections search"):
        pages.read("search", quality.FILES["search"])
    with pytest.raises(UserError, match="git checkout"):
        pages.read("kernels", "")


def test_a_figure_that_was_not_measured_is_named():
    files = {"x": {"result": {"a b": {"c": 1.234}}}}
    assert make_results.fill("@x/a b/c:.1f@ %", {}, files, {}) == "1.2 %"
    with pytest.raises(UserError, match="@x/a b/d"):
        make_results.fill("@x/a b/d:.1f@", {}, files, {})


def test_short_trainings_are_part_of_the_cost():
    assert quality.whole_cost("transfer", 3) == [200, 400, 600]
    assert quality.whole_cost("evolution_12_epochs", 2) == [6200, 6400]


def test_no_result_names_a_place_on_one_machine():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert not re.search(r'"command": "[^"]* /\w', path.read_text()), path.name
