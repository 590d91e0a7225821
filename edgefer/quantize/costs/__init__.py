"""What operators cost: cost models of machines, how they are measured, and what treating a network is worth."""
