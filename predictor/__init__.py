"""Dataset and architecture to predicted accuracy."""
