"""Make RESULTS.md and its plots from the result files of benchmarks/results: python benchmarks/make_results.py"""

import argparse
import base64
import json
import re
import sys
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks import budget_results
from benchmarks.kernels import SHIPPED
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, atomic_write, write_text
from metad2a.reports.page import Section, write_page
from metad2a.rivals.naswot import NO_SCORE

FOLDER = ROOT / "benchmarks" / "results"
NAMES = {"cifar10": "CIFAR-10", "imagenet16-120": "ImageNet16-120", "mnist": "MNIST"}
TABLES = NAMES | {"cifar100": "CIFAR-100", "ninapro": "NinaPro", "darcy": "Darcy", "gtsrb": "GTSRB"}
TABLES |= {"imagenet-224": "ImageNet (MobileNetV3 subnets)"}
# From the paper: accuracy (%) and search time (GPU seconds) on CIFAR-10.
PAPER = {"PC-DARTS": (93.66, 10395), "MetaD2A, paper": (94.37, 69)}
FIGURES = {
    "first_choice": "first choice",
    "oracle_of_top_30": "oracle of the top 30",
    "trained_until_best_candidate": "trained until the best candidate",
    "trained_until_benchmark_best": "trained until the benchmark's best",
}
SCRIPTS = {
    "study": "study.py",
    "photographs": "study.py --variants NAMES",
    "subnets": "subnets.py --imgnet DIR",
    "subnet_accuracies": "subnet_accuracies.py",
    "lines": "lines.py --zero-cost FOLDER --nasbench360 FILE --authors FILE",
    "dataset_effect": "dataset_effect.py",
    "first_choice": "first_choice.py",
    "published_generator": "published_generator.py FILE",
    "rivals": "rivals.py",
    "naswot": "naswot.py --image-folder DIR",
    "rivals_real_cifar10": "rivals_real.py --data-name cifar10 --image-folder DIR",
    "rivals_real_gtsrb": "rivals_real.py --data-name gtsrb --image-folder DIR",
    "budget": "budget.py",
    "own_images": "own_images.py --way search | first | random --data-name NAME --image-folder DIR",
}
BASELINES = {
    "random": "random search: 500 architectures in random order",
    "random_12_epochs": "random search: 500 architectures trained for 12 epochs, ranked by validation accuracy",
    "evolution_12_epochs": "regularized evolution: the same, 500 evaluations",
    "transfer": "trivial transfer: all architectures, ranked by their ImageNet16-120 accuracy",
}
PROTOCOL_EPOCHS, SHORT_TRAININGS = 200, 500 * 12  # epochs: of a choice, and of all that 12-epoch lines train first
ABLATIONS = {
    "whole": "whole method",
    "random_candidates": "500 random candidates instead of the generator's",
    "random_choice": "random order instead of the predictor's",
}

LINES = {
    "random": "random order",
    "flops": "FLOPs, most first",
    "constant": "one constant cell (five 3x3 convolutions, one skip), then random (a)",
    "nwot": "nwot",
    "synflow": "synflow",
    "jacov": "jacov",
    "zen": "zen",
    "transfer": "trivial transfer: the ImageNet16-120 table",
    "smoothed_transfer": "smoothed transfer",
    "ridge_on_tuples": "ridge regression on the tuples",
    "predictor": "**`--ranking predictor`**",
    "universal": "**`--ranking universal`**, each meta-training",
    "universal_joined": "**`--ranking universal`**, all five, as shipped",
    "universal_partial": "the same, each without a fifth of the cells",
    "universal_held_out": "the same, each cell by the one that left it out",
    "blended": "universal, its first 1,000 reordered with the predictor (c)",
}
IN_SAMPLE = ("smoothed_transfer", "predictor", "universal", "universal_joined", "universal_partial", "blended")
JUDGED = {  # columns, with the digits of each
    "first_choice": ("first choice", 2),
    "mean_of_10": ("mean of the first 10", 2),
    "oracle_of_30": ("oracle of 30", 2),
    "until_best": ("until the best", 1),
    "until_best_class": ("until the best function", 1),
    "spearman": ("Spearman", 3),
    "kendall": ("Kendall", 3),
    "ndcg": ("nDCG@100", 3),
    "first_choice_class": ("first choice, class mean", 2),
    "spearman_class": ("Spearman, class means", 3),
    "ndcg_class": ("nDCG@100, class means", 3),
}


