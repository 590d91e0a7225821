"""Values on the way through a network that a smaller one is to compute alike, as far as it has their channels.

Heads alone say little of what is wrong where: a few maps that everything flows through, one for each size, tell each
part of the network by itself what it is to make (Romero et al., 2015, arXiv:1412.6550).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from math import prod
from typing import TypeAlias

import numpy as np

from edgefer.graph.groups import Chosen, Groups, find_groups
from edgefer.graph.ir import Graph
from edgefer.graph.labelling import Labels
from edgefer.graph.subgraph import cut_points

Places: TypeAlias = Mapping[str, tuple[int, Labels]]
"""For each value the axis of its channels, and which of the original's are left, in order."""


def landmarks(graph: Graph) -> Places:
    """Of each size of map the narrowest that everything flows through, the last of several, with all its channels."""
    axes = {value: axis for value, (axis, _) in find_groups(graph).values.items()}
    maps = [value for value in cut_points(graph) if value in axes]
    sizes = groupby(maps, key=lambda value: prod(graph.shape(value)) // graph.shape(value)[axes[value]])
    found = [min(reversed(list(values)), key=lambda value: prod(graph.shape(value))) for _, values in sizes]
    return {value: (axes[value], np.arange(graph.shape(value)[axes[value]])) for value in found}


def left_of(places: Places, groups: Groups, gone: Chosen, smaller: Graph) -> Places:
    """What is left of them in a smaller graph, which lacks either the groups that are gone, or none."""
    found = dict(places)
    for value, (axis, channels) in places.items():
        if smaller.shape(value) != groups.graph.shape(value):
            found[value] = axis, channels[~groups.found_in(groups.values[value][1], gone)]
    return found
