"""An artifact: the file of a network, pixels in and meanings out, which says what they mean."""

from __future__ import annotations

import json
from typing import Any

from edgefer.emit.onnx import emit_onnx, leave_ends_stored
from edgefer.emit.tflite import describe, emit_tflite
from edgefer.graph.batches import free_batch
from edgefer.graph.ir import Graph
from edgefer.graph.number_of_images import for_any_number
from edgefer.plan import Plan
from edgefer.spec import ENDS_KEY, METADATA_KEY, Spec


def emit(format: str, graph: Graph, plan: Plan, spec: Spec, name: str, *, batched: bool = False) -> bytes:
    """The file; equal arguments give equal bytes.

    Args:
        format: `tflite` or `onnx`.
        graph: pixels in and meanings out.
        plan: how it is stored.  Where it names inputs and outputs, they are integers in the file too.
        spec: what the network means.
        name: of the network.
        batched: whether an ONNX file takes any number of images at once.

    Raises:
        UnsupportedOperatorError: TFLite cannot express a node.
        InputError: it is to be batched, and a node mixes images.
    """
    if format == "tflite":
        return describe(emit_tflite(graph, plan), spec, name)
    ends = integer_ends(format, graph, plan)
    metadata = {METADATA_KEY: json.dumps(spec.to_dict()), **({ENDS_KEY: json.dumps(ends)} if ends else {})}
    model = emit_onnx(for_any_number(graph) if batched else graph, plan, metadata)
    if ends:
        leave_ends_stored(model)
    if batched:
        free_batch(model)
    return bytes(model.SerializeToString(deterministic=True))


def integer_ends(format: str, graph: Graph, plan: Plan) -> dict[str, dict[str, Any]]:
    """How inputs and outputs are stored in a file: `dtype`, `scale` and `zero_point` by name; nothing where in float.

    A real value, of pixels one of 0 to 255, is scale * (integer - zero_point).
    """
    dtype, shift = ("int8", 0) if format == "tflite" else ("uint8", 128)
    stored = {value: plan.tensors[value] for value in (*graph.inputs, *graph.outputs) if value in plan.tensors}
    return {
        value: {"dtype": dtype, "scale": params.scale[0], "zero_point": params.zero_point[0] + shift}
        for value, params in stored.items()
    }
