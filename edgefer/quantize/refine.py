"""Ranges chosen by what they do to the outputs.

The range with the least error of a tensor by itself need not be the one that the heads lose least by: some of a
tensor's values matter more to them than others, and neither a histogram nor a view knows which.  So wider and
narrower ranges are measured at the heads, for each scale that matters there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgefer.graph.ir import Graph
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.ranges import affine
from edgefer.quantize.sensitivity import Sensitivity

_STRETCHES = ((0.87, 0.87), (1.15, 1.15), (1.35, 1.35), (1.25, 1.0), (1.0, 1.25))  # of both ends of a range
_MATTERS = 0.01  # of the noise of all: the share of one whose range is tried
_WORTHWHILE = 0.95  # of its noise, at most, must be left: what changes less may be chance


def refine(
    graph: Graph,
    plan: Plan,
    groups: Sequence[Sequence[str]],
    sensitivity: Sensitivity,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, QuantParams]:
    """Parameters with which activations lose less at the heads than with those of the Plan, by activation.

    Args:
        graph: the float network, one input.
        plan: of that graph.
        groups: activations that are stored alike, each group in parameters of its own.
        sensitivity: measures the noise of storing them.
        advance: called after each group.
    """
    stored = [{value: plan.tensors[value] for value in group if value in plan.tensors} for group in groups]
    noises = [sensitivity.noise_of(graph, params) if params else 0.0 for params in stored]
    refined: dict[str, QuantParams] = {}
    for params, noise in zip(stored, noises, strict=True):
        if noise > _MATTERS * sum(noises):
            stretched = [dict.fromkeys(params, each) for each in _stretched(next(iter(params.values())))]
            least, best = min((sensitivity.noise_of(graph, each), index) for index, each in enumerate(stretched))
            if least <= _WORTHWHILE * noise:
                refined |= stretched[best]
        advance()
    return refined


def _stretched(params: QuantParams) -> list[QuantParams]:
    low, high = (params.scale[0] * (limit - params.zero_point[0]) for limit in params.limits)
    return [affine(low * below, high * above) for below, above in _STRETCHES]
