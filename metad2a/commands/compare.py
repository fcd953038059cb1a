"""`compare`: run other search methods beside ours."""

from typing import Any

from metad2a.commands.base import Command
from metad2a.core.errors import UserError
from metad2a.rivals import REAL
from metad2a.rivals.options import CompareOptions
from metad2a.searches.options import ALL


def run(options: CompareOptions) -> Any:
    """Compare on a benchmark's table, or on images."""
    if options.data_name == ALL:
        raise UserError("--data-name all: compare takes one dataset.")
    if options.form == REAL:
        from metad2a.rivals.real_compare import compare_real

        return compare_real(options)
    from metad2a.rivals.compare import compare

    return compare(options)


COMMAND = Command(
    "compare",
    "Compare search methods on a benchmark's table, or by training networks on images.",
    "compare --data-name cifar10 --methods random,evolution --budget '500 evaluations'",
    CompareOptions,
    run,
)
