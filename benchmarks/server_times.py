"""Time of int8 over float on this machine, one thread, in both runtimes, and whether its sums are exact.

    python -m benchmarks.server_times

converts EfficientNet-B0 at 64x64, the bundled network, and that B0 for images of 224x224, by default options; judges
them on images that they were not calibrated on, with and without the session option that x86 without VNNI needs; and
times their files in turns.  Exit code 1 where outputs differ.  Needs ../shared; run it on a machine that does nothing
else.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import edgefer
from benchmarks.judge import beside_float
from benchmarks.onnx_operators import KINDS, time_shares
from benchmarks.tables import Table
from edgefer.device.agent import cpu_name
from edgefer.host.saturation import EXACT, sums_saturate
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.networks.families import load_network
from edgefer.runtime.runners import Pixels, onnx_session
from edgefer.spec import read_toml

SHARED = Path(__file__).resolve().parents[2] / "shared"
MODEL = SHARED / "models" / "fer_b0.onnx"
CALIBRATION, JUDGED = (SHARED / "data" / f"fer2013_{name}.npz" for name in ("calibration", "public"))
RESULT = Path(__file__).resolve().parent / "results" / "server_times.md"

BOUNDS = {
    "fer_b0 at 64x64": {"tflite": 0.50, "onnx": 0.68},
    "the bundled network, 96x96": {"tflite": 0.46, "onnx": 0.68},
    "fer_b0 at 224x224": {"tflite": 0.49, "onnx": 0.74},
}
"""What int8 may take of float's time, in each runtime, on x86 with VNNI."""

TEXT = """# int8 beside float on a server

`python -m benchmarks.server_times`, on {model}, where ONNX Runtime's int8 sums {told}.  One thread,
batch 1, files in turns, median of the rounds' ratios; 490 images of FER2013 to calibrate on, 3,589 of its public test
to judge by; ONNX Runtime {version}.  The last column: for how many of these the outputs are the same with
`session.x64quantprecision` as edgefer's session returns them.  How long float takes differs more between CPUs than how
long int8 takes: the bounds are of a server whose float is slower.

ONNX Runtime's time is shared out as its profiler tells, milliseconds of int8 / of float: layers with weights,
activations and gates, and the rest.  Layers gain; but a SiLU is one vectorised pass in float and two in int8, a
look-up that is not vectorised and a product.  A float SiLU between integers would be faster, yet it rounds once where
XNNPACK's table rounds twice, and the two files would no longer give the same answers.
"""

COLUMNS = dict.fromkeys(["network", "format"], "l") | dict.fromkeys(
    ["ms", "float, ms", "time, x float", "bound", *KINDS, "agreement, %", "SQNR, dB", "outputs equal with and without"],
    "r",
)


def main() -> int:
    """Measure all three and write the table; 1 where the option changes an output."""
    table = Table(RESULT, text(), COLUMNS, ("emit", "graph", "quantize"), named_by=2)
    kept = True
    for name, model, spec in networks():
        with tempfile.TemporaryDirectory() as folder:
            for format, row in measure(model, spec, Path(folder)).items():
                times = row["times"]
                kept &= row["equal"] == row["images"]
                table.add(
                    *(name, format, f"{times.ms:.2f}", f"{times.float_ms:.2f}", f"{times.ratio:.2f}"),
                    *(
                        f"{BOUNDS[name][format]:.2f}",
                        *row["parts"],
                        f"{100 * row['agreement']:.1f}",
                        f"{row['sqnr_db']:.1f}",
                    ),
                    f"{row['equal']:,} of {row['images']:,}" if format == "onnx" else "",
                )
    return 0 if kept else 1


def networks() -> Iterator[tuple[str, Path | str, Mapping[str, Any] | None]]:
    """Their names in the table, files or names, and Specs."""
    spec = read_toml(MODEL.with_suffix(".spec.toml"))
    at_224 = {**spec, "input": {**spec["input"], "size": [224, 224]}}
    yield from zip(BOUNDS, (MODEL, "fer_b0", MODEL.with_suffix(".pt")), (spec, None, at_224), strict=True)


def measure(model: Path | str, spec: Mapping[str, Any] | None, folder: Path) -> dict[str, dict[str, Any]]:
    """Convert, evaluate and time one network; by format."""
    bundle = edgefer.convert(model, folder / "bundle", spec=spec, calibration=CALIBRATION)
    found = edgefer.evaluate(bundle, JUDGED).to_dict()["artifacts"]
    network = load_network(model, spec=spec)
    pixels = list(iter_pixels(open_images(JUDGED), network.spec.input))
    times = beside_float(bundle, network, pixels[0], folder)
    files = {each.precision: bundle.path / each.file for each in bundle.artifacts if each.format == "onnx"}
    equal = unchanged(files["int8"], pixels)
    shares, plainly = (time_shares(files[each], pixels[0][np.newaxis]) for each in ("int8", "float32"))
    parts = [f"{shares[k] * times['onnx'].ms:.2f} / {plainly[k] * times['onnx'].float_ms:.2f}" for k in KINDS]
    return {
        format: {
            "times": times[format],
            "parts": parts if format == "onnx" else [""] * len(KINDS),
            "agreement": found[format]["agreement"]["value"],
            "sqnr_db": found[format]["sqnr_db"],
            "equal": equal,
            "images": len(pixels),
        }
        for format in ("tflite", "onnx")
    }


def unchanged(file: Path, pixels: Sequence[Pixels]) -> int:
    """For how many images edgefer's session and one with EXACT return the same."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(*EXACT)
    exact = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    ours = onnx_session(file)
    feeds = ({ours.inputs[0]: each[np.newaxis]} for each in pixels)
    return sum(all(map(np.array_equal, ours.run(None, feed), exact.run(None, feed))) for feed in feeds)


def text() -> str:
    """Above the table."""
    told = "saturate unless told otherwise" if sums_saturate() else "are exact unasked"
    return TEXT.format(model=cpu_name(), told=told, version=onnxruntime.__version__)


if __name__ == "__main__":
    sys.exit(main())
