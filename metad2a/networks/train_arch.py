"""Train a chosen architecture on its dataset and report its accuracy (MetaD2A section 4.2).

Results are kept by what they depend on: architecture, images and their split, and protocol make the folder's name, so
that an earlier result is never reported as another one's.
"""

import csv
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from metad2a import spaces
from metad2a.core.environment import TextLog, keep_freed_memory, provenance
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key, set_aside, write_json, write_text
from metad2a.core.messages import log
from metad2a.core.processes import Processes, process_group
from metad2a.core.statistics import interval
from metad2a.core.training_run import TrainingRun
from metad2a.data.image_data import ImageData, load_image_data
from metad2a.networks.card import UNSTATED, write_card
from metad2a.networks.export import check_formats, export
from metad2a.networks.judge import advice, judge, linear_baseline
from metad2a.networks.options import TrainArchOptions
from metad2a.networks.page import test_sections
from metad2a.networks.trained import TrainedNetwork
from metad2a.reports.dataset import dataset_section
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.page import Figure, Section, write_page
from metad2a.spaces.base import COST_UNITS, SearchSpace
from metad2a.training.classifier import AUGMENTATIONS, Protocol, Run, batch_of, protocol_for, rate_of, train

MAX_PATH = 1000  # characters; a text of more is no folder's name
NETWORK, CHECKPOINT = "network.pt", "ckpt_last.pt"
PRODUCTS = ("seed_*", "result.json", "accuracy.txt", "judged.json", "report.html")  # of a run in its folder


def protocol_of(options: TrainArchOptions, processes: Processes, data: ImageData) -> Protocol:
    """The published protocol with what the options change.

    Where images of the user's own are few, by default: smaller batches with the learning rate that belongs to these, so
    that a training has enough steps.
    """
    changes: dict[str, Any] = {"epochs": options.epochs, "batch_size": options.batch_size, "lr": options.learning_rate}
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.augment:
        changes |= AUGMENTATIONS[options.augment]
    protocol = protocol_for(data, precision=options.precision, processes=processes.count, **changes)
    if data.own and options.batch_size is None:
        batch = max(batch_of(len(data.train), protocol.epochs), processes.count)
        protocol = replace(protocol, batch_size=batch)
        if options.learning_rate is None:
            protocol = replace(protocol, lr=rate_of(batch))
    return protocol


@dataclass(frozen=True)
class Outcome:
    """What a training ends with: the report's text and all files, a line each, and the networks; empty in a process
    that is not the first of several."""

    text: str = ""
    networks: list[Path] = field(default_factory=list)


def train_arch(options: TrainArchOptions) -> Outcome:
    """Train an architecture with every seed and report mean and 95 % interval of its test accuracy.

    Files: `<save_path>/train_arch/<dataset>/<key>/` with `result.json`, `accuracy.txt`, `log.txt`, `run.json` and
    a `seed_<s>/network.pt` for `metad2a.networks.load_network`.

    Returns:
        The report's text and the networks' files, a line each.

    Raises:
        UserError: bad options or images, an earlier result is in the way, or a file cannot be written.
    """
    keep_freed_memory()
    space = spaces.get(options.search_space).sized(options.image_size)
    options = replace(options, arch=space.to_text(space.from_text(first_choice(options.arch))))
    formats = check_formats(options.export)
    with process_group(options.device) as (processes, device):
        options = replace(options, device=device)
        torch.backends.cudnn.benchmark = True  # batches have one size
        if not processes.is_first:
            processes.wait()  # until the first has decoded the images and prepared the folder
        images = (options.data_name, options.image_folder, options.data_path)
        data = load_image_data(*images, options.seed, space.image_size, options.mirror)
        job = Job(options, space, data, processes)
        with job.training:
            job.training.begin(job.identity, provenance(options.seed, images=data.origin, device=options.device))
            if processes.is_first:
                processes.wait()
            networks = [job.run(seed) for seed in options.run_seeds]
            if not processes.is_first:
                return Outcome()
            text = job.report(networks, job.page(networks[0]))
            for seed in options.run_seeds:
                path = job.network_file(seed)
                text += "\n" + "\n".join(map(str, [path, *(export(path, formats) if formats else [])]))
            return Outcome(text, [job.network_file(seed) for seed in options.run_seeds])


def first_choice(arch: str) -> str:
    """The text of an architecture: `arch` itself, or the first choice where it is the folder of a search's results.

    Raises:
        UserError: it is a folder without results.
    """
    folder = Path(arch)
    if len(arch) > MAX_PATH or not folder.is_dir():
        return arch
    rankings = [folder / "ranking_run_1.csv", folder / "best_arch" / "ranking_run_1.csv"]
    path = next((path for path in rankings if path.is_file()), None)
    if path is None:
        raise UserError(
            f"--arch {arch} is a folder without results of a search (ranking_run_1.csv). Give the folder that a search "
            "named at its end, or an architecture in quotes."
        )
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        text = next(csv.DictReader(file), {}).get("architecture")
    if not text:
        raise UserError(f"{path} is damaged: it names no architecture. Search anew, or give an architecture in quotes.")
    log.info(f"The first choice of {path}: {text}")
    return text


