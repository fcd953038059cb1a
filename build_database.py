"""The published spelling of a command; see metad2a/commands/build_database.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from metad2a.commands.build_database import build_parser, dispatch
from metad2a.core.cli import run

if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
