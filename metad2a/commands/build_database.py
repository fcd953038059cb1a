"""`build-database`: build the meta-training databases (MetaD2A section 4.1)."""

from dataclasses import replace

from metad2a.commands.base import Command
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.database.options import DatabaseOptions

TASKS = {"generator": 1710, "predictor": 100, "ranking": 8}  # the paper's 1310 + 400; of a shard


def run(options: DatabaseOptions) -> None:
    """Build a database or its shards, or collect the shards."""
    if options.collect and options.model == "generator":
        log.info("The generator's database is written whole: there is nothing to collect.")
        return
    if options.model == "ranking" and options.search_space != "nasbench201":
        raise UserError("--model ranking trains cells of nasbench201: leave --search-space out.")
    from metad2a.database import build, generator

    whole = replace(options, num_tasks=options.num_tasks or TASKS[options.model])
    if options.collect and options.model == "ranking":
        build.collect_trainings(options.search_space, options.data_path, options.overwrite)
    elif options.collect:
        build.collect(options.search_space, options.data_path, options.overwrite)
    elif options.model == "generator":
        generator.build(whole)
    elif options.imgnet and options.model == "ranking":
        if not options.data_name:
            raise UserError("--data-name is missing: give a name for the images of --imgnet.")
        build.build_trainings(whole)
    elif options.imgnet:
        build.build_shards(whole)
    else:
        raise UserError("--imgnet is missing: name the folder of images, with a sub-folder for each class.")


COMMAND = Command(
    "build-database",
    "Build a database to learn from: the predictor's or the ranking's by measuring, the generator's by prediction.",
    "build-database --model generator",
    DatabaseOptions,
    run,
    writes=("data_path",),
)
