"""`load`: run an artifact on an image and get named, labelled results.

model = edgefer.load("fer_b0_bundle")
result = model(image)                      # uint8 (H, W, 3), RGB, any size
result["expression"].top                   # 'happy'
result["expression"].as_dict()             # {'angry': 0.01, ..., 'neutral': 0.05}

A network that looks at sequences is shown their frames one after the other, and told where another one begins:

model.reset()
results = [model(frame) for frame in frames]
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgefer.bundle import Bundle
from edgefer.emit.tflite import SPEC_FILE
from edgefer.errors import InputError
from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import Runner, open_runner
from edgefer.spec import METADATA_KEY, Spec


@dataclass(frozen=True)
class HeadResult:
    """What one head says about an image.

    Attributes:
        labels: one per value.
        values: float32 (columns,): probabilities, or valence and arousal in [-1, 1], as the head's kind says.
    """

    labels: tuple[str, ...]
    values: npt.NDArray[np.float32]

    @property
    def top(self) -> str:
        """Label of the largest value."""
        return self.labels[int(self.values.argmax())]

    def as_dict(self) -> dict[str, float]:
        """Value by label."""
        return dict(zip(self.labels, map(float, self.values), strict=True))


class Model:
    """An artifact with its Spec: images in, labelled results out; of a sequence, frame after frame."""

    def __init__(self, runner: Runner, spec: Spec) -> None:
        self.spec = spec
        self._runner = runner

    def __call__(self, image: npt.NDArray[np.uint8]) -> Mapping[str, HeadResult]:
        """Results by head.

        Args:
            image: uint8 (H, W, 3) RGB, or (H, W) gray, of any size; the next frame where the network looks at
                sequences. Of a network that reads clips of T frames, a whole clip as well, (T, H, W, 3).

        Raises:
            InputError: it is no such array.
        """
        frames = self.spec.input.frames
        if frames is not None and isinstance(image, np.ndarray) and image.ndim == 4:
            if image.dtype != np.uint8 or image.shape[3] != 3 or not image.size or len(image) != frames:
                raise InputError(f"a clip is uint8 ({frames}, H, W, 3) RGB; this is {image.dtype} {image.shape}")
            return self._named(image)
        if not isinstance(image, np.ndarray):
            raise InputError(f"an image is uint8 (H, W, 3) RGB or (H, W) gray; this is a {type(image).__name__}")
        if (
            image.dtype != np.uint8
            or image.ndim not in (2, 3)
            or not image.size
            or (image.ndim == 3 and image.shape[2] != 3)
        ):
            raise InputError(f"an image is uint8 (H, W, 3) RGB or (H, W) gray; this is {image.dtype} {image.shape}")
        return self._named(image if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2))

    def reset(self, states: Mapping[str, npt.NDArray[np.float32]] | None = None) -> None:
        """Begin another sequence.

        Args:
            states: of one to go on with, as `states` had them; as a sequence begins by default.

        Raises:
            InputError: they are not those of the network, or not finite.
        """
        known = {state.name: state.shape for state in self.spec.states}
        for name, array in (states or {}).items():
            if name not in known:
                raise InputError(f"the network carries no state {name!r}, but {', '.join(known) or 'none'}")
            if not isinstance(array, np.ndarray) or array.shape != known[name] or array.dtype != np.float32:
                found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise InputError(f"state {name!r} is float32 {known[name]}; this is {found}")
            if not np.isfinite(array).all():
                raise InputError(f"state {name!r} holds numbers that are not finite")
        self._runner.reset(states)

    @property
    def states(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """What is carried on to the next frame, by name; nothing where the network looks at one image."""
        return self._runner.states

    def _named(self, image: npt.NDArray[np.uint8]) -> Mapping[str, HeadResult]:
        heads = self._runner(to_pixels(image, self.spec.input))
        return {output.name: HeadResult(output.labels, heads[output.name]) for output in self.spec.outputs}


def load(path: str | Path, format: str = "tflite", *, threads: int = 1) -> Model:
    """Open a bundle, or one of its artifacts on its own.

    Args:
        path: a bundle's directory, or a `.tflite` or `.onnx` file that edgefer made.
        format: which of the bundle's int8 artifacts to run.
        threads: processor threads for one frame.

    Raises:
        InputError: there is no such bundle, or the file carries no Spec.
    """
    path = Path(path)
    if path.is_dir():
        bundle = Bundle.open(path)
        return Model(open_runner(bundle.artifact(format), format, threads, bundle.spec), bundle.spec)
    format = path.suffix.lstrip(".")
    if format not in ("tflite", "onnx"):
        raise InputError(f"{path}: neither a bundle's directory nor a .tflite or .onnx file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    spec = _embedded_spec(data, format, path)
    try:
        return Model(open_runner(data, format, threads, spec), spec)
    except InputError as error:
        raise InputError(f"{path}: {error.message}") from error


def _embedded_spec(data: bytes, format: str, path: Path) -> Spec:
    try:
        text = _onnx_spec(data) if format == "onnx" else _tflite_spec(data)
        return Spec.from_dict(json.loads(text), str(path))
    except InputError:
        raise
    except Exception as error:  # protobuf and zipfile each raise their own
        raise InputError(
            f"{path}: carries no Spec: was it made by edgefer?", remedy="Convert it with `edgefer convert`."
        ) from error


def _onnx_spec(data: bytes) -> str:
    import onnx

    properties: dict[str, str] = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    return properties[METADATA_KEY]


def _tflite_spec(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as associated:
        return associated.read(SPEC_FILE).decode()
