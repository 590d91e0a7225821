"""Deciding under bounds: what computes in float and what is stored in four bits."""
