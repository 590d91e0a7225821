"""One pass over the calibration images, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.graph.ir import Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.quantize.histogram import Histogram
from edgefer.runtime import onnx_session

Pixels = npt.NDArray[np.uint8]


def collect(
    graph: Graph,
    tensors: Sequence[str],
    feeds: Iterable[npt.NDArray[np.generic]],
    advance: Callable[[], None] = lambda: None,
) -> Mapping[str, Histogram]:
    """Histograms of `tensors` over all `feeds` of the graph's only input.

    Raises:
        InputError: a tensor is not finite for some image, or there are no feeds.
    """
    histograms = {name: Histogram() for name in tensors}
    session = onnx_session(to_onnx(graph, tensors))
    count = 0
    for feed in feeds:
        for name, values in zip(tensors, session.run(list(tensors), {graph.inputs[0]: feed}), strict=True):
            if not np.isfinite(values).all():
                raise InputError(
                    f"tensor {name!r} is not finite for calibration image {count}",
                    remedy="Check the network's weights and the Spec's mean and std.",
                )
            histograms[name].add(values)
        count += 1
        advance()
    if not count:
        raise InputError("there are no calibration images")
    return histograms
