"""The float graph: reading, normalising and recognising it."""
