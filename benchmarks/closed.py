"""Tables of measurements that are closed: their result files stay as the record, their scripts are no longer here."""

from typing import Any

from benchmarks.pages import NAMES, spread, summary_cell, table

FILES = dict.fromkeys(
    (
        "baselines", "first_choice", "joint", "kernels", "naswot", "photographs", "predictors",
        "published_generator", "study", "subnet_accuracies", "subnets", "trained",
    ),
    "",
)  # fmt: skip
LEARNERS = {
    "ridge": "ridge regression",
    "graph": "graph encoder",
    "graph_and_ridge": "mean of both",
    "process": "Gaussian process",
    "process_all": "the process, all resolutions",
}
FRONTS = {
    "pareto": "`--pareto flops`",
    "generated": "its first population: generated candidates",
    "random": "random subnets",
    "nsganetv2": "NSGANetV2, the process measures",
    "table": "the measured subnets, as the process predicts them",
    "table_measured": "the measured subnets, as measured",
}


def kernels_table(kernels: dict[str, Any]) -> str:
    """How well each kernel predicts the cells that it did not learn from."""
    digits = {"spearman": 4, "spearman_best": 3, "ndcg": 3, "first": 2, "log_density": 2}
    rows = [
        [
            name if row["difference"]["ndcg"]["error"] else f"**{name}**",  # the shipped kernel is compared with itself
            *(f"{row[key]:.{places}f}" for key, places in digits.items()),
            "{mean:+.3f} ± {error:.3f}".format(**row["difference"]["spearman_best"]),
        ]
        for name, row in kernels.items()
    ]
    head = ["kernel", "Spearman", "Spearman, best 1,000", "nDCG@100", "first choice", "log density", "best 1,000, gain"]
    return table(head, rows)


def joint_table(joint: dict[str, Any], dataset: str) -> str:
    """The default ranking beside five predictors that also learned the benchmark, on one dataset."""
    labels = {"universal": "default ranking", "joint": "mean of the five predictors"}
    digits = {"first_choice": 2, "until_best_class": 0, "spearman": 3, "ndcg": 3}
    rows = [
        [label, *(f"{joint[name][dataset][key]:.{places}f}" for key, places in digits.items())]
        for name, label in labels.items()
    ]
    return table([NAMES[dataset], "first choice", "until the best function", "Spearman", "nDCG@100"], rows)


def authors_table(found: dict[str, Any]) -> str:
    rows = [
        ["first choice (%)", f"{found['first_choice']:.2f}"],
        ["oracle of 30 (%)", f"{found['oracle_of_30']:.2f}"],
        ["Spearman correlation with the table", f"{found['spearman']:.3f}"],
        ["the same for `--ranking predictor` here", f"{found['spearman_of_ours']:.3f}"],
        ["Spearman correlation of the two rankings", f"{found['agreement']:.3f}"],
    ]
    return table(["the authors' ranking of their 500 candidates for CIFAR-100", ""], rows)


def first_choice_table(first: dict[str, Any]) -> str:
    rows = [[NAMES[name], spread(figure), f"{figure['min']:.2f}"] for name, figure in first["tables"].items()]
    return table(["accuracy of the first choice (%)", "mean", "lowest"], rows)


def published_generator_table(generators: dict[str, Any]) -> str:
    rows = []
    for name, label in (("published", "authors' format, `ckpt_400.pt`"), ("shipped", "shipped")):
        shares = [
            {key: 100 * x for key, x in generators[name][part].items()} for part in ("valid", "distinct", "novel")
        ]
        rows.append([label, *(spread(share, 1) for share in shares), spread(generators[name]["mean_accuracy"])])
    head = ["generator", "valid (%)", "distinct among valid (%)", "not in the shipped training set (%)"]
    return table([*head, "mean CIFAR-10 accuracy (%)"], rows)


def study_table(study: dict[str, Any]) -> str:
    rows = [
        [
            entry["name"],
            f"`{entry['options']}`" if entry["options"] else "(as published)",
            f"{entry['best']:.4f}",
            f"{entry['at']} of {entry['epochs']}",
            f"{entry['latest']:.4f}",
        ]
        for entry in study["variants"]
    ]
    return table(["variant", "options", "best correlation", "at epoch", "mean of the last 5 epochs"], rows)


