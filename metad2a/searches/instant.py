"""The search in one command: rank the cells of the space, or generate candidates for a dataset and score them (MetaD2A
sections 3 and 4.2), and report."""

import shlex
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from metad2a import spaces
from metad2a.core.cli import as_started
from metad2a.core.environment import provenance
from metad2a.core.files import next_folder, write_csv
from metad2a.core.messages import counted
from metad2a.core.options import flag
from metad2a.core.values import folder_words
from metad2a.data.options import DATASETS
from metad2a.metatrain.options import Kind
from metad2a.searches import report
from metad2a.searches.options import LENGTH, UNIVERSAL, SearchOptions
from metad2a.searches.planned import Planned, first_choices, planned_training
from metad2a.searches.ranking import explanation, measure_latency, rank, rank_universally
from metad2a.searches.report import Ranking
from metad2a.searches.session import Session

OF_TRAINING = ("search_space", "data_path", "save_path", "mirror", "image_size", "gpu")  # options to train with, too


def generate_and_rank(session: Session, run: int) -> Ranking:
    """Generated candidates of a run, ranked."""
    from metad2a.searches.generate import generate_candidates  # imports PyTorch

    start = time.perf_counter()
    archs, notes = generate_candidates(session, run)
    middle = time.perf_counter()
    ranking = rank(session, archs, run)
    stages = {"generate": middle - start, "score": time.perf_counter() - middle}
    return replace(ranking, stages=stages, notes=notes)


def search(options: SearchOptions) -> list[Ranking]:
    """Rank, print a report, and write all results to a new numbered folder; returns the ranking of each run. Raises a
    UserError if options are bad, files are missing, or there are no candidates."""
    pareto, runs, universal = options.pareto, options.runs, options.ranking == UNIVERSAL
    if pareto:
        from metad2a.searches.pareto import check_pareto, front_text, pareto_front

        check_pareto(options)
    whole = universal and spaces.get(options.search_space).architectures is not None
    models: list[Kind] = [] if whole or options.num_gen_arch is None else ["generator"]
    session = Session(options, models if universal else [*models, "predictor"])
    planned = planned_training(session) if whole else None
    one_run = partial(rank_universally, planned=planned) if whole else generate_and_rank
    rankings = [measure_latency(session, one_run(session, run)) for run in runs]
    front = pareto_front(session, rankings[0], 1) if pareto else None
    remarks = explanation(session, planned)
    purpose = f" for {planned or options.data_name}" if planned or not whole else ", in one order for all photographs,"
    device = options.device.type if session.models or options.time else "cpu"
    _print_rankings(options, rankings, remarks, f"{purpose} on {device}")
    folder = next_folder(Path(options.save_path) / session.space.results_folder / "search" / options.data_name)
    history = provenance(options.seed, **session.sources)
    report.write_report(folder, session.space, rankings, history)
    if front and pareto:
        write_csv(folder / "front.csv", report.csv_rows(front.rows(), front.unit))
        lines = front_text(front, pareto)
        print(f"{lines}\nall of them: {folder}/front.csv")
        remarks = f"{remarks}\n{lines}"
    print(f"all candidates: {folder}/ranking_run_1.csv, figures: summary.json, picture: best_architecture.svg")
    if options.report:
        _write_page(folder / "report.html", session, rankings[0], remarks, history, planned)
        print(f"report: {folder}/report.html")
    epochs = planned.epochs_of(first_cell(session, rankings[0])) if planned else None
    command = training_command(options, folder, epochs)
    print(f"to train the first choice: {as_started(command)}")
    return [replace(ranking, folder=folder) for ranking in rankings]


def _print_rankings(options: SearchOptions, rankings: list[Ranking], remarks: str, purpose: str) -> None:
    best = rankings[0]
    many = f", run 1 of {len(rankings)}" if len(rankings) > 1 else ""
    print(f"{counted(len(best.texts), 'architecture')} ranked{purpose}{many}")
    print(remarks)
    if options.device_latency:
        print(f"dev. ms: measured on {options.device_latency}, for images of CIFAR-100.")
    print(report.table(best, 10))
    if summary := report.summary_text(rankings):
        print(summary)
    seconds = sum(r.seconds for r in rankings) / len(rankings)
    stages = ", ".join(f"{name} {value:.2f} s" for name, value in best.stages.items())
    print(f"search took {seconds:.2f} s" + (f" a run ({stages} in run 1)" if many else f" ({stages})"))


def first_cell(session: Session, ranking: Ranking) -> int:
    """The class of equal cells of a ranking's first choice."""
    archs = session.space.all_architectures()
    return int(session.space.classes_of_equals()[archs.index(session.space.from_text(ranking.texts[0]))])


def training_command(options: SearchOptions, folder: Path, epochs: int | None = None) -> str:
    """The command that trains the first choice of a search, as long as the search was for."""
    words = ["python", "main.py", "train", "--arch", str(folder), "--data-name", options.data_name]
    if options.image_folder or options.data_name not in DATASETS:
        words += ["--image-folder", *(folder_words(options.image_folder) if options.image_folder else ["DIR"])]
    for name in OF_TRAINING:
        if (value := getattr(options, name)) is not None and name in options.given:
            words += [flag(name), str(value)]
    if epochs and options.given & set(LENGTH):
        words += ["--epochs", str(epochs)]
    return shlex.join(words)


def _write_page(
    path: Path, session: Session, ranking: Ranking, remarks: str, history: dict[str, Any], planned: Planned | None
) -> None:
    from metad2a.reports.dataset import images_section  # these imports take half a second
    from metad2a.reports.drawing import architecture_svg
    from metad2a.reports.search_pages import lengths_section, write_search_page

    options, classes, texts = session.options, session.classes, ranking.texts
    purpose = f" for {planned}" if planned else ""
    title = f"Architectures for {options.data_name if session.models or planned else 'any photographs'}"
    choices = first_choices(planned, session, session.limits.listed()) if planned else []
    images = images_section(options.image_folder, classes.names, classes.counts, classes.source)
    write_search_page(
        path,
        title,
        f"{counted(len(texts), 'architecture')} of {session.space.name} ranked{purpose}; none was trained. {remarks}",
        architecture_svg(session.space, texts[0]),
        ranking.rows(),
        ranking.score if planned else f"{ranking.score} (%)",
        report.summary_text([ranking]),
        [*lengths_section(choices), images],
        options.device_latency,
        history,
    )
