"""Rankings learned from benchmarks: Gaussian processes over architectures."""
