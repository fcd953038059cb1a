"""Evaluating a MobileNetV3 architecture: its subnet with the supernet's weights, fine-tuned on a dataset."""
