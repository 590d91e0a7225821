"""Fitting what is stored: weights, gains and biases that make up for what rounding loses."""
