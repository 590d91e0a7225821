"""Weights learned again, so that a smaller network answers as the one that it was made of: no labels are needed.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgefer.graph.ir import Array, Graph
from edgefer.graph.subgraph import extract
from edgefer.graph.torch_module import TorchGraph, torch
from edgefer.quantize.fit.learn import follow
from edgefer.quantize.observe.drop import Answer

_WEIGHT_RATE = 5e-4
"""The first steps of a weight, in parts of its layer's root mean square."""


def distil(
    student: Graph,
    teacher: Graph,
    heads: Mapping[str, Answer],
    images: Sequence[Array],
    steps: int,
    advance: Callable[[], None] = lambda: None,
) -> Graph:
    """`student` with weights and biases that bring its heads close to the teacher's.

    Equal arguments give equal results on one machine; other machines, numbers of threads and versions of torch
    round differently.

    Args:
        student: with the same input and heads as `teacher`.
        teacher: the network to follow.
        heads: the values to follow, each (1, columns), and what they are read as.
        images: uint8 (1, H, W, 3), as both take them.
        steps: of Adam, each on a batch of distorted images.
        advance: called after each.

    Raises:
        UnsupportedOperatorError: an operator has no gradient here.
    """
    network = TorchGraph(extract(student, student.inputs, tuple(heads)))
    learned = {
        name: torch.from_numpy(student.constants[name].copy()).requires_grad_()
        for node in network.graph.nodes
        if node.op in ("Conv", "Gemm")
        for name in node.inputs[1:]
        if name in student.constants
    }
    sizes = [float(np.sqrt(np.mean(np.square(student.constants[name])))) for name in learned]
    groups = [
        {"params": [tensor], "peak": _WEIGHT_RATE * max(size, 1e-3)}
        for tensor, size in zip(learned.values(), sizes, strict=True)
    ]
    follow(lambda batch, values: network(batch, values, learned), teacher, heads, groups, images, steps, advance)
    return student.with_constants({name: tensor.detach().numpy() for name, tensor in learned.items()})
