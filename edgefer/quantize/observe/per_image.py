"""What values of a network are for each image."""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from edgefer.emit.onnx import emit_onnx
from edgefer.errors import InputError
from edgefer.graph.batches import free_batch, images_at_once
from edgefer.graph.ir import Array, Feed, Graph
from edgefer.graph.number_of_images import for_any_number
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import extract
from edgefer.host.threads import in_order
from edgefer.plan import Plan
from edgefer.runtime.runners import OnnxSession, onnx_session

_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Runnable:
    """A network, ready to run.

    Attributes:
        session: takes batches of at most `at_once` images.
        at_once: 1 where its operators may mix images.
    """

    session: OnnxSession
    at_once: int

    def __call__(self, batch: Feed) -> list[Array]:
        """Its outputs for a batch, which may hold more than it reads."""
        return self.session.run(None, {name: batch[name] for name in self.session.inputs})


def runnable(graph: Graph, plan: Plan | None = None, *, is_kept: bool = False) -> Runnable:
    """The network of a graph, in float or stored as a Plan says.

    Args:
        graph: the network.
        plan: how it is stored.
        is_kept: whether it stays while others run, and therefore keeps no memory from run to run.

    Raises:
        InputError: ONNX Runtime refuses it.
    """
    graph, at_once = _for_several(graph)
    held: dict[str, Array] = {}
    model = to_onnx(graph, held=held) if plan is None else emit_onnx(graph, plan, held=held)
    if at_once > 1:
        free_batch(model)
    return Runnable(onnx_session(model, round_weights=plan is None, arena=not is_kept, held=held), at_once)


def _for_several(graph: Graph) -> tuple[Graph, int]:
    """A graph that takes several images, and how many at once; or the graph itself, and 1."""
    try:
        several = for_any_number(graph)
    except InputError:
        return graph, 1
    return several, images_at_once(several)


def observe(
    graph: Graph, values: Sequence[str], feeds: Iterable[Feed], keep: Callable[[list[Array], int], _Kept]
) -> Iterator[_Kept]:
    """What `keep` makes of the `values`, in this order, for each of the graph's feeds; see `run`.

    Raises:
        InputError: the network cannot run.
    """
    if values:
        yield from run([runnable(extract(graph, graph.inputs, values))], feeds, keep)


@dataclass(frozen=True)
class Reached:
    """What is fed to the rest of a network, any number of times.

    Attributes:
        value: where the rest begins.
        rows: what it is, for each image.
        feeds: of the whole network.
    """

    value: str
    rows: Iterable[Array]
    feeds: Iterable[Feed]

    def __iter__(self) -> Iterator[Feed]:
        """For each image."""
        return ({**feed, self.value: row} for row, feed in zip(self.rows, self.feeds, strict=True))


def spread(size: int, most: int) -> slice:
    """At most `most` of `size` positions, evenly spaced."""
    step = -(-size // most)
    return slice(step // 2, None, step)


def some_rows(values: Array, images: int, most: int) -> Array:
    """At most `most` of the rows that each image has, evenly spaced: (images * rows, columns), as before."""
    apart = values.reshape(images, -1, values.shape[1])
    return np.ascontiguousarray(apart[:, spread(apart.shape[1], most)]).reshape(-1, values.shape[1])


def run(
    networks: Sequence[Runnable], feeds: Iterable[Feed], keep: Callable[[list[Array], int], _Kept]
) -> Generator[_Kept, None, None]:
    """What `keep` makes of the outputs of the last of `networks`, for some images after the others.

    Each network's first input is the first output of the one before; further ones are in the feeds.  Once closed, no
    more are run.

    Args:
        networks: run one after the other.
        feeds: one image each, for the first, with all else that any of them reads.
        keep: is given the outputs, and of how many images they are: where of several, axis 0 of each has one for
            each image.  Several threads call it.
    """
    first, *following = networks
    read = {name for network in networks for name in network.session.inputs}

    def after(values: list[Array], network: Runnable, batch: Feed) -> list[Array]:
        return network({**batch, network.session.inputs[0]: values[0]})

    def outputs(some: Sequence[Feed]) -> _Kept:
        batch = some[0] if len(some) == 1 else _joined(some, read)
        return keep(reduce(partial(after, batch=batch), following, first(batch)), len(some))

    yield from in_order(outputs, _some(feeds, min(network.at_once for network in networks)))


def run_each(networks: Sequence[Runnable], feeds: Iterable[Feed]) -> Iterator[list[Array]]:
    """The outputs of the last of `networks` for each image; see `run`."""
    return chain.from_iterable(run(networks, feeds, each_image))


def each_image(values: list[Array], images: int) -> list[list[Array]]:
    """For each of the images, its values."""
    if images == 1:
        return [values]
    return [[value[index : index + 1] for value in values] for index in range(images)]


def _joined(some: Sequence[Feed], read: Container[str]) -> Feed:
    return {name: np.concatenate([feed[name] for feed in some]) for name in some[0] if name in read}


def _some(feeds: Iterable[Feed], size: int) -> Iterator[list[Feed]]:
    left = iter(feeds)
    while some := list(islice(left, size)):
        yield some
