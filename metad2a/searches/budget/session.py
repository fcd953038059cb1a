"""A running search on a budget: its ways, its clock, and who gets the next part of the budget."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metad2a import spaces
from metad2a.core.budget import whole_epochs
from metad2a.core.cli import command_began
from metad2a.core.environment import provenance, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key
from metad2a.core.messages import counted, log
from metad2a.core.statistics import sampling_variance
from metad2a.core.training_run import TrainingRun
from metad2a.data.image_data import load_image_data
from metad2a.data.options import IMAGE_SIZE
from metad2a.database.workers import load_ray
from metad2a.networks import backbones
from metad2a.networks.export import check_formats
from metad2a.rankings.kinds import load as load_kinds
from metad2a.rankings.length import load as load_by_length
from metad2a.rankings.subnets import load as load_subnets
from metad2a.rankings.universal import load as load_universal
from metad2a.searches.budget import ways
from metad2a.searches.budget.clock import Clock
from metad2a.searches.budget.loop import next_cell
from metad2a.searches.budget.plan import Slice, next_slice
from metad2a.searches.budget.surrogate import Observation, Surrogate
from metad2a.searches.budget.training import CHECKPOINT, Trainer
from metad2a.searches.budget.trials import DONE, FAILED, LINEAR, NEW, PAUSED, RUNNING, STATE, State, Trial, judged
from metad2a.searches.limits import FLAGS, Limits, within
from metad2a.searches.options import SearchOptions
from metad2a.searches.planned import seconds_per_image
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET
from metad2a.spaces.ofa_mbv3.supernet import load_supernet

PRODUCTS = (STATE, "trials", "result.json", "network.*", "ranking_run_1.csv", "report.html", "model_card.md",
            "best_architecture.svg")  # fmt: skip
TESTED_SHARE = 0.15  # of a budget in seconds: what the test at the end may take
FEW_TO_CHOOSE_BY = 20
TOLD = 10.0  # seconds between two lines of progress
WARM_UP_SIDE, WARM_UP_IMAGES = 64, 8
OFA, SUBNETS = "ofa_mbv3", 1000


class BudgetSearch:
    """A search that spends a budget on one dataset's images. Raises a UserError if options or images are bad, Ray is
    needed and missing, or nothing is within the limits.

    Attributes:
        data: networks train on the training part; the validation part (`x-valid`) makes all choices; the test part
            (`x-test`) serves once, for the final figure of the network that the user gets.
        cells: the text of each class of equal cells (K): its cheapest architecture within the limits, or at all.
        ranked: number, text and costs of the cells within the limits, best first by the instant ranking.
        predicted: scores (K) of the classes by the instant ranking.
        names: of the backbones within the limits.
        formats: in which the network is exported.
        identity: what the search depends on.
        pledges: what each trial will have spent when its last slice ends, by the trial's number.
    """

    def __init__(self, options: SearchOptions):
        self.began = command_began()
        self.start_seconds = time.monotonic() - self.began
        self.options, self.space = options, spaces.get(options.search_space)
        self.supernet = PUBLISHED_SUPERNET if self.space.results_folder == OFA else None
        if self.supernet and not Path(self.supernet).is_file():
            raise UserError(
                f"--budget trains subnets of {OFA} from the published supernet, but {self.supernet} is missing. Fetch "
                "it with: python get_files/get_ofa_supernet.py. Or leave --search-space out."
            )
        if self.supernet and options.from_scratch:
            raise UserError(f"--from-scratch has nothing to train in {OFA}: its subnets have ImageNet's weights.")
        if not self.space.ranking_shipped:
            name = self.space.name
            raise UserError(f"--budget works for spaces with a shipped ranking of all architectures, not for {name}.")
        self.formats = check_formats(options.export)
        if options.num_workers:
            load_ray()
        if options.backbone:
            backbones.check_name(options.backbone)
        known = options.image_folder is None and not options.backbone and not self.supernet
        self.scratch = options.from_scratch or known
        if self.scratch and not options.from_scratch:
            log.info(
                f"{options.data_name} is a dataset of the paper, so networks are trained from nothing. --backbone "
                f"{backbones.DEFAULTS[0]} also tries networks that have seen ImageNet."
            )
        side = IMAGE_SIZE if known else None
        images = (options.data_name, options.image_folder, options.data_path, options.seed, side)
        self.data = load_image_data(*images, options.mirror)
        self.classes = len(self.data.class_names)
        self.names, self.ranked = self.within_limits()
        self.identity = {
            "search_space": self.space.name,
            "dataset": self.data.name,
            "images": self.data.fingerprint,
            "budget": options.budget.text,
            "amount": options.budget.amount,
            "limits": options.limits,
            "backbones": self.names,
            "seed": options.seed,
        }
        parent = Path(options.save_path) / self.space.results_folder / "search" / options.data_name
        self.folder = parent / f"budget-{options.budget.text}-{identity_key(self.identity)}"
        self.run = TrainingRun(self.folder, PRODUCTS, options.resume, options.overwrite, may_begin=True)
        if self.ranked:
            cells = np.array(sorted(cell for cell, _, _ in self.ranked))
            self.surrogate = Surrogate(self.space.features(), cells, load_kinds(cells))
        self.workers = max(1, options.num_workers)
        self.pledges: dict[int, float] = {}
        self.told = time.monotonic()

    def within_limits(self) -> tuple[list[str], list[tuple[int, str, Mapping[str, float]]]]:
        """`names` and `ranked`. Raises a UserError if there are neither."""
        options, limits = self.options, Limits(self.options, self.space, self.classes)
        names = [] if self.scratch else [options.backbone] if options.backbone else list(backbones.DEFAULTS)
        if self.supernet:
            names = [*self.subnets(limits, self.supernet), *names]
        smallest = ways.sides(self.data.train.side)[0]
        for name in list(names) if options.limits else ():
            if not any(self.fits(self.cost(text, smallest)) for text in backbones.readings(name)):
                log.info(f"{name} is left out: {' and '.join(FLAGS[kind] for kind in options.limits)}.")
                names.remove(name)
        if self.supernet:
            return names, []
        archs = self.space.all_architectures()
        self.cells = [archs[number] for number in self.space.cheapest_members()]  # one of each function
        listed = limits.listed()
        classes = self.space.classes_of_equals()[listed]
        for cell, number in zip(classes.tolist(), listed, strict=True):
            self.cells[cell] = archs[number]
        self.predicted = self.instant_ranking()
        numbers = sorted(classes.tolist(), key=lambda cell: -self.predicted[cell])
        return names, [(cell, self.cells[cell], self.space.cost(self.cells[cell], self.classes)) for cell in numbers]

    def instant_ranking(self) -> np.ndarray:
        """The score (K,) of each class of equal cells before any training, as `search` without a budget has it."""
        if not self.data.own:
            return load_universal().of_classes()[0]
        seen = len(self.data.train) * whole_epochs(self.data.name)
        return load_by_length().predict(float(seen))[0]

    def fits(self, cost: Mapping[str, float]) -> bool:
        """Whether costs are within the limits; a backbone has no latency on a device."""
        return within(cost, self.options.limits)

    def subnets(self, limits: Limits, supernet: str) -> list[str]:
        """The subnet that the instant ranking puts first among random ones, and the first of the cheaper half."""
        archs = self.space.sample(SUBNETS, random_generator(self.options.seed))
        archs = limits.select(archs, "the random subnets")
        order = load_subnets().predict(archs, ways.LARGEST)[0].argsort(descending=True)
        cost = [self.space.cost(arch, self.classes)["flops"] for arch in archs]
        half = sorted(cost)[len(cost) // 2]
        first, cheap = int(order[0]), next(i for i in order.tolist() if cost[i] <= half)
        width = load_supernet(supernet)[1].width_mult
        return [f"{backbones.OFA}{width:g}:{self.space.to_text(archs[i])}" for i in dict.fromkeys((cheap, first))]

    def cost(self, name: str, side: int) -> dict[str, float]:
        """Costs of a backbone's network."""
        return backbones.cost(name, self.classes, side)

    def cost_of(self, trial: Trial) -> dict[str, float]:
        """Costs of a trial's network."""
        if trial.way != NEW:
            return self.cost(trial.arch, trial.side)
        cost = self.space.cost(trial.arch, self.classes)
        return cost | {"flops": cost["flops"] * (trial.side / self.space.image_size) ** 2}

    def begin(self) -> None:
        """Continue an earlier command's search if there is one, and plan. No other process uses the folder. Raises a
        UserError if the earlier search had other options, or its file is damaged."""
        self.run.begin(self.identity, provenance(self.options.seed, images=self.data.origin))
        budget, about = self.options.budget, (self.space, self.data, self.identity, self.run.history)
        folder = (self.folder / "trials").resolve()
        self.trainer = Trainer(*about, folder, self.options.device, budget.timed, self.supernet)
        self.state = State.of(self.folder)
        self.gather()
        self.clock = Clock(budget, self.state, self.began, self.start_seconds)
        self.clock.keep_for_the_end(0.0, self.formats)
        facts = self.state.facts
        if budget.timed and "speed" not in facts:
            facts["speed"] = self.seconds_of_a_million()
        self.speed = ways.Speed(budget.timed, number(facts, "speed"))
        if not self.state.trials:
            self.add_linear_classifiers()
        train, valid, test = (len(part) for part in (self.data.train, self.data.valid, self.data.test))
        sizes = f"{train} images to train on, {valid} to choose by, {test} to test"
        log.info(f"{self.data.name}: {self.classes} classes, {sizes}, at {self.data.train.side} px.")
        if valid < FEW_TO_CHOOSE_BY:
            log.info(
                f"{counted(valid, 'image')} to choose by cannot tell good ways from better ones: collect more images."
            )
        self.state.save()

    def gather(self) -> None:
        """Take up what trainings left that nothing works on any more."""
        left = [self.trainer.as_left(trial) for trial in self.state.trials if trial.status == RUNNING]
        self.state.keep(*(replace(trial, status=PAUSED) for trial in left))

    def seconds_of_a_million(self) -> float:
        """Seconds that a million multiply-accumulates of a backbone take on this machine."""
        text = next(iter(backbones.taps(backbones.DEFAULTS[0])))
        network = backbones.build(text, 2)[0].to(self.options.device, memory_format=torch.channels_last).eval()
        images = torch.zeros(WARM_UP_IMAGES, 3, WARM_UP_SIDE, WARM_UP_SIDE, device=self.options.device)
        images, seconds = images.contiguous(memory_format=torch.channels_last), []
        for _ in range(3):
            start = time.perf_counter()
            with torch.inference_mode():
                network(images).sum().item()
            seconds.append(time.perf_counter() - start)
        return min(seconds) / WARM_UP_IMAGES / backbones.cost(text, 2, WARM_UP_SIDE)["flops"]

    def add_linear_classifiers(self) -> None:
        """Add a linear classifier for each backbone and side of images that the budget pays for."""
        if not self.names:
            return
        images = len(self.data.train) + len(self.trainer.judges)
        chosen = ways.linear_ways(
            self.names,
            self.data.train.side,
            lambda name, side: self.cost(name, side)["flops"],
            self.speed,
            images,
            max(1.0, self.clock.left()),
        )
        for name, side in chosen:
            trial = self.state.add(way=LINEAR, arch=name, side=side, status=PAUSED)
            if not self.trainer.within_limits(trial):
                self.state.trials.pop()

    def next(self) -> Slice | None:
        """The next work, None if there is none until other work ends, or none at all."""
        left, trials = self.left(), self.state.trials
        linear = self.state.of_way(LINEAR)
        allowed = ways.LINEAR_SHARE * self.options.budget.amount - sum(map(self.pledged, linear))
        for trial in linear:
            if trial.status == PAUSED and (min(left, allowed) > 0 or trial.number == 0):
                return self.begun(Slice(trial, max(1.0, min(allowed, left))))
        if any(trial.status == RUNNING for trial in linear):
            return None
        if len(trials) == len(linear) and "at_first" not in self.state.facts:
            self.add_trainings(left)
        if len(self.state.trials) == len(linear):
            return None
        at_first = number(self.state.facts, "at_first")
        # With a counted budget, workers share rounds, but the plan is that of a single process
        plan = (at_first, self.options.budget.amount, self.workers if self.options.budget.timed else 1)
        work = next_slice(self.state.trials, left, *plan)
        if work is None and self.add_cell(left):
            work = next_slice(self.state.trials, left, *plan)
        return self.begun(work) if work else None

    def left(self) -> float:
        """What is left of the budget for other work than that which goes on."""
        return self.clock.left() - sum(self.pledged(trial) - trial.spent for trial in self.state.trials)

    def pledged(self, trial: Trial) -> float:
        """What a trial has spent, or in a counted budget may spend until its present slice ends."""
        if self.options.budget.timed or trial.status != RUNNING:
            return trial.spent
        return max(trial.spent, self.pledges.get(trial.number, 0.0))

    def begun(self, work: Slice) -> Slice:
        """Note that a process works on a slice."""
        self.pledges[work.trial.number] = work.trial.before + work.amount
        trial = replace(work.trial, status=RUNNING)
        self.state.keep(trial)
        return replace(work, trial=trial)

    def time_left(self) -> str:
        """What is left, for messages."""
        return f"{self.options.budget.describe(max(0.0, self.clock.left()))} left"

    def add_trainings(self, left: float) -> None:
        """Add the trainings that the budget pays for, when all linear classifiers are done."""
        self.state.facts["at_first"] = max(0.0, left)
        images, found = len(self.data.train), list[dict[str, Any]]()
        if self.names:
            of_backbone = lambda arch, side: self.cost(arch, side)["flops"]  # noqa: E731
            found += ways.further(self.state.trials, self.data.train.side, of_backbone, self.speed, images, left)
        if self.ranked:
            whole = float(images * self.trainer.protocol_of_cells().epochs)
            largest = self.data.train.side if "flops" not in self.options.limits else self.space.image_size
            seen = self.images_seen(ways.TRAINED_SHARE * left)
            found += ways.cells(self.ranked, load_by_length(), seen, whole, largest, not self.names)
        if not found:
            log.info("The budget is too small to train a network: there are linear classifiers only.")
        for about in found:
            trial = self.state.add(status=PAUSED, **about)
            if trial.way != NEW and not self.fits(self.cost_of(trial)):
                self.state.trials.pop()

    def images_seen(self, part: float) -> np.ndarray:
        """Images that each cell of `ranked` sees in a part of the budget."""
        if not self.options.budget.timed:
            return np.full(len(self.ranked), part * len(self.data.train))
        seconds = seconds_per_image(self.space, self.classes, self.options.device)
        return part / seconds[[cell for cell, _, _ in self.ranked]]

    def add_cell(self, left: float) -> bool:
        """Add the cell that is the most promising after all trainings to their end; tell whether the budget pays."""
        done = [trial for trial in self.state.of_way(NEW) if trial.status == DONE]
        running = any(trial.status == RUNNING for trial in self.state.trials)
        if not done or running or left < sum(trial.spent for trial in done) / len(done):
            return False
        taken = {trial.cell for trial in self.state.of_way(NEW) if trial.cell is not None}
        rng = np.random.default_rng((self.options.seed * 1009 + len(taken)) % 2**32)
        cell = next_cell(self.surrogate, self.observations(), taken, rng)
        if cell is None:
            return False
        self.state.add(status=PAUSED, way=NEW, arch=self.cells[cell], side=self.space.image_size, cell=cell)
        return True

    def observations(self) -> list[Observation]:
        """What finished trainings of cells show: all are as long as the protocol, or as the budget allows."""
        done = [t for t in self.state.of_way(NEW) if t.status == DONE]
        count = len(self.trainer.judges)
        return [
            Observation(t.cell, t.accuracy, sampling_variance(t.accuracy, count))
            for t in done
            if t.cell is not None and t.accuracy is not None
        ]

    def note(self, trial: Trial) -> None:
        """Keep the progress of a trial, and say how the search stands, at most every ten seconds within a slice."""
        if trial.status == RUNNING and time.monotonic() - self.told < TOLD:
            return
        self.told = time.monotonic()
        self.state.keep(trial)
        if trial.status == FAILED:
            log.info(f"{trial} failed: {trial.message}")
            return
        if best := self.best():
            size = len(self.data.test) * best.image_seconds
            self.clock.keep_for_the_end(min(size, TESTED_SHARE * self.options.budget.amount), self.formats)
        valid = "" if trial.accuracy is None else f"x-valid {trial.accuracy:.2f} %, "
        epochs = "" if trial.way == LINEAR and valid else f"{trial.epochs:.1f} epochs, "
        log.info(f"{trial}: {epochs}{valid}{self.time_left()}")

    def best(self) -> Trial | None:
        """The trial whose network the user gets, None before there is one."""
        return next(iter(judged(self.state.trials)), None)

    def remove_others(self, kept: Trial) -> None:
        """Remove the weights of all trainings but one, when the search has ended."""
        for trial in self.state.trials:
            if trial.number != kept.number:
                self.trainer.file(trial, CHECKPOINT).unlink(missing_ok=True)


def number(facts: Mapping[str, Any], name: str) -> float:
    """A number that an earlier step of the search measured, 0 if there was none."""
    return float(facts.get(name, 0.0))
