"""The method, from a float graph and calibration images to a Plan and the graph that it stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgefer.graph.contract import contract_nodes
from edgefer.graph.ir import Array, Graph
from edgefer.images import ImageSet
from edgefer.plan import Plan
from edgefer.preprocess import iter_pixels
from edgefer.progress import Progress
from edgefer.quantize import statistics
from edgefer.quantize.equalise import equalise
from edgefer.quantize.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.reconstruct import pieces, reconstruct
from edgefer.quantize.sensitivity import Sensitivity
from edgefer.spec import InputSpec

FITTED_ON = 128
"""At most so many calibration images are run again, to equalise channels and to correct biases."""

MEASURED_ON = 16
"""At most so many calibration images are run for each question that is settled by measurement."""


@dataclass(frozen=True)
class Quantized:
    """The result of quantization.

    Attributes:
        graph: equal to the float graph but for equalised channels, rounding and corrected biases.
        plan: how it is stored.
        equalised: names of the SiLU inputs whose channels were equalised.
    """

    graph: Graph
    plan: Plan
    equalised: tuple[str, ...]


def quantize(graph: Graph, heads: Sequence[str], images: ImageSet, spec: InputSpec, progress: Progress) -> Quantized:
    """Quantize everything that has integer kernels to int8.

    Args:
        graph: normalised, pixels in and meanings out.
        heads: the values that noise is measured at: the outputs, before their activations.
        images: calibration images.
        spec: how they become pixels.
        progress: listens to the stages.
    """
    keep_float = contract_nodes(graph)
    chosen = images.select(range(0, len(images), -(-len(images) // FITTED_ON)))
    feeds = list(_feeds(chosen, spec))
    with progress.stage("equalise"):
        equalised, prescribed = equalise(
            graph, feeds, Sensitivity(graph, heads, feeds[:: -(-len(feeds) // MEASURED_ON)])
        )
    tensors = tensors_to_observe(equalised, keep_float)
    key = statistics.cache_key(equalised, tensors, images.sha256)
    with progress.stage("calibrate", len(images)) as advance:
        histograms = statistics.load(key, tensors)
        if histograms is not None:
            progress.detail(f"statistics of these images are cached as {key[:12]}")
        else:
            histograms = statistics.collect(equalised, tensors, _feeds(images, spec), advance)
            statistics.store(key, histograms)
    with progress.stage("choose ranges"):
        plan = plan_int8(equalised, histograms, keep_float, prescribed)
    with progress.stage("correct biases", pieces(equalised)) as advance:
        stored = reconstruct(equalised, plan, feeds, rounding=False, advance=advance)
    return Quantized(stored, plan, tuple(prescribed))


def _feeds(images: ImageSet, spec: InputSpec) -> Iterator[Array]:
    return (pixels[np.newaxis] for pixels in iter_pixels(images, spec))
