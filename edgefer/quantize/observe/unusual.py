"""Images that are unlike all others to a network: values on the way are many times as large as for those.

One range cannot hold both, and what is chosen by squared errors would hold the few and lose the many.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from edgefer.graph.ir import Array, Graph
from edgefer.graph.subgraph import cut_points
from edgefer.images import ImageSet
from edgefer.images.preprocess import iter_feeds
from edgefer.quantize.observe.per_image import observe
from edgefer.spec import Spec

UNLIKE = 16.0
"""Times as large as for the median image: int8 would have 16 steps left for that."""

_FEW = 0.125  # of the images; more of them are not unusual


def usual_images(graph: Graph, images: ImageSet, spec: Spec) -> ImageSet:
    """The images without those that are unlike the others, where these are few.

    Args:
        graph: the float network.
        images: some.
        spec: how they become what the network is fed.
    """
    values = [value for value in cut_points(graph) if graph.info[value].dtype.kind == "f"]

    def largest(found: list[Array], count: int) -> list[Array]:
        """For each of some images, the largest magnitude of each value."""
        flat = [each.reshape(count, -1) for each in found]
        return list(np.stack([np.maximum(each.max(axis=1), -each.min(axis=1)) for each in flat], axis=1))

    peaks = np.array(list(chain.from_iterable(observe(graph, values, iter_feeds(images, spec), largest))))
    if not peaks.size:
        return images
    is_usual = (peaks <= UNLIKE * np.median(peaks, axis=0)).all(axis=1)
    if is_usual.all() or np.mean(~is_usual) > _FEW:
        return images
    return images.select(np.flatnonzero(is_usual).tolist())
