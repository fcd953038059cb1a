"""Meta-test: generate candidates for a dataset, score them, report (MetaD2A sections 3 and 4.2).

`search` does it in memory; `test_generator` and `test_predictor` are the published two steps with their files.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import search_spaces
from engine.cli import not_a_program
from engine.errors import UserError
from engine.files import display_path, set_aside, write_text
from engine.messages import log
from engine.progress import progress
from engine.runs import keep_freed_memory, provenance, random_generator
from engine.statistics import interval
from generator.generate import generate
from images.features import Features, check_extractor, check_images, find_features, load_features, shipped_features
from meta_test import report
from meta_test.options import SearchOptions
from meta_test.report import Ranking
from meta_train.checkpoints import Checkpoint
from meta_train.models import find_checkpoint, load_model, supernet_sizes
from meta_train.predictor_objective import to_percent
from networks.latency import latency
from predictor.score import score
from search_spaces import COST_UNITS, SearchSpace

IMAGES_PER_CLASS = 100  # of a dataset that is processed on the way to a search


def features_file(options: SearchOptions, extractor: str | None) -> Path:
    """The features of the dataset: the user's file, made here from images where there are some, or the shipped ones.

    Args:
        extractor: that of the checkpoints, for making a file.

    Raises:
        UserError: there is nothing to search for.
    """
    name, own = options.data_name, Path(options.data_path) / f"{options.data_name}bylabel.pt"
    if own.is_file():
        if options.image_folder:
            log.info(f"Using {own}, made earlier.")
        return own
    shipped = shipped_features(name)
    if shipped is not None and not options.image_folder and not _official_files(name, options.data_path):
        log.info(f"No {name}bylabel.pt in {options.data_path}: using the shipped features.")
        return shipped

    from images.official import KNOWN
    from images.options import ProcessOptions
    from images.process import process  # torchvision takes seconds to import

    if options.image_folder or name in KNOWN:
        how = ProcessOptions(
            name,
            options.image_folder,
            data_path=options.data_path,
            extractor=extractor or "efficientnet_lite0",
            gpu=str(options.device.index) if options.device.type == "cuda" else "cpu",
            max_per_class=IMAGES_PER_CLASS,
            seed=options.seed,
            mirror=options.mirror,
        )
        return process(how)
    return find_features(name, options.data_path)  # says what is missing


def _official_files(name: str, data_path: str) -> bool:
    if not (Path(data_path) / "raw-data" / name).is_dir():
        return False
    from images.locate import official_files_are_there  # torchvision takes seconds to import

    return official_files_are_there(name, data_path)


class Session:
    """The search space, the dataset and the models that a meta-test needs, loaded once."""

    def __init__(self, options: SearchOptions, kinds: tuple[str, ...]):
        keep_freed_memory()
        self.options = options
        self.space: SearchSpace = search_spaces.get(options.search_space)
        self.epoch_of = kinds[0] if kinds else ""  # the model that --load-epoch means: the generator where there is one
        self.models: dict[str, Any] = {}
        self.checkpoints: dict[str, Checkpoint] = {}
        self.sources: dict[str, str] = {}
        for kind in kinds:
            self._load(kind)
        sizes = supernet_sizes(*self.checkpoints.values())
        self.space = self.space.sized(**sizes).sized(options.image_size)
        self.sources |= {"image_size": self.space.image_size, "width_mult": self.space.width_mult}
        if "predictor" in kinds and not self.space.fixed_size:
            log.info(f"Costs and latency are of {self.space.size_text}.")
        extractors = [checkpoint.extractor.split("-")[0] for checkpoint in self.checkpoints.values()]
        features = load_features(features_file(options, extractors[0] if extractors else None), options.data_name)
        if options.image_folder:
            check_images(features, options.image_folder)
        for kind, checkpoint in self.checkpoints.items():
            check_extractor(features, checkpoint.extractor, self.models[kind].config.feature_dim, kind)
        self.sources["features"] = features.source
        self.features: Features = features.to(options.device)
        limits, K = options.limits, self.features.num_classes
        smallest = self.space.smallest_cost(K) if limits else {}
        self.smallest = " and ".join(f"{smallest[name]:.6g} {COST_UNITS[name]}" for name in limits if name in smallest)
        for name, limit in limits.items():
            if name not in smallest:
                raise UserError(f"--max-{name}: costs are not known for the search space {self.space.name}.")
            if limit < smallest[name]:
                raise UserError(
                    f"{self._limits}: no architecture of {self.space.name} is that small; the smallest there are have "
                    f"{self.smallest}."
                )

    @property
    def _limits(self) -> str:
        """As messages name them."""
        names = {"flops": "--max-flops (--bound)", "params": "--max-params"}
        return " and ".join(f"{names[name]} {limit:g}" for name, limit in self.options.limits.items())

    def within_limits(self, arch: Any) -> bool:
        """Whether an architecture may be a candidate."""
        limits = self.options.limits
        cost = self.space.cost(arch, self.features.num_classes) if limits else {}
        return all(cost[name] <= limit for name, limit in limits.items())

    def candidates(self, archs: list[Any], source: str) -> list[Any]:
        """Those of `archs` that are within the limits.

        Raises:
            UserError: none is.
        """
        kept = [arch for arch in archs if self.within_limits(arch)]
        if not kept:
            raise UserError(
                f"{self._limits}: none of the architectures of {source} is that small. Raise the limit; the smallest "
                f"of {self.space.name} have {self.smallest}."
            )
        return kept

    def _load(self, kind: str) -> None:
        options = self.options
        given = options.generator_checkpoint if kind == "generator" else options.predictor_checkpoint
        epoch = options.load_epoch if kind == self.epoch_of else None
        path = find_checkpoint(kind, self.space, options.save_path, epoch, given)
        model, checkpoint = load_model(kind, self.space, path, options.device, options.hs, options.nz)
        self.models[kind], self.checkpoints[kind] = model, checkpoint
        self.sources[kind] = display_path(path)

    def generate(self, run: int) -> tuple[list[Any], dict[str, float]]:
        """Candidates of a run, and the shares of graphs that were valid and distinct."""
        o = self.options
        if o.num_gen_arch is None:
            return self.candidates(self.space.all_architectures(), self.space.name), {}
        if o.num_gen_arch > self.space.size:
            raise UserError(f"--num-gen-arch {o.num_gen_arch}: {self.space.name} has {self.space.size} architectures.")
        rng = random_generator(o.seed + run, o.device)
        if o.limits and self.space.can_be_listed:
            archs = self.candidates(self.space.all_architectures(), self.space.name)
            if len(archs) <= o.num_gen_arch:  # no generating makes more of them
                log.info(f"{len(archs)} architectures of {self.space.name} are within {self._limits}: ranking all.")
                return archs, {}
        if o.limits:
            log.info(f"Generating until {o.num_gen_arch} candidates are within {self._limits}.")
        made = generate(
            self.models["generator"],
            self.space,
            self.features,
            o.num_gen_arch,
            o.num_sample,
            rng,
            o.num_class,
            self.within_limits,
        )
        if len(made.archs) < o.num_gen_arch and o.limits and self.space.can_be_listed:
            log.info(
                f"Only {len(made.archs)} of {made.num_distinct} generated architectures are within {self._limits}: "
                f"ranking all {len(archs)} of {self.space.name} that are."
            )
            return archs, {}
        if not made.archs and made.num_valid:
            raise UserError(
                f"{self._limits}: none of {made.num_distinct} generated architectures is that small. Raise the limit; "
                f"the smallest of {self.space.name} have {self.smallest}."
            )
        if not made.archs:
            raise UserError(
                f"The generator {self.sources['generator']} produced no valid architecture in {made.num_decoded} "
                f"graphs. Train it longer with: python main.py --model generator --search-space {self.space.name} "
                f"--resume --max-epoch {2 * max(1, self.checkpoints['generator'].epoch)} (and the options of its first "
                "command), or rank the shipped one's with --generator-checkpoint."
            )
        if len(made.archs) < o.num_gen_arch:
            log.info(
                f"The generator produced only {len(made.archs)} of {o.num_gen_arch} distinct valid architectures in "
                f"{made.num_decoded} graphs; going on with these."
            )
        shares = {
            "decoded": made.num_decoded,
            "valid": made.num_valid / made.num_decoded,
            "distinct_among_valid": made.num_distinct / made.num_valid,
        }
        return made.archs, shares

    def rank(self, archs: list[Any], run: int) -> Ranking:
        """Score candidates and sort them, best first."""
        o = self.options
        rng = random_generator(o.seed + 1000 + run, o.device)
        scores = score(
            self.models["predictor"], self.space, self.features, archs, o.num_draws, o.num_sample, rng, o.num_class
        )
        predicted = to_percent(scores, self.checkpoints["predictor"].target)
        order = predicted.argsort(descending=True, stable=True).tolist()
        texts = [self.space.to_text(archs[i]) for i in order]
        known = self.space.known_accuracy(o.data_name)
        return Ranking(
            texts,
            predicted[order].tolist(),
            [known[text] for text in texts] if known else None,
            max(known.values()) if known else None,
            [self.space.cost(archs[i], self.features.num_classes) for i in order],
        )

    def measure(self, ranking: Ranking) -> Ranking:
        """Add the latency of the first `--latency` candidates."""
        o = self.options
        texts = ranking.texts[: o.latency]
        if not texts:
            return ranking
        costs = [dict(cost) for cost in ranking.costs]
        for text, cost in zip(progress(texts, desc="latency", unit="network", leave=False), costs, strict=False):
            arch = self.space.from_text(text)
            cost["latency"] = latency(self.space, arch, self.features.num_classes, o.latency_batch, o.device)
        return replace(ranking, costs=costs)


def search(options: SearchOptions) -> list[Ranking]:
    """Generate, score and report in one go; results go to a new numbered folder. Returns the ranking of each run."""
    kinds = ("predictor",) if options.num_gen_arch is None else ("generator", "predictor")
    session = Session(options, kinds)
    rankings = []
    for run in options.runs:
        start = time.perf_counter()
        archs, notes = session.generate(run)
        middle = time.perf_counter()
        ranking = session.rank(archs, run)
        stages = {"generate": middle - start, "score": time.perf_counter() - middle}
        rankings.append(session.measure(replace(ranking, stages=stages, notes=notes)))
    best = rankings[0]
    many = f", run 1 of {len(rankings)}" if len(rankings) > 1 else ""
    print(f"{len(best.texts)} architectures ranked for {options.data_name} on {options.device.type}{many}")
    print(report.table(best, 10))
    if summary := report.summary_text(rankings):
        print(summary)
    seconds = sum(r.seconds for r in rankings) / len(rankings)
    detail = ", ".join(f"{name} {value:.2f} s" for name, value in best.stages.items())
    print(f"search took {seconds:.2f} s" + (f" a run ({detail} in run 1)" if many else f" ({detail})"))
    folder = _next_folder(Path(options.save_path) / session.space.results_folder / "search" / options.data_name)
    report.write_report(folder, session.space, rankings, provenance(options.seed, **session.sources))
    print(f"all candidates: {folder}/ranking_run_1.csv, figures: summary.json, picture: best_architecture.png")
    return rankings


def _next_folder(parent: Path) -> Path:
    """Make the first of `parent`/001, /002 ... that does not exist; two searches at once get two folders."""
    number = 1
    while True:
        try:
            (folder := parent / f"{number:03d}").mkdir(parents=True)
            return folder
        except FileExistsError:
            if not folder.is_dir():
                raise
            number += 1


def test_generator(options: SearchOptions) -> None:
    """The published first step: `generated_arch/run_<r>.txt`, elapsed seconds first, then an architecture a line.

    Where the space ranks when generating, the second step follows.
    """
    session = Session(options, ("generator",) if options.num_gen_arch is not None else ())
    ranking = None
    if session.space.ranks_when_generating:  # its sizes and epoch are not the generator's
        ranking = Session(replace(options, load_epoch=None, hs=None, nz=None), ("predictor",))
    folder, generated = options.folder / "generated_arch", []
    for run in options.runs:
        start = time.perf_counter()
        archs, shares = session.generate(run)
        generated.append((run, archs, shares, time.perf_counter() - start))
    _keep_earlier(folder)  # only now, for the above may fail
    for run, archs, shares, elapsed in generated:
        lines = [f"{elapsed:.4f}", *(session.space.to_text(arch) for arch in archs)]
        write_text(folder / f"run_{run}.txt", "\n".join(lines) + "\n")
        noted = ", ".join(f"{name} {value:.3g}" for name, value in shares.items())
        print(f"run {run}: {len(archs)} architectures in {elapsed:.2f} s ({noted}) -> {folder}/run_{run}.txt")
    _write_history(folder, session)
    if ranking:
        _rank_generated(ranking)


def test_predictor(options: SearchOptions) -> str:
    """The published second step: rank what the first wrote, into `best_arch/`; returns the first choice of run 1."""
    return _rank_generated(Session(options, ("predictor",)))


def _rank_generated(session: Session) -> str:
    options = session.options
    generated = options.folder / "generated_arch"
    rankings = []
    for run in options.runs:
        path = generated / f"run_{run}.txt"
        archs, seconds = _read_generated(path, session.space, options)
        archs = session.candidates(archs, str(path))
        start = time.perf_counter()
        ranking = session.rank(archs, run)
        stages = {"generate": seconds, "score": time.perf_counter() - start}
        rankings.append(session.measure(replace(ranking, stages=stages)))
        print(f"run {run}: {ranking.texts[0]} predicted {ranking.predicted[0]:.2f} %")
    folder = options.folder / "best_arch"
    _keep_earlier(folder)
    summary = report.summary_text(rankings) or (
        f"No benchmark knows the accuracies on {options.data_name}; predicted accuracy of the first choice: "
        f"{rankings[0].predicted[0]:.2f} %"
    )
    mean, half = interval([ranking.seconds for ranking in rankings])
    write_text(folder / "architecture.txt", "".join(f"{ranking.texts[0]}\n" for ranking in rankings))
    write_text(folder / "accuracy.txt", summary + "\n")
    time_file = options.folder / "time.txt"  # beside the folder, as published
    _keep_earlier(time_file)
    write_text(time_file, f"{mean:.4f} +- {half:.4f} s, generating and scoring\n")
    report.write_report(folder, session.space, rankings, provenance(options.seed, **session.sources))
    _write_history(folder, session)
    print(summary)
    print(f"results are in {folder}")
    return rankings[0].texts[0]


def add_training(options: SearchOptions, text: str) -> None:
    """Add the accuracy of the trained first choice to the results of `test_predictor`."""
    path = options.folder / "best_arch" / "accuracy.txt"
    write_text(path, f"{path.read_text(encoding='utf-8')}first choice of run 1, trained here: {text}\n")


def _keep_earlier(folder: Path) -> None:
    if aside := set_aside(folder):
        log.info(f"Earlier results were kept as {aside}.")


def _read_generated(path: Path, space: SearchSpace, options: SearchOptions) -> tuple[list[Any], float]:
    hint = (
        f"Generate first with: python main.py --model generator --search-space {space.name} --test --data-name "
        f"{options.data_name} --num-gen-arch {options.num_gen_arch or 'all'}"
    )
    if not path.is_file():
        raise UserError(f"{path} is missing. {hint}")
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        seconds = float(lines[0])
        archs = [space.from_text(line) for line in lines[1:] if line.strip()]
    except (ValueError, IndexError) as error:  # a UserError is a ValueError
        raise UserError(f"{path} is damaged ({error}). {hint}") from error
    wanted = options.num_gen_arch or len(archs)
    if not archs:
        raise UserError(f"{path} holds no architectures. {hint}")
    if len(archs) < wanted:
        log.info(f"{path} holds {len(archs)} architectures, fewer than --num-gen-arch {wanted}.")
    return archs[:wanted], seconds


def _write_history(folder: Path, session: Session) -> None:
    history = provenance(session.options.seed, **session.sources)
    write_text(folder / "history.txt", "".join(f"{name}: {value}\n" for name, value in history.items()))


if __name__ == "__main__":
    not_a_program("python main.py --model search --data-name cifar10")
