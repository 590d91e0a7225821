"""Emitters: a float graph and a Plan become a file."""
