"""`mobilenetv3`: all of MobileNetV3 in one go, from a database with a supernet's weights to a fine-tuned network.

Each step can also be typed as a command. A finished step is not done again, so a killed command can be repeated.
"""

import shlex
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path

from metad2a.commands import build_database, finetune, get_files, meta_test, meta_train
from metad2a.commands.base import Command
from metad2a.core.cli import as_started
from metad2a.core.errors import UserError
from metad2a.core.options import GpuOption, flag, option
from metad2a.core.values import not_negative_float, not_negative_int, path, positive_int, safe_name
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET

SPACE = ["--search-space", "ofa_mbv3"]
STEPS = (get_files, build_database, meta_train, meta_test, finetune)
COMMANDS = {step.COMMAND.name: step.COMMAND for step in STEPS}


@dataclass(frozen=True, kw_only=True)
class WholeWay(GpuOption):
    """What to build and search. The steps take their defaults for everything else."""

    imgnet: str = option(
        MISSING, "ImageNet: a sub-folder of images for each class, or such folders train and val.", type=path
    )
    class_order: str | None = option(
        None, "File whose lines start with a sub-folder (default: as in the features).", type=path
    )
    supernet: str = option(PUBLISHED_SUPERNET, "Weights of the supernet. The published ones are fetched.", type=path)
    data_name: str = option("cifar10", "Dataset to search for.", type=safe_name)
    image_folder: str | None = option(None, "Its images, a sub-folder for each class.", type=path)
    labels: str | None = option(
        None, "CSV file with the image and the class of each row (with --image-folder).", type=path
    )
    data_path: str = option("data", "Folder of features and databases.", type=path)
    save_path: str = option("results", "Folder of logs, checkpoints and results.", type=path)
    index: str = option("0-9", "Shards of the predictor's database.")
    num_tasks: int = option(100, "Tasks of a shard.", type=positive_int)
    num_arch: int = option(8, "Architectures to measure on each task.", type=positive_int)
    num_calibration: int = option(2000, "Images that calibrate batch norm.", type=positive_int)
    num_generator_tasks: int = option(1710, "Tasks of the generator's database.", type=positive_int)
    max_epoch: int = option(120, "Epochs of meta-training.", type=positive_int)
    num_gen_arch: int = option(200, "Candidates of the search.", type=positive_int)
    bound: float | None = option(None, "Leave out candidates above N million FLOPs.", type=not_negative_float)
    epochs: int = option(150, "Epochs of fine-tuning the first choice; 0 as in finetune.", type=not_negative_int)
    num_workers: int = option(0, "Processes that read images.", type=not_negative_int, default_text="0")
    dry_run: bool = option(False, "Show the commands, and do nothing.")


def given(options: WholeWay, *names: str) -> list[str]:
    """Some of the options as words, without those that are None."""
    values = [(name, getattr(options, name)) for name in names]
    return [word for name, value in values if value is not None for word in (flag(name), str(value))]


def steps(options: WholeWay) -> Iterator[list[str]]:
    """The commands that are still to do; each follows from what those before it have left."""
    data, results = (Path(folder) / "ofa_mbv3" for folder in (options.data_path, options.save_path))
    everywhere = given(options, "data_path", "gpu")
    if options.supernet == PUBLISHED_SUPERNET and not Path(options.supernet).exists():
        yield ["get-files", "ofa-supernet"]
    build = ["build-database", *SPACE, "--model"]
    if not (data / "meta_train_tasks_predictor.pt").exists():
        sizes = given(options, "index", "num_tasks", "num_arch", "num_calibration")
        yield [*build, "predictor", *given(options, "imgnet", "class_order", "supernet"), *sizes, *everywhere]
        yield [*build, "predictor", "--collect", "--data-path", options.data_path]
    within = ["--within-task-loss", "3"] if options.num_arch > 1 else []
    for kind in ("predictor", "generator"):
        if kind == "generator" and not (data / "meta_train_tasks_generator.pt").exists():
            tasks = ["--num-tasks", str(options.num_generator_tasks)]
            yield [*build, kind, *tasks, *everywhere, *given(options, "save_path")]
        train = ["meta-train", "--model", kind, *SPACE, *given(options, "max_epoch", "save_path"), *everywhere]
        resume = ["--resume"] if (results / kind / "model" / "ckpt_last.pt").exists() else []
        yield [*train, *(within if kind == "predictor" else []), *resume]
    chosen = given(options, "data_name", "image_folder", "labels", "num_gen_arch", "bound", "save_path")
    yield ["meta-test", "--model", "generator", *SPACE, *chosen, *everywhere]
    how = given(options, "supernet", "epochs", "num_calibration", "num_workers")
    yield ["finetune", *chosen, *how, *everywhere, "--resume"]


def run(options: WholeWay) -> None:
    """Do the steps one after the other, each in this process."""
    if not options.dry_run and not Path(options.imgnet).is_dir():
        raise UserError(f"--imgnet {options.imgnet} is not a folder.")
    for words in steps(options):
        print(f"$ {as_started(f'python main.py {shlex.join(words)}')}", flush=True)
        if not options.dry_run:
            command = COMMANDS[words[0]]
            command.run(command.prepare(command.read(words[1:], ())))


COMMAND = Command(
    "mobilenetv3",
    "Do all of MobileNetV3: database, meta-training, search and fine-tuning.",
    "mobilenetv3 --imgnet path/to/imagenet --data-name cifar10 --dry-run",
    WholeWay,
    run,
)