def read(name: str) -> dict[str, Any]:
    """A result file. Raises a UserError when it is missing."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        command = SCRIPTS.get(name, f"quality.py --sections {name}")
        raise UserError(f"{path} is missing. Make it with: python benchmarks/{command}")
    return json.loads(path.read_text(encoding="utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def value(entry: dict[str, Any], name: str, digits: int = 2) -> str:
    """Mean and 95 % interval of one figure of one entry, and in how many runs it exists."""
    figure = entry["summary"].get(name)
    if figure is None:
        return "not among the candidates"
    text = f"{figure['mean']:.{digits}f} ± {figure['interval_95']:.{digits}f}"
    return text if figure["runs"] == entry["runs"] else f"{text} (in {figure['runs']} of {entry['runs']} runs)"


def figure_cells(entry: dict[str, Any]) -> list[str]:
    return [value(entry, name, 1 if name.startswith("trained") else 2) for name in FIGURES]


def made(history: dict[str, Any]) -> str:
    """Where a section comes from."""
    if "command" not in history:  # of each section
        return "".join(dict.fromkeys(made(each) for each in history.values()))
    threads, where = history.get("threads"), ""
    if threads:
        where = "GPU, " if history["device"].startswith("cuda") else f"CPU, {threads} thread{'s' * (threads > 1)}, "
    return f"`{history['command']}`, {history['date'][:10]}, {where}PyTorch {history['torch']}\n"


def naswot_agreement(found: dict[str, Any]) -> str:
    """Of scores with the published ones, and of those on other images with those on CIFAR-10's."""
    first = found["cifar10"]
    archs = list(first["scores"])
    text = f"{first['spearman']:.3f} on {len(archs)} architectures and {first['images']} images. Scores of the same "
    text += "networks on other images agree with those on CIFAR-10's: "
    scores = {
        name: [NO_SCORE if entry["scores"][arch] is None else entry["scores"][arch] for arch in archs]
        for name, entry in found.items()
    }
    return text + ", ".join(
        f"{name.upper()} {spearmanr(values, scores['cifar10']).statistic:.3f}"
        for name, values in scores.items()
        if name != "cifar10"
    )


def main_tables(search: dict[str, Any], baselines: dict[str, Any]) -> str:
    parts = []
    for dataset, entries in search["result"].items():
        rows = [[f"**MetaD2A, here** ({entries['default']['runs']} runs)", *figure_cells(entries["default"])]]
        rows[0].append(value(entries["default"], "search_seconds") + " s")
        if dataset == "cifar10":
            rows += [
                ["MetaD2A, paper", "not reported", "94.37 ± 0.03", "not reported", "not reported", "69 s (GPU)"],
                ["PC-DARTS, paper", "93.66 ± 0.17", "-", "-", "-", "10,395 s (GPU)"],
            ]
        rows += [[BASELINES[name], *figure_cells(entry), "-"] for name, entry in baselines["result"][dataset].items()]
        parts.append(f"### {NAMES[dataset]}\n\n" + table(["", *FIGURES.values(), "search time"], rows))
    return "\n".join(parts)


def scaling_tables(search: dict[str, Any]) -> str:
    parts = []
    for dataset, entries in search["result"].items():
        for group, label in (("candidates", "candidates"), ("draws", "draws of the dataset, 500 candidates")):
            rows = [
                [n, *figure_cells(entry), value(entry, "search_seconds") + " s"] for n, entry in entries[group].items()
            ]
            parts.append(f"{NAMES[dataset]}:\n\n" + table([label, *FIGURES.values(), "seconds"], rows))
    return "\n".join(parts)


def correlation_table(correlation: dict[str, Any]) -> str:
    result = correlation["result"]
    rows = [
        [f"400 validation tuples, {n} draw{'s' if n != '1' else ''}", *cells(figures)]
        for n, figures in result["validation"].items()
    ]
    rows += [[f"{NAMES[d]}, all 15,625", *cells(result[d]["correlation"])] for d in NAMES if d in result]
    return table(["", "Pearson", "Spearman", "Kendall"], rows)


def cells(figures: dict[str, float]) -> list[str]:
    return [f"{figures[name]:.3f}" for name in ("Pearson", "Spearman", "Kendall")]


def ablation_tables(ablations: dict[str, Any]) -> str:
    parts = []
    for dataset, entries in ablations["result"].items():
        rows = []
        for name, entry in entries.items():
            other = name.removeprefix("sees_")
            label = ABLATIONS.get(name) or f"generator and predictor are shown {NAMES[other]} instead"
            rows.append([label, *figure_cells(entry)])
        parts.append(f"{NAMES[dataset]}:\n\n" + table(["", *FIGURES.values()], rows))
    return "\n".join(parts)


def generator_table(generator: dict[str, Any]) -> str:
    rows = []
    for name, shares in generator["result"].items():
        if isinstance(shares, dict):
            source, _, dataset = name.rpartition(", ")
            label = f"{source or 'generator'}, {NAMES[dataset]}"
            quality = f"{shares['mean_accuracy']:.2f}" if "mean_accuracy" in shares else "-"
            rows.append([label, *(f"{100 * shares[key]:.1f} %" for key in ("valid", "distinct", "novel")), quality])
    return table(["", "valid", "distinct among valid", "not in the training set", "mean real accuracy (%)"], rows)


def study_table(study: dict[str, Any]) -> str:
    rows = []
    for entry in study["result"]["variants"]:
        options = f"`{entry['options']}`" if entry["options"] else "(the published protocol)"
        best = f"{entry['best']:.4f}", f"{entry['at']} of {entry['epochs']}", f"{entry['latest']:.4f}"
        rows.append([f"{entry['name']}", options, *best])
    return table(["variant", "options", "best correlation", "at epoch", "mean of the last 5"], rows)


