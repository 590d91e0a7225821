"""Running artifacts on this machine: ONNX Runtime and LiteRT behind one small protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.host.native_output import captured_stderr
from edgefer.host.saturation import EXACT, sums_saturate
from edgefer.runtime.refusals import refusal

if TYPE_CHECKING:
    import onnx

Format: TypeAlias = Literal["tflite", "onnx"]
"""Of an artifact."""

Pixels = npt.NDArray[np.uint8]
Heads = Mapping[str, npt.NDArray[np.float32]]


class Runner(Protocol):
    """An artifact ready to run: pixels uint8 (H, W, 3) in, heads by name out, float32 (columns,)."""

    def __call__(self, pixels: Pixels) -> Heads:
        """Run one frame."""
        ...


def open_runner(model: bytes | Path, format: str, threads: int = 1) -> Runner:
    """A runner for an artifact of a format, `onnx` or `tflite`.

    Raises:
        InputError: the runtime refuses the model.
    """
    return (OnnxRunner if format == "onnx" else TfliteRunner)(model, threads)


class OnnxSession:
    """A model in ONNX Runtime, to be asked for values.

    Attributes:
        inputs: names of what it reads.
        outputs: names of what it returns.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs: tuple[str, ...] = tuple(value.name for value in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(value.name for value in session.get_outputs())

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
) -> OnnxSession:
    """A session on the CPU, whose integers are exact.

    Args:
        model: the model.
        threads: that compute one operator.
        round_weights: whether ONNX Runtime may, as it does unasked, store float weights of operators between
            quantized tensors in int8.
        arena: whether it keeps memory from run to run, as apps do.
        optimise: whether it may fuse and reorder nodes, as it does unasked.

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
    source = _source(model)
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
    return OnnxSession(session)


def _source(model: onnx.ModelProto | bytes | Path) -> str | bytes:
    """What ONNX Runtime takes: it reads files itself, but those whose names are not UTF-8."""
    if not isinstance(model, Path):
        return model if isinstance(model, bytes) else model.SerializeToString()
    try:
        str(model).encode()
    except UnicodeEncodeError:
        return model.read_bytes()
    return str(model)


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


class OnnxRunner:
    """Runs an ONNX artifact."""

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        self._session = onnx_session(model, threads, arena=True)

    def __call__(self, pixels: Pixels) -> Heads:
        """Run one frame."""
        values = self._session.run(None, {self._session.inputs[0]: pixels[np.newaxis]})
        return {name: value[0] for name, value in zip(self._session.outputs, values, strict=True)}


class TfliteRunner:
    """Runs a TFLite artifact with LiteRT and its XNNPACK kernels."""

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        self._interpreter = tflite_interpreter(model, threads)
        signature = self._interpreter.get_signature_runner()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {name: details["index"] for name, details in signature.get_output_details().items()}

    def __call__(self, pixels: Pixels) -> Heads:
        """Run one frame."""
        try:
            self._interpreter.set_tensor(self._input, pixels[np.newaxis])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise refusal("LiteRT", "run", str(error)) from error
        return {name: self._interpreter.get_tensor(index)[0] for name, index in self._outputs.items()}
