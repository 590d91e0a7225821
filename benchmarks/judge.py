"""What a converted network does on judged images, and how long a frame takes: one measure for every tool's files.

    networks = {name: Network(path) for name, path in files.items()}
    quality = judge(networks, "fp32", images, spec)
    rounds = frame_rounds(networks, pixels, spec)

Files that take uint8 pixels keep edgefer's contract and return probabilities; all others take normalised images,
float or quantized, and return logits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from edgefer.bundle import Bundle
from edgefer.emit.tflite import emit_tflite
from edgefer.evaluation.metrics import before_activation, sqnr_db
from edgefer.evaluation.targets import find_targets
from edgefer.graph.contract import apply_contract
from edgefer.graph.ir import Graph
from edgefer.graph.passes import normalise as normalised
from edgefer.images import ImageSet
from edgefer.images.preprocess import iter_pixels, normalise
from edgefer.networks.network import Network as Loaded
from edgefer.plan import Plan
from edgefer.runtime.runners import Pixels, onnx_session, tflite_interpreter
from edgefer.spec import Spec

Array: TypeAlias = npt.NDArray[Any]

ROUNDS = 25
WARM_UP = 5
FRAMES = 40


@dataclass(frozen=True)
class Quality:
    """How a network compares with the float one, and with the labels.

    Attributes:
        accuracy: share of images whose label it chooses.
        agreement: share of images for which it chooses what the float network does.
        sqnr_db: of the logits, less their mean over the classes.
    """

    accuracy: float
    agreement: float
    sqnr_db: float


@dataclass(frozen=True)
class BesideFloat:
    """Time of a frame in one runtime, one thread.

    Attributes:
        ms: of int8, milliseconds, median.
        float_ms: of float.
        ratio: of one to the other, median of the rounds' ratios.
    """

    ms: float
    float_ms: float
    ratio: float


class Network:
    """A converted file, one image at a time and one thread."""

    def __init__(self, path: Path) -> None:
        self._runtime = _Onnx(path) if path.suffix == ".onnx" else _Tflite(path)

    def feed(self, pixels: Pixels, spec: Spec) -> Array:
        """What the file takes for pixels, uint8 (H, W, 3)."""
        runtime = self._runtime
        if runtime.dtype == np.uint8:
            return pixels[np.newaxis]
        image = normalise(pixels, spec.input)
        if runtime.channels_last:
            image = image.transpose(0, 2, 3, 1)
        if runtime.dtype == np.float32:
            return np.ascontiguousarray(image)
        scale, zero_point = runtime.input_quantization
        limits = np.iinfo(runtime.dtype)
        quantized: Array = np.clip(np.rint(image / scale) + zero_point, limits.min, limits.max)
        return quantized.astype(runtime.dtype)

    def run(self, feed: Array) -> Array:
        """The bare inference, (1, classes), in the file's own output dtype."""
        return self._runtime.run(feed)

    def logits(self, output: Array) -> Array:
        """Logits less their mean, float64 (N, classes), from outputs of `run`."""
        values = self._runtime.dequantize(output)
        if self._runtime.dtype == np.uint8:
            return before_activation(values, "softmax")
        centred: Array = values - values.mean(axis=1, keepdims=True)
        return centred


def judge(networks: Mapping[str, Network], reference: str, images: ImageSet, spec: Spec) -> dict[str, Quality]:
    """Compare every network with the one named `reference`, on labelled images of one head."""
    pixels = list(iter_pixels(images, spec.input))
    return compared({name: logits_of(each, pixels, spec) for name, each in networks.items()}, reference, images, spec)


def logits_of(network: Network, pixels: Iterable[Pixels], spec: Spec) -> Array:
    """Logits less their mean, float64 (N, classes), for pixels, each uint8 (H, W, 3)."""
    return network.logits(np.concatenate([network.run(network.feed(each, spec)) for each in pixels]))