def predictors_table(predictors: dict[str, Any]) -> str:
    rows = []
    for name, entry in predictors["result"].items():
        row = [name, *cells(entry["validation"])]
        for dataset in (d for d in NAMES if d in entry):
            row += [value(entry[dataset], "first_choice"), value(entry[dataset], "trained_until_benchmark_best", 1)]
        rows.append(row)
    head = ["predictor", "Pearson", "Spearman", "Kendall"]
    for dataset in (d for d in NAMES if d in entry):
        head += [f"{NAMES[dataset]}, first choice", "trained until the best"]
    return table(head, rows)


def trained_table(trained: dict[str, Any]) -> str:
    rows = []
    for row in trained["result"]["networks"]:
        sizes, known = row["num_images"], row["benchmark"]
        rows.append(
            [
                NAMES.get(row["dataset"], row["dataset"]),
                f"`{row['architecture']}`".replace("|", "\\|"),
                f"{row['flops']:.1f}",
                f"{row['mean']:.2f}" + (f" ± {row['interval_95']:.2f}" if len(row["seeds"]) > 1 else ""),
                f"{known:.2f}" if known else "-",
                f"{row['protocol']['epochs']} epochs, {sizes['train']:,} images, {len(row['seeds'])} seed(s)",
            ]
        )
    return table(["", "architecture", "MFLOPs", "x-test accuracy (%)", "benchmark, 200 epochs", "trained with"], rows)


def subnet_tables(subnets: dict[str, Any]) -> str:
    """The supernet and its database, the predictor's correlations, and chosen against random subnets."""
    result = subnets["result"]
    net, database, fresh = (result[name] for name in ("supernet", "database", "new tasks"))
    facts = (
        f"Supernet: {net['classes']} classes, width {net['width_mult']}, {net['image_size']} pixels, {net['epochs']} "
        f"epochs; largest subnet {net['largest']:.2f} %, smallest {net['smallest']:.2f} % on all classes' held-out "
        f"images.\nDatabase: {database['tuples']:,} tuples of {database['tasks']} tasks; accuracies have a standard "
        f"deviation of {database['std']:.2f} points, {database['std_within_tasks']:.2f} within tasks; their "
        "correlation with the logarithm of a task's number of classes is "
        f"{database['correlation_with_log_classes']:.2f}.\n\n"
    )
    rows = []
    label = {"validation tuples": (database, "validation_tuples"), "random subnets of new tasks": (fresh, "tuples")}
    for name, (figures, count) in label.items():
        within = {key.split()[0]: value for key, value in figures.items() if "within" in key}
        blind = {key.split()[0]: value for key, value in figures["layers alone"].items()}
        cell = [f"{found[key]:.3f}" for found in (figures, within, blind) for key in ("Pearson", "Spearman")]
        rows.append([name, f"{figures[count]:,}", *cell])
    head = ["", "tuples", "Pearson", "Spearman", "Pearson within tasks", "Spearman within tasks"]
    head += ["Pearson within tasks, ridge regression", "Spearman"]
    text = facts + table(head, rows) + "\n"
    rows = []
    for name, found in result["summary"].items():
        cost = [f"{found[key]:.2f}" if key in found else "-" for key in ("mflops", "chosen", "random")]
        rows.append([name, str(found["tasks"]), *cost, f"{found['gain']:.2f} ± {found['interval_95']:.2f}"])
    head = ["bound on FLOPs", "tasks", "MFLOPs", "chosen (%)", "random, equal FLOPs (%)", "gain (points)"]
    return text + table(head, rows)


WAYS = {
    "ridge": "ridge regression",
    "graph": "graph encoder",
    "graph_and_ridge": "mean of graph encoder and additive regression",
    "process": "Gaussian process",
    "process_all": "the same, with the other resolutions' tuples",
}
FRONTS = {
    "pareto": "`--pareto flops`",
    "generated": "its first population: generated candidates",
    "random": "random subnets",
    "nsganetv2": "NSGANetV2, the process measures",
    "table": "the measured subnets, by the process",
    "table_measured": "the measured subnets, by their measured accuracies",
}


def accuracy_tables(accuracies: dict[str, Any]) -> str:
    """Learning subnets' measured accuracies, regret within bounds, generated candidates, and fronts."""
    result = accuracies["result"]
    rows = []
    for name, ways in result["learning"].items():
        size, count = name.split(",")
        ways = ways | result["encoder"].get(name, {})
        cells_of = [
            f"{spread(ways[way]['pearson'], 4)} / {spread(ways[way]['spearman'], 4)}" if way in ways else "-"
            for way in WAYS
        ]
        rows.append([f"{size} px, {count}", *cells_of])
    text = table(["tuples of", *(f"{label}: Pearson / Spearman" for label in WAYS.values())], rows) + "\n"
    rows = []
    for bound, found in result["search"].items():
        regrets = [spread(result["regret"][name][bound], 3) for name in ("process", "ridge", "random")]
        figures = [f"{found[name]:.2f}" for name in ("generated", "random", "table_best", "seconds")]
        rows.append([f"{bound} MFLOPs", *regrets, *figures])
    head = ["bound", "regret of the Gaussian process (points)", "of ridge regression", "of a random choice"]
    head += ["first of 200 generated (predicted, %)", "first of 200 random (predicted)", "best measured (%)"]
    text += table([*head, "seconds of processor time"], rows) + "\n"
    rows = [
        [label, f"{result['front'][name]['architectures']:,.0f}", spread(result["front"][name], 4)]
        for name, label in FRONTS.items()
    ]
    return text + table(["front of", "architectures", "hypervolume"], rows)


