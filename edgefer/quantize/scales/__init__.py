"""Ranges, scales and zero points, and the Plan made of them."""
