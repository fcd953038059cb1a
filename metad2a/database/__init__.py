"""Building the meta-training database of the predictor: tasks, measured architectures, shards."""
