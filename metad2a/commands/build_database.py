"""Build the meta-training databases.

python build_database.py --model_name predictor --index 0 --imgnet DIR    measure random architectures on random tasks
python build_database.py --model_name predictor --collect                 merge the shards that were built so
python build_database.py --model_name generator                           the trained predictor's best for each task

For the generator the predictor scores architectures sampled from the search space, and the best becomes the tuple's
architecture: a high-quality one for that task, without training any (MetaD2A section 4.1).
"""

import argparse
import sys

from metad2a.core.cli import gpu_option, run
from metad2a.core.errors import UserError
from metad2a.core.options import CommonOptions, add_options, fill, flag, option_fields
from metad2a.database.options import ShardOptions
from metad2a.metatrain.options import BuildOptions


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_name", "--model-name", "--model", required=True, choices=("predictor", "generator"), help="whose")
    add("--collect", action="store_true", help="merge the predictor's shards into its database")
    gpu_option(parser)
    done = add_options(parser, CommonOptions)
    done = add_options(parser.add_argument_group("predictor"), ShardOptions, leave_out=done)
    add_options(parser.add_argument_group("generator"), BuildOptions, leave_out=done)
    return parser


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that belong to the other model's database, or that collecting does not use.

    Raises:
        UserError: naming the option.
    """
    own = {"predictor": ShardOptions, "generator": BuildOptions}[args.model_name]
    used = {*option_fields(CommonOptions), "overwrite"} if args.collect else set(option_fields(own, CommonOptions))
    for name in option_fields(ShardOptions, BuildOptions):
        if hasattr(args, name) and name not in used:
            mode = f"--model_name {args.model_name}{' --collect' if args.collect else ''}"
            raise UserError(f"{flag(name)} does nothing with {mode}: leave it out.")


def dispatch(args: argparse.Namespace) -> None:
    args.search_space = getattr(args, "search_space", "ofa_mbv3")
    check_options(args)

    from metad2a.core.environment import choose_device
    from metad2a.core.messages import log

    common = fill(CommonOptions, args)
    if args.model_name == "generator" and args.collect:
        log.info("The generator's database is written whole: there is nothing to collect.")
    elif args.model_name == "generator":
        from metad2a.database.generator import build

        build(fill(BuildOptions, args, device=choose_device(args.gpu)))
    elif args.collect:
        from metad2a.database.build import collect

        collect(common.search_space, common.data_path, getattr(args, "overwrite", False))
    else:
        from metad2a.database.build import build_shards

        values = {"search_space": common.search_space, "data_path": common.data_path, "use_gpus": args.gpu != "cpu"}
        options = fill(ShardOptions, args, device=choose_device(args.gpu), **values)
        if not options.imgnet:
            raise UserError("--imgnet is missing: name the ImageNet folder, one sub-folder of images a class.")
        build_shards(options)


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
