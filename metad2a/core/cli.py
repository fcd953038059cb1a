"""What all programs share: errors as one paragraph, exit codes and messages."""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.core.options import MIRROR_VARIABLE, first_names, make_parser, prepare
from metad2a.core.version import __version__

VERSION = f"MetaD2A {__version__}"
USER_ERROR_CODE = 2
INTERRUPTED_CODE = 130
BROKEN_PIPE_CODE = 141
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate",
             "not enough memory", "invalid buffer size", "storage size calculation overflowed")  # fmt: skip


def gpu_option(parser: argparse.ArgumentParser) -> None:
    """Add `--gpu`."""
    parser.add_argument("--gpu", help="CUDA device number, or cpu (default: GPU 0 if there is one, else the CPU)")


def default_mirror() -> str | None:
    """Look up in the environment where official files are fetched from instead."""
    return os.environ.get(MIRROR_VARIABLE)


def add_message_options(group: "argparse._ActionsContainer") -> None:
    """Add `--quiet` and `--debug`."""
    levels = group.add_mutually_exclusive_group()
    texts = {"quiet": "Print only results and errors.", "debug": "Print tracebacks of errors."}
    for name, text in texts.items():
        levels.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)


def set_messages(args: argparse.Namespace) -> None:
    """Take the options of messages out of `args` and follow them."""
    quiet, debug = (vars(args).pop(name, False) for name in ("quiet", "debug"))
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if debug else logging.INFO)


def run(
    parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], None], argv: Sequence[str] | None = None
) -> int:
    """Run a program that has a parser of its own; returns the exit code."""
    parser.add_argument("--version", action="version", version=VERSION)
    add_message_options(parser)

    def refuse(message: str) -> None:
        raise UserError(f"{message}. --help lists the options.")

    parser.error = refuse  # type: ignore[method-assign, assignment]
    return guarded(lambda: command(_parsed(parser, argv)))


def run_options(description: str, cls: type, work: Callable[[Any], None], argv: Sequence[str] | None = None) -> int:
    """Run a program whose options are the dataclass `cls`; returns the exit code."""

    def whole() -> None:
        parser, group = make_parser(Path(sys.argv[0]).name, description, cls)
        add_message_options(group)
        args = parser.parse_args(first_names(cls, sys.argv[1:] if argv is None else argv))
        set_messages(args)
        work(prepare(cls, vars(args)))

    return guarded(whole)


def _parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    set_messages(args)
    return args


def guarded(work: Callable[[], None], smaller: Callable[[], Sequence[str]] = tuple) -> int:
    """Do the work of a program, and turn errors that users can solve into one paragraph and exit code 2.

    Args:
        smaller: names the options to make smaller if memory is short.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows its code instead
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        work()
    except UserError as error:
        if log.level == logging.DEBUG:
            traceback.print_exc()
        return report_error(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_CODE
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stderr.close()
        return BROKEN_PIPE_CODE
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            names = ", ".join(smaller())
            advice = f"Make smaller: {names}." if names else "Close other programs, or use a machine with more memory."
            return report_error(f"Memory is not enough ({_first_line(error)}). {advice}")
        if not isinstance(error, OSError):
            raise
        return report_error(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
    return 0


def report_error(text: str) -> int:
    """Print an error as one paragraph; returns the exit code."""
    paragraph = " ".join(line.strip() for line in text.strip().splitlines())
    print(f"error: {as_started(paragraph)}", file=sys.stderr)
    return USER_ERROR_CODE


def program() -> str:
    """The name of the program as it was started: `metad2a` if it is installed, else `main.py`."""
    path = Path(sys.argv[0])
    return "metad2a" if "metad2a" in (path.stem, path.parent.name) and path.stem != "main" else "main.py"


def as_started(text: str) -> str:
    """Write commands in a message as the user can type them: a clone has scripts, an installed program has not."""
    if program() != "metad2a":
        return text
    text = text.replace("python main.py ", "metad2a ").replace("python process_dataset.py ", "metad2a process-dataset ")
    for name in FETCHED:
        text = text.replace(f"python get_files/get_{name.replace('-', '_')}.py", f"metad2a get-files {name}")
    return text


# What `get-files` fetches; in a clone each has a script, get_files/get_<name>.py
FETCHED = ("preprocessed-data", "generator-checkpoint", "predictor-checkpoint", "generator-database",
           "predictor-database", "mnist", "aircraft", "pets", "nasbench201", "ofa-supernet")  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory, of the machine or of a GPU, was not enough."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(part in words for part in NO_MEMORY)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
