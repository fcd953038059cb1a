"""Scripts that fetch data and checkpoints."""

import engine  # noqa: F401  # ends an old Python with one line
