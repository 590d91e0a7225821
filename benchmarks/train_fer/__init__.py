"""Trains the bundled network: `python -m benchmarks.train_fer`."""
