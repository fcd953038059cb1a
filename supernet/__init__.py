"""The Once-for-All supernet: its weights, its images, its training and the accuracy of its subnets."""
