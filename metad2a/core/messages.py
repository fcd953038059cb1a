"""What the program tells its user on standard error, which leaves standard output to results."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _StandardError(logging.Handler):
    """Writes to whatever standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def counted(number: float, noun: str) -> str:
    """A number with its noun in the singular or plural: 1 image, 0 images, 2 classes."""
    hisses = noun.endswith(("s", "ch", "x")) and noun != "epoch"
    ending = "" if number == 1 else "es" if hisses else "s"
    return f"{number if isinstance(number, int) else format(number, '.12g')} {noun}{ending}"


log = logging.getLogger("metad2a")
if not log.handlers:
    log.addHandler(_StandardError())
    log.setLevel(logging.INFO)
    log.propagate = False


@contextmanager
def about_file(name: str) -> Iterator[None]:
    """Put a file's name before what decoders say of it in the block: Python's warnings, and what C libraries print."""
    with tempfile.TemporaryFile() as printed, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        standard_error = os.dup(2)
        os.dup2(printed.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            printed.seek(0)
            texts = [str(warning.message) for warning in caught] + printed.read().decode(errors="replace").splitlines()
            for text in dict.fromkeys(texts):
                log.warning(f"{name}: {text}")
