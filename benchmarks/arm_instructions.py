"""Instructions of an inference on emulated ARM boards: edgefer's int8 TFLite file beside TF's plain full-int8 one.

    python benchmarks/arm_instructions.py

needs ../shared, the onnx2tf environment (`edgefer doctor --install onnx2tf`) and what `edgefer board` needs; ten
minutes.  Normalisation and softmax are inside edgefer's file and counted; TF's gets its input normalised and
quantized, and returns int8 logits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from convert_cost import CALIBRATION, MODEL, ROOT
from measured import signed
from quantizers import CONVERSIONS, PLAIN, calibration_arrays, convert

from edgefer import board
from edgefer.board import CPUS
from edgefer.device import Session, find_device
from edgefer.device.operator_costs import instructions
from edgefer.spec import Spec, read_toml

RESULT = ROOT / "benchmarks" / "results" / "arm_instructions.md"
OURS = "edgefer_tflite"
SIDES = (64, 224)
CAVEAT = (
    "At 224 pixels the weights are those that were trained at 64, and the faces are enlarged: more channels hardly",
    "matter there than in a network that was trained at that size.",
)


def main() -> None:
    """Convert with both tools, count on both boards and write the table."""
    with tempfile.TemporaryDirectory() as name:
        files = {side: converted(side, Path(name) / str(side)) for side in SIDES}
    lines = [
        "# Instructions of an inference of fer_b0 on emulated ARM boards",
        "",
        "Written by `python benchmarks/arm_instructions.py`: exact counts in LiteRT, one thread; both full int8.",
        "",
        "| input | processor | TF/onnx2tf full int8 | edgefer | edgefer over TF |",
        "|---|---|---:|---:|---:|",
    ]
    for cpu in CPUS:
        counts = iter(counted(cpu, [file for side in SIDES for file in files[side]]))
        for side, plain, ours in zip(SIDES, counts, counts, strict=False):
            lines.append(f"| {side} | {cpu} | {plain / 1e6:.2f} M | {ours / 1e6:.2f} M | {ours / plain:.3f} |")
    sizes = "; ".join(f"{len(plain):,} and {len(ours):,} at {side}" for side, (plain, ours) in files.items())
    lines += ["", f"Bytes: {sizes}.", "", *CAVEAT, ""]
    RESULT.write_text(signed("\n".join(lines), "emit", "graph", "quantize"))
    print(RESULT.read_text())


def converted(side: int, scratch: Path) -> tuple[bytes, bytes]:
    """TF's file and edgefer's of `fer_b0.onnx`, for images of side x side."""
    scratch.mkdir()
    network = onnx.load(MODEL)
    for axis in (2, 3):
        network.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    model, spec = scratch / MODEL.name, MODEL.with_suffix(".spec.toml").read_text()
    onnx.save(network, model)
    sidecar = model.with_suffix(".spec.toml")
    sidecar.write_text(spec.replace("[64, 64]", f"[{side}, {side}]"))
    arrays = calibration_arrays(scratch, Spec.from_dict(read_toml(sidecar)))
    found = []
    for key in (PLAIN, OURS):
        conversion = next(each for each in CONVERSIONS if key in each.files)
        convert(conversion, scratch / key, {"model": model, "calibration": CALIBRATION, **arrays})
        found.append((scratch / key / conversion.files[key]).read_bytes())
    return found[0], found[1]


def counted(cpu: str, files: list[bytes]) -> list[float]:
    """Instructions of an inference of each file."""
    there = board.up(cpu, f"count-{cpu.removeprefix('cortex-')}")
    try:
        with Session(find_device(there.name)) as session:
            return [each for (each,) in instructions(session, [[file] for file in files])]
    finally:
        board.down(there.name)


if __name__ == "__main__":
    main()
