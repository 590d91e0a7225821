"""Images run through a float network part by part, so that a question about one part does not run the others anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

from edgefer.graph.ir import Array, Feed, Graph
from edgefer.graph.subgraph import extract, observing, parts
from edgefer.host.memory import release
from edgefer.host.on_disk import Rows
from edgefer.host.threads import processors
from edgefer.plan import Plan
from edgefer.quantize.observe.per_image import Reached, Runnable, run_each, runnable

_LONG = 8
"""Parts that are run as one where nothing is asked of them: each costs a call, and what it returns is written out."""


@dataclass(frozen=True)
class Part:
    """A part of a network between values through which everything flows.

    Attributes:
        graph: the part, which reads one value of the network, and perhaps what the network is fed beside its image.
        feeds: what it is fed for each image.
        rest: what follows, a chain of parts.
    """

    graph: Graph
    feeds: Iterable[Feed]
    rest: tuple[Graph, ...]


class Chain:
    """Runs networks that differ in few places on the same images.

    It keeps the values of the places last asked about, and sessions for what follows them: questions are best asked in
    network order.  Several threads may ask.
    """

    def __init__(self, feeds: Sequence[Feed], outputs: Sequence[str]) -> None:
        """Nothing is run yet.

        Args:
            feeds: images, as the inputs of all networks take them.
            outputs: values that all networks have, which `finish` computes.
        """
        self._feeds, self._outputs = feeds, tuple(outputs)
        self._sessions: dict[tuple[str, tuple[str, ...]], tuple[Graph, Runnable]] = {}
        self._reached: list[tuple[tuple[Graph, ...], Iterable[Feed]]] = []
        self._lock = Lock()

    def part(self, graph: Graph, values: Iterable[str]) -> Part:
        """The smallest part of `graph` that makes and reads all `values`."""
        wanted = set(values)
        chain = parts(extract(graph, graph.inputs, self._outputs))
        touching = [
            index
            for index, part in enumerate(chain)
            if any(wanted.intersection((*node.inputs, *node.outputs)) for node in part.nodes)
        ]
        first, last = (touching[0], touching[-1]) if touching else (0, len(chain) - 1)
        beside = dict.fromkeys(value for each in chain[first : last + 1] for value in each.inputs[1:])
        middle = extract(graph, (chain[first].inputs[0], *beside), chain[last].outputs)
        with self._lock:
            return Part(middle, self._values_behind(graph, chain[:first]), _long(graph, chain[last + 1 :]))

    def finish(self, part: Part, plan: Plan) -> Callable[[Iterable[Feed]], Iterator[list[Array]]]:
        """What computes the outputs for each of some of the part's feeds, where `plan` says how the part is stored.

        All that follows is computed in float.
        """
        first = runnable(observing(part.graph, part.graph.outputs), plan)
        with self._lock:
            networks = [first, *map(self._network, part.rest)]
        return lambda feeds: run_each(networks, feeds)

    def _values_behind(self, graph: Graph, chain: tuple[Graph, ...]) -> Iterable[Feed]:
        """What follows the chain is fed for each image."""
        ways = [place for place in self._reached if len(place[0]) <= len(chain) and all(map(_is_same, place[0], chain))]
        known, values = max(ways, key=lambda place: len(place[0]), default=((), self._feeds))
        if len(known) < len(chain):
            way = extract(graph, chain[len(known)].inputs, chain[-1].outputs)
            rows = Rows(outputs[0] for outputs in run_each([runnable(way)], values))
            values = Reached(chain[-1].outputs[0], rows, self._feeds)
            release()
        others = [place for place in self._reached if place[1] is not values]
        self._reached = [(chain, values), *others[: processors()]]
        return values

    def _network(self, part: Graph) -> Runnable:
        place = part.inputs[0], part.outputs
        known = self._sessions.get(place)
        if known is None or not _is_same(known[0], part):
            known = self._sessions[place] = part, runnable(part, is_kept=True)
        return known[1]


def _long(graph: Graph, chain: tuple[Graph, ...]) -> tuple[Graph, ...]:
    """The same in few parts, whose ends are the same wherever the chain begins."""
    ends = [index for index in range(1, len(chain)) if (len(chain) - index) % _LONG == 0]
    pairs = pairwise([0, *ends, len(chain)]) if chain else ()
    return tuple(extract(graph, chain[start].inputs, chain[end - 1].outputs) for start, end in pairs)


def _is_same(graph: Graph, other: Graph) -> bool:
    """Whether both compute the same from the same constants."""
    return (
        graph.nodes == other.nodes
        and all(graph.info[value] == other.info.get(value) for value in graph.inputs)
        and graph.constants.keys() == other.constants.keys()
        and all(array is other.constants[name] for name, array in graph.constants.items())
    )
