"""RESULTS.md and the README say what the result files say."""

import re

import pytest
from conftest import ROOT

from benchmarks import make_results, study
from metad2a.core.errors import UserError


def test_results_are_what_the_result_files_give(tmp_path, monkeypatch):
    for name in [name for name in vars(make_results) if name.startswith("plot_")]:
        monkeypatch.setattr(make_results, name, lambda *results: None)
    make_results.make(make_results.build_parser().parse_args(["--output", str(tmp_path / "R.md")]))
    assert (tmp_path / "R.md").read_text() == (ROOT / "RESULTS.md").read_text()


def test_the_readmes_figures_are_those_of_the_results():
    readme, results = ((ROOT / name).read_text() for name in ("README.md", "RESULTS.md"))
    section = readme.split("## Results")[1].split("\n## ")[0]
    figures = set(re.findall(r"\d+\.\d+ ± \d+\.\d+", section))
    assert len(figures) >= 4
    assert figures <= set(re.findall(r"\d+\.\d+ ± \d+\.\d+", results))


def test_plots_are_drawn(tmp_path, monkeypatch):
    results = {name: make_results.read(name) for name in ("search", "correlation", "baselines", "rivals")}
    monkeypatch.setattr(make_results, "FOLDER", tmp_path)
    make_results.plot_predicted(results["correlation"])
    make_results.plot_trained(results["search"], results["baselines"])
    make_results.plot_time(results["search"])
    make_results.plot_rivals(results["rivals"])
    make_results.plot_preferences(results["rivals"])
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_a_missing_result_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(make_results, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"quality\.py --sections search"):
        make_results.read("search")


def test_a_resumed_log_counts_every_epoch_once(tmp_path):
    lines = ["t epoch 1 train_loss 2 correlation 0.1", "t epoch 2 train_loss 1 correlation 0.2", "t resumed after",
             "t epoch 2 train_loss 1 correlation 0.3", "t finished after epoch 2; checkpoints"]  # fmt: skip
    (tmp_path / "log.txt").write_text("\n".join(lines))
    epochs = study.read_log(tmp_path / "log.txt")
    assert [(row["epoch"], row["correlation"]) for row in epochs] == [(1, 0.1), (2, 0.3)]


def test_the_page_has_every_table_and_picture_and_needs_no_other_file(tmp_path):
    pytest.importorskip("markdown")
    from test_pages import Reader

    text = (ROOT / "RESULTS.md").read_text()
    make_results.write_html(tmp_path / "R.html", text)
    page = (tmp_path / "R.html").read_text()
    read = Reader(page)
    assert read.tags.count("table") == len(re.findall(r"^\| ---", text, flags=re.MULTILINE))
    assert read.tags.count("img") == text.count(".png)")
    assert all(address.startswith("data:") for address in read.addresses)
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert read.tags.count("h2") == 1 + len(headings)


def test_short_trainings_are_part_of_the_cost():
    assert make_results.whole_cost("transfer", 3) == [200, 400, 600]
    assert make_results.whole_cost("evolution_12_epochs", 2) == [6200, 6400]


def test_no_result_names_a_place_on_one_machine():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert not re.search(r'"command": "[^"]* /\w', path.read_text()), path.name
