"""What the program tells its user on standard error, which leaves standard output to results."""

import logging
import sys


class _StandardError(logging.Handler):
    """Writes to whatever standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def counted(number: float, noun: str) -> str:
    """A number with its noun in the singular or plural: 1 image, 0 images, 2 classes."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "ch", "x")) else "s"
    return f"{number} {noun}{ending}"


log = logging.getLogger("metad2a")
if not log.handlers:
    log.addHandler(_StandardError())
    log.setLevel(logging.INFO)
    log.propagate = False
