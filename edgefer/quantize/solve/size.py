"""How large artifacts become, before anything is run, and without making them where that is not needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgefer.graph.ir import Graph
from edgefer.plan import Plan
from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.int4 import can_be_int4, with_int4
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.solve.ways import with_stored_weights

_PER_FILE = 1 << 16  # bytes: metadata, tables
_PER_NODE = 1 << 12  # names, types and scales of what it reads and makes
_PER_CHANNEL = 40  # scales and zero points of weights and of biases, in the larger of both formats


def sized_plan(graph: Graph, keep_float: frozenset[str]) -> Plan:
    """A Plan of full int8 that says how large a network's artifacts are, and nothing else.

    Args:
        graph: the float network; nothing of it is run.
        keep_float: names of nodes that compute in float, from int8-stored weights.
    """
    seen = Histogram()
    seen.add(np.array([-1, 1], np.float32))  # ranges take no bytes
    plan = plan_int8(graph, dict.fromkeys(tensors_to_observe(graph, keep_float), seen), keep_float)
    return with_stored_weights(graph, plan, keep_float)


def smallest_size(graph: Graph, keep_float: frozenset[str], size: Callable[[Graph, Plan], int], enough: int) -> int:
    """About how many bytes a network takes with four bits wherever kernels read them, or the first `enough` found.

    Args:
        graph: the float network; nothing of it is run.
        keep_float: names of nodes that compute in float.
        size: bytes of the largest artifact of a graph and its Plan.
        enough: bytes that need no four bits.
    """
    plan = sized_plan(graph, keep_float)
    if is_surely_within(graph, plan, enough):
        return enough
    full = size(graph, plan)
    if full <= enough:
        return full
    return min(full, size(graph, with_int4(graph, plan, [n for n in graph.nodes if can_be_int4(graph, plan, n)])))


def is_surely_within(graph: Graph, plan: Plan, budget: int) -> bool:
    """Whether the artifacts of a graph and its Plan cannot take more than `budget` bytes, generously counted."""
    read = [value for node in graph.nodes for value in node.inputs if graph.is_constant(value)]
    bytes = _PER_FILE + _PER_NODE * len(graph.nodes)
    for value in read:
        array = graph.constants[value]
        bytes += array.size if value in plan.tensors and plan.tensors[value].bits <= 8 else array.nbytes
        bytes += _PER_CHANNEL * array.shape[0] if array.ndim > 1 else 0
    return bytes <= budget
