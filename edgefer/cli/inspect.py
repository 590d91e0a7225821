"""`edgefer inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgefer.cli.output import Console, echo, output_options, table
from edgefer.cli.trained import network_options
from edgefer.errors import UsageError
from edgefer.evaluation.inspection import Inspection, TensorView
from edgefer.evaluation.inspection import inspect as run_inspect
from edgefer.evaluation.results import LayerDrift, LayerView
from edgefer.host.text import printable
from edgefer.networks.outline import Outline, outline
from edgefer.spec import Spec

SHOWN = 10


@click.command(
    epilog="""\b
Examples:
  edgefer inspect fer_b0_bundle
  edgefer inspect fer_b0_bundle --data faces/    where along the network the damage is
  edgefer inspect fer_b0_bundle -v               every tensor
  edgefer inspect model.onnx                     a network before it is converted: how it would be read
"""
)
@click.argument("what", metavar="BUNDLE|MODEL", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|NPZ",
    help="Images on which to measure the SQNR of each tensor, float against int8.",
)
@network_options
@output_options
def inspect(what: Path, data: Path | None, how: Mapping[str, Any], console: Console) -> int:
    """Show what the artifacts of BUNDLE are made of: operators, tensors, scales, what is not delegated.

    Of MODEL, a network that `edgefer convert` would read: its inputs, outputs and operators, and what they mean.
    """
    progress = console.progress
    found: Inspection | Outline
    if what.is_dir():
        if any(how.values()):
            raise UsageError(f"{what}: a bundle, of which --family, --arch, --spec and --weights say nothing")
        found = run_inspect(what, data, progress=progress)
        text = sections(found, console.verbose)
    else:
        if data is not None:
            raise UsageError(f"{what}: not a bundle, with which --data goes")
        with progress.stage("read"):
            found = outline(what, **how)
        text = outlined(found)
    if console.shows():
        echo("\n\n".join(text))
    console.write_json(found.to_dict())
    return 0


def outlined(found: Outline) -> list[str]:
    """What is printed of a network, part by part."""
    ends = [
        (name, kind, "x".join(map(str, info.shape)), str(info.dtype))
        for kind, values in (("taken", found.inputs), ("returned", found.outputs))
        for name, info in values.items()
    ]
    return [
        f"{found.name}, read by family {found.family}: {found.parameters:,} parameters, {found.macs / 1e6:,.1f} M "
        "multiply-accumulates",
        table(("values", "", "shape", "dtype"), ends),
        "\n".join(map(printable, _meaning(found.spec) if found.spec else found.unstated.splitlines())),
        table(("operator", "nodes"), [(op, str(count)) for op, count in found.operators.items()]),
        *(f"{click.style('note:', fg='yellow')} {printable(note)}" for note in found.notes),
    ]


def _meaning(spec: Spec) -> Iterator[str]:
    """What a network is shown, and what its heads are."""
    height, width = spec.input.size
    numbers = (f"{name} {', '.join(f'{v:g}' for v in getattr(spec.input, name))}" for name in ("mean", "std"))
    frames = "" if spec.input.frames is None else f", clips of {spec.input.frames}"
    yield f"{spec.input.color}, {width} wide and {height} high{frames}, {spec.input.resize}, {', '.join(numbers)}"
    for head in spec.outputs:
        labels = ", ".join(head.labels[:SHOWN])
        more = f" and {len(head.labels) - SHOWN} more" if len(head.labels) > SHOWN else ""
        yield f"{head.name}: {head.kind}, {head.activation}: {labels}{more}"


def sections(inspection: Inspection, verbose: bool) -> list[str]:
    """What is printed, part by part."""
    files = [(a.file, f"{a.bytes:,}", f"{a.ops['int8']}", f"{a.ops['float']}") for a in inspection.artifacts]
    operators = [(count.op, f"{count.int8}", f"{count.float}") for count in inspection.operators]
    found = [
        f"{inspection.name}: {inspection.parameters:,} parameters, {inspection.macs / 1e6:,.1f} M "
        "multiply-accumulates per frame",
        table(("file", "bytes", "int8 ops", "float ops"), files),
        table(("operator", "int8", "float"), operators),
        _delegation(inspection),
    ]
    if verbose:
        found.append(_tensor_table("tensors, in network order", inspection.tensors, inspection.layers))
    else:
        for constants, name in ((True, "weights"), (False, "activations")):
            largest = inspection.largest(SHOWN, constants=constants)
            found.append(_tensor_table(f"largest {name}", largest, None if constants else inspection.layers))
    if inspection.layers is not None:
        worst = {layer.tensor for layer in sorted(inspection.layers.layers, key=_level)[:SHOWN]}
        tensors = [tensor for tensor in inspection.tensors if tensor.name in worst]
        found.append(_tensor_table("lowest SQNR, in network order", tensors, inspection.layers))
    return found


def _delegation(inspection: Inspection) -> str:
    if inspection.undelegated is None:
        return "no TFLite artifact"
    if not inspection.undelegated:
        return "every TFLite operator is delegated to XNNPACK"
    return "\n  ".join((f"{len(inspection.undelegated)} TFLite operators are not delegated:", *inspection.undelegated))


def _level(layer: LayerDrift) -> float:
    return min((level for level in layer.sqnr_db.values() if level is not None), default=float("inf"))


def _tensor_table(title: str, tensors: Sequence[TensorView], layers: LayerView | None) -> str:
    sqnr = {layer.tensor: layer.sqnr_db for layer in layers.layers} if layers else {}
    formats = list(next(iter(sqnr.values()), {}))
    rows = []
    for tensor in tensors:
        levels = sqnr.get(tensor.name, {})
        cells = ["" if (level := levels.get(format)) is None else f"{level:.1f}" for format in formats]
        shape = "x".join(map(str, tensor.shape))
        zero_point = "" if tensor.zero_point is None else str(tensor.zero_point)
        rows.append(
            (tensor.name, tensor.op, shape, tensor.dtype, f"{tensor.bytes:,}", _scale(tensor), zero_point, *cells)
        )
    header = (title, "made by", "shape", "stored", "bytes", "scale", "zero point", *(f"{f}, dB" for f in formats))
    return table(header, rows)


def _scale(tensor: TensorView) -> str:
    if tensor.scale is None:
        return ""
    low, high = tensor.scale
    return f"{low:.3g}" if tensor.scales == 1 else f"{low:.2g} to {high:.2g} ({tensor.scales})"
