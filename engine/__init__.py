"""What every mode needs: errors, files, options, checkpoints, runs and the fit loop. It needs Python 3.11.4."""

import sys

__version__ = "1.0.0"

if sys.version_info < (3, 11, 4):  # programs import this before anything that an older Python cannot parse
    sys.stderr.write(f"error: MetaD2A needs Python 3.11.4 or later; this is {sys.version.split()[0]}.\n")
    sys.exit(2)
