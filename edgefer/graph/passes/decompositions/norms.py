"""Normalisations in terms of what runtimes have."""

from __future__ import annotations

from math import prod

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_EPSILON = 1e-5  # ONNX's default
_TINY = 1e-30  # a norm of zeros, that zeros are divided by


@decomposes("InstanceNormalization")
def instance_normalisation(at: Formula) -> Term | None:
    """A row of elements for each of a few groups, as `nn.GroupNorm` is exported, stays what it was cut from."""
    x = at.graph.producers.get(at.node.inputs[0])
    if x is None or x.op != "Reshape":
        return None
    whole, rows = at.graph.shape(x.inputs[0]), at.graph.shape(x.output)
    if len(rows) != 3 or len(whole) < 3 or whole[1] % rows[1] or rows[1] * rows[2] != prod(whole[1:]):
        return None
    split = at.value(x.inputs[0]).reshaped(whole[0], rows[1], whole[1] // rows[1], *whole[2:])
    scale, bias = at.input(1), at.input(2)
    normal = split.to("InstanceNormalization", scale, bias, epsilon=at.node.float("epsilon", _EPSILON))
    return normal.reshaped(*rows)


@decomposes("LpNormalization")
def lp_normalisation(at: Formula) -> Term:
    """X over its norm along an axis."""
    x = at.input(0)
    axis = at.node.int("axis", -1) % len(x.shape)
    if at.node.int("p", 2) == 1:
        norm = x.to("Abs").over("ReduceSum", axis)
    else:
        norm = (x * x).over("ReduceSum", axis).to("Sqrt")
    return x / norm.to("Max", _TINY)


@decomposes("LayerNormalization")
def layer_normalisation(at: Formula) -> list[Term] | None:
    """Step by step, where the mean or the inverse deviation is wanted too."""
    if not (at.wants(1) or at.wants(2)):
        return None
    x = at.input(0)
    axes = range(at.node.int("axis", -1) % len(x.shape), len(x.shape))
    mean = x.over("ReduceMean", *axes)
    rest = x - mean
    variance = (rest * rest).over("ReduceMean", *axes)
    inverse = (variance + at.node.float("epsilon", _EPSILON)).to("Sqrt").to("Reciprocal")
    scaled = rest * inverse * at.input(1)
    return [scaled + at.input(2) if at.has_input(2) else scaled, mean, inverse]
