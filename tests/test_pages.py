"""The HTML reports: what is in them, that they need nothing else, and how they behave in a browser."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from helpers.pages import EVIL, Reader, opened
from PIL import Image

from metad2a.core.statistics import nondominated
from metad2a.reports.charts import Series, chart, ticks
from metad2a.reports.dataset import duplicates, look, warnings
from metad2a.reports.page import Section, render, table


def write_folder(root):
    """Three classes of odd names and numbers, with two copies, one of them in another class."""
    rng = np.random.default_rng(0)
    for name, count in ((EVIL, 30), ('cats & "dogs"', 8), ("zebra", 60)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(root / name / f"{i:02}.png")
    shutil.copy(root / "zebra" / "00.png", root / EVIL / "copy.png")
    shutil.copy(root / "zebra" / "01.png", root / "zebra" / "02.png")
    Image.new("RGB", (20, 100)).save(root / "zebra" / "long.png")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a search, through the command line."""
    import main

    folder = tmp_path_factory.mktemp("report")
    write_folder(folder / "images")
    line = [
        "--gpu",
        "cpu",
        "--model",
        "search",
        "--data-name",
        "mine",
        "--image-folder",
        str(folder / "images"),
        "--report",
    ]
    line += ["--data-path", str(folder / "data"), "--save-path", str(folder / "results"), "--device-latency", "pixel3"]
    assert main.main(line) == 0
    return folder / "results" / "search" / "mine" / "001" / "report.html"


def test_the_report_needs_no_other_file_and_shows_names_as_text(report):
    page = report.read_text()
    read = Reader(page)
    text = " ".join(read.text)
    assert all(address.startswith("data:") for address in read.addresses)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert read.tags.count("script") == 1
    assert EVIL in text
    assert 'cats & "dogs"' in text
    assert read.tags.count("img") == 3 * 6
    assert read.tags.count("svg") == 1 + 1 + 3  # the first cell; lengths of training; FLOPs, parameters and latency
    assert read.tags.count("tr") == 1 + 7 + 1 + 200  # first choices by length of training; the ranking
    for part in ("ms on pixel3", "command", "seed", "universal.npz", "95 % interval"):
        assert part in text, part
    assert len(page) < 10**6


def test_the_warnings_name_what_is_wrong(tmp_path):
    write_folder(tmp_path / "images")
    (tmp_path / "images" / "zebra" / "broken.png").write_bytes(b"no image")
    text = "\n".join(warnings(look(tmp_path / "images")))
    assert 'Few images: cats & "dogs" (6) has fewer than 20' in text
    assert "Unbalanced: zebra has 50" in text
    assert "2 images are copies of others" in text
    assert f"The same image is in several classes: {EVIL}/copy.png = zebra/00.png." in text
    assert "zebra/broken.png" in text
    assert "1 of 100 images have a side below 32 pixels" in text
    assert "1 of 100 images are more than twice as long as wide" in text
    assert "are in x-test, and an accuracy of 80 %" in text


def test_a_good_folder_has_no_warnings_and_no_copies(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 25), ("test", 420)):
        for name in "ab":
            (tmp_path / "x" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "x" / part / name / f"{i}.bmp")
    seen = look(tmp_path / "x")
    assert warnings(seen) == []
    assert [len(files) for files in (*seen.train, *seen.test)] == [25, 25, 420, 420]
    assert duplicates(seen.files) == []  # all of one size


def test_without_the_option_no_report_is_written_and_nothing_of_it_is_imported(command, authors_data):
    assert command("--model search --data-name pets")[0] == 0
    assert not list(Path("results").rglob("*.html"))
    assert command("--model search --data-name pets --report")[0] == 0
    page = Path("results/search/pets/002/report.html").read_text()
    assert "9 images" in page
    assert "Few images: 0 (9), 1 (9), 2 (9), 3 (9), 4 (9) have fewer than 20" in page


def test_the_published_steps_have_no_report(refuses, authors_data):
    assert "--report belongs to" in refuses("--model generator --test --data-name pets --report")


def test_the_front_is_what_nothing_beats():
    points = [(1, 5), (2, 4), (3, 7), (3, 6), (5, 7), (0.5, 1)]
    assert nondominated(points) == [5, 0, 2]
    rng = np.random.default_rng(0)
    points = rng.integers(0, 20, (60, 2)).tolist()
    kept = {tuple(points[i]) for i in nondominated(points)}
    for x, y in points:
        beaten = any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in kept) != beaten


def test_charts_leave_out_what_is_not_finite_and_survive_a_single_point():
    nan, inf = float("nan"), float("inf")
    assert chart([Series("a", [(nan, 1), (1, inf)])], "x", "y") == ""
    Reader(str(chart([Series("<b>", [(1, 1)], "line"), Series("c", [(1, 1)], "line")], "<x>", "y")))
    assert "&lt;b&gt;" in chart([Series("<b>", [(1, 1)]), Series("c", [(0, 0)], "marks", ["<i>"])], "x", "y", log=True)
    for low, high in ((0, 1), (93.2, 94.4), (-5, 1e6), (1e-9, 2e-9)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 6
        assert all(low <= value <= high for value in found)


def column(place, number):
    return place.locator(f"tbody tr td:nth-child({number})").all_text_contents()


@pytest.mark.browser
def test_in_a_browser_the_table_sorts_and_the_console_is_silent(browser, report):
    page, said = opened(browser, report)
    ranking = page.locator("section", has=page.get_by_role("heading", name="Ranking", exact=True))
    flops = [float(text) for text in column(ranking, 4)]
    assert flops != sorted(flops)
    heading = ranking.get_by_role("button", name="MFLOPs")
    heading.click()
    assert [float(text) for text in column(ranking, 4)] == sorted(flops)
    heading.click()
    assert [float(text) for text in column(ranking, 4)] == sorted(flops, reverse=True)
    assert page.locator("th[aria-sort=descending]").count() == 1
    heading = ranking.get_by_role("button", name="architecture")
    heading.focus()
    page.keyboard.press("Enter")
    texts = column(ranking, 7)
    assert texts == page.evaluate("texts => [...texts].sort((a, b) => a.localeCompare(b))", texts)
    assert said == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_nothing_scrolls_sideways_on_a_phone(browser, report, scheme):
    page, said = opened(browser, report, viewport={"width": 400, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 380) == (scheme == "light")
    assert said == []


@pytest.mark.browser
def test_tables_of_other_pages_sort_by_their_numbers(browser, tmp_path):
    rows = [{"a": text} for text in ("94.37 ± 0.02", "1,200", "-3 %", "none")]
    (tmp_path / "x.html").write_text(render("x", "", [Section("x", table=table(rows, {"a": ("a", "")}))]))
    page, said = opened(browser, tmp_path / "x.html")
    page.get_by_role("button", name="a").click()
    assert column(page, 1) == ["-3 %", "94.37 ± 0.02", "1,200", "none"]
    assert said == []


def test_the_template_is_installed_with_the_package():
    text = (ROOT / "pyproject.toml").read_text()
    assert '"reports/templates/*.j2"' in text
