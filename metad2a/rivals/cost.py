"""The two forms of a comparison."""

TABLE, REAL = "table", "real"  # accuracies are looked up in a table, or networks are trained on images
