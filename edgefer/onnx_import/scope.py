"""What is known of a network while it is walked: shapes of all values, contents of those that no image decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from onnx import helper

from edgefer.errors import InputError, UnsupportedOperatorError
from edgefer.graph.fold import LARGEST_RESULT, fold
from edgefer.graph.inference import infer_outputs
from edgefer.graph.ir import OPSET, Array, Attribute, Node, TensorInfo, unused_name
from edgefer.onnx_import.precision import Precision
from edgefer.onnx_import.wellformed import require_operands

LARGEST_VALUE = 1_000_000_000  # bytes of what is computed from an image
LARGEST_TOTAL = 1_000_000_000  # bytes of computed constants
LARGEST_COUNT = 20_000  # nodes: a file that unfolds to more is hostile

_WHERE = "edgefer's import of ONNX"
_EXPORT = f"Export the network with opset {OPSET} (torch.onnx.export(..., opset_version={OPSET}))."
_OTHERS = "Export the network with other operators, of tensors alone."


class Scope:
    """Nodes of `OPSET` in the making; what they compute of constants alone is computed at once.

    Attributes:
        info: shape and dtype of every value so far.
        constants: contents of those that are known.
        nodes: what has to be computed from the image.
        precision: brings values to float32.
    """

    def __init__(self) -> None:
        self.info: dict[str, TensorInfo] = {}
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []
        self.precision = Precision()
        self._names: set[str] = set()
        self._bytes = 0

    def node_name(self, stem: str) -> str:
        """A name for a node, starting with `stem`, that no other has."""
        name = unused_name(stem, self._names)
        self._names.add(name)
        if len(self._names) > LARGEST_COUNT:
            raise InputError(f"it unfolds to more than {LARGEST_COUNT:,} nodes")
        return name

    def value_name(self, stem: str) -> str:
        """A name for a value, starting with `stem`, that no other has."""
        return unused_name(stem, self.info)

    def define(self, value: str, array: Array) -> str:
        """A value that is known."""
        self._require_new(value)
        self.constants[value] = self.precision.array(array, f"constant {value!r}")
        self.info[value] = TensorInfo(array.shape, self.constants[value].dtype)
        return value

    def add(self, node: Node) -> None:
        """Compute a node of `OPSET` now where that can be, else at run time.

        Raises:
            InputError: its inputs do not fit, or the shape of an output depends on what is in the image.
            UnsupportedOperatorError: ONNX tells no shape of what it makes, whatever it is given.
        """
        if unknown := [value for value in node.inputs if value and value not in self.info]:
            raise InputError(f"node {node.name!r} ({node.op}): nothing makes its input {unknown[0]!r}")
        require_operands(node, self.info)
        outputs = infer_outputs(node, self.info, self.constants)
        computed = fold(node, self.info, outputs, self.constants)
        if computed is None:
            self._keep(node, outputs)
            return
        self._bytes += sum(array.nbytes for array in computed.values())
        if self._bytes > LARGEST_TOTAL:
            raise InputError(f"its constants unfold to more than {LARGEST_TOTAL:,} bytes")
        for value, array in computed.items():
            self.define(value, array)

    def _keep(self, node: Node, outputs: Mapping[str, TensorInfo | None]) -> None:
        for value, info in outputs.items():
            if info is None and not _tells_shapes(node.op):
                raise UnsupportedOperatorError(node.name, node.op, _WHERE, remedy=_OTHERS)
            if info is None:
                raise InputError(
                    f"node {node.name!r} ({node.op}): the shape of its output {value!r} depends on the image",
                    remedy="Bring a network whose shapes are all decided by the size of its input.",
                )
            if prod(info.shape) * info.dtype.itemsize > LARGEST_VALUE:
                raise InputError(f"node {node.name!r} ({node.op}) would make {list(info.shape)} numbers of an image")
            self._require_new(value)
            self.info[value] = TensorInfo(info.shape, self.precision.dtype(info.dtype, f"value {value!r}"))
        self.nodes.append(node)

    def hand_on(self, value: str) -> None:
        """Let a node make `value`, which is known: a graph's outputs are made by nodes."""
        array = self.constants.pop(value)
        del self.info[value]
        constant = self.define(self.value_name(f"{value}/constant"), array)
        node = Node(self.node_name(f"{value}/Identity"), "Identity", (constant,), (value,))
        self._keep(node, {value: self.info[constant]})

    def _require_new(self, value: str) -> None:
        if value in self.info:
            raise InputError(f"value {value!r} is made twice", remedy="Is the file damaged?")


