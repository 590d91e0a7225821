"""The trial: before any work begins, the user's own file runs beside the float reference, and both must agree.

Everything that follows is judged against the reference, and would confirm whatever was misread.  So the file runs as
it is, in ONNX Runtime, on a few images that are prepared as the Spec says; what comes from no ONNX file runs as its
converter built it, and its backbone beside timm's own where that is installed.  All of it happens in another process,
which a runtime may end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np

from edgefer.conversion.suspects import Run, Values, first_that_differs, first_that_is_refused, holds_halves
from edgefer.emit.tflite import emit_tflite
from edgefer.errors import InputError, RefusedError, about
from edgefer.graph.contract import head_logits, network_output
from edgefer.graph.ir import Array, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.host.progress import Progress
from edgefer.images import Image, ImageSet
from edgefer.images.preprocess import iter_pixels, normalise, to_pixels
from edgefer.networks.network import Network
from edgefer.plan import Plan
from edgefer.runtime.apart import Apart, Engine, in_turn, packed
from edgefer.runtime.runners import Format
from edgefer.spec import INPUT, HeadActivation, InputSpec, OutputSpec, Spec

IMAGES = 4
"""So many images are tried."""

TOLERANCE = 1e-4
"""Reference and file may differ by this share of a head's largest number on these images;"""

LEAST = 1e-2
"""a head whose numbers are all smaller is judged as if one were this large."""

TFLITE_TOLERANCE = 2e-3
"""The float TFLite file may differ by this share, as its kernels approximate more."""

COUPLED = 1e-3
"""From this share on, the answer for an image depends on what else is in its batch."""

HALF_TOLERANCE = 3e-2
"""A file that itself computes in float16 or bfloat16 may differ by this share,"""

OWN_NOISE = 4.0
"""and any file by so many times what it differs from itself, with its nodes fused or not;"""

TFLITE_NOISE = OWN_NOISE * TFLITE_TOLERANCE / TOLERANCE
"""the float TFLite file by so many times that."""

_REPORT = (
    "That is a fault of edgefer, not of the file: please report it, with the node that is named. "
    "Exported at another opset (opset_version of torch.onnx.export), the network may be read rightly."
)
_MUST_RUN = (
    "It must run there before it can be converted: try it with onnxruntime.InferenceSession, or export it again."
)


Against: TypeAlias = Literal["file", "torch", "graph", "nothing"]


