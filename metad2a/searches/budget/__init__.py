"""Evidence from a user's own images: what is believed of each cell, what to train next, and the search on a budget."""
