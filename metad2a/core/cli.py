"""What the command-line programs share."""

import argparse
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

import metad2a
from metad2a.core.errors import UserError
from metad2a.core.messages import log

USER_ERROR_CODE = 2
INTERRUPTED_CODE = 130
BROKEN_PIPE_CODE = 141
MIRROR_VARIABLE = "METAD2A_MIRROR"
ALLOW_PICKLE_VARIABLE = "METAD2A_ALLOW_PICKLE"
LARGEST = 10**7  # of anything that is counted: more is a slip of the keyboard
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate",
             "not enough memory", "invalid buffer size", "storage size calculation overflowed")  # fmt: skip
NUMBER = re.compile(r"[+-]?\d{1,25}")


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not NUMBER.fullmatch(text.strip()):
            raise argparse.ArgumentTypeError(f"takes a whole number, not {text[:40]!r}")
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be at least {low} and at most {high}, not {int(text)}")
        return int(text)

    return parse


positive_int = whole_number(1, LARGEST)  # counts and sizes
not_negative_int = whole_number(0, LARGEST)  # counts that may be 0
seed_number = whole_number(0, 2**32 - 1)  # small enough that the numbers derived from one are seeds too
width = whole_number(1, 8192)  # of a model's vectors
image_side = whole_number(1, 4096)  # pixels


def not_negative_float(text: str) -> float:
    """An argparse type."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"must be a finite number that is not negative, not {text}")
    return value


def positive_float(text: str) -> float:
    """An argparse type."""
    value = not_negative_float(text)
    if not value:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def fraction(text: str) -> float:
    """An argparse type."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, not {text}")
    return value


def true_or_false(text: str) -> bool:
    """An argparse type for options that take a word, as `--train-arch true`."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"takes true or false, not {text!r}")
    return words[text.lower()]


def gpu_option(parser: argparse.ArgumentParser) -> None:
    """Add `--gpu`."""
    parser.add_argument("--gpu", help="CUDA device number, or cpu (default: GPU 0 where there is one, else the CPU)")


def count_or_all(text: str) -> int | None:
    """The argparse type of a number, or None for `all`."""
    return None if text == "all" else positive_int(text)


def default_mirror() -> str | None:
    """Look up in the environment where official files are fetched from instead."""
    return os.environ.get(MIRROR_VARIABLE)


def add_general_options(parser: argparse.ArgumentParser) -> None:
    """Add what every program has: `--version`, `--quiet`, `--verbose` and `--debug`."""
    parser.add_argument("--version", action="version", version=f"MetaD2A {metad2a.__version__}")
    group = parser.add_argument_group("messages").add_mutually_exclusive_group()
    texts = {"quiet": "results and errors alone", "verbose": "more messages", "debug": "more, and tracebacks of errors"}
    for name, text in texts.items():
        group.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)


def set_messages(args: argparse.Namespace) -> bool:
    """Take the options of messages out of `args` and follow them; returns whether tracebacks are wanted."""
    quiet, verbose, debug = (vars(args).pop(name, False) for name in ("quiet", "verbose", "debug"))
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose or debug else logging.INFO)
    return debug


def run(
    parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], None], argv: Sequence[str] | None = None
) -> int:
    """Parse, run, and turn errors that users can solve into one paragraph and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows its code instead
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    add_general_options(parser)
    parser.error = _refuse  # type: ignore[method-assign]
    args = parser.parse_args(argv)
    debug = set_messages(args)
    try:
        command(args)
    except UserError as error:
        if debug:
            traceback.print_exc()
        return _report_error(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_CODE
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stderr.close()
        return BROKEN_PIPE_CODE
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            return _report_error(f"Memory is not enough ({_first_line(error)}). {smaller_options(parser, args)}")
        if not isinstance(error, OSError):
            raise
        return _report_error(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
    return 0


def _refuse(message: str) -> NoReturn:
    """What a parser does with options that it cannot read."""
    sys.exit(_report_error(f"{message}. --help lists the options."))


def _report_error(text: str) -> int:
    """Print an error as one paragraph; returns the exit code."""
    print(f"error: {' '.join(line.strip() for line in text.strip().splitlines())}", file=sys.stderr)
    return USER_ERROR_CODE


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory, of the machine or of a GPU, was not enough."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(part in words for part in NO_MEMORY)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def smaller_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """Advise what to make smaller when memory is short: the numbers on the command line, else what usually helps."""
    names = {action.dest: action.option_strings[0] for action in parser._actions if action.option_strings}
    usual = [names[dest] for dest in SIZES if dest in names]
    numbers = [names[dest] for dest in SIZES if dest in names and isinstance(getattr(args, dest, None), int)]
    which = ", ".join(numbers or usual)
    return f"Make smaller: {which}." if which else "Close other programs, or use a machine with more memory."


# Options that memory grows with, those that it grows most with first.
SIZES = ("batch_size", "latency_batch", "image_size", "first_size", "num_sample", "num_draws", "num_gen_arch",
         "hs", "nz", "num_tasks", "num_sampled", "num_calibration", "num_workers")  # fmt: skip