def spread(figure: dict[str, Any], digits: int) -> str:
    """A mean, with its interval where that has a digit to show."""
    text, half = f"{figure['mean']:.{digits}f}", f"{figure['interval_95']:.{digits}f}"
    return f"{text} ± {half}" if float(half) else text


def lines_tables(lines: dict[str, Any]) -> str:
    """Every cheap line and ours on each table of accuracies."""
    parts = []
    for dataset, found in lines["result"]["tables"].items():
        rows = []
        for name in (name for name in LINES if name in found["lines"]):
            label = LINES[name] + (" (b)" if dataset == "imagenet16-120" and name in IN_SAMPLE else "")
            rows.append([label, *(spread(found["lines"][name][key], digits) for key, (_, digits) in JUDGED.items())])
        shown = "" if found["shown"] == dataset else f"; the predictor was shown {TABLES[found['shown']]}"
        head = f"### {TABLES[dataset]}\n\nBest of all {found['maximum']:.2f}; equal cells differ by "
        head += f"{found['noise']:.2f} (standard deviation){shown}.\n\n"
        parts.append(head + table(["", *(label for label, _ in JUDGED.values())], rows))
    return "\n".join(parts)


def authors_table(lines: dict[str, Any]) -> str:
    found = lines["result"]["authors"]
    names = ("first_choice", "mean_of_10", "oracle_of_30", "until_best", "spearman", "kendall")
    row = [f"{found[name]:.{JUDGED[name][1]}f}" for name in names]
    row += [f"{found[name]:.3f}" for name in ("spearman_of_ours", "agreement")]
    head = [JUDGED[name][0] for name in names] + ["Spearman of `--ranking predictor`", "agreement of the two"]
    return table(head, [row])


def effect_tables(effect: dict[str, Any]) -> str:
    """Whether tuples hold an interaction of architecture and dataset, and whether the predictor shows one."""
    study, predictor = effect["result"]["interaction"], effect["result"]["predictor"]
    labels = {"interaction": "the tuples", "shuffled": "the same, each with another task's images"}
    labels |= {
        name: f"the tuples, with an interaction of {name.removeprefix('planted_')} points put in"
        for name in study["figures"]
        if name.startswith("planted")
    }
    rows = [[label, spread(study["figures"][name], 3)] for name, label in labels.items()]
    figures = study["figures"]
    text = (
        f"An additive model (operations and their pairs, classes of the task) of the {study['tuples']:,} tuples has a "
        f"cross-validated correlation of {figures['additive']['mean']:.3f} and leaves a standard deviation of "
        f"{figures['residual_deviation']['mean']:.2f} points.\n\n"
    )
    text += table(["an interaction is looked for in what is left of", "cross-validated correlation"], rows) + "\n"
    rows = [
        [name, f"{predictor[f'{name}_deviation']:.4f}", f"{100 * predictor[name]:.5f} %"]
        for name in ("task", "architecture", "interaction")
    ]
    text += table(["scores of `--ranking predictor` vary by", "standard deviation (points)", "share"], rows) + "\n"
    return text + f"Lowest rank correlation of two tasks' rankings: {predictor['rank_correlation']:.6f}.\n"


def first_choice_table(first: dict[str, Any]) -> str:
    rows = [
        [TABLES[dataset], spread(figure, 2), f"{figure['min']:.2f}"]
        for dataset, figure in first["result"]["tables"].items()
    ]
    count = f"{len(first['result']['first_choices'])} cells in {first['result']['draws']} draws"
    return table([f"first choices: {count}", "mean", "lowest"], rows)


def kernels_table(kernels: dict[str, Any]) -> str:
    """How each kernel predicts the cells that it left out."""
    columns = {
        "spearman": ("Spearman", 4), "kendall": ("Kendall", 4), "spearman_best": ("Spearman of the best 1,000", 3),
        "ndcg": ("nDCG@100", 3), "first": ("first choice", 2), "mean_10": ("mean of the first 10", 2),
        "log_density": ("log density", 2),
    }  # fmt: skip
    rows = [
        [
            f"**{name}**" if name == SHIPPED else name,
            *(f"{row[key]:.{digits}f}" for key, (_, digits) in columns.items()),
            *("{mean:+.3f} ± {error:.3f}".format(**row["difference"][key]) for key in ("spearman_best", "ndcg")),
        ]
        for name, row in kernels["result"].items()
    ]
    head = [title for title, _ in columns.values()]
    return table(["kernel", *head, "best 1,000: difference", "nDCG: difference"], rows)


