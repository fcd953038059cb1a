"""The program's entry point; metad2a/__main__.py has the commands."""

import sys

from metad2a.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
