"""Several images at once through a network for one, where each operator computes every image of a batch by itself."""

from __future__ import annotations

from math import prod

import onnx

from edgefer.graph.ir import Graph

AXIS = "batch"
"""Name of a model's axis of images, where that is free."""

_AT_ONCE = 8
_NUMBERS = 1 << 21  # in the largest value of a batch: more takes memory for no time
_RETURNED = 1 << 19  # numbers in all that is returned, likewise


def images_at_once(graph: Graph) -> int:
    """How many images are best run at once by a graph that takes any number of them.

    It follows from the graph alone, so that what is computed does not depend on the machine's memory or processors.
    """
    returned = sum(prod(graph.shape(value)) for value in graph.outputs)
    largest = max((prod(graph.shape(value)) for node in graph.nodes for value in node.outputs), default=0)
    return max(min(_AT_ONCE, _NUMBERS // max(largest, 1), _RETURNED // max(returned, 1)), 1)


def free_batch(model: onnx.ModelProto) -> None:
    """Let a model of a graph that takes any number of images say so."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = AXIS


def takes_batches(model: onnx.ModelProto) -> bool:
    """Whether `free_batch` was applied to it."""
    return all(value.type.tensor_type.shape.dim[0].dim_param == AXIS for value in model.graph.input)


def for_one(model: onnx.ModelProto) -> None:
    """Undo `free_batch`."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
