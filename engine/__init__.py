"""What every mode needs: errors, files, checkpoints, runs and the fit loop."""
