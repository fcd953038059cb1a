"""Scripts that fetch data and checkpoints."""

import engine.python  # noqa: F401