def joint_table(joint: dict[str, Any]) -> str:
    """What jointly meta-trained predictors add, on the cells that were left out and on the CIFARs."""
    labels = {
        "universal": "universal ranking",
        "joint": "the five predictors, mean of their scores",
        "both": f"both, the predictors weighing {joint['weight']:g}",
    }
    columns = {"first_choice": 2, "until_best_class": 0, "spearman": 3, "ndcg": 3}
    titles = {"imagenet16-120": "ImageNet16-120, held out", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
    names = {"first_choice": "first choice", "until_best_class": "until the best function", "spearman": "Spearman"}
    head = [f"{title}: {names.get(key, 'nDCG@100')}" for title in titles.values() for key in columns]
    rows = [
        [
            label,
            *(f"{joint['result'][name][data][key]:.{digits}f}" for data in titles for key, digits in columns.items()),
        ]
        for name, label in labels.items()
    ]
    found = joint["validation"]
    tuples = f"Pearson correlation on the validation tuples: {found['mean']:.3f} ± {found['interval_95']:.3f}.\n\n"
    return tuples + table(["", *head], rows)


def published_generator_table(generators: dict[str, Any]) -> str:
    rows = []
    for name, label in (("published", "authors' format, `ckpt_400.pt`"), ("shipped", "shipped")):
        found = generators["result"][name]
        share = [
            f"{100 * found[key]['mean']:.1f} ± {100 * found[key]['interval_95']:.1f} %"
            for key in ("valid", "distinct", "novel")
        ]
        rows.append([label, *share, spread(found["mean_accuracy"], 2)])
    head = ["generator, z ~ N(0, 1)", "valid", "distinct among valid", "not in the shipped one's training set"]
    return table([*head, "mean CIFAR-10 accuracy of the distinct (%)"], rows)


def unique(cells: list[list[Any]]) -> str:
    """The cells that most searches chose, most first."""
    return "<br>".join(f"{count} of 10: `{arch}`".replace("|", "\\|") for arch, count in cells)


def rivals_tables(rivals: dict[str, Any]) -> str:
    """Every search method on every table: accuracy of its choices, and what they cost."""
    parts = []
    for dataset, found in rivals["result"].items():
        rows = []
        for entry in found["methods"].values():
            accuracy, cost = entry["accuracy"], entry["cost"]
            mark = f" ({entry['mark']})" if entry["mark"] else ""
            seconds = "under 0.1" if cost["seconds"] < 0.1 else f"{cost['seconds']:.1f}"
            spent = [f"{cost['evaluations']:,.0f}", f"{cost['epochs']:,.0f}", seconds]
            hits = f"{entry['hits']} of {accuracy['runs']}"
            rows.append([entry["title"] + mark, spread(accuracy, 2), f"{accuracy['min']:.2f}", hits, *spent])
        head = ["", "accuracy of the choice", "lowest", "the best is chosen", "networks", "epochs", "seconds of search"]
        title = f"### {TABLES[dataset]}\n\nBest of all {found['best']:.2f}. {found['protocol']}\n\n"
        volume = found["methods"].get("nsganetv2", {}).get("hypervolume")
        note = f"\nHypervolume of NSGANetV2's fronts: {spread(volume, 3)}.\n" if volume else ""
        parts.append(title + table(head, rows) + note)
    return "\n".join(parts)


def chosen_table(rivals: dict[str, Any]) -> str:
    """The cells that the methods chose on the datasets of NAS-Bench-201's cells."""
    rows = [
        [TABLES[dataset], entry["title"], str(entry["different"]), unique(entry["cells"][:1])]
        for dataset, found in rivals["result"].items()
        for entry in found["methods"].values()
    ]
    return table(["", "method", "different choices", "the one most often chosen"], rows)


SHAPE = {"depth": ("depth", 2), "width": ("width", 2), "convolutions": ("convolutions", 1)}
SHAPE |= {"short": ("after 12 epochs, validation", 2), "long": ("after 200, test", 2), "rank_gain": ("places won", 0)}
CELLS = {"space": "all connected cells", "best_short": "the best 100 after 12 epochs"}
CELLS |= {"best_long": "the best 100 after 200 epochs"}


def preferences_tables(rivals: dict[str, Any]) -> str:
    """Depth, width and speed of convergence of what each method chose."""
    parts = []
    for dataset, found in rivals["result"].items():
        if "preferences" not in found:
            continue
        preferences, methods = found["preferences"], found["methods"]
        groups = {CELLS[name]: shape for name, shape in preferences["space"].items()}
        groups |= {methods[name]["title"]: shape for name, shape in preferences["methods"].items()}
        rows = [
            [name, *(f"{shape[key]:.{digits}f}" for key, (_, digits) in SHAPE.items())]
            for name, shape in groups.items()
        ]
        rows = [[cell.replace("-0", "0") if cell == "-0" else cell for cell in row] for row in rows]
        head = ["", *(label for label, _ in SHAPE.values())]
        gain = f"Spearman correlation of depth and places won: {preferences['gain_with_depth']:.2f}.\n\n"
        parts.append(f"{TABLES[dataset]}. {gain}" + table(head, rows))
    return "\n".join(parts)


def images_table(runs: list[dict[str, Any]]) -> str:
    """Every method on images: test accuracy of its choice after the same training, and what the search cost."""
    head, rows = [""], []
    for found in runs:
        head += [f"{TABLES[found['dataset']]}: accuracy", "networks", "epochs", "seconds"]
    for name, method in runs[0]["methods"].items():
        row = [method["title"]]
        for found in runs:
            [search] = found["methods"][name]["runs"]
            cost = search["cost"]
            row += [
                f"{search['accuracy']:.1f}",
                *(f"{cost[part]:,.0f}" for part in ("evaluations", "epochs", "seconds")),
            ]
        rows.append(row)
    return table(head, rows)


def images_chosen(runs: list[dict[str, Any]]) -> str:
    """The cells that methods chose on images."""
    rows = []
    for name, method in runs[0]["methods"].items():
        cells = [found["methods"][name]["runs"][0]["chosen"].replace("|", "\\|") for found in runs]
        rows.append([method["title"], *(f"`{cell}`" for cell in cells)])
    return table(["", *(TABLES[found["dataset"]] for found in runs)], rows)


def images_protocol(found: dict[str, Any]) -> str:
    """What was reduced, in words."""
    sizes, images = found["sizes"], found["images"]
    epochs = " and ".join(map(str, sizes["fidelities"]))
    return (
        f"networks of C = {sizes['channels']}, N = {sizes['cells']}, batches of {sizes['batch_size']}; "
        f"{images['train']:,} training images of {images['classes']} classes, half of which searches learn from; "
        f"{epochs} epochs of a network in a search, {sizes['final_epochs']} of the choice on all training images; "
        f"{images['test']:,} test images; a budget of {found['budget']['seconds'] / 60:g} minutes for each method"
    )


def nearest_tasks(runs: list[dict[str, Any]]) -> str:
    """Distances of the library's tasks."""
    rows = []
    for found in runs:
        notes = found["methods"]["task-similarity"]["runs"][0]["notes"]
        order = sorted(notes["distances"].items(), key=lambda pair: pair[1])
        rows.append([TABLES[found["dataset"]], ", ".join(f"{TABLES[name]} {value:.2f}" for name, value in order)])
    return table(["", "log-determinant distance, nearest first"], rows)


def depth_table(rivals: dict[str, Any]) -> str:
    """Mean accuracy of shallow and deep cells of CIFAR-10 with equally many convolutions."""
    by = {(row["convolutions"], row["depth"]): row for row in rivals["result"]["cifar10"]["preferences"]["by_depth"]}
    rows = []
    for number in sorted({number for number, _ in by}):
        if (number, 2) in by and (number, 3) in by:
            two, three = by[number, 2], by[number, 3]
            leads = [f"{two[key] - three[key]:+.2f}" for key in ("short", "long")]
            rows.append([str(number), f"{two['cells']:,} / {three['cells']:,}", *leads])
    return table(["convolutions", "cells of depth 2 / 3", "lead of depth 2 after 12 epochs", "after 200"], rows)


def new_figure(width: float = 6.4) -> Figure:
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, name: str) -> None:
    atomic_write(FOLDER / name, lambda path: figure.savefig(path, dpi=100, format="png"))


