"""`edgefer inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgefer.cli.output import ConsoleProgress, echo, output_options, table, write_json
from edgefer.evaluation.inspection import Inspection, TensorView
from edgefer.evaluation.inspection import inspect as run_inspect
from edgefer.evaluation.results import LayerDrift, LayerView

SHOWN = 10


@click.command(
    epilog="""\b
Examples:
  edgefer inspect fer_b0_bundle
  edgefer inspect fer_b0_bundle --data faces/    where along the network the damage is
  edgefer inspect fer_b0_bundle -v               every tensor
"""
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|NPZ",
    help="Images on which to measure the SQNR of each tensor, float against int8.",
)
@output_options
def inspect(bundle: Path, data: Path | None, json_file: str | None, quiet: bool, verbose: bool) -> int:
    """Show what the artifacts of BUNDLE are made of: operators, tensors, scales, what is not delegated."""
    inspection = run_inspect(bundle, data, progress=ConsoleProgress(quiet=quiet, verbose=verbose))
    if not quiet and json_file != "-":
        echo("\n\n".join(sections(inspection, verbose)))
    write_json(json_file, inspection.to_dict())
    return 0


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
