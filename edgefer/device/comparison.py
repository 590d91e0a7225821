"""What artifacts compute on a board, against the float reference and against the same artifact on the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx

from edgefer.bundle import Bundle
from edgefer.evaluation.drift import cross_runtime, drift
from edgefer.evaluation.metrics import Floats, before_activation
from edgefer.evaluation.results import CrossRuntime, Drift
from edgefer.evaluation.scores import score
from edgefer.evaluation.targets import HeadTargets
from edgefer.spec import OutputSpec

Heads: TypeAlias = Mapping[str, Floats]
"""By head, (images, columns)."""


@dataclass(frozen=True)
class Lsb:
    """Differences in least significant bits: steps of the int8 tensor that a head's float activation reads.

    The activation is undone, so equal integers give equal steps although two processors compute its exponentials
    otherwise.  Softmax forgets a shift of all its inputs, so its steps count from the host's largest value.

    Attributes:
        scale: of one step, before the activation.
        max: largest difference of any value.
        share_equal: share of values that are the same integer.
    """

    scale: float
    max: int
    share_equal: float


@dataclass(frozen=True)
class HeadDrift:
    """One head of one artifact on a board.

    Attributes:
        head: as in the Spec.
        from_reference: against the float network on the host; None for generated images, which mean nothing.
        accuracy: on the board; None without labels.
        from_host: against the same artifact on the host.
        lsb: the same, in integers; None for the float reference.
        allowed: LSB by which it may differ all the same: one of an integer softmax, of which LiteRT has another kernel
            for ARM.
    """

    head: OutputSpec
    from_reference: Drift | None
    accuracy: float | None
    from_host: CrossRuntime
    lsb: Lsb | None
    allowed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what `evaluate` calls the same is called the same."""
        found = self.from_reference.to_dict(self.head.labels) if self.from_reference else {}
        return {
            "agreement": None,
            **found,
            "accuracy": self.accuracy,
            "host": self.from_host.to_dict(),
            "lsb": self.lsb and vars(self.lsb),
        }


@dataclass(frozen=True)
class BoardDrift:
    """All heads of one artifact on a board; the first is the main one."""

    samples: int
    heads: tuple[HeadDrift, ...]

    @property
    def equals_host(self) -> bool:
        """Whether the board computes what the host does: the same integers, or floats within their rounding."""
        return all(d.lsb.max <= d.allowed if d.lsb else d.from_host.identical == 1 for d in self.heads)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        main = self.heads[0]
        document = {"samples": self.samples, "head": main.head.name, **main.to_dict()}
        if len(self.heads) > 1:
            document["heads"] = {drift.head.name: drift.to_dict() for drift in self.heads}
        return document


def board_drift(
    heads: tuple[OutputSpec, ...],
    board: Heads,
    host: Heads,
    reference: Heads | None,
    targets: Mapping[str, HeadTargets],
    scales: Mapping[str, float],
    integers: Collection[str] = (),
) -> BoardDrift:
    """Compare what a board computed.

    Args:
        heads: of the network, the main one first.
        board: the artifact's outputs there.
        host: the same artifact's here, on the same pixels.
        reference: the float network's here; None where the images mean nothing.
        targets: what is true, by head.
        scales: of the integers before each head's activation; heads without any are left out.
        integers: heads that are returned as integers, of which these are the scales.
    """

    def steps(head: OutputSpec) -> Lsb | None:
        returned = replace(head, activation="none") if head.name in integers else head
        return lsb(returned, host[head.name], board[head.name], scales[head.name]) if head.name in scales else None

    found = tuple(
        HeadDrift(
            head,
            None if reference is None else drift(head, reference[head.name], board[head.name], targets[head.name]),
            _accuracy(head, board[head.name], targets[head.name]),
            cross_runtime(head, host[head.name], board[head.name]),
            steps(head),
            int(head.name in integers and head.activation == "softmax"),
        )
        for head in heads
    )
    return BoardDrift(len(next(iter(board.values()))), found)


def lsb(head: OutputSpec, host: Floats, board: Floats, scale: float) -> Lsb:
    """Differences of the integers from which a head's values (images, columns) were computed."""
    before = [before_activation(values, head.activation) for values in (host, board)]
    if head.activation == "softmax":
        top = before[0].argmax(axis=1, keepdims=True)
        before = [values - np.take_along_axis(values, top, axis=1) for values in before]
    steps = np.abs(np.rint(before[0] / scale) - np.rint(before[1] / scale))
    return Lsb(scale, int(steps.max()), float((steps == 0).mean()))


def head_scales(bundle: Bundle) -> dict[str, float]:
    """The scale of the integer tensor from which each head is computed; heads computed in float are left out."""
    graph = onnx.load(bundle.artifact("onnx", "float32")).graph
    makers = {output: node for node in graph.node for output in node.output}
    scales = {}
    for head in bundle.spec.outputs:
        tensor = head.name
        while tensor not in bundle.plan.tensors and tensor in makers:
            tensor = makers[tensor].input[0]
        if tensor in bundle.plan.tensors:
            scales[head.name] = float(bundle.plan.tensors[tensor].scale[0])
    return scales


def _accuracy(head: OutputSpec, values: Floats, targets: HeadTargets) -> float | None:
    classes = score(head, values, targets).classes
    return None if classes is None else classes.accuracy