class Job:
    """One architecture, dataset and protocol, trained with several seeds."""

    def __init__(self, options: TrainArchOptions, space: SearchSpace, data: ImageData, processes: Processes):
        self.options, self.space, self.data, self.processes = options, space, data, processes
        self.arch = self.space.from_text(options.arch)
        self.protocol = protocol_of(options, processes, data)
        batch, found = self.protocol.batch_size, len(data.train)
        if found < batch:
            smaller = max(2, found // 4, processes.count)
            if found < smaller:
                raise UserError(f"{data.origin} has {found} training images: a batch needs {smaller}. Add some.")
            if processes.is_first:
                log.info(f"{data.origin} has {found} training images, fewer than {batch}: {smaller} make a batch.")
            self.protocol = replace(self.protocol, batch_size=smaller)
        self.identity: dict[str, Any] = {
            "search_space": self.space.name,
            "architecture": options.arch,
            "dataset": data.name,
            "images": data.fingerprint,
            "protocol": asdict(self.protocol),
        }
        parent = Path(options.save_path) / self.space.results_folder / "train_arch"
        self.folder = parent / data.name / identity_key(self.identity)
        resume, overwrite, first = options.resume, options.overwrite, processes.is_first
        self.training = TrainingRun(self.folder, PRODUCTS, resume, overwrite, may_begin=True, first=first)

    def network_file(self, seed: int) -> Path:
        """Return the file of the trained network of a seed."""
        return self.folder / f"seed_{seed}" / NETWORK

    def run(self, seed: int) -> TrainedNetwork:
        """Train with one seed, or read what an earlier command has finished."""
        options, data = self.options, self.data
        path = self.network_file(seed)
        if path.is_file():
            return self._finished(path, seed)
        torch.manual_seed(seed)  # of the initial weights; all else has generators of its own
        network = self.space.network(self.arch, len(data.class_names)).to(options.device)
        run = Run(network, self.protocol, self.identity, seed, path.with_name(CHECKPOINT), self.processes)
        run.restore()
        record = TextLog(self.folder / "log.txt") if self.processes.is_first else log.info
        accuracy = train(run, data, record)
        state = {name: tensor.cpu().contiguous() for name, tensor in run.network.state_dict().items()}
        looks = (data.class_names, data.mean, data.std, state)
        size, licence = self.space.image_size, options.licence or UNSTATED
        history = self.training.history | {"seed": seed, "licence": licence}
        trained = TrainedNetwork(self.space.name, options.arch, *looks, self.identity, seed, accuracy, history, size)
        if self.processes.is_first:
            trained.save(path)
            write_card(path)
            run.checkpoint.unlink(missing_ok=True)  # all of it but the momentum is in network.pt
        return trained

    def _finished(self, path: Path, seed: int) -> TrainedNetwork:
        trained = TrainedNetwork.read(path)
        missing = {"x-valid", "x-test"} - set(trained.accuracy)
        if trained.identity != self.identity or trained.seed != seed or missing:
            raise UserError(f"{path} is of another architecture, dataset, protocol or seed: remove {self.folder}.")
        return trained

    def report(self, networks: list[TrainedNetwork], told: list[str]) -> str:
        """Write `result.json` and `accuracy.txt`, which ends with what else is `told`; returns the latter's text."""
        value = self.result(networks)
        cost = "".join(f", {value[name]:.2f} {unit}" for name, unit in COST_UNITS.items() if name in value)
        protocol = self.protocol
        lines = [
            f"{value['architecture']} on {self.data.name}{cost}, {self.space.size_text}",
            f"x-test accuracy {value['mean']:.2f} +- {value['interval_95']:.2f} % ({len(networks)} seeds, 95 %)"
            if len(networks) > 1
            else f"x-test accuracy {value['mean']:.2f} %",
            *(
                f"  seed {network.seed}: x-test {network.accuracy['x-test']:.2f} %, "
                f"x-valid {network.accuracy['x-valid']:.2f} %"
                for network in networks
            ),
            f"{protocol.epochs} epochs of {len(self.data.train)} images, batch {protocol.batch_size}, "
            f"{len(self.data.test)} images in x-test",
            *told,
        ]
        text = "\n".join(lines)
        for name in ("result.json", "accuracy.txt"):
            set_aside(self.folder / name)
        write_json(self.folder / "result.json", value)
        write_text(self.folder / "accuracy.txt", text + "\n")
        return text

    def page(self, trained: TrainedNetwork) -> list[str]:
        """Write `report.html` on the network of the first seed; returns what else the user is to be told."""
        judged = judge(trained.network().to(self.options.device), self.data)
        folder = self.options.image_folder
        linear = linear_baseline(self.data, self.options.device, self.options.seed) if folder else None
        write_json(self.folder / "judged.json", {"x-test": judged, "linear": linear})
        lead = f"{trained.architecture}\n{self.protocol.epochs} epochs of {len(self.data.train)} images."
        sections = [
            Section("The cell", figures=[Figure(Markup(architecture_svg(self.space, trained.architecture)))]),
            *test_sections(judged, self.data.class_names, linear),
            *([dataset_section(folder)] if folder else []),
            Section("What was run", facts=trained.history | asdict(self.protocol)),
        ]
        write_page(self.folder / "report.html", f"A network for {self.data.name}", lead, sections)
        return [advice(judged["accuracy"], linear)] if linear else []

    def result(self, networks: list[TrainedNetwork]) -> dict[str, Any]:
        """Return the content of `result.json`."""
        data = self.data
        mean, half = interval([network.accuracy["x-test"] for network in networks])
        sizes = {"train": len(data.train), "x-valid": len(data.valid), "x-test": len(data.test)}
        return {
            **self.identity,
            **self.space.cost(self.arch, len(data.class_names)),
            "image_size": self.space.image_size,
            "mean": mean,
            "interval_95": half,
            "runs": [{"seed": n.seed, "accuracy": n.accuracy, "history": n.history} for n in networks],
            "num_images": sizes,
            "history": self.training.history,
        }
