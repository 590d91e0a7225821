"""A float graph as a differentiable torch function, for work that needs gradients.

    network = TorchGraph(graph)
    logits, features = network(images, [graph.outputs[0], "bn2"])

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from onnx import helper

from edgefer.errors import UnsupportedOperatorError, UsageError
from edgefer.graph.ir import Graph, Node
from edgefer.graph.passes.fold_constants import fold_constants
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.passes.remove_identities import remove_identities
from edgefer.graph.passes.resolve_padding import resolve_padding

try:
    import torch
    from torch.nn import functional
except ImportError as error:
    raise UsageError("this needs PyTorch, which is not installed", remedy="pip install 'edgefer[torch]'") from error

__all__ = ["Tensor", "TorchGraph", "functional", "torch"]

Tensor: TypeAlias = Any
"""A torch.Tensor; torch is not there when types are checked."""


class TorchGraph:
    """Computes values of a graph for batches of any size, although its shapes say a batch of one.

    Attributes:
        graph: what is computed: the graph given, with constants folded, identities gone, padding explicit.
    """

    def __init__(self, graph: Graph) -> None:
        """Prepare `graph`, which has one input.

        Raises:
            UnsupportedOperatorError: an operator is not known here, or would mix the images of a batch.
        """
        self.graph = reduce(lambda g, apply: apply(g), _PASSES, graph)
        for node in self.graph.nodes:
            _check(self.graph, node)
        self._constants = {name: torch.from_numpy(np.array(array)) for name, array in self.graph.constants.items()}

    def __call__(
        self,
        x: Tensor,
        values: Sequence[str],
        constants: Mapping[str, Tensor] = MappingProxyType({}),
        store: Callable[[str, Tensor], Tensor] = lambda value, computed: computed,
    ) -> list[Tensor]:
        """The `values` named, for `x` of shape (N, ...) where the graph's input is (1, ...).

        Args:
            x: the input.
            values: names of the values to return.
            constants: used instead of the graph's.
            store: given the name of the input, or of a value computed, and what it is, returns what is read of it.
        """
        (image,) = self.graph.inputs
        known: dict[str, Tensor] = {"": None, **self._constants, **constants, image: store(image, x)}
        for node in self.graph.nodes:
            inputs = [known[value] for value in node.inputs]
            if node.op in _RESHAPING:
                result = inputs[0].reshape(len(x), *self.graph.shape(node.output)[1:])
            else:
                result = _OPERATORS[node.op](node, *inputs)
            known[node.output] = store(node.output, _ACTIVATIONS[node.activation](result))
        return [known[value] for value in values]


_PASSES: tuple[Callable[[Graph], Graph], ...] = (fold_constants, remove_identities, resolve_padding, remove_dead)
_REMEDY = "Calibrate on real images, with --effort fast: that needs no gradients."


def _check(graph: Graph, node: Node) -> None:
    """The operator must be known and treat the images of a batch one by one."""
    if node.op not in _OPERATORS and node.op not in _RESHAPING:
        raise UnsupportedOperatorError(node.name, node.op, "torch", remedy=_REMEDY)
    if node.op == "Pad" and node.str("mode", "constant") != "constant":
        raise UnsupportedOperatorError(node.name, f"Pad ({node.str('mode')})", "torch", remedy=_REMEDY)
    if node.op == "Slice" and node.input(4) and graph.constants[node.inputs[4]].min() < 0:
        raise UnsupportedOperatorError(node.name, "Slice (backwards)", "torch", remedy=_REMEDY)
    variable = [graph.shape(value) for value in node.inputs if value and not graph.is_constant(value)]
    ranks = {len(shape) for shape in variable}
    if (
        any(shape[:1] != (1,) for shape in (*variable, graph.shape(node.output)))
        or len(ranks) > 1
        or _over_batch(graph, node)
    ):
        raise UnsupportedOperatorError(node.name, f"{node.op} across the batch", "torch", remedy=_REMEDY)


def _over_batch(graph: Graph, node: Node) -> bool:
    rank = len(graph.shape(node.inputs[0]))
    if node.op == "Transpose":
        return node.ints("perm", tuple(reversed(range(rank))))[0] != 0
    if node.op in _REDUCING:
        return any(int(axis) % rank == 0 for axis in graph.constants.get(node.input(1), range(rank)))
    if node.op == "Slice":
        return not node.input(3) or any(int(axis) % rank == 0 for axis in graph.constants[node.inputs[3]])
    if node.op == "Pad":
        return bool(graph.constants[node.inputs[1]].reshape(2, -1)[:, 0].any()) or bool(node.input(3))
    return node.op in ("Softmax", "Concat") and node.int("axis", -1) % rank == 0


_REDUCING: Mapping[str, Callable[..., Tensor]] = {
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
}

# --- operators, each a function of the node and its inputs -----------------------------------------------------


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor = None) -> Tensor:
    rank = weight.ndim - 2
    return (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1](
        _padded(node, x, rank),
        weight,
        bias,
        stride=node.ints("strides", (1,) * rank),
        dilation=node.ints("dilations", (1,) * rank),
        groups=node.int("group", 1),
    )


def _batch_norm(node: Node, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, variance, gamma, beta, eps=node.float("epsilon", 1e-5))


def _max_pool(node: Node, x: Tensor) -> Tensor:
    pooled = functional.max_pool2d(
        _padded(node, x, 2, float("-inf")),
        node.ints("kernel_shape"),
        node.ints("strides", (1, 1)),
        dilation=node.ints("dilations", (1, 1)),
        ceil_mode=bool(node.int("ceil_mode")),
    )
    return _begun_inside(node, x, pooled)


def _average_pool(node: Node, x: Tensor) -> Tensor:
    def pool(y: Tensor) -> Tensor:
        windows = node.ints("kernel_shape"), node.ints("strides", (1, 1))
        return functional.avg_pool2d(_padded(node, y, 2), *windows, ceil_mode=bool(node.int("ceil_mode")))

    average = pool(x) if node.int("count_include_pad") else pool(x) / pool(torch.ones_like(x))
    return _begun_inside(node, x, average)


def _begun_inside(node: Node, x: Tensor, pooled: Tensor) -> Tensor:
    """Without the windows that rounding up adds, but that begin in the padding behind the image."""
    if not node.int("ceil_mode"):
        return pooled
    sides = zip(x.shape[2:], node.ints("pads", (0,) * 4), node.ints("strides", (1, 1)), strict=False)
    height, width = (-(-(side + before) // stride) for side, before, stride in sides)
    return pooled[:, :, :height, :width]


def _padded(node: Node, x: Tensor, rank: int, value: float = 0.0) -> Tensor:
    pads = node.ints("pads", (0,) * (2 * rank))
    return functional.pad(x, _torch_pads(pads), value=value) if any(pads) else x


def _pad(node: Node, x: Tensor, pads: Tensor, value: Tensor = None, axes: None = None) -> Tensor:
    return functional.pad(x, _torch_pads(pads.tolist()), value=0.0 if value is None else float(value))


def _torch_pads(pads: Sequence[int]) -> list[int]:
    """Before and after, last axis first; ONNX has all before, then all after, first axis first."""
    rank = len(pads) // 2
    return [int(pads[axis + side]) for axis in reversed(range(rank)) for side in (0, rank)]


def _slice(node: Node, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor = None) -> Tensor:
    bounds = zip(starts.tolist(), ends.tolist(), [1] * len(axes) if steps is None else steps.tolist(), strict=True)
    windows = dict(zip((axes % x.ndim).tolist(), (slice(*bound) for bound in bounds), strict=True))
    return x[tuple(windows.get(axis, slice(None)) for axis in range(x.ndim))]


def _reduced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda node, x, axes: function(x, axes.tolist(), keepdim=bool(node.int("keepdims", 1)))


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor = None) -> Tensor:
    a, b = a.T if node.int("transA") else a, b.T if node.int("transB") else b
    product = node.float("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.float("beta", 1.0) * c


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor = None) -> Tensor:
    shape = x.shape[node.int("axis", -1) :]
    return functional.layer_norm(x, shape, scale, bias, eps=node.float("epsilon", 1e-5))


def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(torch.from_numpy(np.empty(0, helper.tensor_dtype_to_np_dtype(node.int("to")))).dtype)


def _clip(node: Node, x: Tensor, low: Tensor = None, high: Tensor = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return (node.float("alpha", 0.2) * x + node.float("beta", 0.5)).clamp(0, 1)


_OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    "Add": lambda node, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda node, *parts: torch.cat(parts, node.int("axis")),
    "Conv": _conv,
    "Div": lambda node, a, b: a / b,
    "Exp": lambda node, x: torch.exp(x),
    "Gelu": lambda node, x: functional.gelu(x, approximate=node.str("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda node, x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, x: functional.hardswish(x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, node.float("alpha", 0.01)),
    "Log": lambda node, x: torch.log(x),
    "MatMul": lambda node, a, b: a @ b,
    "MaxPool": _max_pool,
    "Mul": lambda node, a, b: a * b,
    "PRelu": lambda node, x, slope: torch.where(x > 0, x, slope * x),
    "Pad": _pad,
    **{op: _reduced(function) for op, function in _REDUCING.items()},
    "Relu": lambda node, x: torch.relu(x),
    "Sigmoid": lambda node, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": lambda node, x: torch.softmax(x, node.int("axis", -1)),
    "Sub": lambda node, a, b: a - b,
    "Tanh": lambda node, x: torch.tanh(x),
    "Transpose": lambda node, x: x.permute(node.ints("perm")),
}

_RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "Relu": torch.relu,
    "Relu6": functional.relu6,
}
