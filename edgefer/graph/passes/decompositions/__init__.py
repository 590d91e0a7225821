"""What composite operators are made of: a module per kind, a function per operator."""

from edgefer.graph.passes.decompositions import (
    borders,
    choices,
    copies,
    curves,
    grids,
    indices,
    lookups,
    margins,
    norms,
    powers,
    products,
    rows,
    samples,
    steps,
    sums,
    windows,
)
from edgefer.graph.passes.decompositions.table import DECOMPOSITIONS

__all__ = [
    "DECOMPOSITIONS",
    "borders",
    "choices",
    "copies",
    "curves",
    "grids",
    "indices",
    "lookups",
    "margins",
    "norms",
    "powers",
    "products",
    "rows",
    "samples",
    "steps",
    "sums",
    "windows",
]
