"""Give computations that are spelled out by hand the name of the operator that they are.

Products are compared by their factors, so that it does not matter how they are associated, nor whether a number is
multiplied with or divided by.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi, sqrt

import numpy as np

from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.passes.formula import Formula
from edgefer.graph.passes.rewrite import each_node, scalar_constant, substitute

_CUBIC = 0.044715  # of GELU's tanh form: Hendrycks and Gimpel, 2016, arXiv:1606.08415

_ALIKE = 16.0  # from which on float32 cannot tell log(1 + exp(x)) from x


def recognise_activations(graph: Graph) -> Graph:
    """HardSwish, Gelu in both its forms, Mish, and Softplus that is left out where it is x, get their names."""
    return each_node(each_node(graph, _recognise_softplus), _recognise_activation)


def recognise_layer_norm(graph: Graph) -> Graph:
    """LayerNormalization gets its name, with the scale and bias that follow it."""
    return each_node(graph, _recognise_layer_norm)


def _recognise_activation(graph: Graph, node: Node) -> Graph:
    if node.op not in ("Mul", "Div") or node.activation:
        return graph
    number, values = _factors(graph, node.output)
    if len(values) != 2:
        return graph
    for x, gate in (values, values[::-1]):
        if _is_hard_gate(graph, x, gate, number):
            return _named(graph, node, "HardSwish", x)
        if np.isclose(number, 0.5, 1e-4) and (inside := _one_more_than(graph, gate)):
            if _is_made_by(graph, inside, "Erf") and _is_scaled(graph, _argument(graph, inside), x, 1 / sqrt(2)):
                return _named(graph, node, "Gelu", x)
            if _is_made_by(graph, inside, "Tanh") and _is_cubic(graph, _argument(graph, inside), x):
                return _named(graph, node, "Gelu", x, approximate="tanh")
        if number == 1.0 and _is_made_by(graph, gate, "Tanh") and _is_softplus(graph, _argument(graph, gate), x):
            return _named(graph, node, "Mish", x)
    return graph


def _recognise_softplus(graph: Graph, node: Node) -> Graph:
    """Of x up to a bound, x beyond it, as PyTorch's newer exporter says it."""
    if node.op != "Where" or not _is_made_by(graph, node.inputs[0], "Greater"):
        return graph
    x, bound = graph.producers[node.inputs[0]].inputs
    least = scalar_constant(graph, bound)
    is_guarded = (
        least is not None and least >= _ALIKE and node.inputs[1] == x and _is_softplus(graph, node.inputs[2], x)
    )
    return _named(graph, node, "Softplus", x) if is_guarded else graph


def _named(graph: Graph, node: Node, op: str, x: str, **attributes: str) -> Graph:
    return substitute(graph, {node.name: [Node(node.name, op, (x,), node.outputs, attributes)]})


def _factors(graph: Graph, value: str, *, outer: bool = True) -> tuple[float, list[str]]:
    """A number and values whose product `value` is; values that others read too are not taken apart."""
    if (number := scalar_constant(graph, value)) is not None:
        return number, []
    node = graph.producers.get(value)
    if node is None or node.activation or not (outer or graph.sole_consumer(value) is not None):
        return 1.0, [value]
    if node.op == "Pow" and (power := scalar_constant(graph, node.inputs[1])) in (2.0, 3.0):
        return 1.0, [node.inputs[0]] * int(power)
    if node.op == "Div" and (divisor := scalar_constant(graph, node.inputs[1])):
        number, values = _factors(graph, node.inputs[0], outer=False)
        return number / divisor, values
    if node.op != "Mul":
        return 1.0, [value]
    (a, some), (b, others) = (_factors(graph, factor, outer=False) for factor in node.inputs)
    return a * b, some + others


def _argument(graph: Graph, value: str) -> str:
    return graph.producers[value].inputs[0]


def _is_made_by(graph: Graph, value: str, op: str) -> bool:
    node = graph.producers.get(value)
    return node is not None and node.op == op and not node.activation


def _summands(graph: Graph, value: str) -> Iterator[tuple[str, str]]:
    """Both orders of the operands of the sum that a value is."""
    if _is_made_by(graph, value, "Add"):
        a, b = graph.producers[value].inputs
        yield from ((a, b), (b, a))


def _one_more_than(graph: Graph, value: str) -> str:
    return next((a for a, b in _summands(graph, value) if scalar_constant(graph, b) == 1.0), "")


def _is_hard_gate(graph: Graph, x: str, gate: str, number: float) -> bool:
    """Whether `number` times `gate` is clip(x / 6 + 0.5, 0, 1)."""
    node = graph.producers.get(gate)
    if node is None:
        return False
    if node.op == "HardSigmoid":
        is_sixth = np.isclose(node.float("alpha", 0.2), 1 / 6) and node.float("beta", 0.5) == 0.5
        return node.inputs[0] == x and bool(is_sixth) and number == 1.0
    low, high = (scalar_constant(graph, node.input(index)) for index in (1, 2))
    if node.op != "Clip" or (low, high) != (0.0, 6.0) or not np.isclose(number, 1 / 6, 1e-4):
        return False
    return any(a == x and scalar_constant(graph, b) == 3.0 for a, b in _summands(graph, node.inputs[0]))


def _is_scaled(graph: Graph, value: str, x: str, number: float) -> bool:
    found, values = _factors(graph, value)
    return values == [x] and bool(np.isclose(found, number, 1e-4))


