"""The int8 network as a function that can be differentiated by its weights and biases.

    network = FakeQuantized(graph, plan)
    (logits,) = network(pixels, ["classifier"])     # as the artifacts compute them, but for rounding of sums
    logits.square().sum().backward()                # network.weights and network.biases have gradients
    graph.with_constants(network.constants())       # weights are on the Plan's grid now

Gradients pass through rounding as though it was not there (the straight-through estimator: Bengio et al., 2013,
arXiv:1308.3432), and stop where a value saturates.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.torch_module import Tensor, TorchGraph, functional, torch
from edgefer.plan import Plan
from edgefer.quantize.scales.integer_kernels import weight_axis
from edgefer.quantize.scales.unstorable import must_keep_sign


class FakeQuantized:
    """Computes in float what integer kernels compute: all that the Plan stores is rounded, and saturates, on the way.

    Attributes:
        weights: by name, in steps of their scales; the kernels read them rounded.
        biases: by name, what is added to them, in steps of the layer's output.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        """Prepare `graph`, which has one input; its weights need not be on the Plan's grid.

        Raises:
            UnsupportedOperatorError: an operator has no gradient here.
        """
        self._graph, self._plan = graph, plan
        self._network = TorchGraph(graph)
        layers = [node for node in graph.nodes if _can_be_learned(graph, plan, node)]
        self._scales = {node.inputs[1]: self._scale(node.inputs[1]) for node in layers}
        self._steps = {
            node.inputs[2]: plan.tensors[node.output].scale[0]
            for node in layers
            if node.input(2) and node.output in plan.tensors
        }
        self.weights = {name: (self._constant(name) / scale).requires_grad_() for name, scale in self._scales.items()}
        self.biases = {name: torch.zeros_like(self._constant(name)).requires_grad_() for name in self._steps}
        self._others = {
            name: torch.from_numpy(params.dequantize(params.quantize(graph.constants[name])))
            for name, params in plan.tensors.items()
            if graph.is_constant(name) and name not in self.weights and params.dtype != "int32"
        }

    def __call__(self, x: Tensor, values: Sequence[str]) -> list[Tensor]:
        """The `values` named, as their readers see them, for `x` of shape (N, ...) where the input is (1, ...)."""
        return self._network(x, values, {**self._others, **self._learned()}, self._store)

    def constants(self) -> dict[str, Array]:
        """Weights, on the Plan's grid, and biases as they are now, by name."""
        with torch.no_grad():
            return {name: values.numpy().copy() for name, values in self._learned().items()}

    def _learned(self) -> dict[str, Tensor]:
        weights = {
            name: _rounded(self.weights[name], 1, *self._plan.tensors[name].limits) * scale
            for name, scale in self._scales.items()
        }
        biases = {name: self._constant(name) + step * self.biases[name] for name, step in self._steps.items()}
        return {**weights, **biases}

    def _store(self, value: str, computed: Tensor) -> Tensor:
        params = self._plan.tensors.get(value)
        if params is None:
            return computed
        (scale,), (zero_point,) = params.scale, params.zero_point
        return _rounded(computed, scale, *(scale * (limit - zero_point) for limit in params.limits))

    def _constant(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self._graph.constants[name]))

    def _scale(self, name: str) -> Tensor:
        """The scales of weights, to multiply them with."""
        params, rank = self._plan.tensors[name], self._graph.constants[name].ndim
        shape = [-1 if axis == params.axis else 1 for axis in range(rank)]
        return torch.tensor(params.scale, dtype=torch.float32).reshape(shape)


def _can_be_learned(graph: Graph, plan: Plan, node: Node) -> bool:
    """Whether a layer has stored weights, which may be moved."""
    is_stored = weight_axis(graph, node) is not None and node.inputs[1] in plan.tensors
    return is_stored and not must_keep_sign(graph, node)


def _rounded(values: Tensor, scale: float, low: float, high: float) -> Tensor:
    """Multiples of `scale` from `low` to `high`, with the gradient of saturation alone."""
    saturated = functional.hardtanh(values, low, high)
    saturated.detach().mul_(1 / scale).round_().mul_(scale)
    return saturated
