"""A torch module becomes a Network: by the first of PyTorch's exporters whose ONNX file can be read.

PyTorch itself takes more memory than most networks, and keeps it: where it is not loaded yet, another process does all
that needs it, and ends before anything is quantized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import onnx

from edgefer.errors import InputError
from edgefer.graph.ir import Array
from edgefer.images import Image
from edgefer.images.preprocess import normalise
from edgefer.networks.network import Network, Original, Source
from edgefer.onnx_import import Imported, import_onnx
from edgefer.spec import INPUT, Spec

TRACING, CAPTURING = "torch.onnx.export(dynamo=False)", "torch.onnx.export"
"""PyTorch's exporters, in the order in which they are tried."""

_ONE_OF = (
    "Say by standard layers what the exporters stumble on (-v shows it): a converter's module may compute the same in "
    "another way, under the same names of tensors."
)


class Exportable(Protocol):
    """A torch module that has its weights, here or in another process.

    Attributes:
        spec: what its input and outputs mean.
        notes: what the user should know about how it was read.
    """

    spec: Spec
    notes: tuple[str, ...]

    def write(self, exporter: str, path: Path) -> None:
        """Write it as ONNX; raises whatever PyTorch does."""
        ...

    def answer(self, fed: Mapping[str, Array]) -> dict[str, Array]:
        """What the module returns, by name, for its inputs in order."""
        ...


def network_of(module: Exportable, source: Source, family: str) -> Network:
    """The network that PyTorch exports.

    Raises:
        InputError: neither exporter can write the module so that it can be read.
    """
    folder = TemporaryDirectory(prefix="edgefer-")
    path = Path(folder.name) / "exported.onnx"
    imported = _imported(module, source, path)
    states = {state.input: state.before_first() for state in module.spec.states}

    def feed(image: Image) -> dict[str, Array]:
        return {INPUT: normalise(image, module.spec.input), **states}

    def together(images: Sequence[Image]) -> dict[str, Array]:
        return {INPUT: np.concatenate([normalise(image, module.spec.input) for image in images])}

    original = Original(path, feed, None if states else together, _Answers(module, folder))
    notes = (*module.notes, *imported.notes)
    return Network(source.name, family, imported.graph, module.spec, source, original, notes)


class _Answers:
    """What PyTorch itself answers; while it is there, so are the module and the file that was written of it."""

    def __init__(self, module: Exportable, folder: TemporaryDirectory[str]) -> None:
        self._module, self._folder = module, folder

    def __call__(self, fed: Mapping[str, Array]) -> dict[str, Array]:
        return self._module.answer(fed)


def _imported(module: Exportable, source: Source, path: Path) -> Imported:
    spec = module.spec
    clip = (spec.input.frames,) if spec.input.frames is not None else ()
    shape = (1, *clip, len(spec.input.planes), *spec.input.size)
    states = {state.input: state.shape for state in spec.states}
    failures = []
    for exporter in (TRACING, CAPTURING):
        try:
            module.write(exporter, path)
            return import_onnx(onnx.load(path), source.name, shape, states)
        except Exception as error:  # of many kinds
            failures.append(f"{exporter}: {type(error).__name__}: {error}")
    first = failures[0].splitlines()[0]
    raise InputError(
        f"{source.path}: neither of PyTorch's exporters can write the module so that it can be read ({first:.200})",
        remedy=_ONE_OF,
        detail="\n".join(failures),
    )