def compared(logits: Mapping[str, Array], reference: str, images: ImageSet, spec: Spec) -> dict[str, Quality]:
    """Compare all logits with those named `reference`, on the labelled images of one head that they are for."""
    labels = find_targets(images, spec).heads[spec.outputs[0].name].classes
    if labels is None:
        raise ValueError("the judged images have no labels")
    expected = logits[reference]
    return {
        name: Quality(
            accuracy=float(np.mean(found.argmax(axis=1) == labels)),
            agreement=float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1))),
            sqnr_db=sqnr_db(expected, found),
        )
        for name, found in logits.items()
    }


def frame_rounds(networks: Mapping[str, Network], pixels: Pixels, spec: Spec) -> dict[str, list[float]]:
    """Milliseconds per frame of each network, the median of every round.

    The networks take turns by blocks of frames: close enough that all see the same machine, and long enough that
    each runs from its own warm caches as it would alone.  What turns pixels into a feed is not timed.
    """
    feeds = {name: network.feed(pixels, spec) for name, network in networks.items()}
    rounds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS):
        for name, network in networks.items():
            rounds[name].append(_block(network, feeds[name]))
    return rounds


def ratio(rounds: Mapping[str, list[float]], name: str, other: str) -> float:
    """Median over the rounds of one network's time divided by the other's of the same round."""
    return median(a / b for a, b in zip(rounds[name], rounds[other], strict=True))


def beside_float(bundle: Bundle, network: Loaded, pixels: Pixels, folder: Path) -> dict[str, BesideFloat]:
    """Time of a bundle's int8 artifacts beside its network in float, by format; scratch files go to `folder`."""
    file = folder / "float32.tflite"
    file.write_bytes(float_tflite(network.graph, network.spec))
    files = {f"{artifact.precision}.{artifact.format}": bundle.path / artifact.file for artifact in bundle.artifacts}
    networks = {name: Network(path) for name, path in {**files, file.name: file}.items()}
    rounds = frame_rounds(networks, pixels, network.spec)
    return {
        format: BesideFloat(median(rounds[ours]), median(rounds[plain]), ratio(rounds, ours, plain))
        for format, ours, plain in ((each, f"int8.{each}", f"float32.{each}") for each in ("tflite", "onnx"))
    }


def float_tflite(graph: Graph, spec: Spec) -> bytes:
    """The network as a TFLite file that computes in float, pixels in and meanings out."""
    return emit_tflite(apply_contract(normalised(graph), spec), Plan())


def _block(network: Network, feed: Array) -> float:
    times = []
    for _ in range(WARM_UP + FRAMES):
        start = perf_counter()
        network.run(feed)
        times.append(perf_counter() - start)
    return 1000 * median(times[WARM_UP:])


class _Onnx:
    def __init__(self, path: Path) -> None:
        self._session = onnx_session(path, arena=True)
        (taken,) = onnx.load(path).graph.input
        self.dtype = onnx.helper.tensor_dtype_to_np_dtype(taken.type.tensor_type.elem_type)
        self.channels_last = False
        self.input_quantization = (1.0, 0)

    def run(self, feed: Array) -> Array:
        output: Array = self._session.run(None, {self._session.inputs[0]: feed})[0]
        return output

    def dequantize(self, output: Array) -> Array:
        return output.astype(np.float64)


class _Tflite:
    def __init__(self, path: Path) -> None:
        self._interpreter = tflite_interpreter(path)
        (taken,), (self._given,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._index = taken["index"]
        self.dtype = np.dtype(taken["dtype"])
        self.channels_last = True
        self.input_quantization: tuple[float, int] = taken["quantization"]

    def run(self, feed: Array) -> Array:
        self._interpreter.set_tensor(self._index, feed)
        self._interpreter.invoke()
        output: Array = self._interpreter.get_tensor(self._given["index"])
        return output

    def dequantize(self, output: Array) -> Array:
        values = output.astype(np.float64)
        if output.dtype == np.float32:
            return values
        scale, zero_point = self._given["quantization"]
        scaled: Array = (values - zero_point) * scale
        return scaled
