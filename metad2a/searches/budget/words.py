"""What a search on a budget says to its user."""

from collections.abc import Iterator, Mapping
from typing import Any

from metad2a.core.budget import NETWORK_EPOCHS, Budget
from metad2a.reports.network_page import advice
from metad2a.reports.search_pages import NO_NETWORK
from metad2a.searches.budget.plan import RUNG_NAMES, Rung
from metad2a.searches.budget.trials import DONE, Best, Trial

SHOWN = 5  # cells of the ranking


def plan_lines(plan: Mapping[int, Rung], budget: Budget, epoch_cost: float) -> Iterator[str]:
    """The plan, with epochs of the ranking's first choice, an epoch of which costs `epoch_cost`."""
    worth = budget.amount / epoch_cost
    if worth < NETWORK_EPOCHS:
        yield (
            f"The budget is worth {worth:.0f} epochs of the first choice, and the protocol has {NETWORK_EPOCHS}: most "
            "of it goes into one training, because its length matters more than a choice among good networks."
        )
    for rung in plan.values():
        yield (
            f"{rung.name}: about {rung.count} trainings of {rung.epochs(epoch_cost)} epochs, {rung.images} images of "
            f"{rung.side} px (for the first of the ranking)"
        )


def progress_line(trial: Trial, best: Best, left: str) -> str:
    """How a training ended and how the search stands."""
    return (
        f"{trial}, {RUNG_NAMES[trial.fidelity]}, {trial.epochs} epochs: x-valid "
        f"{trial.accuracy:.2f} %; best so far {best.mean:.2f} % [{best.low:.2f}, {best.high:.2f}] {best.trial.arch}; "
        f"{left} left"
    )


def result_text(value: Mapping[str, Any]) -> str:
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
    for row in value["ranking"][:SHOWN]:
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
        lines.append(
            f"{row['rank']:>4}  {row['accuracy']:>8.2f}  {interval:>16}  {100 * row['probability_best']:>4.0f} %  "
            f"{len(row['trainings']):>7}  {row['architecture']}"
        )
    return "\n".join(lines)
