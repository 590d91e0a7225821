"""One pass over the calibration images, in memory that does not grow with their number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer import cache
from edgefer.directories import cache_directory
from edgefer.errors import InputError
from edgefer.graph.ir import Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import extract
from edgefer.quantize.histogram import HALF, Histogram
from edgefer.runtime import onnx_session

_VERSION = 1  # of what a cache entry holds
_THREADS = 2  # histograms merge exactly, so their number changes nothing


def collect(
    graph: Graph,
    tensors: Sequence[str],
    feeds: Iterable[npt.NDArray[Any]],
    advance: Callable[[], None] = lambda: None,
) -> Mapping[str, Histogram]:
    """Histograms of `tensors` over all `feeds` of the graph's only input.

    Raises:
        InputError: a tensor is not finite for some image, the network cannot run, or there are no feeds.
    """
    if not tensors:
        return {}
    session = onnx_session(to_onnx(extract(graph, graph.inputs, tensors)))
    numbered = enumerate(feeds)
    lock, stopped = Lock(), Event()

    def work() -> list[Histogram]:
        histograms = [Histogram() for _ in tensors]
        try:
            while not stopped.is_set():
                with lock:
                    index, feed = next(numbered, (-1, None))
                if feed is None:
                    break
                _observe(session, tensors, {graph.inputs[0]: feed}, histograms, index)
                with lock:
                    advance()
        except BaseException:
            stopped.set()
            raise
        return histograms

    with ThreadPoolExecutor(_THREADS) as pool:
        jobs = [pool.submit(work) for _ in range(_THREADS)]
        try:
            parts = [job.result() for job in jobs]
        finally:
            stopped.set()
    merged = [reduce(Histogram.merged, same) for same in zip(*parts, strict=True)]
    if not all(histogram.counts.any() for histogram in merged):
        raise InputError("there are no calibration images")
    return dict(zip(tensors, merged, strict=True))


def _observe(
    session: Any, tensors: Sequence[str], feeds: Mapping[str, Any], histograms: Sequence[Histogram], index: int
) -> None:
    """Add what one image makes of the tensors."""
    try:
        observed = session.run(list(tensors), feeds)
    except Exception as error:  # pybind11 exceptions of several kinds
        raise InputError(f"ONNX Runtime cannot run the network: {str(error).splitlines()[0]}") from error
    for name, values, histogram in zip(tensors, observed, histograms, strict=True):
        try:
            histogram.add(values)
        except ValueError as error:
            raise InputError(
                f"tensor {name!r} is not finite for calibration image {index}",
                remedy="Check the network's weights and the Spec's mean and std.",
            ) from error


def cache_key(graph: Graph, tensors: Sequence[str], images: str) -> str:
    """What statistics depend on: the graph, the tensors observed, and the content hash of the images."""
    digest = sha256(to_onnx(graph).SerializeToString())
    digest.update(json.dumps([_VERSION, HALF, list(tensors), images]).encode())
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
