"""Which node is at fault: where two models that should agree first differ, and what of a graph a runtime refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper

from edgefer.errors import RefusedError
from edgefer.graph.ir import Array, Graph, Node
from edgefer.runtime.apart import Apart, Engine

AT_ONCE = 32
"""Values that are compared in one run: all of a network's would take its memory many times over."""

Values: TypeAlias = Mapping[str, Array]

_HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


@dataclass(frozen=True)
class Run:
    """A model and what it is fed.

    Attributes:
        model: a file, or its bytes.
        feeds: one set of inputs for each image.
        engine: what runs it.
        carried: inputs that are, after the first image, what an output was before, by its name.
    """

    model: bytes | Path
    feeds: Sequence[Values]
    engine: Engine = "onnx"
    carried: Mapping[str, str] = field(default_factory=dict)

    def by(self, engine: Engine) -> Run:
        """The same, run by another engine."""
        return replace(self, engine=engine)

    def outputs(self, apart: Apart) -> Sequence[Values]:
        """What it returns for each image, by name.

        Raises:
            RefusedError: the engine refuses it.
        """
        return apart.run(self.model, self.engine, self.feeds, carried=self.carried)

    def proto(self) -> onnx.ModelProto:
        """The ONNX model, weights included."""
        return onnx.load(self.model) if isinstance(self.model, Path) else onnx.load_from_string(self.model)


def holds_halves(run: Run) -> bool:
    """Whether a model has numbers of 16 bits."""
    graph = run.proto().graph
    values = (value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output))
    return bool(_HALVES & {*values, *(tensor.data_type for tensor in graph.initializer)})


def first_that_differs(original: Run, reference: Run, graph: Graph, apart: Apart, tolerance: float) -> str:
    """The first node, in the file's order, whose output is another in the reference, as "node 'up' (Resize)".

    Values of one name and shape are compared, on the first image; `""` where all of them agree.
    """
    model = original.proto()
    makers = {value: node for node in model.graph.node for value in node.output if value}
    shared = {value: mine for value in makers if (mine := _counterpart(graph, value))}
    names = list(shared)
    for start in range(0, len(names), AT_ONCE):
        chunk = names[start : start + AT_ONCE]
        theirs = _values(original, chunk, apart)
        ours = _values(reference, [shared[name] for name in chunk], apart)
        for name in chunk:
            if _differ(theirs[name], ours[shared[name]], tolerance):
                return _named(makers[name])
    return ""


def first_that_is_refused(graph: Graph, attempt: Callable[[Graph], object]) -> Node:
    """The node without which, and without all that follow, `attempt` on the graph raises no RefusedError.

    Args:
        graph: `attempt` fails on all of it.
        attempt: makes a model of a graph, and runs it.
    """
    fine, refused = 0, len(graph.nodes)
    while refused - fine > 1:
        middle = (fine + refused) // 2
        try:
            attempt(_beginning(graph, middle))
        except RefusedError:
            refused = middle
        else:
            fine = middle
    return graph.nodes[refused - 1]


def _beginning(graph: Graph, count: int) -> Graph:
    """The first `count` nodes, returning everything that is read later, or never."""
    nodes = graph.nodes[:count]
    read = {value for node in nodes for value in node.inputs}
    later = {value for node in graph.nodes[count:] for value in node.inputs} | set(graph.outputs)
    made = [value for node in nodes for value in node.outputs if value]
    return replace(graph, nodes=nodes, outputs=tuple(value for value in made if value in later or value not in read))


def _counterpart(graph: Graph, value: str) -> str:
    """The reference's name for a value of the file; "" where it has none."""
    return next((name for name in (f"network/{value}", value) if name in graph.producers), "")


def _values(run: Run, names: Sequence[str], apart: Apart) -> Values:
    model = run.proto()
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    return apart.run(model.SerializeToString(), run.engine, run.feeds[:1], names)[0]


def _differ(theirs: Array, ours: Array, tolerance: float) -> bool:
    if ours.dtype.kind not in "fiub" or theirs.shape[1:] != ours.shape[1:]:
        return False
    expected, found = (array[: len(ours)].astype(np.float64) for array in (theirs, ours))
    return bool(np.abs(expected - found).max(initial=0) > tolerance * max(np.abs(expected).max(initial=0), 1e-6))


def _named(node: onnx.NodeProto) -> str:
    attributes = (f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute if a.type != a.TENSOR)
    text = "".join(f", {each}" for each in attributes)
    return f"node {node.name or node.output[0]!r} ({node.op_type}{text})"
