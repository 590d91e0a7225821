"""Running artifacts on this machine: ONNX Runtime and LiteRT behind one small protocol."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.host.native_output import captured_stderr
from edgefer.host.saturation import EXACT, sums_saturate
from edgefer.plan import QuantParams
from edgefer.runtime.refusals import refusal
from edgefer.spec import ENDS_KEY, Spec, StateSpec

if TYPE_CHECKING:
    import onnx

Format: TypeAlias = Literal["tflite", "onnx"]
"""Of an artifact."""

Pixels = npt.NDArray[np.uint8]
Heads = Mapping[str, npt.NDArray[np.float32]]
States = Mapping[str, npt.NDArray[np.float32]]
Step: TypeAlias = Callable[[Sequence[npt.NDArray[Any]]], dict[str, npt.NDArray[np.float32]]]
"""An artifact: outputs by name for its inputs, in their order."""


class Runner(Protocol):
    """An artifact ready to run: pixels uint8 (H, W, 3) in, heads by name out, float32 (columns,).

    What the network carries from frame to frame it keeps.  A network that reads clips is shown the last frames, where
    the first of a sequence stands for those before it; or a whole clip, (T, H, W, 3), as it is.
    """

    def __call__(self, pixels: Pixels) -> Heads:
        """Run the next frame."""
        ...

    def reset(self, states: States | None = None) -> None:
        """Begin a sequence, or go on with one that was in these states, by name."""
        ...

    def beside(self) -> Runner:
        """The same artifact for another sequence, which begins."""
        ...

    @property
    def states(self) -> States:
        """What is carried on to the next frame, by name."""
        ...


def open_runner(model: bytes | Path, format: str, threads: int = 1, spec: Spec | None = None) -> Runner:
    """A runner for an artifact.

    Args:
        model: the file, or its bytes.
        format: `onnx` or `tflite`.
        threads: that compute one operator.
        spec: of the network; needed where that looks at more than one image.

    Raises:
        InputError: the runtime refuses the model.
    """
    step = (OnnxStep if format == "onnx" else TfliteStep)(model, threads)
    return _Carrying(step, *((spec.states, spec.input.frames) if spec is not None else ((), None)))


class _Carrying:
    """Runs one frame after the other; see `Runner`."""

    def __init__(self, step: Step, states: Sequence[StateSpec], frames: int | None) -> None:
        self._step, self._specs = step, states
        self._states: States = {}
        self._last: deque[Pixels] | None = None if frames is None else deque(maxlen=frames)
        self.reset()

    def __call__(self, pixels: Pixels) -> Heads:
        """See `Runner`."""
        if self._last is not None and pixels.ndim == 3:
            self._last.extend([pixels] * (1 if self._last else self._last.maxlen or 1))
            pixels = np.stack(self._last)
        found = self._step([pixels[np.newaxis], *(self._states[state.name] for state in self._specs)])
        self._states = {state.name: found.pop(state.returned) for state in self._specs}
        return {name: values[0] for name, values in found.items()}

    def reset(self, states: States | None = None) -> None:
        """See `Runner`."""
        self._states = {s.name: np.zeros(s.shape, np.float32) for s in self._specs} | dict(states or {})
        if self._last is not None:
            self._last.clear()

    def beside(self) -> Runner:
        """See `Runner`."""
        return _Carrying(self._step, self._specs, None if self._last is None else self._last.maxlen)

    @property
    def states(self) -> States:
        """See `Runner`."""
        return dict(self._states)


class OnnxSession:
    """A model in ONNX Runtime, to be asked for values.

    Attributes:
        inputs: names of what it reads.
        outputs: names of what it returns.
    """

    def __init__(self, session: Any, shared: Sequence[Any] = ()) -> None:
        self._session, self._shared = session, shared
        self.inputs: tuple[str, ...] = tuple(value.name for value in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(value.name for value in session.get_outputs())

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model says of itself, by key."""
        said: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return said

    def run(self, values: Sequence[str] | None, feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The `values`, in this order, all outputs if None, for feeds by name.

        Raises:
            InputError: the model cannot run.
        """
        try:
            found: list[npt.NDArray[Any]] = self._session.run(values and list(values), dict(feeds))
        except Exception as error:  # pybind11 exceptions of several kinds
            raise refusal("ONNX Runtime", "run", str(error)) from error
        return found


def onnx_session(
    model: onnx.ModelProto | bytes | Path,
    threads: int = 1,
    *,
    round_weights: bool = True,
    arena: bool = False,
    optimise: bool = True,
    held: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
) -> OnnxSession:
    """A session on the CPU, whose integers are exact.

    Args:
        model: the model.
        threads: that compute one operator.
        round_weights: whether ONNX Runtime may, as it does unasked, store float weights of operators between
            quantized tensors in int8.
        arena: whether it keeps memory from run to run, as apps do.
        optimise: whether it may fuse and reorder nodes, as it does unasked.
        held: constants that the model only refers to.

    Raises:
        InputError: ONNX Runtime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    if sums_saturate():
        options.add_session_config_entry(*EXACT)
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what fails is raised
    shared = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in held.values()]
    if shared:
        options.add_external_initializers(list(held), shared)
    with _source(model) as source:
        del model  # which may be large, and of which the caller has often no use any more
        try:
            session = onnxruntime.InferenceSession(
                source,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=None if round_weights else ["WeightBiasQuantization"],
            )
        except Exception as error:  # pybind11 exceptions of several kinds
            raise refusal("ONNX Runtime", "open", str(error)) from error
    return OnnxSession(session, shared)


