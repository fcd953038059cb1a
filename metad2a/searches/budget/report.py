"""The files of a search on a budget: result.json, the ranking as CSV, the network with its exports, and the page."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from metad2a.core.environment import random_generator
from metad2a.core.files import display_path, set_aside, write_csv, write_json, write_text
from metad2a.networks.card import write_card
from metad2a.networks.export import export
from metad2a.networks.judge import judge, linear_baseline
from metad2a.networks.trained import TrainedNetwork
from metad2a.reports.dataset import images_section
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.network_page import advice
from metad2a.reports.search_pages import DRAWN, NO_NETWORK, write_budget_page
from metad2a.searches.budget.loop import learn
from metad2a.searches.budget.plan import RUNG_NAMES
from metad2a.searches.budget.session import BudgetSearch
from metad2a.searches.budget.training import NETWORK
from metad2a.searches.budget.trials import DONE, FORMAT, Best, Trial

LISTED, PRINTED = 100, 5  # cells of the ranking in result.json and on the screen


def result(search: BudgetSearch, best: Best, interrupted: bool) -> dict[str, Any]:
    """Write every file of the result; returns the content of `result.json`. Raises a UserError if a file cannot be
    written."""
    rows, data, state = ranking(search, best.trial.fidelity), search.data, search.state
    value = {
        "format": FORMAT,
        "dataset": data.name,
        "class_names": data.class_names,
        "images": {"train": len(data.train), "x-valid": len(data.valid), "x-test": len(data.test)},
        "budget": search.options.budget.text,
        "spent": {"seconds": state.spent, "epochs": sum(trial.cost for trial in state.trials)},
        "interrupted": interrupted,
        "choice": choice(search, best),
        "rung": RUNG_NAMES[best.trial.fidelity],
        "network": network(search, best.trial),
        "ranking": rows[:LISTED],
        "trials": [asdict(trial) | {"rung": RUNG_NAMES[trial.fidelity]} for trial in state.trials],
        "hyperparameters": search.surrogate.hyperparameters,
        "plan": state.facts.get("plan", {}),
        "ranking_first": state.facts.get("first_choice"),
        "history": search.run.history,
    }
    write_json(search.folder / "result.json", value)
    write_csv(search.folder / "ranking_run_1.csv", csv_rows(rows))
    space, images = search.space, search.options.image_folder
    write_text(search.folder / "best_architecture.svg", architecture_svg(space, best.trial.arch))
    counts = torch.bincount(data.train.labels, minlength=len(data.class_names)).tolist()
    drawings = [architecture_svg(space, row["architecture"]) for row in rows[:DRAWN]]
    shown = images_section(images, data.class_names, counts, data.name)
    write_budget_page(search.folder / "report.html", drawings, value, shown)
    return value


def ranking(search: BudgetSearch, fidelity: int) -> list[dict[str, Any]]:
    """The cells within the limits, best first: estimated accuracy at a fidelity, costs and trainings."""
    surrogate = search.surrogate
    learn(surrogate, search.observations())
    quality = surrogate.quality()[search.allowed]
    mean, low, high = (x.clamp(0, 100) for x in surrogate.accuracy(fidelity))
    best = surrogate.best_probability(search.allowed, random_generator(search.options.seed))
    rows: list[dict[str, Any]] = []
    for number, cell in enumerate(search.allowed[quality.argsort(descending=True, stable=True)].tolist(), 1):
        trainings = [t.number for t in search.state.trials if t.cell == cell and t.status == DONE]
        rows.append(
            {
                "rank": number,
                "architecture": search.cells[cell],
                "accuracy": mean[cell].item(),
                "low": low[cell].item(),
                "high": high[cell].item(),
                "probability_best": best[cell].item(),
                **search.space.cost(search.cells[cell], len(search.data.class_names)),
                "trainings": trainings,
            }
        )
    return rows


def csv_rows(rows: list[dict[str, Any]]) -> Iterator[list[Any]]:
    """The whole ranking as CSV."""
    yield ["rank", "accuracy", "low", "high", "probability_best", "trainings", "mflops", "mparams", "architecture"]
    for row in rows:
        figures = [f"{row[name]:.4f}" for name in ("accuracy", "low", "high", "probability_best")]
        costs = [f"{row[name]:.6f}" for name in ("flops", "params")]
        yield [row["rank"], *figures, len(row["trainings"]), *costs, row["architecture"]]


def choice(search: BudgetSearch, best: Best) -> dict[str, Any]:
    """The first choice: its training, its estimated accuracy and its costs."""
    trial, interval = best.trial, {"mean": best.mean, "low": best.low, "high": best.high}
    about = {"architecture": trial.arch, "trial": trial.number, "epochs": trial.epochs, "x-valid": trial.accuracy}
    return about | interval | search.space.cost(trial.arch, len(search.data.class_names))


def network(search: BudgetSearch, trial: Trial) -> dict[str, Any] | None:
    """Write `network.pt` and its exports, with the accuracy on the test part; None if it used smaller images."""
    source, target = search.trainer.file(trial, NETWORK), search.folder / "network.pt"
    if not source.is_file():
        return None
    options, data, trained = search.options, search.data, TrainedNetwork.read(source)
    judged = judge(trained.network().to(options.device), data)
    trained.accuracy["x-test"] = judged["accuracy"]
    set_aside(target)
    trained.save(target)
    write_card(target)
    files = [target, *(export(target, search.formats) if search.formats else [])]
    linear = linear_baseline(data, options.device, options.seed) if options.image_folder is not None else None
    figures = {f"x-test{end}": judged[name] for end, name in (("", "accuracy"), ("_low", "low"), ("_high", "high"))}
    return {"files": [display_path(path) for path in files], **figures, "judged": judged, "linear": linear}


def result_text(value: dict[str, Any]) -> str:
    """The content of `result.json` for people."""
    choice, network, spent = value["choice"], value["network"], value["spent"]
    done = [trial for trial in value["trials"] if trial["status"] == DONE]
    lines = [
        f"{len(done)} trainings on {value['dataset']}, {spent['seconds'] / 60:.1f} min, "
        f"{spent['epochs']:.1f} epochs of {value['images']['train']} images "
        f"(budget {value['budget']}{', interrupted' if value['interrupted'] else ''})",
        f"first choice: {choice['architecture']} ({choice['flops']:.1f} MFLOPs, {choice['params']:.3f} Mparams)",
        f"  {choice['epochs']} epochs: x-valid {choice['x-valid']:.2f} %, estimated {choice['mean']:.2f} % "
        f"[{choice['low']:.2f}, {choice['high']:.2f}]",
    ]
    if network:
        low, high = network["x-test_low"], network["x-test_high"]
        lines.append(f"  x-test {network['x-test']:.2f} % [{low:.2f}, {high:.2f}]: {', '.join(network['files'])}")
        if network["linear"]:
            lines.append(f"  {advice(network['x-test'], network['linear'])}")
    else:
        lines.append(f"  {NO_NETWORK}")
    lines.append(f"{'rank':>4}  {value['rung'] + ' %':>8}  {'95 % interval':>16}  {'best':>6}  trained  architecture")
    for row in value["ranking"][:PRINTED]:
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
        lines.append(
            f"{row['rank']:>4}  {row['accuracy']:>8.2f}  {interval:>16}  {100 * row['probability_best']:>4.0f} %  "
            f"{len(row['trainings']):>7}  {row['architecture']}"
        )
    return "\n".join(lines)
