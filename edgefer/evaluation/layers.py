"""The network layer by layer: what quantization costs at each tensor, and where the runtimes part.

The int8 models are emitted a second time with every planned tensor as an output, so that the very integers are
seen.  To tell what an operator adds itself from what it was given, each is also run on equal integers in both
runtimes: in a graph where all of them stand side by side, each fed from outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from edgefer.bundle import Bundle
from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.errors import InputError
from edgefer.evaluation.counterparts import find_counterparts
from edgefer.evaluation.metrics import decibels
from edgefer.evaluation.rebuild import Rebuilt, rebuild
from edgefer.evaluation.results import LayerDrift, LayerView
from edgefer.graph.ir import Feed, Graph, Node
from edgefer.graph.onnx_io import to_onnx
from edgefer.images import ImageSet
from edgefer.images.preprocess import iter_feeds
from edgefer.plan import Plan
from edgefer.quantize.observe.recorded import recorded
from edgefer.runtime.runners import onnx_session, tflite_interpreter

Integers: TypeAlias = npt.NDArray[np.int8]
Reals: TypeAlias = npt.NDArray[np.float32]
_FED = "/fed"


def view_layers(bundle: Bundle, images: ImageSet) -> LayerView:
    """Compare all planned tensors of a bundle's artifacts on some images, one image at a time.

    Raises:
        InputError: there are no images, or float reference and plan do not explain any artifact.
    """
    if not len(images):
        raise InputError("there are no images to view the layers on")
    rebuilt = rebuild(bundle)
    formats = [format for format, is_exact in rebuilt.exact.items() if is_exact]
    if not formats:
        raise InputError(f"{bundle.path}: its artifacts were not emitted from its plan by this edgefer")
    if not planned_activations(rebuilt.graph, rebuilt.plan):
        return LayerView(len(images), (), rebuilt.exact)  # all of it computes in float
    feeds = list(iter_feeds(recorded(rebuilt.reference, images, bundle.spec), bundle.spec))
    comparison = _Comparison(rebuilt, formats, feeds)
    for feed in feeds:
        comparison.add(feed)
    return LayerView(len(images), comparison.layers(), rebuilt.exact)


def planned_activations(graph: Graph, plan: Plan) -> tuple[str, ...]:
    """The tensors that both artifacts store as integers, in network order."""
    made = [value for node in graph.nodes for value in node.outputs]
    return tuple(value for value in made if value in plan.tensors and value not in graph.outputs)


@dataclass
class _Difference:
    """Integers of one runtime against the other's."""

    elements: int = 0
    differing: int = 0
    max_lsb: int = 0

    def add(self, first: Integers, second: Integers) -> None:
        self.elements += first.size
        if not np.array_equal(first, second):
            difference = np.abs(first.astype(np.int16) - second)
            self.differing += int(np.count_nonzero(difference))
            self.max_lsb = max(self.max_lsb, int(difference.max()))


@dataclass
class _Tally:
    """Sums over images for one tensor."""

    signal: float = 0.0
    noise: dict[str, float] = field(default_factory=dict)
    together: _Difference = field(default_factory=_Difference)
    alone: _Difference = field(default_factory=_Difference)


