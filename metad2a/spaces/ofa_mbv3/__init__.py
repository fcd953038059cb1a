"""Once-for-All MobileNetV3 (Cai et al., ICLR 2020): layers, costs, the supernet and its subnets."""
