"""Scripts that fetch data and checkpoints."""