@dataclass(frozen=True)
class Proof:
    """What the reference was compared with.

    Attributes:
        against: the user's own file, what PyTorch answers, the graph that a converter built, or nothing, as nothing
            runs the file.
        images: so many were compared.
        differences: by head, as a share of its largest number.
        twin: where the backbone was compared with the library that it was trained with: `library`, `arch` and
            `difference` of the features.
    """

    against: Against
    images: int = 0
    differences: Mapping[str, float] = field(default_factory=dict)
    twin: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with two digits of each difference."""
        differences = {head: _told(share) for head, share in self.differences.items()}
        twin = {"twin": dict(self.twin)} if self.twin is not None else {}
        return {"against": self.against, "images": self.images, "differences": differences, **twin}


def prove(network: Network, graph: Graph, images: Sequence[Image], apart: Apart, progress: Progress) -> Proof:
    """Make sure that the reference computes what the user's file does.

    Args:
        network: what was read.
        graph: the reference made of it, pixels in and meanings out.
        images: uint8 (H, W, 3), RGB, at the Spec's size.
        apart: runs both.
        progress: is told where the file itself cannot be run.

    Returns:
        What was compared, and how far apart it is.

    Raises:
        InputError: they differ, and where; or ONNX Runtime refuses either.
    """
    original, reference = _original(network, images), _reference(network, graph, images)
    with about(network.source.path):
        given = _given(network, original, images, apart, progress)
        twin = _prove_twin(network, images, apart, progress)
        if given is None:
            return Proof("nothing", twin=twin)
        found, differences = reference.outputs(apart), {}
        for head in network.spec.outputs:
            off = _off(
                head,
                _columns(network, head, given),
                _stacked(head_logits(graph, network.spec)[head.name], found),
                _stacked(head.name, found),
            )
            differences[head.name] = off
            if off > TOLERANCE and off > _own_share(network, head, original, apart):
                node = first_that_differs(original, reference, graph, apart, 10 * TOLERANCE)
                raise InputError(
                    f"edgefer would make another network of it: output {head.name!r} is off by {off:.2%} of its "
                    f"largest number{f', first at {node}' if node else ''}",
                    remedy=_REPORT,
                )
        if coupling := _coupling(network, original, images, given, apart):
            progress.note(coupling)
    given_by: Against = "graph"
    if network.original is not None:
        given_by = "file" if network.original.answer is None else "torch"
    return Proof(given_by, len(images), differences, twin)


def prove_tflite(network: Network, graph: Graph, images: Sequence[Image], apart: Apart) -> None:
    """Make sure that the float TFLite file computes what the reference does.

    Raises:
        InputError: they differ, or LiteRT refuses the file.
    """
    with about(network.source.path):
        reference = run_of(to_onnx(graph).SerializeToString(), network.spec, images)
        expected = reference.outputs(apart)
        found = run_of(emit_tflite(graph, Plan()), network.spec, images, "tflite").outputs(apart)
        for head in network.spec.outputs:
            off = _largest_share(head.name, expected, found)
            if off > TFLITE_TOLERANCE and off > TFLITE_NOISE * _largest_share(
                head.name, expected, reference.by("unoptimised").outputs(apart)
            ):
                raise InputError(
                    f"the TFLite file would be another network: output {head.name!r} is off by {off:.2%} of its "
                    "largest number, before anything is quantized",
                    remedy="That is a fault of edgefer, not of the file: please report it. ONNX alone, --formats onnx, "
                    "computes what the file does.",
                )


@contextmanager
def made_of(network: Network) -> Iterator[None]:
    """What is made of a network in this block, runtimes must run; errors of theirs name the user's file."""
    try:
        yield
    except RefusedError as error:
        raise RefusedError(
            f"{network.source.path}: an int8 network made of it does not run: {error.message}",
            remedy="That is a fault of edgefer, not of the file: please report it.",
            detail=error.detail,
        ) from error


def probe(
    network: Network,
    format: Format,
    graph: Graph,
    emit: Callable[[Graph], bytes],
    images: Sequence[Image],
    apart: Apart,
) -> bytes:
    """An artifact that its runtime has run on these images.

    Args:
        network: what is converted.
        format: `tflite` or `onnx`.
        graph: what is stored.
        emit: makes the file of a graph, or of the beginning of one.
        images: as for `prove`.
        apart: runs it.

    Raises:
        InputError: the runtime refuses it, or ends its process; the node that this begins at is named.
    """

    def attempt(graph: Graph) -> bytes:
        data = emit(graph)
        run_of(data, network.spec, images, format).outputs(apart)
        return data

    try:
        return attempt(graph)
    except RefusedError as error:
        node = first_that_is_refused(graph, attempt)
        other = next(name for name in ("tflite", "onnx") if name != format)
        raise RefusedError(
            f"{network.source.path}: the int8 {format} file made of it does not run, from node {node.name!r} "
            f"({node.op}) on: {error.message}",
            remedy=f"That is a fault of edgefer, not of the file: please report it. --formats {other} leaves it out.",
            detail=error.detail,
        ) from error


def sample(images: ImageSet | None, spec: InputSpec) -> list[Image]:
    """Images to try, at the network's size, from all over a set; blocks of noise where there is none."""
    if images is not None:
        return list(iter_pixels(images.some(IMAGES), spec))
    clip = [spec.frames] if spec.frames is not None else []
    blocks = np.random.default_rng(0).integers(0, 256, (IMAGES, *clip, 8, 8, 3), np.uint8)
    return [to_pixels(block, spec) for block in blocks]


