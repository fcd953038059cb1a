"""Dataset to architecture graphs."""
