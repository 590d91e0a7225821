"""Finds the converter for a file, and reads the network with it.

Converters are Python files: those in `converters/`, and a user's own, given by path.  `edgefer.networks.network`
says what they define.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from edgefer.checkpoint import read_checkpoint
from edgefer.errors import EdgeferError, InputError, UsageError, about
from edgefer.graph.contract import with_numbered_embeddings
from edgefer.host.resources import bundled_directory, bundled_networks
from edgefer.networks.network import Converter, Network, Source


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
        spec: `input` and `outputs` as plain data, where neither the file nor a sidecar has them.
        weights: key of the weights to take, where a checkpoint holds several sets.

    Raises:
        UsageError: there is no such family, or several recognise the file.
        InputError: there is no such file, or it cannot be read as a network.
    """
    source = Source(_find(model), arch, dict(spec or {}), weights)
    if family is None or str(family) in families():
        with about(source.path):
            return _read(source, _load(_family_path(family)) if family is not None else _recognise(source))
    converter = _load(_family_path(family))
    try:
        return _read(source, converter)
    except EdgeferError:
        raise
    except Exception as error:
        raise InputError(f"{family}: failed on {source.path}: {type(error).__name__}: {error}") from error


def _read(source: Source, converter: Converter) -> Network:
    network = converter.load(source)
    return replace(network, spec=with_numbered_embeddings(network.graph, network.spec))


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


def _recognise(source: Source) -> Converter:
    found = {name: converter for name in families() if (converter := _load(_family_path(name))).recognises(source)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UsageError(f"{source.path}: several families recognise it: {', '.join(found)}", remedy="Choose --family.")
    tensors = read_checkpoint(source.path).tensors  # says what is wrong with a file that cannot be read
    raise InputError(
        f"{source.path}: no family recognises it; its tensors are {', '.join([*tensors][:3])} ...",
        remedy=f"Families: {', '.join(families())}. Export it to ONNX (torch.onnx.export), or write a converter "
        "(converters/README.md) and give it by --family FILE.py.",
    )


def _load(path: Path) -> Converter:
    """Execute a converter's file."""
    name = f"edgefer_converter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path}: the converter cannot be loaded: {type(error).__name__}: {error}") from error
    missing = [function for function in ("recognises", "load") if not callable(getattr(module, function, None))]
    if missing:
        raise UsageError(
            f"{path}: not a converter: it does not define {' and '.join(missing)}",
            remedy="converters/README.md shows a complete one.",
        )
    return cast(Converter, module)
