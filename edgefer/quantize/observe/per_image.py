"""What values of a network are for each image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.batches import images_at_once
from edgefer.graph.ir import Array, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import extract
from edgefer.host.threads import in_order
from edgefer.plan import Plan
from edgefer.runtime.runners import OnnxSession, onnx_session

_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Runnable:
    """A network of one input, ready to run.

    Attributes:
        session: takes batches of at most `at_once` images.
        at_once: 1 where its operators may mix images.
    """

    session: OnnxSession
    at_once: int

    def __call__(self, batch: Array) -> list[Array]:
        """Its outputs for a batch."""
        return self.session.run(None, {self.session.inputs[0]: batch})


def runnable(graph: Graph, plan: Plan | None = None) -> Runnable:
    """The network of a graph, in float or stored as a Plan says.

    Raises:
        InputError: ONNX Runtime refuses it.
    """
    model = to_onnx(graph) if plan is None else emit_onnx(graph, plan)
    at_once = images_at_once(graph)
    if at_once > 1:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "images"
    return Runnable(onnx_session(model, round_weights=plan is None), at_once)


def observe(
    graph: Graph, values: Sequence[str], feeds: Iterable[Array], keep: Callable[[list[Array], int], _Kept]
) -> Iterator[_Kept]:
    """What `keep` makes of the `values`, in this order, for feeds of the graph's only input; see `run`.

    Raises:
        InputError: the network cannot run.
    """
    if values:
        yield from run([runnable(extract(graph, graph.inputs, values))], feeds, keep)


def spread(size: int, most: int) -> slice:
    """At most `most` of `size` positions, evenly spaced."""
    step = -(-size // most)
    return slice(step // 2, None, step)


def run(
    networks: Sequence[Runnable], feeds: Iterable[Array], keep: Callable[[list[Array], int], _Kept]
) -> Generator[_Kept, None, None]:
    """What `keep` makes of the outputs of the last of `networks`, for some images after the others.

    Each network reads the first output of the one before.  Once closed, no more are run.

    Args:
        networks: run one after the other.
        feeds: for the first, one image each.
        keep: is given the outputs, and of how many images they are: where of several, axis 0 of each has one for
            each image.  Several threads call it.
    """

    def outputs(some: Sequence[Array]) -> _Kept:
        batch = some[0] if len(some) == 1 else np.concatenate(some)
        return keep(reduce(lambda values, network: network(values[0]), networks, [batch]), len(some))

    yield from in_order(outputs, _some(feeds, min(network.at_once for network in networks)))


def run_each(networks: Sequence[Runnable], feeds: Iterable[Array]) -> Iterator[list[Array]]:
    """The outputs of the last of `networks` for each image; see `run`."""
    return chain.from_iterable(run(networks, feeds, each_image))


def each_image(values: list[Array], images: int) -> list[list[Array]]:
    """For each of the images, its values."""
    if images == 1:
        return [values]
    return [[value[index : index + 1] for value in values] for index in range(images)]


def _some(feeds: Iterable[Array], size: int) -> Iterator[list[Array]]:
    left = iter(feeds)
    while some := list(islice(left, size)):
        yield some
