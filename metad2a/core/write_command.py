"""The frame of small programs that write one file: `python -m MODULE ... TARGET [--overwrite]`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import display_path


def write_command(
    write: Callable[[argparse.Namespace], str], description: str | None, argv: Sequence[str] | None, **arguments: Any
) -> int:
    """Run a program that writes `args.target`, but replaces an existing file only with --overwrite.

    `write` returns a line to print. `arguments` are names and argparse details of the arguments before the target.
    Returns the exit code.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, details in arguments.items():
        parser.add_argument(name, **details)
    parser.add_argument("target", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target")

    def command(args: argparse.Namespace) -> None:
        target = Path(args.target)
        values = [getattr(args, name) for name in arguments]
        sources = [path for value in values for path in (value if isinstance(value, list) else [value])]
        if target.resolve() in (Path(source).resolve() for source in sources):
            raise UserError(f"{target} is also read: give another file to write.")
        if target.exists() and not args.overwrite:
            raise UserError(f"{target} exists; add --overwrite to replace it.")
        print(f"{display_path(target)}: {write(args)}")

    return run(parser, command, argv)