def predictors_table(predictors: dict[str, Any]) -> str:
    rows = [
        [
            name,
            *(f"{entry['validation'][key]:.3f}" for key in ("Pearson", "Spearman", "Kendall")),
            summary_cell(entry["cifar10"], "first_choice"),
            summary_cell(entry["cifar10"], "trained_until_benchmark_best", 1),
            summary_cell(entry["imagenet16-120"], "first_choice"),
        ]
        for name, entry in predictors.items()
    ]
    head = ["predictor", "Pearson", "Spearman", "Kendall", "CIFAR-10, first choice", "trainings until the best"]
    return table([*head, "ImageNet16-120, first choice"], rows)


def trained_table(trained: dict[str, Any]) -> str:
    rows = []
    for row in trained["networks"]:
        accuracy = spread(row) if len(row["seeds"]) > 1 else f"{row['mean']:.2f}"
        known = f"{row['benchmark']:.2f}" if row["benchmark"] else "-"
        how = f"{row['protocol']['epochs']} epochs, {row['num_images']['train']:,} images, seeds: {len(row['seeds'])}"
        rows.append([NAMES[row["dataset"]], f"`{row['architecture']}`", f"{row['flops']:.1f}", accuracy, known, how])
    return table(["", "architecture", "MFLOPs", "test accuracy (%)", "benchmark (%)", "training"], rows)


def accuracy_tables(found: dict[str, Any]) -> dict[str, str]:
    """Learning subnets' ImageNet accuracies: correlations, regret within bounds on FLOPs, and fronts."""
    learning = []
    for name, ways in found["learning"].items():
        size, count = name.split(",")
        ways = ways | found["encoder"].get(name, {})
        cells = [spread(ways[way]["pearson"], 4) if way in ways else "-" for way in LEARNERS]
        learning.append([f"{size} px, {count}", *cells])
    regret = []
    for bound, figures in found["search"].items():
        cells = [spread(found["regret"][name][bound], 3) for name in ("process", "ridge", "random")]
        cells += [f"{figures[name]:.2f}" for name in ("generated", "random", "table_best")]
        regret.append([f"{bound} MFLOPs", *cells])
    head = ["bound", "regret of the process", "of ridge regression", "of a random choice"]
    front = [
        [label, f"{found['front'][name]['architectures']:,.0f}", spread(found["front"][name], 4)]
        for name, label in FRONTS.items()
    ]
    return {
        "subnets-learning": table(["tuples", *LEARNERS.values()], learning),
        "subnets-regret": table(
            [*head, "first of 200 generated (%)", "of 200 random (%)", "best measured (%)"], regret
        ),
        "subnets-front": table(["front", "architectures", "hypervolume"], front),
    }


def subnets_tables(found: dict[str, Any]) -> dict[str, str]:
    """The predictor's correlations on a supernet trained here, and its choices against random subnets."""
    correlations = []
    for label, count, figures in (
        ("validation tuples", found["database"]["validation_tuples"], found["database"]),
        ("random subnets of new tasks", found["new tasks"]["tuples"], found["new tasks"]),
    ):
        within, blind = (
            {key.split()[0]: value for key, value in part.items() if "within" in key}  # the key counts the tasks
            for part in (figures, figures["layers alone"])
        )
        values = (figures["Pearson"], within["Pearson"], within["Spearman"], blind["Pearson"], blind["Spearman"])
        correlations.append([label, f"{count:,}", *(f"{value:.3f}" for value in values)])
    gains = []
    for name, figures in found["summary"].items():
        cells = [f"{figures[key]:.2f}" if key in figures else "-" for key in ("mflops", "chosen", "random")]
        gains.append([name, str(figures["tasks"]), *cells, f"{figures['gain']:.2f} ± {figures['interval_95']:.2f}"])
    within_tasks = ["Pearson within tasks", "Spearman within tasks", "Pearson, ridge", "Spearman, ridge"]
    costs = ["MFLOPs", "chosen (%)", "random, equal FLOPs (%)"]
    return {
        "subnets-correlation": table(["", "tuples", "Pearson", *within_tasks], correlations),
        "subnets-gain": table(["bound on FLOPs", "tasks", *costs, "gain (points)"], gains),
    }


def tables(results: dict[str, Any]) -> dict[str, str]:
    values = {
        "kernels": kernels_table(results["kernels"]),
        "authors": authors_table(results["lines"]["authors"]),
        "first-choice-noise": first_choice_table(results["first_choice"]),
        "published-generator": published_generator_table(results["published_generator"]),
        "study": study_table(results["study"]),
        "photographs": study_table(results["photographs"]),
        "predictors": predictors_table(results["predictors"]),
        "trained": trained_table(results["trained"]),
    }
    values |= {f"joint-{name}": joint_table(results["joint"], name) for name in results["joint"]["joint"]}
    return values | accuracy_tables(results["subnet_accuracies"]) | subnets_tables(results["subnets"])
