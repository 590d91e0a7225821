"""One pass over the calibration images, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.graph.ir import Feed, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.host import cache
from edgefer.host.directories import cache_directory
from edgefer.host.threads import in_order
from edgefer.plan import QuantParams
from edgefer.quantize.observe.per_image import each_image, observe
from edgefer.quantize.scales.histogram import COUNTED, HALF, Histogram
from edgefer.quantize.scales.ranges import View, mse_optimal
from edgefer.spec import InputSpec

_Item = TypeVar("_Item")
_VERSION = 3  # of what a cache entry holds


def collect(
    graph: Graph,
    tensors: Sequence[str],
    feeds: Iterable[Feed],
    advance: Callable[[], None] = lambda: None,
) -> Mapping[str, Histogram]:
    """Histograms of `tensors` over all `feeds` of the graph.

    Raises:
        InputError: a tensor is not finite for some image, the network cannot run, or there are no feeds.
    """
    if not tensors:
        return {}
    histograms = {name: Histogram() for name in tensors}

    def count(values: list[npt.NDArray[Any]], images: int) -> list[str]:
        """Count; for each image, the name of a tensor that is not finite, or none."""
        for name, array in zip(tensors, values, strict=True):
            try:
                histograms[name].add(array, images)
            except ValueError:
                return [_not_finite(tensors, found) for found in each_image(values, images)]
        return [""] * images

    rows = observe(graph, tensors, feeds, count)
    for index, tensor in enumerate(chain.from_iterable(rows)):
        if tensor:
            raise InputError(
                f"tensor {tensor!r} is not finite for calibration image {index}",
                remedy="Check the network's weights and the Spec's mean and std.",
            )
        advance()
    if not all(histogram.counts.any() for histogram in histograms.values()):
        raise InputError("there are no calibration images")
    return histograms


def _not_finite(tensors: Sequence[str], values: Sequence[npt.NDArray[Any]]) -> str:
    return next((name for name, array in zip(tensors, values, strict=True) if not np.isfinite(array).all()), "")


def stored_alone(graph: Graph, views: Mapping[str, View], feeds: Iterable[Feed]) -> dict[str, QuantParams]:
    """How each value would be stored by itself, judged through its view, over all of the graph's feeds."""
    found = collect(graph, tuple(views), feeds)
    return dict(zip(found, in_order(lambda name: mse_optimal(found[name], views[name]), found), strict=True))


def cache_key(graph: Graph, tensors: Sequence[str], images: str, spec: InputSpec) -> str:
    """What statistics depend on: the graph, the tensors observed, the images by content, how they become pixels."""
    held: dict[str, npt.NDArray[Any]] = {}
    digest = sha256(to_onnx(graph, held=held).SerializeToString())
    for array in held.values():
        digest.update(np.ascontiguousarray(array).data)
    digest.update(repr((_VERSION, HALF, COUNTED, tuple(tensors), images, spec)).encode())
    return digest.hexdigest()


def load(key: str, tensors: Sequence[str]) -> Mapping[str, Histogram] | None:
    """Statistics stored under `key`; None when there are none, or they are damaged."""
    try:
        with np.load(_entry(key), allow_pickle=False) as entry:
            counts, exponents, extremes = entry["counts"], entry["exponents"], entry["extremes"]
    except Exception:  # damage shows as errors of zipfile, zlib, numpy, even of Python's tokenizer
        return None
    if counts.shape != (len(tensors), 2 * HALF):
        return None
    rows = zip(tensors, exponents, counts, extremes, strict=True)
    return {
        name: Histogram(int(k), row.astype(np.int64), float(low), float(high)) for name, k, row, (low, high) in rows
    }


def store(key: str, histograms: Mapping[str, Histogram]) -> None:
    """Keep statistics under `key`; a cache that cannot be written is not an error."""
    rows, file = histograms.values(), BytesIO()
    np.savez_compressed(
        file,
        counts=np.stack([row.counts for row in rows]),
        exponents=np.asarray([row.exponent for row in rows]),
        extremes=np.asarray([(row.minimum, row.maximum) for row in rows]),
    )
    cache.store(_entry(key), file.getvalue())


def _entry(key: str) -> Path:
    return cache_directory() / "statistics" / f"{key}.npz"
