"""Hypothesis strategies: small random convolutional networks from the operators that edgefer converts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edgefer.graph.ir import Array, Graph
from edgefer.onnx_import import import_onnx

Draw = st.DrawFn
Builder = Callable[["Net"], None]


class Net:
    """A network under construction: ONNX nodes, and the float values made so far with their shapes."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.nodes: list = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {"x": (1, draw(st.integers(1, 6)), *self._size())}
        self.last = "x"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[self.last]

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def weights(self, *shape: int) -> str:
        fan_in = max(prod(shape[1:]), 1)
        return self.constant((self.rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32))

    def numbers(self, *shape: int) -> str:
        return self.constant(self.rng.uniform(-1, 1, shape).astype(np.float32))

    def constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def indices(self, *values: int) -> str:
        return self.constant(np.asarray(values, np.int64))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes) -> str:
        names = [f"v{len(self.shapes) + index}" for index in range(outputs)]
        node = helper.make_node(op, inputs, names, f"{op}_{len(self.nodes)}", **attributes)
        self.shapes |= self._inferred(node)
        self.nodes.append(node)
        self.last = names[-1]
        return names[-1]

    def _inferred(self, node) -> dict[str, tuple[int, ...]]:
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name])
            for name in dict.fromkeys(node.input)
            if name in self.shapes
        ]
        tensors = [
            numpy_helper.from_array(self.constants[n], n) for n in dict.fromkeys(node.input) if n in self.constants
        ]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output]
        graph = helper.make_graph([node], "one", inputs, outputs, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output
        return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in inferred}

    def _size(self) -> tuple[int, int]:
        return self.draw(st.integers(3, 10)), self.draw(st.integers(3, 10))


@st.composite
def networks(draw: Draw, max_operators: int = 8) -> Graph:
    """Graphs of up to about `max_operators` steps on one float image, with one or two outputs."""
    net = Net(draw)
    makers = [*IMAGE_STEPS, *ANY_STEPS]
    for _ in range(draw(st.integers(2, max_operators))):
        if len(net.shape) == 4 and min(net.shape[2:]) >= 2:
            draw(st.sampled_from(makers))(net)
        else:
            draw(st.sampled_from(ANY_STEPS))(net)
    if draw(st.booleans()):
        head(net)
    outputs = [net.last]
    if draw(st.booleans()):
        outputs.append(draw(st.sampled_from([v for v in net.shapes if v not in ("x", net.last)] or [net.last])))
    return _graph(net, list(dict.fromkeys(outputs)))


def _graph(net: Net, outputs: Sequence[str]) -> Graph:
    proto = helper.make_graph(
        net.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, net.shapes["x"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, net.shapes[name]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in net.constants.items()],
    )
    return import_onnx(helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)).graph


def head(net: Net) -> None:
    """Pool, flatten, classify."""
    if len(net.shape) == 4:
        net.add("GlobalAveragePool", net.last)
    net.add("Flatten", net.last)
    classes = net.choose(2, 5)
    net.add("Gemm", net.last, net.weights(classes, net.shape[1]), net.numbers(classes), transB=1)
    if net.draw(st.booleans()):
        net.add(net.choose("Softmax", "Sigmoid", "Tanh"), net.last)


