"""All of MobileNetV3 with a supernet's weights in one go: database, meta-training, search and evaluation.

python -m metad2a.commands.build_mobilenetv3 --imgnet DIR --data-name cifar10

Each step is a command that can be typed as well; --dry-run shows them and does nothing. A step that is finished is not
done again, so a killed command is continued by typing it again.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path

from metad2a.core.cli import default_mirror, gpu_option, not_negative_float, not_negative_int, positive_int, run
from metad2a.core.errors import UserError
from metad2a.core.names import name_type
from metad2a.core.options import add_options, fill, option
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET

SPACE = ["--search-space", "ofa_mbv3"]


@dataclass(frozen=True, kw_only=True)
class WholeWay:
    """What to build and search; all else is as each command has it by default."""

    gpu: str | None = None
    imgnet: str = option(MISSING, "ImageNet, a sub-folder of images a class, or such folders train and val")
    class_order: str | None = option(None, "file: lines start with a sub-folder", default_text="as in the features")
    supernet: str = option(PUBLISHED_SUPERNET, "weights of the supernet; the published ones are fetched")
    data_name: str = option("cifar10", "dataset to search for", type=name_type)
    image_folder: str | None = option(None, "its images, one sub-folder a class")
    data_path: str = option("data", "folder of features and databases")
    save_path: str = option("results", "folder of logs, checkpoints and results")
    index: str = option("0-9", "shards of the predictor's database")
    num_tasks: int = option(100, "tasks of a shard", type=positive_int)
    num_arch: int = option(8, "architectures measured on each task", type=positive_int)
    num_calibration: int = option(2000, "images that calibrate batch norm", type=positive_int)
    num_generator_tasks: int = option(1710, "tasks of the generator's database", type=positive_int)
    max_epoch: int = option(120, "epochs of meta-training", type=positive_int)
    num_gen_arch: int = option(200, "candidates of the search", type=positive_int)
    bound: float | None = option(None, "candidates of at most so many MFLOPs", type=not_negative_float)
    epochs: int = option(150, "of fine-tuning the first choice; 0: as evaluation/main.py", type=not_negative_int)
    num_workers: int = option(0, "processes that read images", type=not_negative_int, default_text="0: none")


def given(options: WholeWay, *names: str) -> list[str]:
    """Some of the options as arguments, those that are None left out."""
    values = [(name, getattr(options, name)) for name in names]
    return [text for name, value in values if value is not None for text in (f"--{name.replace('_', '-')}", str(value))]


def commands(options: WholeWay) -> Iterator[list[str]]:
    """The commands that are still to be given; each is made when those before it are done."""
    data, results = (Path(path) / "ofa_mbv3" for path in (options.data_path, options.save_path))
    everywhere = given(options, "data_path", "gpu")
    if options.supernet == PUBLISHED_SUPERNET and not Path(options.supernet).exists():
        yield ["get_files/get_ofa_supernet.py"]
    if not (data / "meta_train_tasks_predictor.pt").exists():
        build = ["build_database.py", "--model_name", "predictor"]
        sizes = given(options, "index", "num_tasks", "num_arch", "num_calibration")
        yield [*build, *given(options, "imgnet", "class_order", "supernet"), *sizes, *everywhere]
        yield [*build, "--collect", "--data-path", options.data_path]
    within = ["--within-task-loss", "3"] if options.num_arch > 1 else []
    for kind in ("predictor", "generator"):
        if kind == "generator" and not (data / "meta_train_tasks_generator.pt").exists():
            tasks = ["--num-tasks", str(options.num_generator_tasks)]
            yield ["main.py", "--model", "build", *SPACE, *tasks, *everywhere, *given(options, "save_path")]
        train = ["main.py", "--model", kind, *SPACE, *given(options, "max_epoch", "save_path"), *everywhere]
        resume = ["--resume"] if (results / kind / "model" / "ckpt_last.pt").exists() else []
        yield [*train, *(within if kind == "predictor" else []), *resume]
    chosen = given(options, "data_name", "image_folder", "num_gen_arch", "bound", "save_path")
    yield ["main.py", "--model", "generator", *SPACE, "--test", *chosen, *everywhere]
    how = given(options, "supernet", "epochs", "num_calibration", "num_workers")
    yield ["evaluation/main.py", *chosen, *how, *everywhere, "--resume"]


def give(command: list[str]) -> int:
    """Run a command in this process; returns its exit code."""
    from metad2a.__main__ import main
    from metad2a.commands import build_database
    from metad2a.commands import evaluate as evaluation
    from metad2a.data.download import fetch_all
    from metad2a.data.manifest import OFA_SUPERNET

    program, *arguments = command
    if program == "main.py":
        return main(arguments)
    if program == "get_files/get_ofa_supernet.py":
        fetch_all([OFA_SUPERNET], default_mirror(), "data")
        return 0
    module = build_database if program == "build_database.py" else evaluation
    return run(module.build_parser(), module.dispatch, arguments)


def dispatch(args: argparse.Namespace) -> None:
    options = fill(WholeWay, args, gpu=args.gpu)
    if not args.dry_run and not Path(options.imgnet).is_dir():
        raise UserError(f"--imgnet {options.imgnet} is not a folder.")
    for command in commands(options):
        print(f"$ python {shlex.join(command)}", flush=True)
        if not args.dry_run and (code := give(command)):
            raise SystemExit(code)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, WholeWay)
    gpu_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the commands and do nothing")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
