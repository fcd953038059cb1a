"""NAS-Bench-201 (Dong and Yang, ICLR 2020): cells, their networks, costs and accuracies."""
