"""Meta-training: tuples, draws, objectives, the loop and its checkpoints (MetaD2A section 4.1)."""
