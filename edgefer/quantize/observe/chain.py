"""Images run through a float network part by part, so that a question about one part does not run the others anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock

from edgefer.graph.ir import Array, Feed, Graph
from edgefer.graph.subgraph import extract, observing, parts
from edgefer.host.on_disk import Rows
from edgefer.host.threads import processors
from edgefer.plan import Plan
from edgefer.quantize.observe.per_image import Reached, Runnable, run_each, runnable

_LONG = 8
"""Parts that are run as one where nothing is asked of them: each costs a call, and what it returns is written out."""

_AT_END = 2
"""Sessions that end in one place and are kept, of those last asked for: each holds weights."""


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


@dataclass(frozen=True)
class _Division:
    """A graph as a chain of parts.

    Attributes:
        graph: the whole.
        parts: as small as can be.
        touched: by each, the values that it makes and reads.
    """

    graph: Graph
    parts: tuple[Graph, ...]
    touched: tuple[frozenset[str], ...]
    _rests: dict[int, tuple[Graph, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, outputs: Sequence[str]) -> _Division:
        """What computes `outputs`."""
        chain = parts(extract(graph, graph.inputs, outputs))
        touched = (frozenset(value for node in part.nodes for value in (*node.inputs, *node.outputs)) for part in chain)
        return cls(graph, chain, tuple(touched))

    def joined(self, start: int, end: int) -> Graph:
        """Some parts as one."""
        some = self.parts[start:end]
        beside = dict.fromkeys(value for part in some for value in part.inputs[1:])
        return extract(self.graph, (some[0].inputs[0], *beside), some[-1].outputs)

    def rest(self, start: int) -> tuple[Graph, ...]:
        """All from a part on, in few parts, whose ends are the same wherever the rest begins."""
        if start not in self._rests:
            count = len(self.parts)
            ends = [index for index in range(start + 1, count) if (count - index) % _LONG == 0]
            pairs = pairwise([start, *ends, count]) if start < count else ()
            self._rests[start] = tuple(self.joined(*pair) for pair in pairs)
        return self._rests[start]


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
        self._sessions: dict[tuple[str, ...], deque[tuple[Graph, Runnable]]] = {}
        self._reached: list[tuple[tuple[Graph, ...], Iterable[Feed]]] = []
        self._divisions: deque[_Division] = deque(maxlen=2 * processors())
        self._lock = Lock()

    def part(self, graph: Graph, values: Iterable[str]) -> Part:
        """The smallest part of `graph` that makes and reads all `values`."""
        wanted = set(values)
        divided = self._division(graph)
        touching = [index for index, touched in enumerate(divided.touched) if not wanted.isdisjoint(touched)]
        first, last = (touching[0], touching[-1]) if touching else (0, len(divided.parts) - 1)
        with self._lock:
            return Part(divided.joined(first, last + 1), self._values_behind(divided, first), divided.rest(last + 1))

    def finish(self, part: Part, plan: Plan) -> Callable[[Iterable[Feed]], Iterator[list[Array]]]:
        """What computes the outputs for each of some of the part's feeds, where `plan` says how the part is stored.

        All that follows is computed in float.
        """
        first = runnable(observing(part.graph, part.graph.outputs), plan)
        with self._lock:
            networks = [first, *map(self._network, part.rest)]
        return lambda feeds: run_each(networks, feeds)

    def _division(self, graph: Graph) -> _Division:
        """In parts; of the graphs last asked about it is known."""
        with self._lock:
            known = next((each for each in self._divisions if each.graph is graph), None)
        if known is None:
            known = _Division.of(graph, self._outputs)
            with self._lock:
                self._divisions.append(known)
        return known

    def _values_behind(self, divided: _Division, count: int) -> Iterable[Feed]:
        """What follows the first parts is fed for each image."""
        chain = divided.parts[:count]
        ways = [place for place in self._reached if len(place[0]) <= len(chain) and all(map(_is_same, place[0], chain))]
        known, values = max(ways, key=lambda place: len(place[0]), default=((), self._feeds))
        if len(known) < len(chain):
            way = runnable(divided.joined(len(known), count))
            rows = Rows(outputs[0] for outputs in run_each([way], values))
            values = Reached(chain[-1].outputs[0], rows, self._feeds)
        others = [place for place in self._reached if place[1] is not values]
        self._reached = [(chain, values), *others[: processors()]]
        return values

    def _network(self, part: Graph) -> Runnable:
        at_end = self._sessions.setdefault(part.outputs, deque(maxlen=_AT_END))
        known = next((session for graph, session in at_end if _is_same(graph, part)), None)
        if known is None:
            known = runnable(part, is_kept=True)
            at_end.append((part, known))
        return known


def _is_same(graph: Graph, other: Graph) -> bool:
    """Whether both compute the same from the same constants."""
    return graph is other or (
        graph.nodes == other.nodes
        and all(graph.info[value] == other.info.get(value) for value in graph.inputs)
        and graph.constants.keys() == other.constants.keys()
        and all(array is other.constants[name] for name, array in graph.constants.items())
    )
