"""Sums, products and extremes: of any number of operands two at a time, along axes by what runtimes have."""

from __future__ import annotations

from functools import reduce

import numpy as np

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_SMALLEST = 1e-30  # divisors whose reciprocals are numbers


@decomposes("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
def reduction(at: Formula) -> Term | None:
    """A sum of something, and something of that sum."""
    x = at.input(0)
    if at.has_input(1) and at.constant(1) is None:
        return None
    axes = at.input(1) if at.has_input(1) else None
    how = {"keepdims": at.node.int("keepdims", 1), "noop_with_empty_axes": at.node.int("noop_with_empty_axes")}
    if at.node.op == "ReduceL1":
        return x.to("Abs").to("ReduceSum", axes, **how)
    if at.node.op == "ReduceLogSum":
        return x.to("ReduceSum", axes, **how).to("Log")
    if at.node.op == "ReduceLogSumExp":
        largest = x.to("ReduceMax", axes, **{**how, "keepdims": 1})
        summed = (x - largest).to("Exp").to("ReduceSum", axes, **{**how, "keepdims": 1})
        found = summed.to("Log") + largest
        return found if how["keepdims"] else found.reshaped(*at.info(at.node.output).shape)
    squares = (x * x).to("ReduceSum", axes, **how)
    return squares.to("Sqrt") if at.node.op == "ReduceL2" else squares


@decomposes("Sum", "Mean")
def total(at: Formula) -> Term:
    """Sums two by two; a mean is a part of it."""
    terms = [at.input(index) for index in range(len(at.node.inputs))]
    summed = reduce(lambda a, b: a + b, terms)
    return summed * (1 / len(terms)) if at.node.op == "Mean" and len(terms) > 1 else summed


@decomposes("Max", "Min")
def extreme(at: Formula) -> Term | None:
    """Two by two."""
    count = len(at.node.inputs)
    if count == 2:
        return None
    return reduce(lambda a, b: a.to(at.node.op, b), map(at.input, range(count)))


@decomposes("Div")
def quotient(at: Formula) -> Term | None:
    """A product with the reciprocals of constants."""
    divisor = at.constant(1)
    if divisor is None or at.node.activation or divisor.dtype != np.float32 or np.any(np.abs(divisor) < _SMALLEST):
        return None
    return at.input(0) * (np.float32(1) / divisor)


@decomposes("CumSum")
def cumulated(at: Formula) -> Term | None:
    """A product with a triangle of ones."""
    axes = at.constant(1)
    x = at.input(0)
    if axes is None:
        return None
    axis, rank = int(axes.item()) % len(x.shape), len(x.shape)
    triangle = np.triu(np.ones((x.shape[axis],) * 2, np.float32), 1 if at.node.int("exclusive") else 0)
    triangle = triangle.T if at.node.int("reverse") else triangle
    order = (*(other for other in range(rank) if other != axis), axis)
    if axis == rank - 1:
        return x.to("MatMul", triangle)
    back = tuple(order.index(other) for other in range(rank))
    return x.transposed(*order).to("MatMul", triangle).transposed(*back)
