"""`build-database`: build the meta-training databases (MetaD2A section 4.1)."""

from dataclasses import replace

from metad2a.commands.base import Command
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.database.options import DatabaseOptions

TASKS = {"generator": 1710, "predictor": 100}  # the paper's 1310 + 400; of a shard


def run(options: DatabaseOptions) -> None:
    """Build a database or its shards, or collect the shards."""
    if options.collect and options.model == "generator":
        log.info("The generator's database is written whole: there is nothing to collect.")
        return
    from metad2a.database import build, generator

    whole = replace(options, num_tasks=options.num_tasks or TASKS[options.model])
    if options.collect:
        build.collect(options.search_space, options.data_path, options.overwrite)
    elif options.model == "generator":
        generator.build(whole)
    elif options.imgnet:
        build.build_shards(whole)
    else:
        raise UserError("--imgnet is missing: name the ImageNet folder, a sub-folder of images for each class.")


COMMAND = Command(
    "build-database",
    "Build a meta-training database: the predictor's by measuring, the generator's with the predictor.",
    "build-database --model generator",
    DatabaseOptions,
    run,
    writes=("data_path",),
)
