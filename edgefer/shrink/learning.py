"""By gradients: what channels are worth, and weights that make a smaller network answer as the one it was made of.

No labels are needed for either.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgefer.graph.groups import Groups
from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.subgraph import extract
from edgefer.graph.torch_module import Tensor, TorchGraph, torch
from edgefer.quantize.fit.learn import Kept, follow
from edgefer.quantize.observe.drop import Answer
from edgefer.quantize.scales.integer_kernels import weight_axis
from edgefer.quantize.scales.ranges import Values
from edgefer.shrink.asked import Steps
from edgefer.shrink.landmarks import Places
from edgefer.shrink.worth import worths

_WEIGHT_RATE = 1.5e-3
"""The first steps of a weight, in parts of its layer's root mean square."""


class Learning:
    """By gradients: what the heads lose for each group, and weights learned against the original.

    Attributes:
        steps: how long.
    """

    def __init__(
        self,
        graph: Graph,
        heads: Mapping[str, Answer],
        images: Sequence[Array],
        few: Sequence[Array],
        steps: Steps,
    ) -> None:
        """Of a network.

        Args:
            graph: the original.
            heads: its values to follow, and what they are read as.
            images: to learn on.
            few: to judge groups on.
            steps: how long it learns.
        """
        self.steps = steps
        self._original, self._heads, self._images, self._few = graph, heads, images, few

    def seconds(self) -> float:
        """What a step takes of the network itself; a smaller one takes less."""
        self.learned(self._original, {}, 1)
        begun = time.perf_counter()
        self.learned(self._original, {}, 2)
        return (time.perf_counter() - begun) / 2

    def worths(self, groups: Groups) -> Values:
        """What the heads would lose for each."""
        return worths(groups, tuple(self._heads), self._few)

    def learned(
        self,
        student: Graph,
        places: Places,
        steps: int,
        advance: Callable[[], None] = lambda: None,
        kept: Kept | None = None,
    ) -> Graph:
        """The student, learned so many steps."""
        return distil(student, self._original, self._heads, self._images, steps, advance, kept, places)


def distil(
    student: Graph,
    teacher: Graph,
    heads: Mapping[str, Answer],
    images: Sequence[Array],
    steps: int,
    advance: Callable[[], None] = lambda: None,
    kept: Kept | None = None,
    inner: Places = MappingProxyType({}),
) -> Graph:
    """`student` with weights and biases that bring its heads close to the teacher's.

    Equal arguments give equal results on one machine; other machines, numbers of threads and versions of torch
    round differently.

    Args:
        student: with the same input and heads as `teacher`.
        teacher: the network to follow.
        heads: the values to follow, each (1, columns), and what they are read as.
        images: uint8 (1, H, W, 3), as both take them.
        steps: of Adam, each on a batch of images.
        advance: called after each.
        kept: where the state is kept, so that what was interrupted goes on to the same result.
        inner: values on the way that are to stay what they were, and which of the teacher's channels are left of them.

    Raises:
        UnsupportedOperatorError: an operator has no gradient here.
    """
    network = TorchGraph(extract(student, student.inputs, (*heads, *inner)))
    units = {
        name: torch.from_numpy(_units(student, node, name))
        for node in network.graph.nodes
        if node.op in ("Conv", "Gemm", "MatMul")
        for name in node.inputs[1:]
        if name in student.constants
    }
    learned = {
        name: (torch.from_numpy(student.constants[name].copy()) / unit).requires_grad_() for name, unit in units.items()
    }

    def answers(batch: Tensor, values: Sequence[str]) -> Sequence[Tensor]:
        return network(batch, values, {name: unit * learned[name] for name, unit in units.items()})

    groups = [{"params": list(learned.values()), "peak": _WEIGHT_RATE}]
    follow(answers, teacher, heads, groups, images, steps, advance, kept, inner)
    return student.with_constants({name: (unit * learned[name]).detach().numpy() for name, unit in units.items()})


def _units(graph: Graph, node: Node, name: str) -> Array:
    """What a layer's weights are learned in, one for each channel that it makes: their root mean square."""
    array = graph.constants[name]
    axis = weight_axis(graph, node) if name == node.inputs[1] else None
    others = tuple(each for each in range(array.ndim) if each != axis)
    sizes = np.sqrt(np.mean(np.square(array, dtype=np.float64), axis=others, keepdims=True))
    found: Array = np.maximum(sizes, max(1e-2 * sizes.max(), 1e-3)).astype(np.float32)
    return found
