"""A torch module in a process of its own, which takes PyTorch's memory with it when it ends.

Messages are pickled: both ends are edgefer.  What a converter prints goes to standard error.
"""

from __future__ import annotations

import pickle
import traceback
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgefer.errors import EdgeferError, RefusedError
from edgefer.graph.ir import Array
from edgefer.networks.network import Source
from edgefer.runtime.apart import ended, receive, send, started
from edgefer.spec import Spec


class FilledApart:
    """A module that has its weights; see `edgefer.networks.exported.Exportable`.  The process ends with this object."""

    spec: Spec
    notes: tuple[str, ...]

    def __init__(self, source: Source, converter: Path) -> None:
        """Start the process, in which the converter builds the module.

        Args:
            source: the checkpoint, and what the user says of it.
            converter: its file.

        Raises:
            EdgeferError: as `edgefer.networks.families.filled`.
        """
        self._process = started("edgefer.networks._torch_worker")
        self._end = weakref.finalize(self, ended, self._process)
        self.spec, self.notes = self._asked("fill", source, converter)

    def write(self, exporter: str, path: Path) -> None:
        """Write it as ONNX; raises whatever PyTorch does."""
        self._asked("write", exporter, path)

    def answer(self, fed: Mapping[str, Array]) -> dict[str, Array]:
        """What the module returns, by name, for its inputs in order."""
        found: dict[str, Array] = self._asked("answer", dict(fed))
        return found

    def _asked(self, what: str, *arguments: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            with suppress(BrokenPipeError):
                send(stdin, pickle.dumps((what, arguments)))
            message = receive(stdout)
        except BaseException:
            self._end()  # what it still says would be taken for the next answer
            raise
        if message is None:
            code = self._process.wait()
            why = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise RefusedError(
                f"PyTorch ended its process ({why}) when it was to {what} the module", remedy="Was there enough memory?"
            )
        returned, error = pickle.loads(message)
        if error is not None:
            raise error
        return returned


def portable(error: Exception) -> bytes:
    """An answer that raises an error at the other end: where it is not one for users, with where it came from."""
    if not isinstance(error, EdgeferError):
        error.add_note(traceback.format_exc())
    try:
        answer = pickle.dumps((None, error))
        pickle.loads(answer)
    except Exception:  # it cannot be made again of what it says
        return portable(RuntimeError(f"{type(error).__name__}: {error}"))
    return answer
