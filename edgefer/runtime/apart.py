"""Running models in a process of its own: a runtime that ends its process, as native code can, ends no more than that.

    with Apart() as apart:
        outputs = apart.run(model, "tflite", [{"image": pixels}])

One process serves all questions, and is started again only where it died.  Arrays pass through pipes as `.npz`, models
as files, which runtimes read in less memory.
"""

from __future__ import annotations

import io
import json
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from types import MappingProxyType, TracebackType
from typing import IO, Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.errors import RefusedError

Array: TypeAlias = npt.NDArray[Any]
Engine: TypeAlias = Literal["onnx", "unoptimised", "tflite", "reference", "timm"]
"""What runs a model: ONNX Runtime, the same without optimising the graph, LiteRT, onnx's own slow evaluator, or timm.

For timm a model is its name and weights, `packed({"arch": name}, [weights])`; it returns its features.
"""

NAMES: Mapping[str, str] = {
    "onnx": "ONNX Runtime",
    "unoptimised": "ONNX Runtime",
    "tflite": "LiteRT",
    "reference": "onnx's evaluator",
    "timm": "timm",
}

TIMEOUT_S = 300.0
"""What a question may take."""

_WORKER = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"
_LENGTH = struct.Struct("<Q")


class Apart:
    """A process that runs models for this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._end()
        self._stderr.close()

    def run(
        self,
        model: bytes | Path,
        engine: Engine,
        feeds: Sequence[Mapping[str, Array]],
        values: Sequence[str] | None = None,
        carried: Mapping[str, str] = MappingProxyType({}),
    ) -> list[dict[str, Array]]:
        """What a model returns for each of `feeds`, by name.

        Args:
            model: the file, or its bytes.
            engine: what runs it.
            feeds: inputs by name; those of a TFLite file in the order of its inputs, whatever they are called.
            values: the outputs that are wanted; all of them if None.
            carried: inputs that are, after the first of `feeds`, what an output was before, by its name.

        Raises:
            RefusedError: the runtime refuses the model, ends its process, or takes longer than `TIMEOUT_S`.
        """
        question = {
            "engine": engine,
            "values": None if values is None else list(values),
            "carried": dict(carried),
        }
        self._start()
        process, step = self._process, "open"
        assert process is not None and process.stdin is not None and process.stdout is not None
        watchdog = Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            with _as_file(model) as path:
                send(process.stdin, packed({**question, "path": str(path)}, feeds))
                while (answer := receive(process.stdout)) is not None:
                    head, found = unpacked(answer)
                    if "refused" in head:
                        raise RefusedError(head["refused"], remedy=head["remedy"], detail=head["detail"])
                    if "step" not in head:
                        return found
                    step = head["step"]
        except BrokenPipeError:
            pass
        except RefusedError:
            raise
        except BaseException:
            self._end()  # what it still says would be taken for the next answer
            raise
        finally:
            watchdog.cancel()
        raise self._died(process.wait(), NAMES[engine], step)

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        self._stderr.seek(0)
        self._stderr.truncate()
        self._process = started("edgefer.runtime._apart_worker", self._stderr)

    def _end(self) -> None:
        if self._process is None:
            return
        ended(self._process)
        self._process = None

    def _died(self, code: int, runtime: str, step: str) -> RefusedError:
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip()
        return RefusedError(f"{runtime} {_ending(code)} when it is to {step} it", detail=said)


@contextmanager
def _as_file(model: bytes | Path) -> Iterator[Path]:
    if isinstance(model, Path):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="edgefer-") as folder:
        path = Path(folder, "model")
        path.write_bytes(model)
        yield path


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return f"was stopped, for want of memory or because it took longer than {TIMEOUT_S:g} s,"
    if code < 0:
        return f"ends its process (signal {-code}, {signal.strsignal(-code)})"
    return f"ends its process (exit code {code})"


# --- other processes, and messages between them --------------------------------------------------------------


def started(module: str, stderr: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """A process that runs `main` of a module of edgefer, and is talked to through its standard input and output.

    Args:
        module: its dotted name.
        stderr: where its standard error goes; by default where this process's does.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER.format(path=sys.path, module=module)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,  # Ctrl-C is for this process, which ends that one
    )


def ended(process: subprocess.Popen[bytes]) -> None:
    """End such a process, whatever it is doing."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(OSError):  # what was not written yet
            pipe.close()


def packed(head: Mapping[str, Any], arrays: Sequence[Mapping[str, Array]]) -> bytes:
    """A message: plain data, and arrays by name in several sets."""
    names = [list(each) for each in arrays]
    stored = {f"{i}-{j}": each[name] for i, each in enumerate(arrays) for j, name in enumerate(each)}
    text = json.dumps({"head": dict(head), "names": names}).encode()
    file = io.BytesIO()
    np.savez(file, head=np.frombuffer(text, np.uint8), **stored)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(message: bytes) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """What `packed` was given."""
    with np.load(io.BytesIO(message), allow_pickle=False) as entry:
        text = json.loads(entry["head"].tobytes())
        arrays = [{name: entry[f"{i}-{j}"] for j, name in enumerate(names)} for i, names in enumerate(text["names"])]
        return text["head"], arrays


def send(pipe: IO[bytes], message: bytes) -> None:
    """Write a message."""
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """Read a message; None where the other end is gone."""
    length = pipe.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    message = pipe.read(*_LENGTH.unpack(length))
    return message if len(message) == _LENGTH.unpack(length)[0] else None


def in_turn(
    run: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    feeds: Sequence[Mapping[str, Array]],
    carried: Mapping[str, str],
) -> list[dict[str, Array]]:
    """What `run` returns for each of `feeds`, of which the inputs `carried` are what an output was before."""
    found: list[dict[str, Array]] = []
    for feed in feeds:
        before = {name: found[-1][output] for name, output in carried.items()} if found else {}
        found.append(dict(run({**feed, **before})))
    return found
