"""The report of a search on a budget, from a result made by hand."""

import pytest
import torch
from helpers.pages import EVIL, Reader, opened

from metad2a.networks.judge import per_class
from metad2a.reports.dataset import images_section
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.search_pages import outlook, write_budget_page
from metad2a.searches.budget.trials import DONE, FAILED, FURTHER, LINEAR, NEW


@pytest.fixture
def value(space):
    arch = space.sample(1, torch.Generator().manual_seed(0))[0]
    common = {"epochs": 1.5, "seconds": 12.0, "low": 40.0, "high": 60.0, "message": ""}
    ways = [
        common | {"number": 0, "way": LINEAR, "arch": "efficientnet_lite0", "side": 96, "status": DONE,
                  "title": f"{LINEAR}: efficientnet_lite0, 96 px", "curve": [(3.0, 50.0)], "accuracy": 50.0},
        common | {"number": 1, "way": NEW, "arch": arch, "side": 32, "status": DONE, "title": f"{NEW}: {arch}, 32 px",
                  "curve": [(0.1, 10.0), (9.0, 55.0)], "accuracy": 55.0},
        common | {"number": 2, "way": FURTHER, "arch": "resnet18", "side": 224, "status": FAILED, "accuracy": None,
                  "title": f"{FURTHER}: resnet18, 224 px", "curve": [], "message": "memory is not enough"},
    ]  # fmt: skip
    rows = [space.cost(arch, 2) | {"rank": 1, "architecture": arch, "score": 1.0, "accuracy": 55.0, "chosen": True}]
    counts = torch.tensor([[3, 1], [0, 2]])
    judged = {"accuracy": 83.3, "low": 43.0, "high": 96.0, "confusion": counts.tolist()}
    judged["classes"] = per_class(counts, [EVIL, "b"])
    network = {"files": ["network.pt"], "judged": judged, "x-test": 83.3, "x-test_low": 43.0, "x-test_high": 96.0,
               "tested": 6, "milliseconds": 2.5, "device": "cpu", "licence": None}  # fmt: skip
    choice = {"title": ways[1]["title"], "way": NEW, "architecture": arch, "trial": 1, "side": 32, "epochs": 1.5,
              "x-valid": 55.0, "low": 40.0, "high": 60.0, "flops": 10.0, "params": 0.1,
              "next": {"title": ways[0]["title"], "x-valid": 50.0}}  # fmt: skip
    return {
        "budget": "1m", "unit": "seconds", "spent": {"seconds": 60.0, "epochs": 10.0}, "interrupted": True,
        "dataset": "toy",
        "class_names": [EVIL, "b"], "images": {"train": 10, "x-valid": 6, "x-test": 6}, "ranking": rows, "ways": ways,
        "history": {"seed": 1}, "choice": choice, "network": network,
    }  # fmt: skip


def write(path, space, value):
    drawing = architecture_svg(space, value["choice"]["architecture"])
    write_budget_page(path, value, images_section(None, value["class_names"], [8, 2], "toy"), drawing)


def test_the_answer_comes_first(value, space, tmp_path):
    write(tmp_path / "r.html", space, value)
    page = (tmp_path / "r.html").read_text()
    read, text = Reader(page), " ".join(Reader(page).text)
    answer = "Of 6 images that chose nothing it classifies 83.3 % [43.0, 96.0] correctly."
    assert answer in text
    assert (
        text.index(answer) < text.index("The network") < text.index("The ways side by side") < text.index("Confusion")
    )
    for part in ("interrupted", "predict --network network.pt", "10 million multiply-accumulates", "2.5 ms an image",
                 "memory is not enough", "chosen", EVIL, "b (2)"):  # fmt: skip
        assert part in text, part
    assert "width_mult" not in text
    assert read.tags.count("script") == 1
    assert read.tags.count("svg") == 2  # the cell, and the curves


def test_what_a_longer_budget_would_bring(value):
    assert "would probably bring more" in outlook(value)
    value["ways"][1]["curve"] = [(1.0, 54.0), (5.0, 55.0), (9.0, 55.0)]
    assert "more images" in outlook(value)
    value["choice"]["x-valid"] = 100.0
    assert "hardly anything left" in outlook(value)


@pytest.mark.browser
def test_in_a_browser(browser, value, space, tmp_path):
    write(tmp_path / "r.html", space, value)
    page, said = opened(browser, tmp_path / "r.html", viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.get_by_role("button", name="x-valid %", exact=True).click()
    assert said == []
