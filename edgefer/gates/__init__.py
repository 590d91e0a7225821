"""Gates: bounds on a bundle's evidence, decided statistically against a baseline."""
