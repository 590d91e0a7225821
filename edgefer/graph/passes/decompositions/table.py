"""Which functions decompose which ONNX operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from edgefer.graph.passes.formula import Formula, Term

Decomposition: TypeAlias = Callable[[Formula], Sequence[Term | None] | None]
"""The outputs of a node as terms, None for one that nothing reads; None where the node is left alone."""

DECOMPOSITIONS: dict[str, tuple[Decomposition, ...]] = {}
"""Those of an operator, of which the first that has an answer counts."""


def decomposes(*ops: str) -> Callable[[Callable[[Formula], Term | Sequence[Term | None] | None]], Decomposition]:
    """Register the decorated function, which returns the only output or all of them, for `ops`."""

    def register(function: Callable[[Formula], Term | Sequence[Term | None] | None]) -> Decomposition:
        def decomposition(at: Formula) -> Sequence[Term | None] | None:
            results = function(at)
            return (results,) if isinstance(results, Term) else results

        DECOMPOSITIONS.update({op: (*DECOMPOSITIONS.get(op, ()), decomposition) for op in ops})
        return decomposition

    return register