def plot_predicted(correlation: dict[str, Any]) -> None:
    """Predicted against real accuracy, one panel a dataset."""
    space = spaces.get("nasbench201")
    datasets = [d for d in NAMES if d in correlation["result"]]
    figure = new_figure(5 * len(datasets))
    for i, dataset in enumerate(datasets, 1):
        axes = figure.add_subplot(1, len(datasets), i)
        real = list(space.known_accuracy(dataset).values())
        axes.plot(correlation["result"][dataset]["predicted"], real, ".", markersize=1.5, alpha=0.4)
        axes.set(xlabel="predicted accuracy (%)", ylabel="real accuracy (%)", title=NAMES[dataset])
    save(figure, "predicted_against_real.png")


def whole_cost(name: str, count: int) -> list[int]:
    """Epochs spent when the first 1 .. `count` choices of a line of `BASELINES` are trained, with what chose them."""
    before = SHORT_TRAININGS if name.endswith("_12_epochs") else 0
    return [before + PROTOCOL_EPOCHS * (i + 1) for i in range(count)]


def plot_trained(search: dict[str, Any], baselines: dict[str, Any]) -> None:
    """Best test accuracy of the choices trained so far against all epochs spent on the dataset."""
    figure = new_figure()
    axes = figure.add_subplot()
    labels = {"random": "random order", "random_12_epochs": "random, 12 epochs", "transfer": "trivial transfer"}
    labels |= {"evolution_12_epochs": "evolution, 12 epochs", "": "MetaD2A, here"}
    entries = {"": search["result"]["cifar10"]["default"]} | baselines["result"]["cifar10"]
    for name, entry in entries.items():
        best = entry["best_after"]
        axes.step(whole_cost(name, len(best)), best, where="post", label=labels[name])
    axes.set(xscale="log", xlabel="epochs spent on CIFAR-10, all trainings (first run)")
    axes.set(ylabel="best accuracy on CIFAR-10 (%)")
    axes.set_ylim(bottom=92)
    axes.legend()
    save(figure, "choices_against_epochs.png")


