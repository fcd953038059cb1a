"""The files of a search on a budget: result.json, the ranking as CSV, the network with its exports, and the page."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch

from metad2a.core.cli import program
from metad2a.core.environment import random_generator
from metad2a.core.files import display_path, write_csv, write_json, write_text
from metad2a.core.messages import log
from metad2a.core.statistics import share_interval
from metad2a.data.image_data import ImageData
from metad2a.networks.card import write_card
from metad2a.networks.export import export
from metad2a.networks.judge import judge
from metad2a.networks.latency import milliseconds
from metad2a.reports.dataset import images_section
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.search_pages import write_budget_page
from metad2a.searches.budget.loop import learn
from metad2a.searches.budget.session import TESTED_SHARE, BudgetSearch
from metad2a.searches.budget.training import SEED
from metad2a.searches.budget.trials import DONE, FORMAT, LINEAR, NEW, PAUSED, Trial, judged

LEAST_TESTED = 100  # images, however short the time
LISTED = 100  # cells of the ranking in result.json, beside those that were trained


def result(search: BudgetSearch, best: Trial, interrupted: bool) -> dict[str, Any]:
    """Write every file of the result; returns the content of `result.json`. Raises a UserError if a file cannot be
    written."""
    data, state = search.data, search.state
    rows = ranking(search, best)
    handed = network(search, best)
    value: dict[str, Any] = {
        "format": FORMAT,
        "dataset": data.name,
        "class_names": data.class_names,
        "images": {"train": len(data.train), "x-valid": len(search.trainer.judges), "x-test": len(data.test)},
        "budget": search.options.budget.text,
        "unit": "seconds" if search.options.budget.timed else "epochs",
        "interrupted": interrupted,
        "from_scratch": search.scratch,
        "choice": choice(search, best),
        "network": handed,
        "ways": [way(search, trial) for trial in state.trials],
        "ranking": [row for row in rows if row["rank"] <= LISTED or "accuracy" in row],
        "history": search.run.history,
    }
    search.clock.tick()
    epochs = sum(trial.epochs for trial in state.trials)
    value["spent"] = {"seconds": state.spent, "epochs": epochs}
    write_json(search.folder / "result.json", value)
    if rows:
        write_csv(search.folder / "ranking_run_1.csv", csv_rows(rows))
    drawing = None
    if best.way == NEW:
        drawing = architecture_svg(search.space, best.arch)
        write_text(search.folder / "best_architecture.svg", drawing)
    counts = torch.bincount(data.train.labels, minlength=len(data.class_names)).tolist()
    shown = images_section(search.options.image_folder, data.class_names, counts, data.name)
    write_budget_page(search.folder / "report.html", value, shown, drawing)
    return value


def way(search: BudgetSearch, trial: Trial) -> dict[str, Any]:
    """A way for the report: its trial, and the 95 % interval of its accuracy."""
    figures: dict[str, Any] = {"title": str(trial), "accuracy": trial.accuracy}
    if trial.accuracy is not None:
        figures["low"], figures["high"] = share_interval(trial.accuracy, len(search.trainer.judges))
    return asdict(trial) | figures | search.cost_of(trial)


def ranking(search: BudgetSearch, best: Trial) -> list[dict[str, Any]]:
    """The cells within the limits, best first: by the instant ranking, or by what finished trainings add to it."""
    if not search.ranked:
        return []
    observations, numbers = search.observations(), [cell for cell, _, _ in search.ranked]
    quality = {cell: float(search.predicted[cell]) for cell in numbers}
    if observations:
        learn(search.surrogate, observations)
        quality = dict(zip(search.surrogate.cells.tolist(), search.surrogate.quality().tolist(), strict=True))
    trained = {trial.cell: trial for trial in search.state.of_way(NEW) if trial.accuracy is not None}
    costs = {cell: (text, cost) for cell, text, cost in search.ranked}
    rows = []
    for rank, cell in enumerate(sorted(numbers, key=lambda cell: -quality[cell]), 1):
        row: dict[str, Any] = {
            "rank": rank,
            "architecture": costs[cell][0],
            "score": quality[cell],
            **costs[cell][1],
        }
        if cell in trained:
            row["accuracy"] = trained[cell].accuracy
        rows.append(row | {"chosen": best.way == NEW and cell == best.cell})
    return rows


def csv_rows(rows: list[dict[str, Any]]) -> Iterator[list[Any]]:
    """The whole ranking as CSV."""
    yield ["rank", "score", "x_valid", "mflops", "mparams", "architecture"]
    for row in rows:
        valid = f"{row['accuracy']:.4f}" if "accuracy" in row else ""
        yield [row["rank"], f"{row['score']:.4f}", valid, f"{row['flops']:.6f}", f"{row['params']:.6f}",
               row["architecture"]]  # fmt: skip


def choice(search: BudgetSearch, best: Trial) -> dict[str, Any]:
    """The network that was chosen: the way to it, its accuracy on the validation part and its costs."""
    count = len(search.trainer.judges)
    low, high = share_interval(best.accuracy or 0.0, count)
    interval = {"x-valid": best.accuracy, "low": low, "high": high}
    cost = search.cost_of(best)
    others = [trial for trial in judged(search.state.trials) if trial.number != best.number]
    after = {"next": {"title": str(others[0]), "x-valid": others[0].accuracy}} if others else {}
    about = {"title": str(best), "way": best.way, "architecture": best.arch, "trial": best.number, "side": best.side}
    return about | {"epochs": best.epochs} | interval | cost | after


def network(search: BudgetSearch, best: Trial) -> dict[str, Any]:
    """Write `network.pt` and its exports, with the accuracy on the test part, at which nothing looked before."""
    options, target = search.options, search.folder / "network.pt"
    made = search.trainer.trained(best)
    trained = search.trainer.network(best, made)
    data = tested(search, best)
    judged_on_test = judge(made, replace(data, mean=trained.mean, std=trained.std), best.side)
    trained.accuracy["x-test"] = judged_on_test["accuracy"]
    trained.save(target, keep=True)
    write_card(target)
    files = [target, *(export(target, search.formats) if search.formats else [])]
    figures = {
        f"x-test{end}": judged_on_test[name] for end, name in (("", "accuracy"), ("_low", "low"), ("_high", "high"))
    }
    took = milliseconds(made, best.side, 1, torch.device(options.device))
    return {
        "files": [display_path(path) for path in files],
        **figures,
        "tested": len(data.test),
        "judged": judged_on_test,
        "milliseconds": took,
        "device": torch.device(options.device).type,
        "licence": trained.history.get("licence"),
    }


def tested(search: BudgetSearch, best: Trial) -> ImageData:
    """The dataset with the test images that the end of the budget allows to classify; says it if these are not all."""
    data, budget, rows = search.data, search.options.budget, torch.arange(len(search.data.test))
    if budget.timed and best.image_seconds:
        most = max(LEAST_TESTED, int(TESTED_SHARE * budget.amount / best.image_seconds))
        if len(rows) > most:
            log.info(f"{most} of {len(rows)} images of x-test, drawn at random, are tested: there is no time for more.")
            rows = torch.randperm(len(rows), generator=random_generator(SEED))[:most].sort().values
    return replace(data, test=data.test[rows].sized(best.side))


def result_text(value: dict[str, Any]) -> str:
    """The content of `result.json` for people."""
    choice, network, spent = value["choice"], value["network"], value["spent"]
    interrupted = ", interrupted" if value["interrupted"] else ""
    valid = f"x-valid {choice['x-valid']:.2f} % [{choice['low']:.2f}, {choice['high']:.2f}]"
    test = f"x-test {network['x-test']:.2f} % [{network['x-test_low']:.2f}, {network['x-test_high']:.2f}]"
    lines = [
        f"{value['dataset']}: {spent['seconds']:.0f} s, {spent['epochs']:.1f} epochs (budget {value['budget']}"
        f"{interrupted})",
        *ways_table(value["ways"], choice["trial"]),
        f"chosen: {choice['title']} ({choice['flops']:.1f} MFLOPs, {choice['params']:.3f} Mparams, "
        f"{network['milliseconds']:.1f} ms an image on this machine's {network['device']})",
        f"  {valid}; {test} on {network['tested']} images that chose nothing",
        f"  {', '.join(network['files'])}",
        f"classify images with: {program()} predict --network {network['files'][0]} --images FOLDER",
    ]
    return "\n".join(lines)


def ways_table(ways: list[dict[str, Any]], chosen: int) -> Iterator[str]:
    """The ways and what they reached."""
    yield f"{'x-valid %':>9}  {'epochs':>7}  {'seconds':>7}  way"
    for trial in sorted(ways, key=lambda trial: -(trial["accuracy"] or 0.0)):
        accuracy = f"{trial['accuracy']:.2f}" if trial["accuracy"] is not None else ""
        epochs = f"{trial['epochs']:.1f}" if trial["way"] != LINEAR else ""
        state = "not begun" if trial["status"] == PAUSED and not trial["spent"] else trial["status"]
        mark = " <- chosen" if trial["number"] == chosen else f" ({state})" * (state != DONE)
        yield f"{accuracy:>9}  {epochs:>7}  {trial['seconds']:>7.0f}  {trial['title']}{mark}"
