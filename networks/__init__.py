"""Networks of the architectures that a search finds: building, training, keeping and exporting them."""
