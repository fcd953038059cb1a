"""Imported by every command first: says in one line that Python is too old. It runs on old ones itself."""

import sys

OLDEST = (3, 11)

if sys.version_info < OLDEST:
    sys.stderr.write("error: MetaD2A needs Python %d.%d or later, this is %d.%d.\n" % (OLDEST + sys.version_info[:2]))  # noqa: UP031
    sys.exit(2)