def _original(network: Network, images: Sequence[Image]) -> Run:
    """The user's file; where there is none to run, what the converter built, before any pass."""
    states = network.spec.states
    carried = {state.input: state.output for state in states}
    if network.original is not None:
        return Run(network.original.model, [network.original.feed(image) for image in images], carried=carried)
    name, initial = network.graph.inputs[0], {state.input: state.before_first() for state in states}
    feeds = [{name: normalise(image, network.spec.input), **initial} for image in images]
    return Run(to_onnx(network.graph).SerializeToString(), feeds, carried=carried)


def _prove_twin(network: Network, images: Sequence[Image], apart: Apart, progress: Progress) -> dict[str, Any] | None:
    """Make sure that the graph's backbone computes what timm's does, where that is installed and knows it.

    Raises:
        InputError: they differ.
    """
    twin = network.twin
    if twin is None or not all(map(find_spec, ("torch", "torchvision", "timm"))):
        return None
    feeds = [{network.graph.inputs[0]: normalise(image, network.spec.input)} for image in images]
    weights = {name: tensor.array().astype(np.float32) for name, tensor in twin.tensors.items()}
    try:
        theirs = Run(packed({"arch": twin.arch}, [weights]), feeds, "timm").outputs(apart)
    except RefusedError as error:
        progress.detail(f"not compared with timm's {twin.arch}: {error.message}\n{error.detail}")
        return None
    ours = Run(to_onnx(network.graph, [twin.value]).SerializeToString(), feeds)
    fused, plain = (_stacked(twin.value, run.outputs(apart)) for run in (ours, ours.by("unoptimised")))
    off = _share(_stacked("features", theirs), fused)
    if off > max(TOLERANCE, OWN_NOISE * _share(plain, fused)):
        raise InputError(
            f"edgefer would make another network of it: its features are off by {off:.2%} of the largest from those "
            f"of timm's {twin.arch}",
            remedy="Was it trained as another architecture, with another padding say? State it by --arch. "
            "Else that is a fault of edgefer: please report it, and export the network to ONNX.",
        )
    library = ", ".join(f"{name} {version(name)}" for name in ("timm", "torch"))
    return {"library": library, "arch": twin.arch, "difference": _told(off)}


def _told(share: float) -> float:
    return float(f"{share:.1e}")


def _reference(network: Network, graph: Graph, images: Sequence[Image]) -> Run:
    """The reference, which also returns its heads before their activations."""
    model = to_onnx(graph, head_logits(graph, network.spec).values())
    return run_of(model.SerializeToString(), network.spec, images)


def run_of(model: bytes, spec: Spec, images: Sequence[Image], engine: Engine = "onnx") -> Run:
    """An artifact, or the reference, and what it is fed: images, one after the other, and what it carries on."""
    states = {state.fed: np.zeros(state.shape, np.float32) for state in spec.states}
    carried = {state.fed: state.returned for state in spec.states}
    return Run(model, [{INPUT: image[np.newaxis], **states} for image in images], engine, carried)


def _given(
    network: Network, original: Run, images: Sequence[Image], apart: Apart, progress: Progress
) -> Sequence[Values] | None:
    """What the file returns, or PyTorch itself; None where nothing can run it, which the user must hear."""
    answer = network.original.answer if network.original is not None else None
    try:
        given = original.outputs(apart) if answer is None else in_turn(answer, original.feeds, original.carried)
    except RefusedError as error:
        if "NOT_IMPLEMENTED" not in error.detail:
            raise InputError(
                f"the file itself does not run: {error.message}", remedy=_MUST_RUN, detail=error.detail
            ) from error
        try:
            given = original.by("reference").outputs(apart)
        except RefusedError:
            progress.note(f"not proved, as the file itself cannot be run: {error.message}")
            progress.detail(error.detail)
            return None
    if bad := [name for outputs in given for name, array in outputs.items() if not np.isfinite(array).all()]:
        raise InputError(
            f"the network itself returns numbers that are not finite in {bad[0]!r}",
            remedy="Are mean and std in the Spec those of the training? Else the training diverged.",
        )
    return given