def plot_time(search: dict[str, Any]) -> None:
    """Accuracy against search time, with the paper's points."""
    figure = new_figure()
    axes = figure.add_subplot()
    for label, (accuracy, seconds) in PAPER.items():
        axes.plot(seconds, accuracy, "s", label=f"{label} (GPU)")
    for name, marker in (("first_choice", "o"), ("oracle_of_top_30", "^")):
        entries = search["result"]["cifar10"]["candidates"].values()
        points = [(e["summary"]["search_seconds"]["mean"], e["summary"][name]["mean"]) for e in entries]
        axes.plot(*zip(*points, strict=True), marker, label=f"here, {FIGURES[name]} (CPU)")
    axes.set(xscale="log", xlabel="search time (s)", ylabel="accuracy on CIFAR-10 (%)")
    axes.legend()
    save(figure, "accuracy_against_time.png")


def plot_rivals(rivals: dict[str, Any]) -> None:
    """How far each method's choice is from the best, against what it cost, one panel a dataset."""
    results = rivals["result"]
    figure = new_figure(4.2 * 3)
    figure.set_figheight(8)
    styles = {name: (f"C{i % 10}", "-" if i < 10 else "--") for i, name in enumerate(results["cifar10"]["methods"])}
    for i, (dataset, found) in enumerate(results.items(), 1):
        axes = figure.add_subplot(2, 3, i)
        for name, entry in found["methods"].items():
            color, line = styles[name]
            x, y = zip(*entry["curve"], strict=True)
            gap = [max(found["best"] - value, 5e-3) for value in y]
            axes.plot(x, gap, line, color=color, marker=".", label=entry["title"].replace("`", ""))
        unit = "epochs" if found["methods"]["random"]["cost"]["epochs"] else "networks"
        axes.set_xscale("symlog", linthresh=10)
        axes.set(
            yscale="log",
            xlabel=f"{unit} (0: nothing is trained)",
            ylabel="points below the best",
            title=TABLES[dataset],
        )
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    save(figure, "rivals.png")


def plot_preferences(rivals: dict[str, Any]) -> None:
    """What early stopping prefers: the lead of shallow cells, and depth and width of what was chosen."""
    found = rivals["result"]["cifar10"]
    preferences = found["preferences"]
    by = {(row["convolutions"], row["depth"]): row for row in preferences["by_depth"]}
    numbers = [number for number in range(1, 6) if (number, 2) in by and (number, 3) in by]
    figure = new_figure(10)
    left, right = figure.subplots(1, 2)
    for key, label in (("short", "12 epochs, validation"), ("long", "200 epochs, test")):
        lead = [by[number, 2][key] - by[number, 3][key] for number in numbers]
        left.plot(numbers, lead, "o-", label=label)
    left.axhline(0, color="grey", linewidth=0.5)
    left.set(
        xlabel="convolutions in the cell", ylabel="lead of depth 2 over depth 3 (points)", title="CIFAR-10, all cells"
    )
    left.set_xticks(numbers)
    left.legend()
    groups = {CELLS[name]: shape for name, shape in preferences["space"].items()}
    places: dict[tuple[float, float], list[str]] = {}
    for name, shape in preferences["methods"].items():
        places.setdefault((round(shape["width"], 2), round(shape["depth"], 2)), []).append(name)
    for name, shape in groups.items():
        right.plot(shape["width"], shape["depth"], "s", label=name)
    for (width, depth), names in places.items():
        right.plot(width, depth, ".", color="black")
        right.annotate(
            "\n".join(names), (width, depth), fontsize=6, xytext=(3, -3), textcoords="offset points", va="top"
        )
    right.set(xlabel="width", ylabel="depth", title="mean of the cells chosen on CIFAR-10")
    right.legend(fontsize=7, loc="upper left")
    save(figure, "preferences.png")


def write_html(path: Path, text: str) -> None:
    """Write the results as one HTML file, a section for each heading, pictures inside.

    Raises:
        UserError: the package that reads Markdown is not installed, or the file cannot be written.
    """
    try:
        import markdown
    except ImportError as error:
        raise UserError("--html needs a package: pip install markdown") from error
    html = markdown.markdown(text, extensions=["tables", "fenced_code", "sane_lists"])
    html = re.sub(r'src="([^":]+\.png)"', lambda found: f'src="{data_address(ROOT / found[1])}"', html)
    html = re.sub(r'href="(?!#|https?:)([^"]*)"', "", html)  # a page alone has no other files beside it
    html = html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    title, *parts = re.split(r"<h[12][^>]*>(.*?)</h[12]>", html)[1:]
    sections = [Section("Summary", html=Markup(parts[0]))]
    sections += [
        Section(unescape(re.sub("<[^>]+>", "", head)), html=Markup(body))
        for head, body in zip(parts[1::2], parts[2::2], strict=True)
    ]
    write_page(path, unescape(title), "Tables sort by the heading that is clicked.", sections)