def convolution(net: Net) -> None:
    channels = net.shape[1]
    group = net.choose(*[g for g in (1, 2, channels) if channels % g == 0])
    out = group * net.choose(1, 2, 3)
    window = _window(net)
    bias = [net.numbers(out)] if net.draw(st.booleans()) else []
    weights = net.weights(out, channels // group, *window["kernel_shape"])
    net.add("Conv", net.last, weights, *bias, group=group, **window)


def transposed_convolution(net: Net) -> None:
    if max(net.shape[2:]) > 12:
        return
    kernel = [net.choose(1, 2, 3), net.choose(2, 3, 4)]
    strides = [net.choose(1, 2), net.choose(1, 2, 3)]
    pads = [net.choose(0, (taps - 1) // 2) for taps in kernel * 2]
    weights = net.weights(net.shape[1], net.choose(1, 3), *kernel)
    net.add("ConvTranspose", net.last, weights, strides=strides, pads=pads)


def batch_norm(net: Net) -> None:
    channels = net.shape[1]
    values = [net.numbers(channels), net.numbers(channels), net.numbers(channels)]
    net.add("BatchNormalization", net.last, *values, net.constant(np.full(channels, 0.7, np.float32)))


def pool(net: Net) -> None:
    window = _window(net, dilated=False)
    op = net.choose("MaxPool", "AveragePool")
    more = {"count_include_pad": net.choose(0, 1)} if op == "AveragePool" else {}
    fits = all(taps >= stride for taps, stride in zip(window["kernel_shape"], window["strides"], strict=True))
    if fits and not any(window["pads"]):  # else onnx's inference may count a window too many
        more["ceil_mode"] = net.choose(0, 1)
    net.add(op, net.last, **window, **more)


def squeeze_and_excite(net: Net) -> None:
    x, channels = net.last, net.shape[1]
    net.add("GlobalAveragePool", x)
    net.add("Conv", net.last, net.weights(2, channels, 1, 1), net.numbers(2))
    silu(net)
    net.add("Conv", net.last, net.weights(channels, 2, 1, 1), net.numbers(channels))
    net.add("Mul", *net.draw(st.permutations([x, net.add("Sigmoid", net.last)])))


def global_pool(net: Net) -> None:
    net.add(net.choose("GlobalAveragePool", "GlobalMaxPool"), net.last)


def resize(net: Net) -> None:
    height, width = net.shape[2:]
    if max(height, width) > 12:
        return
    placing = net.choose("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    how = {"mode": net.choose("nearest", "linear", "linear", "cubic"), "coordinate_transformation_mode": placing}
    if how["mode"] == "nearest":
        how["nearest_mode"] = net.choose("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    sizes = net.indices(
        1, net.shape[1], net.choose(3, 8, 13, height, 2 * height), net.choose(4, 9, width, 2 * width, 3 * width)
    )
    net.add("Resize", net.last, "", "", sizes, **how)


def pad(net: Net) -> None:
    mode = net.choose("constant", "reflect", "edge")
    limits = [min(size - 1, 2) if mode == "reflect" else 2 for size in net.shape[2:]]
    top, left, bottom, right = (net.draw(st.integers(0, limit)) for limit in limits * 2)
    net.add("Pad", net.last, net.indices(0, 0, top, left, 0, 0, bottom, right), mode=mode)


def depth_to_space(net: Net) -> None:
    if net.shape[1] % 4 == 0 and max(net.shape[2:]) < 12:
        net.add("DepthToSpace", net.last, blocksize=2, mode=net.choose("DCR", "CRD"))


def prelu(net: Net) -> None:
    net.add("PRelu", net.last, net.constant(net.rng.uniform(-0.5, 1.5, (net.shape[1], 1, 1)).astype(np.float32)))


def per_channel(net: Net) -> None:
    shape = net.choose((1, net.shape[1], 1, 1), (net.shape[1], 1, 1))
    net.add(net.choose("Mul", "Add", "Sub"), net.last, net.numbers(*shape))


def activation(net: Net) -> None:
    op = net.choose(
        "Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Mish",
        "Softsign", "Abs", "Erf",
    )  # fmt: skip
    net.add(op, net.last)


def gelu(net: Net) -> None:
    x, half, one = net.last, net.constant(np.float32(0.5)), net.constant(np.float32(1))
    net.add("Erf", net.add("Mul", x, net.constant(np.float32(0.5**0.5))))
    net.add("Mul", net.add("Mul", x, half), net.add("Add", net.last, one))


def normalisation(net: Net) -> None:
    rank = len(net.shape)
    kind = net.choose("LayerNormalization", "InstanceNormalization", "LpNormalization")
    if kind == "LayerNormalization":
        axis = net.draw(st.integers(1, rank - 1))
        net.add(kind, net.last, *(net.numbers(*net.shape[axis:]) for _ in range(2)), axis=axis, epsilon=0.1)
    elif kind == "InstanceNormalization" and rank > 2:
        net.add(kind, net.last, *(net.numbers(net.shape[1]) for _ in range(2)), epsilon=0.1)
    else:
        net.add("LpNormalization", net.add("Add", net.last, net.constant(np.float32(2))), axis=net.choose(1, rank - 1))


def softmax(net: Net) -> None:
    net.add(net.choose("Softmax", "LogSoftmax"), net.last, axis=net.draw(st.integers(1, len(net.shape) - 1)))


def repeated(net: Net) -> None:
    if prod(net.shape) < 1000:
        net.add("Tile", net.last, net.indices(1, *(net.choose(1, 2) for _ in net.shape[1:])))


def reduction(net: Net) -> None:
    op = net.choose("ReduceL1", "ReduceL2", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceLogSumExp")
    axis = net.draw(st.integers(1, len(net.shape) - 1))
    net.add(op, net.last, net.indices(axis))


def power(net: Net) -> None:
    net.add("Pow", net.last, net.constant(net.choose(np.int64(2), np.float32(3), np.int64(3))))


def generalised_mean(net: Net) -> None:
    net.add("Clip", net.last, net.constant(np.float32(0.01)))
    net.add("Pow", net.last, net.constant(np.float32(3)))
    net.add("ReduceMean", net.last, net.indices(len(net.shape) - 1))
    net.add("Pow", net.last, net.constant(np.float32(1 / 3)))


def masked_softmax(net: Net) -> None:
    fill = net.choose(-100.0, -1e9, float(np.finfo(np.float32).min))
    hidden = np.arange(net.shape[-1]) % 3 == 1
    net.add("Add", net.last, net.constant(np.where(hidden, fill, 0).astype(np.float32)))
    net.add("Softmax", net.last, axis=-1)


def clip(net: Net) -> None:
    low, high = net.choose((0.0, 6.0), (0.0, 1.0), (-1.0, 1.0), (-0.3, 0.4))
    net.add("Clip", net.last, *(net.constant(np.float32(bound)) for bound in (low, high)))


def silu(net: Net) -> None:
    x = net.last
    net.add("Mul", x, net.add("Sigmoid", x))


def scalar_arithmetic(net: Net) -> None:
    number = net.constant(np.asarray(net.choose(0.5, 1.25, -0.75), np.float32))
    net.add(net.choose("Add", "Sub", "Mul", "Div"), net.last, number)


def residual(net: Net) -> None:
    others = [v for v, shape in net.shapes.items() if shape == net.shape]
    net.add(net.choose("Add", "Sub", "Mul"), net.last, net.choose(*others))


def concat(net: Net) -> None:
    axis = net.draw(st.integers(1, len(net.shape) - 1))

    def others(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (len(shape), *shape[:axis], *shape[axis + 1 :])

    fitting = [value for value, shape in net.shapes.items() if others(shape) == others(net.shape)]
    if prod(net.shape) < 2000:
        net.add("Concat", net.last, net.choose(*fitting), axis=axis)


def split(net: Net) -> None:
    axis = net.draw(st.integers(1, len(net.shape) - 1))
    if net.shape[axis] > 1:
        first = net.draw(st.integers(1, net.shape[axis] - 1))
        net.add("Split", net.last, net.indices(first, net.shape[axis] - first), outputs=2, axis=axis)


def slice_(net: Net) -> None:
    axis = net.draw(st.integers(1, len(net.shape) - 1))
    if net.shape[axis] > 2:
        step = net.choose(1, 1, 2, -1)
        bounds = (1, net.shape[axis]) if step > 0 else (-1, -(2**31))
        net.add("Slice", net.last, *(net.indices(n) for n in (*bounds, axis, step)))


def transpose(net: Net) -> None:
    order = [0, *net.draw(st.permutations(range(1, len(net.shape))))]
    net.add("Transpose", net.last, perm=order)


def reshape(net: Net) -> None:
    if len(net.shape) == 4:
        net.add("Reshape", net.last, net.indices(1, net.shape[1], -1, 1))
    else:
        net.add("Reshape", net.last, net.indices(1, -1, *net.shape[2:]))


def mean(net: Net) -> None:
    rank = len(net.shape)
    if rank > 2:
        axes = net.draw(st.lists(st.integers(1, rank - 1), min_size=1, max_size=rank - 2, unique=True))
        net.add("ReduceMean", net.last, net.indices(*axes), keepdims=net.choose(0, 1))


def matmul(net: Net) -> None:
    net.add("MatMul", net.last, net.weights(net.shape[-1], net.choose(2, 5)))


def recurrent(net: Net) -> None:
    size = net.shape[-1]
    steps = prod(net.shape) // size
    if steps > 6 or size > 40:
        return
    op, direction = net.choose("LSTM", "GRU", "RNN"), net.choose("forward", "reverse", "bidirectional")
    gates, ways = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 2 if direction == "bidirectional" else 1
    net.add("Reshape", net.last, net.indices(steps, 1, size))
    parts = [net.weights(ways, gates * 3, size), net.weights(ways, gates * 3, 3), net.numbers(ways, gates * 6)]
    more = {"linear_before_reset": net.choose(0, 1)} if op == "GRU" else {}
    net.add(op, net.last, *parts, hidden_size=3, direction=direction, **more)
    net.add("Reshape", net.last, net.indices(1, steps, ways * 3))


def einsum(net: Net) -> None:
    net.add("Einsum", net.last, net.weights(net.shape[-1], net.choose(2, 5)), equation="...c,cd->...d")


def sampled(net: Net) -> None:
    if prod(net.shape) > 1000:
        return
    places = net.constant(net.rng.uniform(-1.5, 1.5, (1, net.choose(2, 5), 3, 2)).astype(np.float32))
    mode, padding = net.choose("bilinear", "nearest"), net.choose("zeros", "border", "reflection")
    net.add("GridSample", net.last, places, mode=mode, padding_mode=padding, align_corners=net.choose(0, 1))


def in_one_dimension(net: Net) -> None:
    channels = net.shape[1]
    net.add("Reshape", net.last, net.indices(1, channels, -1))
    taps = net.choose(1, 2, 3)
    net.add("Conv", net.last, net.weights(2, channels, taps), net.numbers(2), strides=[net.choose(1, 2)])
    if net.shape[2] > 2:
        net.add(net.choose("MaxPool", "AveragePool"), net.last, kernel_shape=[2], pads=[net.choose(0, 1), 0])


def _window(net: Net, *, dilated: bool = True) -> dict:
    """Kernel, strides, pads and dilations that fit the image."""
    kernel, dilations, before, after = [], [], [], []
    for size in net.shape[2:]:
        taps = net.choose(*[k for k in (1, 2, 3) if k <= size])
        dilation = net.choose(*[d for d in (1, 2) if (taps - 1) * d + 1 <= size]) if dilated else 1
        kernel.append(taps)
        dilations.append(dilation)
        before.append(net.choose(0, (taps - 1) // 2, taps // 2))
        after.append(net.choose(0, (taps - 1) // 2, taps // 2))
    window = {"kernel_shape": kernel, "strides": [net.choose(1, 2), net.choose(1, 2)], "pads": [*before, *after]}
    return {**window, "dilations": dilations} if dilated else window


IMAGE_STEPS: tuple[Builder, ...] = (
    convolution,
    convolution,
    convolution,
    transposed_convolution,
    batch_norm,
    pool,
    squeeze_and_excite,
    global_pool,
    resize,
    pad,
    depth_to_space,
    prelu,
    per_channel,
    sampled,
    in_one_dimension,
)
ANY_STEPS: tuple[Builder, ...] = (
    activation,
    clip,
    power,
    generalised_mean,
    masked_softmax,
    silu,
    scalar_arithmetic,
    residual,
    concat,
    split,
    slice_,
    transpose,
    reshape,
    mean,
    matmul,
    gelu,
    normalisation,
    softmax,
    repeated,
    reduction,
    recurrent,
    einsum,
)
