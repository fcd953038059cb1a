"""Training image classifiers: the loop, its protocol and accuracy, whatever the network."""
