"""Train a chosen architecture on its dataset and report its accuracy (MetaD2A section 4.2).

The name of a result's folder is a digest of what the result depends on: architecture, images and their split, and
protocol. So no result is ever reported for another training.
"""

import csv
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from metad2a import spaces
from metad2a.core.environment import TextLog, provenance
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key, write_json, write_text
from metad2a.core.messages import counted, log
from metad2a.core.statistics import interval
from metad2a.core.training_run import TrainingRun
from metad2a.data.image_data import ImageData, load_image_data
from metad2a.networks.card import UNSTATED, write_card
from metad2a.networks.export import check_formats, export
from metad2a.networks.judge import judge, linear_baseline
from metad2a.networks.options import TrainOptions
from metad2a.networks.trained import TrainedNetwork
from metad2a.reports.drawing import architecture_svg
from metad2a.reports.network_page import advice, test_sections, write_training_page
from metad2a.spaces.base import COST_UNITS, SearchSpace
from metad2a.training.classifier import AUGMENTATIONS, Protocol, Run, batch_of, protocol_for, rate_of, train

PRODUCTS = ("seed_*", "result.json", "accuracy.txt", "judged.json", "report.html")  # of a run in its folder


def protocol_of(options: TrainOptions, data: ImageData) -> Protocol:
    """The published protocol with what the options change.

    Few images of the user's own get smaller batches and their learning rate, unless the options say otherwise. With
    fewer images than one batch, the batch size is a quarter of them. Raises a UserError if a batch has only one image.
    """
    changes: dict[str, Any] = {"epochs": options.epochs, "batch_size": options.batch_size, "lr": options.learning_rate}
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.augment:
        changes |= AUGMENTATIONS[options.augment]
    protocol, count = protocol_for(data, precision=options.precision, **changes), len(data.train)
    if data.own and options.batch_size is None:
        batch = batch_of(count, protocol.epochs)
        protocol = replace(protocol, batch_size=batch, lr=options.learning_rate or rate_of(batch))
    if count >= protocol.batch_size:
        return protocol
    smaller = max(2, count // 4)
    if count < smaller:
        raise UserError(f"{data.origin} has {count} training images, but a batch needs {smaller}. Add some.")
    few = f"{count} training images, fewer than {protocol.batch_size}"
    log.info(f"{data.origin} has {few}: a batch has {smaller} images.")
    return replace(protocol, batch_size=smaller)


@dataclass(frozen=True)
class Outcome:
    """What a training ends with: the report's text with the names of all files, and the networks' files."""

    text: str
    networks: list[Path]


def train_arch(options: TrainOptions) -> Outcome:
    """Train an architecture with every seed and report mean and 95 % interval of its test accuracy.

    Files go to `<save_path>/train_arch/<dataset>/<key>/`.

    Raises a UserError if options or images are bad, an earlier result is in the way, or a file cannot be written.
    """
    torch.backends.cudnn.benchmark = True  # all batches have one size
    space = spaces.get(options.search_space).sized(options.image_size)
    options = replace(options, arch=space.to_text(space.from_text(first_choice(options.arch))))
    formats = check_formats(options.export)
    images = (options.data_name, options.image_folder, options.data_path)
    data = load_image_data(*images, options.split_seed, space.image_size, options.mirror)
    job = Job(options, space, data)
    with job.training:
        job.training.begin(job.identity, provenance(options.split_seed, images=data.origin, device=options.device))
        networks = [job.run(seed) for seed in options.run_seeds]
        text = job.report(networks, job.page(networks[0]))
        files = [job.network_file(seed) for seed in options.run_seeds]
        for path in files:
            text += "".join(f"\n{file}" for file in [path, *(export(path, formats) if formats else [])])
        return Outcome(text, files)


def first_choice(arch: str) -> str:
    """The text of an architecture: `arch` itself, or the first choice if `arch` is the folder of a search's results.

    Raises a UserError if `arch` is a folder without results.
    """
    folder = Path(arch)
    if len(arch) > 1000 or not folder.is_dir():  # systems refuse to look up very long paths
        return arch
    for path in (folder / "ranking_run_1.csv", folder / "best_arch" / "ranking_run_1.csv"):
        if path.is_file():
            text = ranked_architectures(path, "Search anew, or give an architecture in quotes.")[0]
            log.info(f"The first choice of {path}: {text}")
            return text
    raise UserError(
        f"--arch {arch} is a folder without results of a search (ranking_run_1.csv). Give the folder that a search "
        "named at its end, or an architecture in quotes."
    )


def ranked_architectures(path: Path, hint: str) -> list[str]:
    """The architectures of a ranking's CSV file, best first.

    Raises a UserError, which ends in the sentence `hint`, if the file is damaged or names no architecture.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            texts = [row["architecture"] for row in csv.DictReader(file)]
    except (KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}). {hint}") from error
    if not texts or None in texts:
        raise UserError(f"{path} is damaged: it names no architecture. {hint}")
    return texts


class Job:
    """One architecture, dataset and protocol, trained with several seeds."""

    def __init__(self, options: TrainOptions, space: SearchSpace, data: ImageData):
        self.options, self.space, self.data = options, space, data
        self.arch = space.from_text(options.arch)
        self.protocol = protocol_of(options, data)
        self.identity: dict[str, Any] = {
            "search_space": space.name,
            "architecture": options.arch,
            "dataset": data.name,
            "images": data.fingerprint,
            "protocol": {**asdict(self.protocol), "processes": 1},  # as in the results of earlier versions
        }
        parent = Path(options.save_path) / space.results_folder / "train_arch" / data.name
        self.folder = parent / identity_key(self.identity)
        self.training = TrainingRun(self.folder, PRODUCTS, options.resume, options.overwrite, may_begin=True)

    def network_file(self, seed: int) -> Path:
        """The file of a seed's trained network."""
        return self.folder / f"seed_{seed}" / "network.pt"

    def run(self, seed: int) -> TrainedNetwork:
        """Train with one seed, or read the network that an earlier command finished."""
        options, data, path = self.options, self.data, self.network_file(seed)
        if path.is_file():
            return self._finished(path, seed)
        torch.manual_seed(seed)  # of the initial weights; everything else has its own generators
        network = self.space.network(self.arch, len(data.class_names)).to(options.device)
        run = Run(network, self.protocol, self.identity, seed, path.with_name("ckpt_last.pt"))
        run.restore()
        accuracy = train(run, data, TextLog(self.folder / "log.txt"))
        history = self.training.history | {"seed": seed, "licence": options.licence or UNSTATED}
        about = {"architecture": options.arch, "identity": self.identity, "seed": seed, "history": history}
        about["image_size"] = self.space.image_size
        trained = TrainedNetwork.of(run.network, self.space.name, data, accuracy=accuracy, **about)
        trained.save(path)
        write_card(path)
        run.checkpoint.unlink(missing_ok=True)  # network.pt has everything but the momentum
        return trained

    def _finished(self, path: Path, seed: int) -> TrainedNetwork:
        trained = TrainedNetwork.read(path)
        missing = {"x-valid", "x-test"} - set(trained.accuracy)
        if trained.identity != self.identity or trained.seed != seed or missing:
            raise UserError(f"{path} belongs to another architecture, dataset, protocol or seed: remove {self.folder}.")
        return trained

    def report(self, networks: list[TrainedNetwork], remarks: list[str]) -> str:
        """Write `result.json` and `accuracy.txt`, which ends with the remarks; returns the text of the latter."""
        value, protocol, data = self.result(networks), self.protocol, self.data
        cost = "".join(f", {value[name]:.2f} {unit}" for name, unit in COST_UNITS.items() if name in value)
        spread = f" +- {value['interval_95']:.2f} % ({len(networks)} seeds, 95 %)" if len(networks) > 1 else " %"
        lines = [
            f"{value['architecture']} on {data.name}{cost}, {self.space.size_text}",
            f"x-test accuracy {value['mean']:.2f}{spread}",
            *(
                f"  seed {n.seed}: x-test {n.accuracy['x-test']:.2f} %, x-valid {n.accuracy['x-valid']:.2f} %"
                for n in networks
            ),
            f"{counted(protocol.epochs, 'epoch')} of {counted(len(data.train), 'image')}, batch {protocol.batch_size}, "
            f"{counted(len(data.test), 'image')} in x-test",
            *remarks,
        ]
        write_json(self.folder / "result.json", value, keep=True)
        write_text(self.folder / "accuracy.txt", "\n".join([*lines, ""]), keep=True)
        return "\n".join(lines)

    def page(self, trained: TrainedNetwork) -> list[str]:
        """Write `judged.json` and `report.html` about the first seed's network; returns remarks for the report."""
        options, data = self.options, self.data
        judged = judge(trained.network().to(options.device), data)
        baseline = linear_baseline(data, options.device, options.split_seed) if options.image_folder else None
        write_json(self.folder / "judged.json", {"x-test": judged, "linear": baseline})
        write_training_page(
            self.folder / "report.html",
            data.name,
            f"{trained.architecture}\n{counted(self.protocol.epochs, 'epoch')} of {counted(len(data.train), 'image')}.",
            architecture_svg(self.space, trained.architecture),
            test_sections(judged, data.class_names, baseline),
            options.image_folder,
            trained.history | asdict(self.protocol),
        )
        return [advice(judged["accuracy"], baseline)] if baseline else []

    def result(self, networks: list[TrainedNetwork]) -> dict[str, Any]:
        """The content of `result.json`."""
        data = self.data
        mean, half = interval([network.accuracy["x-test"] for network in networks])
        return {
            **self.identity,
            **self.space.cost(self.arch, len(data.class_names)),
            "image_size": self.space.image_size,
            "mean": mean,
            "interval_95": half,
            "runs": [{"seed": n.seed, "accuracy": n.accuracy, "history": n.history} for n in networks],
            "num_images": {"train": len(data.train), "x-valid": len(data.valid), "x-test": len(data.test)},
            "history": self.training.history,
        }
