"""Scores of faces over time: measured on as few frames as the answer needs, smoothed, read as events, summed up."""