def _is_cubic(graph: Graph, value: str, x: str) -> bool:
    """Whether a value is sqrt(2 / pi) * (x + 0.044715 * x ** 3)."""
    number, values = _factors(graph, value)
    if not np.isclose(number, sqrt(2 / pi), 1e-4):
        return False
    outside = values.count(x)
    (inside,) = [value for value in values if value != x] if len(values) == outside + 1 else [""]
    for first, cubic in _summands(graph, inside):
        starts = scalar_constant(graph, first) == 1.0 if outside else first == x
        found, powers = _factors(graph, cubic)
        if outside <= 1 and starts and powers == [x] * (3 - outside) and np.isclose(found, _CUBIC, 1e-3):
            return True
    return False


def _is_softplus(graph: Graph, value: str, x: str) -> bool:
    if _is_made_by(graph, value, "Softplus"):
        return _argument(graph, value) == x
    inside = _one_more_than(graph, _argument(graph, value)) if _is_made_by(graph, value, "Log") else ""
    return _is_made_by(graph, inside, "Exp") and _argument(graph, inside) == x


def _recognise_layer_norm(graph: Graph, node: Node) -> Graph:
    found = _deviation_over_root(graph, node)
    if found is None:
        return graph
    x, axes, epsilon = found
    rank = len(graph.shape(x))
    sizes = tuple(graph.shape(x)[axis] for axis in axes)
    scale, bias, last = _affine_behind(graph, node, axes)
    at = Formula(graph, last)
    order = (*(axis for axis in range(rank) if axis not in axes), *axes)
    back = tuple(order.index(axis) for axis in range(rank))
    moved = at.value(x) if order == back else at.value(x).transposed(*order)
    normal = moved.to(
        "LayerNormalization", scale.reshape(sizes), bias.reshape(sizes), axis=rank - len(axes), epsilon=epsilon
    )
    return at.become(normal if order == back else normal.transposed(*back))


def _deviation_over_root(graph: Graph, node: Node) -> tuple[str, tuple[int, ...], float] | None:
    """x, the axes and the epsilon of (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)."""
    if node.op == "Div" and not node.activation:
        deviation, root = node.inputs
        inverse = False
    elif node.op == "Mul" and not node.activation:
        deviation, root = node.inputs
        if not _is_inverse_root(graph, root):
            deviation, root = root, deviation
        if not _is_inverse_root(graph, root):
            return None
        inverse = True
    else:
        return None
    squared_root = _under_root(graph, root, inverse=inverse)
    centred = _centred(graph, deviation)
    if squared_root is None or centred is None:
        return None
    x, axes = centred
    for variance, number in _summands(graph, squared_root):
        epsilon = scalar_constant(graph, number)
        mean = graph.producers.get(variance)
        if epsilon is None or mean is None or _mean_axes(graph, mean) != axes:
            continue
        _, squares = _factors(graph, mean.inputs[0])
        if len(squares) == 2 and all(_centred(graph, value) == (x, axes) for value in squares):
            return x, axes, epsilon
    return None


def _is_inverse_root(graph: Graph, value: str) -> bool:
    node = graph.producers.get(value)
    if node is None:
        return False
    if node.op == "Pow":
        return scalar_constant(graph, node.inputs[1]) == -0.5
    if node.op == "Reciprocal":
        return _is_made_by(graph, node.inputs[0], "Sqrt")
    return (
        node.op == "Div"
        and scalar_constant(graph, node.inputs[0]) == 1.0
        and _is_made_by(graph, node.inputs[1], "Sqrt")
    )


def _under_root(graph: Graph, value: str, *, inverse: bool) -> str | None:
    node = graph.producers.get(value)
    if node is None:
        return None
    if inverse and node.op in ("Reciprocal", "Div"):
        node = graph.producers[node.inputs[-1]]
    elif inverse:
        return node.inputs[0]
    is_root = node.op == "Sqrt" or (node.op == "Pow" and scalar_constant(graph, node.inputs[1]) == 0.5)
    return node.inputs[0] if is_root else None


def _centred(graph: Graph, value: str) -> tuple[str, tuple[int, ...]] | None:
    """X and the axes, where a value is x less its mean over them."""
    node = graph.producers.get(value)
    mean = graph.producers.get(node.inputs[1]) if node is not None and node.op == "Sub" else None
    if node is None or mean is None or mean.inputs[0] != node.inputs[0]:
        return None
    axes = _mean_axes(graph, mean)
    return None if axes is None else (node.inputs[0], axes)


def _mean_axes(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """The axes of a mean that keeps them."""
    rank = len(graph.shape(node.inputs[0]))
    if node.op == "GlobalAveragePool":
        return tuple(range(2, rank))
    axes = graph.constants.get(node.input(1))
    if node.op != "ReduceMean" or axes is None or not node.int("keepdims", 1):
        return None
    return tuple(sorted(int(axis) % rank for axis in axes))


def _affine_behind(graph: Graph, node: Node, axes: tuple[int, ...]) -> tuple[Array, Array, Node]:
    """What `node`'s result is multiplied with and increased by along `axes` alone, and the node that returns that."""
    shape = graph.shape(node.output)
    sizes = [shape[axis] if axis in axes else 1 for axis in range(len(shape))]
    scale, bias = np.ones(sizes, np.float32), np.zeros(sizes, np.float32)
    for op in ("Mul", "Add"):
        reader = graph.sole_consumer(node.output)
        if reader is None or reader.op != op or reader.activation or graph.shape(reader.output) != shape:
            continue
        other = next(iter(value for value in reader.inputs if value != node.output), "")
        constant = graph.constants.get(other)
        if constant is None or np.broadcast_shapes(constant.shape, tuple(sizes)) != tuple(sizes):
            continue
        whole = np.broadcast_to(constant, sizes).astype(np.float32)
        scale, bias = (whole, bias) if op == "Mul" else (scale, whole)
        node = reader
    return scale, bias, node
