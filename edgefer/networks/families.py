"""Finds the converter for a file, and reads the network with it.

Converters are Python files: those in `converters/`, and a user's own, given by path.  `edgefer.networks.network`
says what they define.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgefer.checkpoint import read_checkpoint
from edgefer.errors import EdgeferError, InputError, UsageError, about
from edgefer.graph.contract import with_numbered_embeddings
from edgefer.host.resources import bundled_directory, bundled_networks
from edgefer.networks.exported import Exportable, network_of
from edgefer.networks.network import Converter, Network, Source, TorchNetwork
from edgefer.networks.torch_apart import FilledApart

if TYPE_CHECKING:
    from edgefer.networks.torch_export import Filled

_MEND = "Correct the file: converters/README.md says what a converter defines and may return."


def load_network(
    model: str | Path,
    *,
    family: str | Path | None = None,
    arch: str = "",
    spec: Mapping[str, Any] | None = None,
    weights: str = "",
) -> Network:
    """Read a trained network.

    Args:
        model: a file, or the name of a bundled network.
        family: name of a converter, or path of a Python file that is one; **the file is executed**.
        arch: architecture, where the checkpoint does not say it.
        spec: `input` and `outputs` as plain data, instead of a sidecar; what it lacks is as the file has it.
        weights: key of the weights to take, where a checkpoint holds several sets.

    Raises:
        UsageError: there is no such family, or several recognise the file.
        InputError: there is no such file, or it cannot be read as a network.
    """
    source = Source(_find(model), arch, dict(spec or {}), weights)
    if family is not None:
        path = _family_path(family)
    else:
        with about(source.path):
            path = _recognise(source)
    with _blaming(path, source):
        with _torch_named():
            found = _load(path).load(source)
            network = (
                found if isinstance(found, Network) else network_of(_module(source, path, found), source, path.stem)
            )
        return replace(network, spec=with_numbered_embeddings(network.graph, network.spec))


def filled(source: Source, path: Path) -> Filled:
    """The torch module that a converter, by its file, builds for a checkpoint, with the weights.

    Raises:
        EdgeferError: as `load_network`.
    """
    with _blaming(path, source), _torch_named():
        return _filled(source, path, _load(path).load(source))


def _module(source: Source, path: Path, found: Any) -> Exportable:
    """Where the converter did not load PyTorch, and nothing else did, it need not be in this process."""
    return _filled(source, path, found) if "torch" in sys.modules else FilledApart(source, path)


def _filled(source: Source, path: Path, found: Any) -> Filled:
    from edgefer.networks.torch_export import Filled  # which imports torch: seconds, and an extra

    return Filled(source, path.stem, found if isinstance(found, TorchNetwork) else TorchNetwork(found))


@contextmanager
def _blaming(path: Path, source: Source) -> Iterator[None]:
    """What no one foresaw lies at the checkpoint, or, where a user brings the converter, in that."""
    if path.parent == bundled_directory("converters"):
        with about(source.path):
            yield
        return
    try:
        yield
    except EdgeferError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}{_line(error, path)}: failed on {source.path}: {type(error).__name__}: {error}",
            remedy=_MEND,
            detail=traceback.format_exc(),
        ) from error


@contextmanager
def _torch_named() -> Iterator[None]:
    """Where PyTorch is missing, the error says how it is installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise UsageError(
            "this network is read with PyTorch, which is not installed", remedy="pip install 'edgefer[torch]'"
        ) from error


@dataclass(frozen=True)
class Family:
    """A bundled converter.

    Attributes:
        name: what `--family` takes.
        reads: which networks, in a sentence.
    """

    name: str
    reads: str


def described_families() -> list[Family]:
    """The bundled converters, and what each reads, which is the first paragraph of its file."""
    found = []
    for name in families():
        first, _, _ = inspect.cleandoc(getattr(_load(_family_path(name)), "__doc__", "") or "").partition("\n\n")
        found.append(Family(name, " ".join(first.split())))
    return found


def families() -> tuple[str, ...]:
    """Names of the bundled converters."""
    return tuple(sorted(path.stem for path in bundled_directory("converters").glob("*.py")))


def _find(model: str | Path) -> Path:
    path = Path(model)
    if path.is_file():
        return path
    networks = bundled_networks()
    if str(model) in networks:
        return networks[str(model)]
    what = "is a directory, not a network" if path.is_dir() else "no such file, nor is it a bundled network"
    raise InputError(f"{model}: {what}", remedy=f"Bundled: {', '.join(networks)}.")


def _family_path(family: str | Path) -> Path:
    path = Path(family)
    if path.suffix == ".py":
        if not path.is_file():
            raise UsageError(f"--family {path}: no such file")
        return path
    if str(family) not in families():
        raise UsageError(
            f"--family {family}: no such family",
            remedy=f"Choose one of {', '.join(families())}, or give the path of a converter, ending in .py.",
        )
    return bundled_directory("converters") / f"{family}.py"


def _recognise(source: Source) -> Path:
    """The file of the only bundled converter that recognises a file."""
    paths = {name: _family_path(name) for name in families()}
    found = {name: path for name, path in paths.items() if _load(path).recognises(source)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UsageError(f"{source.path}: several families recognise it: {', '.join(found)}", remedy="Choose --family.")
    tensors = read_checkpoint(source.path).tensors  # says what is wrong with a file that cannot be read
    raise InputError(
        f"{source.path}: no family recognises it; its tensors are {', '.join([*tensors][:3])} ...",
        remedy=f"Families: {', '.join(families())} (edgefer families). Give --family FILE.py with the module's class "
        "(converters/README.md), or export it to ONNX (torch.onnx.export).",
    )


def _load(path: Path) -> Converter:
    """Execute a converter's file."""
    name = f"edgefer_converter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        with _torch_named():
            spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as error:
        cause = error.msg if isinstance(error, SyntaxError) else error
        raise UsageError(
            f"{path}{_line(error, path)}: the converter cannot be loaded: {type(error).__name__}: {cause}",
            remedy=_MEND,
            detail=traceback.format_exc(),
        ) from error
    if not callable(getattr(module, "load", None)):
        raise UsageError(
            f"{path}: not a converter: it does not define load", remedy="converters/README.md shows a complete one."
        )
    return cast(Converter, module)


def _line(error: Exception, path: Path) -> str:
    """The line of a converter's file that an error came from, as far as that is known."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    lines = [line for file, line in places if Path(file).resolve() == path.resolve()]
    return f", line {lines[-1]}" if lines else ""
