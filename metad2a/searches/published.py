"""The published two steps of a meta-test and their files: generate to `generated_arch/`, rank to `best_arch/`."""

import math
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from metad2a.core.environment import provenance
from metad2a.core.errors import UserError
from metad2a.core.files import whole_folder, write_text
from metad2a.core.messages import counted, log
from metad2a.core.statistics import interval
from metad2a.searches import report
from metad2a.searches.generate import generate_candidates
from metad2a.searches.options import UNIVERSAL, SessionOptions
from metad2a.searches.ranking import explanation, measure_latency, rank
from metad2a.searches.report import Ranking
from metad2a.searches.session import Session
from metad2a.spaces.base import SearchSpace


def test_generator(options: SessionOptions) -> None:
    """The published first step: `generated_arch/run_<r>.txt`, elapsed seconds first, then an architecture a line. The
    second step follows at once if the space ranks when generating."""
    session = Session(options, ("generator",) if options.num_gen_arch is not None else ())
    second = None
    if session.space.ranks_when_generating:
        second = session
        if options.ranking != UNIVERSAL:  # the predictor has other sizes and epochs than the generator
            second = Session(replace(options, load_epoch=None, hs=None, nz=None), ("predictor",))
    folder, generated = options.folder / "generated_arch", []
    for run in options.runs:
        start = time.perf_counter()
        archs, shares = generate_candidates(session, run)
        generated.append((run, archs, shares, time.perf_counter() - start))
    with whole_folder(folder) as new:
        for run, archs, _, elapsed in generated:
            lines = [f"{elapsed:.4f}", *(session.space.to_text(arch) for arch in archs)]
            write_text(new / f"run_{run}.txt", "\n".join(lines) + "\n")
        _write_history(new, session)
    for run, archs, shares, elapsed in generated:
        figures = [f"{name} {value if isinstance(value, int) else f'{value:.3g}'}" for name, value in shares.items()]
        made = f"{counted(len(archs), 'architecture')} in {elapsed:.2f} s ({', '.join(figures)})"
        print(f"run {run}: {made} -> {folder}/run_{run}.txt")
    if second:
        _rank_generated(second)


def test_predictor(options: SessionOptions) -> str:
    """The published second step: rank the first step's candidates, into `best_arch/`; returns run 1's first choice."""
    return _rank_generated(Session(options, () if options.ranking == UNIVERSAL else ("predictor",)))


def _rank_generated(session: Session) -> str:
    options = session.options
    rankings = [_rank_run(session, run, options.folder / "generated_arch" / f"run_{run}.txt") for run in options.runs]
    folder = options.folder / "best_arch"
    summary = report.summary_text(rankings) or (
        f"No benchmark knows the accuracies on {options.data_name}; {rankings[0].score} of the first choice: "
        f"{rankings[0].predicted[0]:.2f}"
    )
    summary += f"\n{explanation(session)}"
    mean, half = interval([ranking.seconds for ranking in rankings])
    with whole_folder(folder) as new:
        write_text(new / "architecture.txt", "".join(f"{ranking.texts[0]}\n" for ranking in rankings))
        write_text(new / "accuracy.txt", summary + "\n")
        report.write_report(new, session.space, rankings, provenance(options.seed, **session.sources))
        _write_history(new, session)
    time_file = options.folder / "time.txt"  # beside the folder, as published
    write_text(time_file, f"{mean:.4f} +- {half:.4f} s, generating and scoring\n", keep=True)
    print(summary)
    print(f"results are in {folder}")
    return rankings[0].texts[0]


def _rank_run(session: Session, run: int, path: Path) -> Ranking:
    """Rank the candidates that the first step wrote to `path`."""
    archs, seconds = _read_generated(path, session.space, session.options)
    archs = session.limits.select(archs, str(path))
    start = time.perf_counter()
    ranking = rank(session, archs, run)
    stages = {"generate": seconds, "score": time.perf_counter() - start}
    print(f"run {run}: {ranking.texts[0]}, {ranking.score} {ranking.predicted[0]:.2f}")
    return measure_latency(session, replace(ranking, stages=stages))


def add_training(options: SessionOptions, text: str) -> None:
    """Add the accuracy of the trained first choice to the results of `test_predictor`."""
    path = options.folder / "best_arch" / "accuracy.txt"
    write_text(path, f"{path.read_text(encoding='utf-8')}first choice of run 1, trained here: {text}\n")


def _read_generated(path: Path, space: SearchSpace, options: SessionOptions) -> tuple[list[Any], float]:
    """The architectures that the first step wrote, and its seconds."""
    hint = (
        f"Generate first with: python main.py meta-test --model generator --search-space {space.name} --data-name "
        f"{options.data_name} --num-gen-arch {options.num_gen_arch or 'all'} --num-runs {len(options.runs)} "
        f"--save-path {shlex.quote(options.save_path)}"
    )
    if not path.is_file():
        raise UserError(f"{path} is missing. {hint}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        if not 0 <= (seconds := float(lines[0])) < math.inf:
            raise ValueError(f"{lines[0]} is no number of seconds")
        archs = [space.from_text(line) for line in lines[1:] if line.strip()]
    except (ValueError, IndexError) as error:  # a UserError is a ValueError
        raise UserError(f"{path} is damaged ({error}). {hint}") from error
    wanted = options.num_gen_arch or len(archs)
    if not archs:
        raise UserError(f"{path} holds no architectures. {hint}")
    if len(archs) < wanted:
        log.info(f"{path} holds {counted(len(archs), 'architecture')}, fewer than --num-gen-arch {wanted}.")
    return archs[:wanted], seconds


def _write_history(folder: Path, session: Session) -> None:
    history = provenance(session.options.seed, **session.sources)
    write_text(folder / "history.txt", "".join(f"{name}: {value}\n" for name, value in history.items()))
