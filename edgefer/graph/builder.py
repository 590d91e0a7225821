"""A float graph, built node by node: what converters use.

    build = GraphBuilder("tiny")
    x = build.input("image", (1, 3, 64, 64))
    x = build.conv("stem", x, weights, stride=2, padding="same")
    x = build.batch_norm("norm", x, gamma, beta, mean, variance, epsilon=1e-3)
    x = build.silu("norm.act", x)
    x = build.linear("head", build.flatten("flat", build.global_average_pool("pool", x)), head_weights, head_bias)
    graph = build.graph(x)

Every method takes the node's name first, adds the node, and returns the name of its output value, which
is the same.  Shapes follow by ONNX's own inference, so a mistake is reported at the node that has it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.inference import infer_outputs
from edgefer.graph.ir import Array, Attribute, Graph, Node, TensorInfo
from edgefer.graph.passes.resolve_padding import same_pads

Padding: TypeAlias = int | Literal["same"] | tuple[int, int, int, int]
"""All sides alike; as TensorFlow's SAME pads for the size at hand; or top, left, bottom, right."""


class GraphBuilder:
    """Collects nodes and constants; `graph` returns the result.

    Attributes:
        outputs: values that the graph returns which is built upon.
    """

    def __init__(self, name: str, upon: Graph | None = None) -> None:
        """`upon` is a graph to add to; nothing by default."""
        self.outputs = () if upon is None else upon.outputs
        self._name = name
        self._inputs: list[str] = [] if upon is None else [*upon.inputs]
        self._nodes: list[Node] = [] if upon is None else [*upon.nodes]
        self._constants: dict[str, Array] = {} if upon is None else {**upon.constants}
        self._info: dict[str, TensorInfo] = {} if upon is None else {**upon.info}

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        """A float32 value that the caller feeds."""
        self._define(name, TensorInfo(shape, np.dtype(np.float32)))
        self._inputs.append(name)
        return name

    def constant(self, name: str, array: Array) -> str:
        """A value known at conversion time."""
        self._define(name, TensorInfo(array.shape, array.dtype))
        self._constants[name] = array
        return name

    def shape(self, value: str) -> tuple[int, ...]:
        """Static shape of a value."""
        return self._info[value].shape

    def op(self, op: str, name: str, *inputs: str, **attributes: Attribute) -> str:
        """Any ONNX operator with one output.

        Raises:
            InputError: the inputs do not fit the operator.
        """
        node = Node(name, op, inputs, (name,), attributes)
        info = infer_outputs(node, self._info, self._constants)[name]
        if info is None:
            raise InputError(f"node {name!r}: {op} has no static shape")
        self._define(name, info)
        self._nodes.append(node)
        return name

    def conv(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: int = 1,
        padding: Padding = 0,
        groups: int = 1,
    ) -> str:
        """2-D convolution; `weight` is (out, in / groups, height, width)."""
        self._require_channels(name, x, weight.shape[1] * groups)
        if padding == "same":
            axes = zip(self.shape(x)[2:], weight.shape[2:], strict=True)
            (top, bottom), (left, right) = (same_pads(size, kernel, stride) for size, kernel in axes)
            pads = (top, left, bottom, right)
        else:
            pads = (padding,) * 4 if isinstance(padding, int) else padding
        return self.op(
            "Conv",
            name,
            x,
            self.constant(f"{name}.weight", weight),
            *([self.constant(f"{name}.bias", bias)] if bias is not None else []),
            kernel_shape=weight.shape[2:],
            strides=(stride, stride),
            pads=pads,
            group=groups,
        )

    def batch_norm(
        self, name: str, x: str, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float
    ) -> str:
        """Normalisation by stored statistics, each of shape (channels,)."""
        self._require_channels(name, x, len(gamma))
        parts = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
        values = [self.constant(f"{name}.{part}", array) for part, array in parts.items()]
        return self.op("BatchNormalization", name, x, *values, epsilon=epsilon)

    def sigmoid(self, name: str, x: str) -> str:
        """Logistic function, 1 / (1 + exp(-x))."""
        return self.op("Sigmoid", name, x)

    def silu(self, name: str, x: str) -> str:
        """SiLU, also called swish: x times its sigmoid."""
        return self.mul(name, x, self.sigmoid(f"{name}.sigmoid", x))

    def relu(self, name: str, x: str) -> str:
        """Replace what is negative by 0."""
        return self.op("Relu", name, x)

    def relu6(self, name: str, x: str) -> str:
        """Clip x to [0, 6]."""
        low = self.constant(f"{name}.min", np.array(0, np.float32))
        high = self.constant(f"{name}.max", np.array(6, np.float32))
        return self.op("Clip", name, x, low, high)

    def add(self, name: str, a: str, b: str) -> str:
        """Sum of two values, broadcast."""
        return self.op("Add", name, a, b)

    def mul(self, name: str, a: str, b: str) -> str:
        """Product of two values, element by element, broadcast."""
        return self.op("Mul", name, a, b)

    def global_average_pool(self, name: str, x: str) -> str:
        """Mean over height and width, which stay as axes of size 1."""
        return self.op("GlobalAveragePool", name, x)

    def flatten(self, name: str, x: str) -> str:
        """(1, C, H, W) to (1, C·H·W)."""
        return self.op("Flatten", name, x, axis=1)

    def linear(self, name: str, x: str, weight: Array, bias: Array | None = None) -> str:
        """Fully connected layer on (1, in); `weight` is (out, in)."""
        self._require_channels(name, x, weight.shape[1])
        values = [self.constant(f"{name}.weight", weight)]
        if bias is not None:
            values.append(self.constant(f"{name}.bias", bias))
        return self.op("Gemm", name, x, *values, transB=1)

    def lstm(
        self, name: str, x: str, weights: Array, recurrence: Array, bias: Array, states: tuple[str, str] | None = None
    ) -> tuple[str, str, str]:
        """An LSTM over (steps, batch, in): its outputs (steps, directions, batch, hidden), last hidden and cell state.

        Args:
            name: of the node, and of its first output.
            x: the value that it reads.
            weights: (directions, 4 hidden, in), by gates in ONNX's order: input, output, forget, cell.
            recurrence: (directions, 4 hidden, hidden).
            bias: (directions, 8 hidden), of `weights` and then of `recurrence`.
            states: hidden and cell state before the first step, (directions, batch, hidden) each; zero by default.
        """
        constants = [
            self.constant(f"{name}.{part}", array)
            for part, array in (("weight", weights), ("recurrence", recurrence), ("bias", bias))
        ]
        direction = "bidirectional" if len(weights) > 1 else "forward"
        attributes: dict[str, Attribute] = {"hidden_size": recurrence.shape[2], "direction": direction}
        outputs = (name, f"{name}.hidden", f"{name}.cell")
        node = Node(name, "LSTM", (x, *constants, *(("", *states) if states else ())), outputs, attributes)
        for output, info in infer_outputs(node, self._info, self._constants).items():
            assert info is not None
            self._define(output, info)
        self._nodes.append(node)
        return outputs

    def upon(self, graph: Graph, x: str) -> tuple[str, ...]:
        """All of a graph of one input once more, reading `x`, for as many images as that has; returns its outputs."""
        for name, array in graph.constants.items():
            self.constant(name, array)
        names = {graph.inputs[0]: x}
        for node in graph.nodes:
            names[node.output] = self.op(
                node.op, node.name, *(names.get(value, value) for value in node.inputs), **node.attributes
            )
        return tuple(names[output] for output in graph.outputs)

    def graph(self, *outputs: str) -> Graph:
        """Everything added so far, with `outputs` to read."""
        return Graph(self._name, tuple(self._nodes), tuple(self._inputs), outputs, self._constants, self._info)

    def _define(self, name: str, info: TensorInfo) -> None:
        if name in self._info:
            raise ValueError(f"the graph already has a value {name!r}")
        self._info[name] = info

    def _require_channels(self, name: str, x: str, channels: int) -> None:
        """What ONNX's inference does not look at."""
        if self.shape(x)[1] != channels:
            raise InputError(f"node {name!r}: its weights take {channels} channels, but {x} is {list(self.shape(x))}")
