"""What every command needs: errors, files, options, messages and the folder of a training run."""
