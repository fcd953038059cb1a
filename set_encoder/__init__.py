"""Set Transformer dataset encoder."""
