"""The frame of small programs that write one file: `python -m MODULE ... TARGET [--overwrite]`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import display_path


def write_command(
    write: Callable[[argparse.Namespace], str],
    description: str | None,
    argv: Sequence[str] | None = None,
    **arguments: dict[str, Any],
) -> int:
    """Run a program that writes `args.target` and replaces an existing file only with --overwrite.

    Args:
        write: writes the file and returns a line about it, which is printed.
        arguments: name and argparse details of each argument before the target.

    Returns:
        The exit code; 2 if the target exists or is also read.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, details in arguments.items():
        parser.add_argument(name, **details)
    parser.add_argument("target", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target")

    def command(args: argparse.Namespace) -> None:
        target = Path(args.target)
        read = [path for name in arguments for path in _as_list(getattr(args, name))]
        if target.resolve() in (Path(path).resolve() for path in read):
            raise UserError(f"{target} is also read: give another file to write.")
        if target.exists() and not args.overwrite:
            raise UserError(f"{target} exists; add --overwrite to replace it.")
        print(f"{display_path(target)}: {write(args)}")

    return run(parser, command, argv)


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
