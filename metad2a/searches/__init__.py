"""Meta-test: search for a dataset, the published two steps and their reports (MetaD2A section 4.2)."""
