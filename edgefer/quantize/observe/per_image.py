"""What values of a network are for each image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any, TypeVar

from edgefer.errors import InputError
from edgefer.graph.ir import Array, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import extract
from edgefer.runtime.runners import onnx_session

_POOL = ThreadPoolExecutor(2)  # as starting threads takes longer than many a question
_Kept = TypeVar("_Kept")


def observe(graph: Graph, values: Sequence[str], feeds: Iterable[Array]) -> Iterator[list[Array]]:
    """The `values`, in this order, for each of the feeds of the graph's only input.

    Raises:
        InputError: the network cannot run.
    """
    if values:
        session = onnx_session(to_onnx(extract(graph, graph.inputs, values)))
        for feed in feeds:
            try:
                found = session.run(list(values), {graph.inputs[0]: feed})
            except Exception as error:  # pybind11 exceptions of several kinds
                raise InputError(f"ONNX Runtime cannot run the network: {str(error).splitlines()[0]}") from error
            yield found


def spread(size: int, most: int) -> slice:
    """At most `most` of `size` positions, evenly spaced."""
    step = -(-size // most)
    return slice(step // 2, None, step)


def run(
    sessions: Sequence[Any], feeds: Sequence[Array], keep: Callable[[list[Any]], _Kept]
) -> Generator[_Kept, None, None]:
    """For each of the feeds, what `keep` makes of the outputs of the last of `sessions`; once closed, no more are run.

    Each session has one input, which is the first output of the session before.
    """
    names = [session.get_inputs()[0].name for session in sessions]

    def step(values: list[Any], index: int) -> list[Any]:
        outputs: list[Any] = sessions[index].run(None, {names[index]: values[0]})
        return outputs

    yield from _POOL.map(lambda feed: keep(reduce(step, range(len(sessions)), [feed])), feeds)