_LARGE = 1 << 20
"""Bytes from which a model is handed over in a file: ONNX Runtime's session keeps bytes that it is given."""


@contextmanager
def _source(model: onnx.ModelProto | bytes | Path) -> Iterator[str | bytes]:
    """What ONNX Runtime takes: it reads files itself, but those whose names are not UTF-8."""
    if isinstance(model, Path):
        try:
            str(model).encode()
        except UnicodeEncodeError:
            yield model.read_bytes()
        else:
            yield str(model)
        return
    if isinstance(model, bytes) or model.ByteSize() < _LARGE:
        yield model if isinstance(model, bytes) else model.SerializeToString()
        return
    content = model.SerializeToString()
    del model
    with TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(content)
        del content
        yield str(file)


def tflite_interpreter(model: bytes | Path, threads: int = 1, **options: Any) -> Any:
    """A LiteRT interpreter with XNNPACK's kernels, its tensors allocated, and nothing said on standard error.

    Raises:
        InputError: LiteRT refuses the model.
    """
    from ai_edge_litert.interpreter import Interpreter

    source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
    try:
        with captured_stderr():
            interpreter = Interpreter(**source, num_threads=threads, **options)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise refusal("LiteRT", "open", str(error)) from error
    return interpreter


def as_stored(values: npt.NDArray[Any], details: Mapping[str, Any]) -> npt.NDArray[Any]:
    """What a TFLite input that LiteRT describes so takes for real `values`: integers, where it stores them."""
    if details["dtype"] != np.int8 or values.dtype == np.int8:
        return values
    return _params(*details["quantization"]).quantize(values)


def _params(scale: float, zero_point: int) -> QuantParams:
    """How a file says that integers are stored, in int8 or uint8."""
    return QuantParams("int8", (scale,), (zero_point,))


class OnnxStep:
    """Runs an ONNX artifact; see `Step`."""

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        self._session = onnx_session(model, threads, arena=True)
        self._ends: dict[str, dict[str, Any]] = json.loads(self._session.metadata.get(ENDS_KEY, "{}"))

    def __call__(self, fed: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        """Run one frame."""
        values = self._session.run(None, dict(zip(self._session.inputs, fed, strict=True)))
        found = dict(zip(self._session.outputs, values, strict=True))
        return {name: self._real(name, array) for name, array in found.items()}

    def _real(self, name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        end = self._ends.get(name)
        return values if end is None else _params(end["scale"], end["zero_point"]).dequantize(values)


class TfliteStep:
    """Runs a TFLite artifact with LiteRT and its XNNPACK kernels; see `Step`."""

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        self._interpreter = tflite_interpreter(model, threads)
        signature = self._interpreter.get_signature_runner()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = signature.get_output_details()

    def __call__(self, fed: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        """Run one frame."""
        try:
            for details, array in zip(self._inputs, fed, strict=True):
                self._interpreter.set_tensor(details["index"], as_stored(array, details))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise refusal("LiteRT", "run", str(error)) from error
        return {name: self._real(details) for name, details in self._outputs.items()}

    def _real(self, details: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        values: npt.NDArray[Any] = self._interpreter.get_tensor(details["index"])
        return _params(*details["quantization"]).dequantize(values) if values.dtype == np.int8 else values
