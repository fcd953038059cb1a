"""Building the meta-training databases: tasks, measured architectures, shards."""
