"""What composite operators are made of: a module per kind, a function per operator."""

from edgefer.graph.passes.decompositions import copies, curves, norms, sums
from edgefer.graph.passes.decompositions.table import DECOMPOSITIONS

__all__ = ["DECOMPOSITIONS", "copies", "curves", "norms", "sums"]
