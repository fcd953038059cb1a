"""Datasets as features, meta-training tuples, and draws of both."""
