"""The section of RESULTS.md on budgets: its tables and its figure, from budget.json and own_images.json."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.pages import NAMES, OURS, label_lines, new_figure, style, table
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
    "search": "`search --budget 30m`",
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


FILES = {"budget": "python benchmarks/budget.py"}
LABELS = {"prior": "--budget", "no_prior": "the same without the ranking", "evolution": "evolution"}
LABELS |= {"hyperband": "Hyperband", "random": "random search"}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Accuracy against the number of networks, where other ways are ahead, short trainings, and searches on images."""
    found = results["budget"]
    head = ["table", "search", *(f"{n} network{'s' * (n > 1)}" for n in COUNTS if n != 50)]
    rows = [[*row[: 2 + COUNTS.index(50)], *row[3 + COUNTS.index(50) :]] for row in curve_rows(found, NAMES)]
    ahead = [[NAMES[name], str(counts["above"]), str(counts["sure"])] for name, counts in behind(found).items()]
    own = [row[:-1] for row in own_rows(results["own_images"], NAMES)]  # how often it was killed is left out
    return {
        "budget": table(head, rows),
        "budget-first": table(head, [row for row in rows if row[1] != WAYS["no_prior"]][:8]),
        "budget-ahead": table(
            ["table", "budgets at which another way is ahead", "with a 95 % interval above 0"], ahead
        ),
        "budget-short": table(
            ["table", "`--budget`, 10 short", "30 short", "evolution, 30 short", "500 short"], short_rows(found, NAMES)
        ),
        "own-images": table(
            ["images", "what is trained", "test (%)", "trainings", "epochs of the network", "MFLOPs", "minutes"], own
        ),
    }


def plot_panel(axes: Axes, found: dict[str, Any]) -> None:
    """Mean best accuracy against the whole cost in epochs, and what short trainings choose, on one dataset."""
    low = min(at(found["curves"][way], 10)[0] for way in ("evolution", "prior"))
    axes.set(xscale="log", xlabel="whole cost (epochs)", ylabel="best accuracy (%)", xlim=(150, 22_000))
    axes.set_ylim(low - 0.3 * (found["maximum"] - low), found["maximum"] + 0.08 * (found["maximum"] - low))
    ends = {}
    for number, (way, label) in enumerate(LABELS.items()):
        curves, look = np.array(found["curves"][way], dtype=float), style(number) | {"marker": ""}
        look |= {"color": OURS, "linewidth": 3} if way == "prior" else {}
        mean = np.where(np.isfinite(curves).all(0), np.nan_to_num(curves).mean(0), np.nan)
        below = (
            {"zorder": 2} if way == "random" else {"zorder": 3}
        )  # Hyperband without short trainings is random search
        axes.step(EPOCHS * np.arange(1, len(mean) + 1), mean, where="post", **look, **below)
        ends[label] = (EPOCHS * len(mean), mean[-1], look["color"])
    for way, marker, color in (("prior", "o", OURS), ("evolution", "s", style(2)["color"])):
        points = {SHORT_EPOCHS * int(n) + EPOCHS: value for n, value in found.get("short", {}).get(way, {}).items()}
        axes.plot(
            points.keys(), [value["mean"] for value in points.values()], marker, color=color, mfc="white", zorder=4
        )
    label_lines(axes, ends, room=0.75)


def plots(results: dict[str, Any]) -> dict[str, Figure]:
    figure = new_figure(10, 11.5)
    panels = list(figure.subplots(3, 2).flat)
    for axes, (dataset, found) in zip(panels, results["budget"].items(), strict=False):
        axes.set_title(NAMES[dataset])
        plot_panel(axes, found)
    note = "Hollow points: short trainings only (12 epochs)\nchoose a cell, which is then trained for 200 epochs.\n\n"
    note += "Circles: --budget; squares: evolution.\n(NinaPro and Darcy have no accuracies after 12 epochs.)"
    panels[-1].axis("off")
    panels[-1].text(0, 0.9, note, va="top")
    return {"accuracy_against_epochs": figure}