def data_address(path: Path) -> str:
    """A picture as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def budget_tables(budget: dict[str, Any]) -> str:
    """Accuracy against the number of networks, and what short trainings choose."""
    result = budget["result"]
    head = ["table", "search", *(f"{n} network{'s' * (n > 1)}" for n in budget_results.COUNTS)]
    text = table(head, budget_results.curve_rows(result, TABLES))
    found = budget_results.behind(result)
    rows = [[TABLES[dataset], str(counts["above"]), str(counts["sure"])] for dataset, counts in found.items()]
    head = ["table", "budgets at which another way's mean is above", "of these with a 95 % interval above 0"]
    text += "\n" + table(head, rows) + "\n"
    head = ["table", "`--budget`, 10 short", "30 short", "evolution, 30 short", "500 short"]
    return text + table(head, budget_results.short_rows(result, TABLES))


def own_images_table(own: dict[str, Any]) -> str:
    head = [
        "images",
        "what is trained",
        "x-test (%)",
        "trainings",
        "epochs of the network",
        "MFLOPs",
        "minutes",
        "killed",
    ]
    return table(head, budget_results.own_rows(own["result"], TABLES | {"gtsrb": "GTSRB"}))


def plot_budget(budget: dict[str, Any]) -> None:
    """Accuracy against the whole cost in epochs."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)
    budget_results.plot(figure, budget["result"], TABLES)
    save(figure, "accuracy_against_epochs.png")


def make(args: argparse.Namespace) -> None:
    names = (
        "search",
        "correlation",
        "baselines",
        "ablations",
        "generator",
        "study",
        "photographs",
        "predictors",
        "trained",
        "subnets",
        "subnet_accuracies",
        "lines",
        "dataset_effect",
        "first_choice",
        "joint",
        "kernels",
        "published_generator",
        "rivals",
        "naswot",
        "rivals_real_cifar10",
        "rivals_real_gtsrb",
        "budget",
        "own_images",
    )
    results = {name: read(name) for name in names}
    plot_predicted(results["correlation"])
    plot_trained(results["search"], results["baselines"])
    plot_time(results["search"])
    plot_rivals(results["rivals"])
    plot_preferences(results["rivals"])
    on_images = [results[f"rivals_real_{name}"] for name in ("cifar10", "gtsrb")]
    naswot = results["naswot"]["result"]
    plot_budget(results["budget"])
    values = {
        "rivals-images": images_table(on_images),
        "rivals-images-chosen": images_chosen(on_images),
        "rivals-images-cifar10": images_protocol(on_images[0]),
        "rivals-images-gtsrb": images_protocol(on_images[1]),
        "rivals-tasks": nearest_tasks(on_images),
        "naswot": naswot_agreement(naswot),
        "main": main_tables(results["search"], results["baselines"]),
        "scaling": scaling_tables(results["search"]),
        "correlation": correlation_table(results["correlation"]),
        "ablations": ablation_tables(results["ablations"]),
        "generator": generator_table(results["generator"]),
        "study": study_table(results["study"]),
        "photographs": study_table(results["photographs"]),
        "subnets": subnet_tables(results["subnets"]),
        "subnet_accuracies": accuracy_tables(results["subnet_accuracies"]),
        "trained": trained_table(results["trained"]),
        "predictors": predictors_table(results["predictors"]),
        "lines": lines_tables(results["lines"]),
        "authors": authors_table(results["lines"]),
        "dataset_effect": effect_tables(results["dataset_effect"]),
        "first_choice": first_choice_table(results["first_choice"]),
        "joint": joint_table(results["joint"]),
        "kernels": kernels_table(results["kernels"]),
        "published_generator": published_generator_table(results["published_generator"]),
        "rivals": rivals_tables(results["rivals"]),
        "chosen": chosen_table(results["rivals"]),
        "preferences": preferences_tables(results["rivals"]),
        "depth": depth_table(results["rivals"]),
        "budget": budget_tables(results["budget"]),
        "own_images": own_images_table(results["own_images"]),
    }
    text = Path(__file__).with_name("results.template.md").read_text(encoding="utf-8")
    for name, content in values.items():
        text = text.replace(f"@{name}@", content.rstrip("\n"))
    for name, content in results.items():
        text = text.replace(f"@{name}-made@", made(content["history"]).rstrip("\n"))
    write_text(Path(args.output), text)
    print(f"{args.output} is made")
    if args.html:
        page = Path(args.output).with_suffix(".html")
        write_html(page, text)
        print(f"{page} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=str(ROOT / "RESULTS.md"))
    parser.add_argument("--html", action="store_true", help="also a page of the same name whose tables can be sorted")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), make))
