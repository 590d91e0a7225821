"""Trained networks: how a family is recognised and read, and those that come with edgefer."""
