"""Instructions of an inference on emulated ARM boards: edgefer's int8 TFLite file beside TF's plain full-int8 one.

    python benchmarks/arm_instructions.py

needs ../shared, the onnx2tf environment (`edgefer doctor --install onnx2tf`) and what `edgefer board` needs; three
minutes.  Normalisation and softmax are inside edgefer's file and counted; TF's gets its input normalised and
quantized, and returns int8 logits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from convert_cost import CALIBRATION, MODEL, ROOT, SHARED
from measured import signed
from quantizers import CONVERSIONS, PLAIN, calibration_arrays, convert

from edgefer import board
from edgefer.board import CPUS
from edgefer.device import Session, find_device
from edgefer.device.operator_costs import instructions
from edgefer.spec import Spec, read_toml

RESULT = ROOT / "benchmarks" / "results" / "arm_instructions.md"
OURS = "edgefer_tflite"
CHECKPOINT = SHARED / "models" / "fer_b0.pt"


def main() -> None:
    """Convert with both tools, count on both boards and write the table."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        spec = Spec.from_dict(read_toml(MODEL.with_suffix(".spec.toml")))
        inputs = {"model": MODEL, "calibration": CALIBRATION, **calibration_arrays(scratch, spec)}
        files = {}
        for key in (PLAIN, OURS):
            conversion = next(each for each in CONVERSIONS if key in each.files)
            convert(conversion, scratch / key, {**inputs, "model": CHECKPOINT if key == OURS else MODEL})
            files[key] = (scratch / key / conversion.files[key]).read_bytes()
    lines = [
        "# Instructions of an inference of fer_b0 on emulated ARM boards",
        "",
        "Written by `python benchmarks/arm_instructions.py`: exact counts in LiteRT, one thread; both full int8.",
        "",
        "| processor | TF/onnx2tf full int8 | edgefer | edgefer over TF |",
        "|---|---:|---:|---:|",
    ]
    for cpu in CPUS:
        plain, ours = counted(cpu, [files[PLAIN], files[OURS]])
        lines.append(f"| {cpu} | {plain / 1e6:.2f} M | {ours / 1e6:.2f} M | {ours / plain:.3f} |")
    lines += ["", f"Bytes: {len(files[PLAIN]):,} and {len(files[OURS]):,}.", ""]
    RESULT.write_text(signed("\n".join(lines), "emit", "graph", "quantize"))
    print(RESULT.read_text())


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
