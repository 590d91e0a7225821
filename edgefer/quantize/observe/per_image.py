"""What values of a network are for each image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import reduce
from typing import TypeVar

from edgefer.graph.ir import Array, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import extract
from edgefer.host.threads import in_order
from edgefer.runtime.runners import OnnxSession, onnx_session

_Kept = TypeVar("_Kept")


def observe(graph: Graph, values: Sequence[str], feeds: Iterable[Array]) -> Iterator[list[Array]]:
    """The `values`, in this order, for each of the feeds of the graph's only input.

    Raises:
        InputError: the network cannot run.
    """
    if values:
        session = onnx_session(to_onnx(extract(graph, graph.inputs, values)))
        for feed in feeds:
            yield session.run(values, {graph.inputs[0]: feed})


def spread(size: int, most: int) -> slice:
    """At most `most` of `size` positions, evenly spaced."""
    step = -(-size // most)
    return slice(step // 2, None, step)


def run(
    sessions: Sequence[OnnxSession], feeds: Sequence[Array], keep: Callable[[list[Array]], _Kept]
) -> Generator[_Kept, None, None]:
    """For each of the feeds, what `keep` makes of the outputs of the last of `sessions`; once closed, no more are run.

    Each session has one input, which is the first output of the session before.
    """

    def step(values: list[Array], session: OnnxSession) -> list[Array]:
        return session.run(None, {session.inputs[0]: values[0]})

    yield from in_order(lambda feed: keep(reduce(step, sessions, [feed])), feeds)
