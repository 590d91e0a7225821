"""What is run on every device: artifacts, images, and what this machine computes from them."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.bundle import Artifact, Bundle
from edgefer.device.comparison import BoardDrift, Heads, board_drift, head_scales
from edgefer.errors import InputError
from edgefer.evaluation.heads import chooses_class
from edgefer.evaluation.targets import Targets, find_targets
from edgefer.host.progress import Progress
from edgefer.host.saturation import probe
from edgefer.images import Image, ImageSet, in_sequences, sample, starts
from edgefer.images.preprocess import iter_pixels, resampling_weights, to_pixels
from edgefer.images.readers import PixelReader
from edgefer.runtime.runners import open_runner
from edgefer.spec import InputSpec, Spec

GENERATED = 64
"""Images where the user gives none: enough to tell whether a board computes what the host does."""
CROPS = 16
"""Images that the timed frames go through."""
_CROP_SIDE = 112


@dataclass(frozen=True, eq=False)
class Workload:
    """The same for all devices.

    Attributes:
        bundle: where the artifacts are from.
        artifacts: what is run, in this order.
        inputs: files by the name that the agent knows them by: arrays, and the model of `host.saturation.probe`.
        host: by file, what this machine computes.
        reference: what the float network computes here; None for generated images.
        targets: what is true.
        source: name of the image set.
        samples: how many images.
    """

    bundle: Bundle
    artifacts: tuple[Artifact, ...]
    inputs: Mapping[str, bytes]
    host: Mapping[str, Heads]
    reference: Heads | None
    targets: Targets
    source: str
    samples: int

    def drift(self, artifact: Artifact, board: Heads) -> BoardDrift:
        """What an artifact computed on a board, against this machine."""
        heads = sorted(self.bundle.spec.outputs, key=lambda head: not chooses_class(head))
        scales = head_scales(self.bundle) if artifact.precision == "int8" else {}
        host = self.host[artifact.file]
        return board_drift(tuple(heads), board, host, self.reference, self.targets.heads, scales, artifact.io)


def prepare(
    bundle: Bundle, images: ImageSet | None, samples: int, formats: Collection[str] | None, progress: Progress
) -> Workload:
    """Choose what to run, and run it here.

    Args:
        bundle: an opened bundle.
        images: to measure drift and accuracy on; generated ones where there are none.
        samples: at most so many images, spread evenly over the set.
        formats: of `tflite`, `onnx` (int8) and `fp32`; all when None.
        progress: told of every image.

    Raises:
        InputError: the bundle has no such artifact.
    """
    spec = bundle.spec
    artifacts = tuple(a for a in bundle.artifacts if formats is None or _format(a) in formats)
    if not artifacts:
        held = ", ".join(sorted({_format(a) for a in bundle.artifacts}))
        raise InputError(f"{bundle.path}: holds none of the wanted artifacts (it has {held})")
    chosen = in_sequences(generated(spec.input) if images is None else images, spec)
    chosen = chosen if images is None else sample(chosen, samples, spec)
    begins = set(starts(chosen))
    targets = _targets(chosen, spec, progress)
    reference = next(a for a in bundle.artifacts if a.is_reference)
    pixels = np.stack(list(iter_pixels(chosen, spec.input)))
    host = {}
    here = {artifact.file: artifact for artifact in (*artifacts, reference)}
    with progress.stage("run here", len(pixels) * len(here)) as advance:
        for artifact in here.values():
            runner = open_runner(bundle.path / artifact.file, artifact.format, spec=spec)
            said: dict[str, list[npt.NDArray[np.float32]]] = {head.name: [] for head in spec.outputs}
            for index, image in enumerate(pixels):
                if index in begins:
                    runner.reset()
                for name, values in runner(image).items():
                    said[name].append(values)
                advance()
            host[artifact.file] = {name: np.stack(values) for name, values in said.items()}
    return Workload(
        bundle=bundle,
        artifacts=artifacts,
        inputs=_inputs(pixels, chosen, begins, spec),
        host=host,
        reference=None if images is None else host[reference.file],
        targets=targets,
        source=chosen.source,
        samples=len(chosen),
    )


def generated(spec: InputSpec, count: int = GENERATED) -> ImageSet:
    """Smooth colour patterns, the same every time: they mean nothing, but every processor must agree on them."""
    rng = np.random.default_rng(0)
    large = replace(spec, size=(_CROP_SIDE, _CROP_SIDE), resize="bilinear", fit="stretch")
    images = {f"{index}": to_pixels(rng.integers(0, 256, (7, 7, 3), np.uint8), large) for index in range(count)}
    digests = tuple(sha256(image.tobytes()).hexdigest() for image in images.values())
    return ImageSet(f"{count} generated images", tuple(images), digests, PixelReader(images))


def _targets(images: ImageSet, spec: Spec, progress: Progress) -> Targets:
    """What is true of the images; nothing, where that is about another network: boards are compared all the same."""
    try:
        return find_targets(images, spec)
    except InputError as error:
        progress.note(f"{error.message}: no accuracy is measured")
        return find_targets(images.unlabelled(), spec)


def _inputs(pixels: Image, images: ImageSet, begins: Collection[int], spec: Spec) -> dict[str, bytes]:
    """The pixels as the artifacts take them, and a few frames of one size before they are resampled to that."""
    shown = [images.read(index) for index in range(min(CROPS, len(images)))]
    frames = [frame for each in shown for frame in each.reshape(-1, *each.shape[-3:])][:CROPS]
    first = frames[0]
    crops = [frame for frame in frames if frame.shape == first.shape]
    down, across = resampling_weights((first.shape[0], first.shape[1]), spec.input)
    arrays: dict[str, npt.NDArray[Any]] = {"pixels": pixels, "crops": np.stack(crops), "down": down, "across": across}
    arrays["begins"] = np.asarray(sorted(begins), np.int64)
    return {**{name: _npy(array) for name, array in arrays.items()}, "probe": probe()}


def _npy(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _format(artifact: Artifact) -> str:
    return "fp32" if artifact.is_reference else artifact.format
