"""The report of a search on a budget, from a result made by hand."""

import pytest
from test_pages import EVIL, Reader, browser, opened  # noqa: F401

from metad2a.networks.judge import per_class
from metad2a.reports.dataset import images_section
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.search_pages import write_budget_page
from metad2a.searches.budget.trials import DONE, FAILED


@pytest.fixture
def value(space):
    import torch

    archs = space.sample(4, torch.Generator().manual_seed(0))
    common = {"images": 10, "side": 32, "batch": 4, "seconds": 1.5, "cost": 2.0, "rung": "short"}
    trials = [
        common
        | {"number": i, "arch": arch, "status": DONE, "epochs": 2 + i, "accuracy": 50.0 + i, "losses": [2.0, 1.0]}
        for i, arch in enumerate(archs)
    ]
    trials.append(
        common | {"number": 4, "arch": archs[0], "status": FAILED, "epochs": 2, "accuracy": None, "losses": []}
    )
    believed = {"accuracy": 60.0, "low": 50.0, "high": 70.0, "probability_best": 0.4, "trainings": [0]}
    rows = [believed | space.cost(arch, 2) | {"rank": i + 1, "architecture": arch} for i, arch in enumerate(archs)]
    counts = torch.tensor([[3, 1], [0, 2]])
    judged = {"accuracy": 83.3, "low": 43.0, "high": 96.0, "confusion": counts.tolist()}
    judged["classes"] = per_class(counts, [EVIL, "b"])
    linear = {"features": "some", "train": 10, "test": 6, "accuracy": 100.0, "low": 60.0, "high": 100.0}
    return {
        "budget": "10e", "spent": {"seconds": 90.0, "epochs": 10.0}, "interrupted": True, "dataset": "toy",
        "class_names": [EVIL, "b"], "ranking": rows, "trials": trials, "rung": "short", "history": {"seed": 1},
        "choice": {"architecture": archs[0], "epochs": 2, "x-valid": 50.0, "mean": 60.0, "low": 50.0, "high": 70.0},
        "network": {"files": ["network.pt"], "judged": judged, "linear": linear},
    }  # fmt: skip


def write(path, space, value):
    drawings = [architecture_svg(space, row["architecture"]) for row in value["ranking"]]
    write_budget_page(path, drawings, value, images_section(None, value["class_names"], [8, 2], "toy"))


def test_everything_is_told(value, space, tmp_path):
    write(tmp_path / "r.html", space, value)
    page = (tmp_path / "r.html").read_text()
    read, text = Reader(page), " ".join(Reader(page).text)
    for part in (
        "interrupted",
        "Learning curves",
        "BETTER than the network",
        "Confusion matrix",
        "failed",
        EVIL,
        "b (2)",
    ):
        assert part in text, part
    assert read.tags.count("script") == 1
    assert read.tags.count("svg") == 4 + 2 + 2  # cells, costs, curves and accuracies


def test_a_search_that_handed_over_no_network_has_a_report_too(value, space, tmp_path):
    write(tmp_path / "r.html", space, value | {"network": None, "trials": []})
    text = " ".join(Reader((tmp_path / "r.html").read_text()).text)
    assert "Confusion" not in text


def test_in_a_browser(browser, value, space, tmp_path):  # noqa: F811
    write(tmp_path / "r.html", space, value)
    page, said = opened(browser, tmp_path / "r.html", viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.get_by_role("button", name="x-valid %").click()
    assert said == []
