"""Images of datasets: where they lie, how they are read, split, and turned into features."""