def _tells_shapes(op: str) -> bool:
    """Whether an operator makes tensors, and ONNX has rules for their shapes."""
    schema = onnx.defs.get_schema(op, OPSET, "")
    kinds = {kind for output in schema.outputs for kind in output.types}
    return schema.has_type_and_shape_inference_function and any(kind.startswith("tensor(") for kind in kinds)


@dataclass(frozen=True)
class Call:
    """A node as the file has it, where a restatement says it in operators of `OPSET`.

    Attributes:
        node: its operator, names and attributes.
        scope: what is known, and where the restated nodes go.
    """

    node: Node
    scope: Scope

    def info(self, index: int = 0) -> TensorInfo:
        """Shape and dtype of an input."""
        value = self.node.input(index)
        if value not in self.scope.info:
            what = f"nothing makes its input {value!r}" if value else f"it lacks its input {index}"
            raise InputError(f"node {self.node.name!r} ({self.node.op}): {what}")
        return self.scope.info[value]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Shape of an input."""
        return self.info(index).shape

    def constant(self, index: int) -> Array | None:
        """Contents of an input, None where it is left out or depends on the image."""
        return self.scope.constants.get(self.node.input(index))

    def known(self, index: int, what: str) -> Array:
        """Contents of an input that decides shapes.

        Raises:
            InputError: it depends on what is in the image.
        """
        array = self.constant(index)
        if array is None:
            self.info(index)
            raise self.unsupported(f"{self.node.op} by {what} that depend on the image")
        return array

    def require_bounded(self, numbers: int) -> None:
        """A constant of so many float32 numbers may be made.

        Raises:
            InputError: it would fill the memory.
        """
        if 4 * numbers > LARGEST_RESULT:
            what = f"node {self.node.name!r} ({self.node.op})"
            raise InputError(f"{what} would make a constant of {4 * numbers:,} bytes")

    def number(self, stem: str, value: Sequence[int] | Array) -> str:
        """A constant of its own; sequences are int64."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.int64)
        return self.scope.define(self.scope.value_name(f"{self.node.name}/{stem}"), array)

    def scalar(self, stem: str, value: float) -> str:
        """A float32 constant of its own."""
        return self.number(stem, np.asarray(value, np.float32))

    def add(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """An inner node; returns its output."""
        name = self.scope.node_name(f"{self.node.name}/{op}")
        value = self.scope.value_name(f"{self.node.output}/{op}")
        self.scope.add(Node(name, op, inputs, (value,), attributes))
        return value

    def end(self, op: str, *inputs: str, **attributes: Attribute) -> None:
        """The node that gives what the restated one gave."""
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.scope.add(Node(self.node.name, op, inputs, self.node.outputs, attributes))

    def cast(self, value: str, dtype: np.dtype[np.generic]) -> None:
        """End in `value` as another type."""
        self.end("Cast", value, to=helper.np_dtype_to_tensor_dtype(dtype))

    def first_output(self) -> Call:
        """The call without its further outputs."""
        return replace(self, node=replace(self.node, outputs=self.node.outputs[:1]))

    def without(self, *attributes: str) -> Call:
        """The call without some attributes."""
        return replace(self, node=replace(self.node, attributes=self.attributes(*attributes)))

    def attributes(self, *without: str) -> Mapping[str, Attribute]:
        """The node's attributes but those named."""
        return {name: value for name, value in self.node.attributes.items() if name not in without}

    def unsupported(self, what: str, remedy: str = _EXPORT) -> UnsupportedOperatorError:
        """The error for a node that cannot be restated."""
        return UnsupportedOperatorError(self.node.name, what, _WHERE, remedy=remedy)
