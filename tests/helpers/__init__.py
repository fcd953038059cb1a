"""What several tests share: toy data, command lines, readers of what the program writes."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