class _Comparison:
    def __init__(self, rebuilt: Rebuilt, formats: list[str], feeds: Sequence[Feed]) -> None:
        graph, plan = rebuilt.graph, rebuilt.plan
        self._graph = graph
        self._plan = plan
        self._tensors = planned_activations(graph, plan)
        self._tallies = {tensor: _Tally() for tensor in self._tensors}
        self._counterparts = find_counterparts(rebuilt.reference, graph, self._tensors, feeds)
        self._exact_tensors = list(dict.fromkeys(each.name for each in self._counterparts.values()))
        self._float = onnx_session(to_onnx(rebuilt.reference, self._exact_tensors))
        self._models = {format: _open(format, graph, plan, self._tensors) for format in formats}
        fed, fed_plan, made = _side_by_side(graph, plan)
        self._fed_tensors = tuple(value.removesuffix(_FED) for value in fed.inputs)
        is_pair = len(formats) == 2
        self._fed = {format: _open(format, fed, fed_plan, made) for format in formats} if is_pair else {}

    def add(self, feeds: Feed) -> None:
        """Take one image into account, uint8 (1, H, W, 3), and what the float network carries then."""
        exact = dict(zip(self._exact_tensors, self._float.run(self._exact_tensors, feeds), strict=True))
        fed = {name: self._stored(name, values) for name, values in feeds.items()}
        stored = {format: model.run(fed) for format, model in self._models.items()}
        for tensor, counterpart in self._counterparts.items():
            values = counterpart.of(exact[counterpart.name])
            self._add_noise(tensor, values, {format: integers[tensor] for format, integers in stored.items()})
        if self._fed:
            first, second = stored.values()
            for tensor in self._tensors:
                self._tallies[tensor].together.add(first[tensor], second[tensor])
            known = {**fed, **first}
            given = {f"{tensor}{_FED}": known[tensor] for tensor in self._fed_tensors}
            first, second = (model.run(given) for model in self._fed.values())
            for tensor in first:
                self._tallies[tensor].alone.add(first[tensor], second[tensor])

    def _stored(self, name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What artifacts are fed: integers, where they store what comes in."""
        params = self._plan.tensors.get(name)
        return values if params is None else params.quantize(values)

    def _add_noise(self, tensor: str, values: Reals, stored: Mapping[str, Integers]) -> None:
        tally, params = self._tallies[tensor], self._plan.tensors[tensor]
        tally.signal += _power(values)
        known: list[tuple[Integers, float]] = []
        for format, integers in stored.items():
            noise = next((power for other, power in known if np.array_equal(other, integers)), None)
            if noise is None:
                noise = _power(params.dequantize(integers) - values)
                known.append((integers, noise))
            tally.noise[format] = tally.noise.get(format, 0.0) + noise

    def layers(self) -> tuple[LayerDrift, ...]:
        """What was found, in network order."""
        return tuple(self._layer(tensor, tally) for tensor, tally in self._tallies.items())

    def _layer(self, tensor: str, tally: _Tally) -> LayerDrift:
        node = self._graph.producers[tensor]
        sqnr = {format: decibels(tally.signal, noise) for format, noise in tally.noise.items()}
        together, alone = (
            (found.differing / found.elements, found.max_lsb) if found.elements else (None, None)
            for found in (tally.together, tally.alone)
        )
        known = {format: value if np.isfinite(value) else None for format, value in sqnr.items()}
        return LayerDrift(tensor, node.name, node.op, known, *together, *alone)


def _power(values: Reals) -> float:
    return float(np.vdot(values, values))


def _side_by_side(graph: Graph, plan: Plan) -> tuple[Graph, Plan, tuple[str, ...]]:
    """All int8 nodes, each reading its activations from graph inputs; with the plan for that and what they make."""
    nodes: list[Node] = []
    fed: dict[str, str] = {}
    for node in graph.nodes:
        if not plan.is_int8(node.name) or any(value in graph.outputs for value in node.outputs):
            continue
        for value in node.inputs:
            if value in plan.tensors and not graph.is_constant(value):
                fed[value] = f"{value}{_FED}"
        nodes.append(replace(node, inputs=tuple(fed.get(value, value) for value in node.inputs)))
    made = tuple(value for node in nodes for value in node.outputs if value in plan.tensors)
    info = {name: graph.info[value] for value, name in fed.items()}
    beside = replace(graph.with_nodes(nodes, info), inputs=tuple(fed.values()), outputs=())
    return (
        beside,
        Plan({**plan.tensors, **{name: plan.tensors[value] for value, name in fed.items()}}, plan.nodes),
        made,
    )


def _open(format: str, graph: Graph, plan: Plan, tensors: tuple[str, ...]) -> _OnnxIntegers | _TfliteIntegers:
    return (_OnnxIntegers if format == "onnx" else _TfliteIntegers)(graph, plan, tensors)


class _OnnxIntegers:
    """The ONNX artifact of a graph, returning what it stores."""

    def __init__(self, graph: Graph, plan: Plan, tensors: tuple[str, ...]) -> None:
        model = emit_onnx(graph, plan)
        stored = {node.name: node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
        self._stored = {tensor: stored[f"{tensor}/Quantize"] for tensor in tensors}
        for tensor, name in self._stored.items():
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, graph.shape(tensor))
            model.graph.output.append(value)
        self._plan = plan
        self._session = onnx_session(model)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, Integers]:
        """Integers of the tensors; int8 feeds are stored integers too."""
        real = {
            name: self._plan.tensors[name].dequantize(values) if values.dtype == np.int8 else values
            for name, values in feeds.items()
        }
        found = self._session.run(list(self._stored.values()), real)
        return {
            tensor: (values.astype(np.int16) - 128).astype(np.int8)
            for tensor, values in zip(self._stored, found, strict=True)
        }


class _TfliteIntegers:
    """The TFLite artifact of a graph, returning what it stores."""

    def __init__(self, graph: Graph, plan: Plan, tensors: tuple[str, ...]) -> None:
        self._tensors = tensors
        model = emit_tflite(replace(graph, outputs=(*graph.outputs, *tensors)), plan)
        self._runner = tflite_interpreter(model).get_signature_runner()

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, Integers]:
        """Integers of the tensors."""
        found = self._runner(**feeds)
        return {tensor: found[tensor] for tensor in self._tensors}
