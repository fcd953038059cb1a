"""The section of RESULTS.md on budgets: its tables and its figure, from budget.json and own_images.json."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metad2a.core.statistics import interval

EPOCHS, SHORT_EPOCHS = 200, 12
COUNTS = (1, 3, 10, 30, 50, 100)  # networks, columns of the table
WAYS = {
    "prior": "**`--budget`, from the ranking**",
    "no_prior": "the same process without the ranking",
    "evolution": "regularized evolution",
    "hyperband": "Hyperband",
    "random": "random search",
}
OWN = {
    "search": "`--model search --budget 30m`",
    "first": "the instant search's first choice",
    "random": "a cell at random",
}


def at(curves: list[list[float | None]], number: int) -> list[float]:
    """Each run's best accuracy after `number` networks; empty where a run has none yet."""
    values = [curve[number - 1] for curve in curves]
    return [] if None in values else [value for value in values if value is not None]


def spread(values: list[float]) -> str:
    """Mean and 95 % interval."""
    if not values:
        return ""
    mean, half = interval(values)
    return f"{mean:.2f} ± {half:.2f}"


def curve_rows(result: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    """A row for each table and way."""
    return [
        [names[dataset], label, *(spread(at(found["curves"][way], n)) for n in COUNTS)]
        for dataset, found in result.items()
        for way, label in WAYS.items()
    ]


def behind(result: dict[str, Any]) -> dict[str, dict[str, int]]:
    """At how many of the 100 budgets each other way's mean is above that of the search with the ranking.

    "sure" counts those where the 95 % interval of the difference of seeds leaves out 0.
    """
    counts: dict[str, dict[str, int]] = {}
    for dataset, found in result.items():
        ours, counts[dataset] = found["curves"]["prior"], {"above": 0, "sure": 0}
        for way in ("no_prior", "evolution", "hyperband"):
            for number in range(1, len(ours[0]) + 1):
                other = at(found["curves"][way], number)
                if not other:
                    continue
                mean, half = interval([a - b for a, b in zip(other, at(ours, number), strict=True)])
                counts[dataset]["above"] += mean > 1e-6
                counts[dataset]["sure"] += mean - half > 1e-6
    return counts


def short_rows(result: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    """Test accuracy of what short trainings choose."""
    rows = []
    for dataset, found in result.items():
        if "short" not in found:
            continue
        ours, theirs = found["short"]["prior"], found["short"]["evolution"]
        cells = [f"{ours[n]['mean']:.2f} ± {ours[n]['interval_95']:.2f}" for n in ("10", "30")]
        cells += [f"{theirs[n]['mean']:.2f} ± {theirs[n]['interval_95']:.2f}" for n in ("30", "500")]
        rows.append([names[dataset], *cells])
    return rows


def own_rows(result: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    """Networks trained on a user's images in the same time."""
    rows = []
    for dataset, ways in result.items():
        for way, label in OWN.items():
            if way in ways:
                found = ways[way]
                network, choice = found["network"], found["choice"]
                test = f"{network['x-test']:.2f} [{network['x-test_low']:.2f}, {network['x-test_high']:.2f}]"
                cells = [str(found["trainings"]), str(choice["epochs"]), f"{choice['flops']:.0f}"]
                minutes = f"{found['spent']['seconds'] / 60:.1f}"
                rows.append([names.get(dataset, dataset), label, test, *cells, minutes, str(found["resumed"])])
    return rows


def plot(figure: Figure, result: dict[str, Any], names: dict[str, str]) -> None:
    """Accuracy against the whole cost in epochs, a panel a table."""
    for place, (dataset, found) in enumerate(result.items(), 1):
        axes = figure.add_subplot(2, 3, place)
        highest = found["maximum"]
        for way, label in WAYS.items():
            curves = np.array(found["curves"][way], dtype=float)
            whole = np.isfinite(curves).all(0)
            mean = np.where(whole, np.nan_to_num(curves).mean(0), np.nan)
            epochs = EPOCHS * np.arange(1, curves.shape[1] + 1)
            axes.step(epochs, mean, where="post", label=label.replace("**", "").replace("`", ""))
        for way, marker in (("prior", "o"), ("evolution", "s")):
            for number, value in found.get("short", {}).get(way, {}).items():
                cost = SHORT_EPOCHS * int(number) + EPOCHS
                label = f"short trainings, {'from the ranking' if way == 'prior' else 'evolution'}"
                color = "C0" if way == "prior" else "C2"
                axes.plot(cost, value["mean"], marker, color=color, label=label if number == "30" else None)
        low = min(at(found["curves"][way], 10)[0] for way in ("evolution", "prior"))
        axes.set(title=names[dataset], xscale="log", xlabel="whole cost (epochs)", ylabel="best accuracy")
        axes.set_ylim(low - 0.3 * (highest - low), highest + 0.05 * (highest - low))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower right", bbox_to_anchor=(0.99, 0.12), fontsize=8)