def _coupling(network: Network, alone: Run, images: Sequence[Image], given: Sequence[Values], apart: Apart) -> str:
    """What the user must hear where the answer for an image depends on what else is in its batch; "" elsewhere."""
    beside, found = _together(network, images, apart)
    if not found:
        return ""
    for head in network.spec.outputs:
        off = _share(_columns(network, head, given[:1]), _columns(network, head, found))
        if off > COUPLED and off > _own_share(network, head, alone, apart):
            node = first_that_differs(beside, alone, network.graph, apart, COUPLED) if beside is not None else ""
            return (
                f"output {head.name!r} for an image is off by {off:.2%} where other images are in its batch"
                f"{f', first at {node}' if node else ''}: artifacts compute it for one image alone, where what is "
                "taken over the batch is taken over that image; that is another network than was trained: judge its "
                "accuracy with `edgefer evaluate`, not by that of batches"
            )
    return ""


def _together(network: Network, images: Sequence[Image], apart: Apart) -> tuple[Run | None, Sequence[Values]]:
    """What is returned for the images in one batch, and what ran, if not PyTorch; nothing where none can run."""
    original = network.original
    if original is None or original.together is None:
        return None, []
    if original.answer is not None:
        return None, [original.answer(original.together(images))]
    beside = Run(original.model, [original.together(images)])
    try:
        return beside, beside.outputs(apart)
    except RefusedError:  # the file holds a batch of its own, whatever it says
        return None, []


def _columns(network: Network, head: OutputSpec, given: Sequence[Values]) -> Array:
    """The numbers of a head in what the file returns for the first image of each feed, (feeds, columns)."""
    source = network_output(network.graph, network.spec, head)
    width = prod(network.graph.shape(source))
    return np.stack([outputs[source].reshape(-1)[:width] for outputs in given])[
        :, slice(*(head.columns or (None,)))
    ].astype(np.float32)


def _stacked(name: str, found: Sequence[Values]) -> Array:
    return np.stack([outputs[name].reshape(-1) for outputs in found])


def _off(head: OutputSpec, given: Array, logits: Array, found: Array) -> float:
    """By what share of the largest number the reference is off in a head.

    What the file returns is the head before its activation, or as it is where the network itself applies that.
    """
    if found.shape != given.shape or logits.shape != given.shape:
        return np.inf
    is_softmax = head.activation == "softmax"  # which does not see what is common to all columns
    before = [values - values.mean(axis=1, keepdims=True) if is_softmax else values for values in (given, logits)]
    as_logits = max(_share(*before), _share(_ACTIVATIONS[head.activation](given), found))
    return min(as_logits, _share(given, found))


def _own_share(network: Network, head: OutputSpec, original: Run, apart: Apart) -> float:
    """What a file may be off by: it has noise of its own, and more where it computes in less than float32."""
    fused, plain = (_columns(network, head, run.outputs(apart)) for run in (original, original.by("unoptimised")))
    return max(OWN_NOISE * _share(fused, plain), HALF_TOLERANCE if holds_halves(original) else 0.0)


def _share(expected: Array, found: Array) -> float:
    off = np.abs(expected - found).max(initial=0) / max(np.abs(expected).max(initial=0), LEAST)
    return float(np.nan_to_num(off, nan=np.inf))


def _largest_share(name: str, expected: Sequence[Values], found: Sequence[Values]) -> float:
    return max(_share(one[name], other[name]) for one, other in zip(expected, found, strict=True))


def _softmax(x: Array) -> Array:
    powers: Array = np.exp(x - x.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(x / 2))


_ACTIVATIONS: Mapping[HeadActivation, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
}
