"""The release. pyproject.toml reads it."""

__version__ = "1.0.0"
