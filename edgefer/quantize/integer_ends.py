"""A quantized network that takes integers and returns integers, for accelerators that have nothing else.

What quantization decided stays as it is.  Before the network, pixels come in as they are, and a convolution of one
pixel makes of them the integers that the network reads, as normalisation in float did; so that borders are padded as
before, and no app can normalise wrongly.  Behind it, heads are what integer kernels make of the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.contract import contract_nodes, normalisation
from edgefer.graph.ir import Array, Graph, Node, TensorInfo
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.plan import Compute, Plan, QuantParams
from edgefer.quantize.scales.integer_kernels import FIXED_OUTPUT, bias_params
from edgefer.spec import INPUT

PIXELS = QuantParams("int8", (1.0,), (-128,))
"""How pixels, 0 to 255, are stored: each less 128."""

_ENDS: Mapping[str, QuantParams] = MappingProxyType(
    {**FIXED_OUTPUT, "Softmax": QuantParams("int8", (1 / 256,), (-128,))}
)
"""How kernels store what a head's activation makes."""

_STEPS = (64, *range(127, 64, -1))
"""What the largest weight of a channel may be stored as; first a power of two, by which halves stay halves."""

_FLOAT = np.dtype(np.float32)
_REMEDY = "Leave out --io int8; it computes in float between integers then."


def with_integer_ends(graph: Graph, plan: Plan) -> tuple[Graph, Plan]:
    """The network with its image and its heads among what the Plan stores, and all nodes in int8.

    Args:
        graph: quantized, pixels in and meanings out.
        plan: how it is stored.

    Raises:
        InputError: a part of it computes in float; it is named.
    """
    return _with_integer_heads(*_with_integer_image(graph, plan))


def _with_integer_image(graph: Graph, plan: Plan) -> tuple[Graph, Plan]:
    before = [node for node in graph.nodes if node.name.startswith("normalise/")]
    (read,) = before[-1].outputs
    _require_stored(graph, plan, read)
    gain, shift = normalisation(graph)
    pixels, planes, weights, bias = INPUT, *(f"normalise/{part}" for part in ("rgb", "gain", "bias"))
    nodes = [node for node in before if node.op == "Reshape"]
    if nodes:
        pixels = nodes[-1].output
    nodes += [
        Node("normalise/Transpose", "Transpose", (pixels,), (planes,), {"perm": (0, 3, 1, 2)}),
        Node("normalise/Gain", "Conv", (planes, weights, bias), (read,)),
    ]
    constants: dict[str, Array] = {
        weights: gain[:, :, np.newaxis, np.newaxis].astype(np.float32),
        bias: shift.astype(np.float32),
    }
    stored = _exact_params(gain, shift)
    tensors = dict.fromkeys((INPUT, pixels, planes), PIXELS)
    tensors |= {weights: stored, bias: bias_params(PIXELS, stored, 0)}
    batch, height, width, _ = graph.shape(pixels)
    info = {planes: TensorInfo((batch, 3, height, width), _FLOAT)}
    info |= {value: replace(graph.info[value], dtype=_FLOAT) for value in (INPUT, pixels)}
    kept = [node for node in graph.nodes if node not in before]
    graph = graph.with_constants(constants).with_nodes((*nodes, *kept), info)
    return graph, _stored_too(plan, tensors, nodes)


def _exact_params(gain: Array, shift: Array) -> QuantParams:
    """Scales of int8 weights with which gain @ rgb + shift is stored as exactly as can be, the shift in int32."""

    def error(row: Array, offset: float, scale: float) -> float:
        weights, bias = row / scale, offset / scale
        return scale * float(255 * np.abs(weights - np.rint(weights)).sum() + abs(bias - np.rint(bias)))

    scales = [
        min((float(np.float32(np.abs(row).max() / steps)) for steps in _STEPS), key=partial(error, row, offset))
        for row, offset in zip(gain, shift, strict=True)
    ]
    return QuantParams("int8", tuple(scales), (0,) * len(scales), 0, narrow=True)


def _with_integer_heads(graph: Graph, plan: Plan) -> tuple[Graph, Plan]:
    behind = [node for node in graph.nodes if node.name in contract_nodes(graph) and not plan.is_int8(node.name)]
    for node in behind:
        _require_stored(graph, plan, node.inputs[0])
        plan = _stored_too(plan, {node.output: _ENDS.get(node.op, plan.tensors[node.inputs[0]])}, [node])
    return remove_dead(graph), plan


def _stored_too(plan: Plan, tensors: Mapping[str, QuantParams], nodes: list[Node]) -> Plan:
    in_int8: dict[str, Compute] = {node.name: "int8" for node in nodes}
    return Plan({**plan.tensors, **tensors}, {**plan.nodes, **in_int8})


def _require_stored(graph: Graph, plan: Plan, value: str) -> None:
    if value not in plan.tensors:
        node = graph.producers[value]
        raise InputError(f"node {node.name!r} ({node.op}) computes in float beside an end", remedy=_REMEDY)
