"""edgefer beside other post-training quantizers: the same network, images and machine, in one run.

    python benchmarks/quantizers.py [--keep DIRECTORY]

needs ../shared and Python 3.11; takes half an hour, and ten minutes more and 4 GB of disk when it first makes
the peers' environments (under $EDGEFER_HOME, where `edgefer doctor` makes its own).
Everything is converted first: on Linux a child's peak memory is never reported below its parent's.  With `--keep`, what
was converted and judged lies in that directory, and the same command goes on where it was ended; what is to be measured
again is deleted there.  Frames are timed last, all files in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isinf
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from convert_cost import CALIBRATION, MODEL, PEERS, ROOT, SHARED, Command, Cost, cpu, measure, on_path, versions
from judge import FRAMES, ROUNDS, WARM_UP, Network, Quality, compared, frame_rounds, logits_of, ratio
from measured import signed
from peer_environments import LITERT, NNCF, ONNXRUNTIME

from edgefer.errors import EdgeferError
from edgefer.host.doctor import check_int8_instructions
from edgefer.host.environments import ONNX2TF, Environment
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels, normalise
from edgefer.spec import Spec, read_toml

JUDGED = SHARED / "data" / "fer2013_public.npz"
RESULT = ROOT / "benchmarks" / "results" / "quantizers.md"
BOUND_MISSED = 1
"""Exit code of an `edgefer convert` that wrote its bundle all the same."""
EXACT_DB = 60
"""A float network that differs by no more than rounding has no SQNR worth a column."""


@dataclass(frozen=True)
class Conversion:
    """One run of one tool.

    Attributes:
        title: row of the table.
        arguments: of the environment's Python.  `{model}`, `{calibration}`, `{nchw}` and `{nhwc}` stand for the
            float ONNX file, the calibration set, and its images as arrays; any other name for that file of
            another conversion.
        files: what it writes, one row each, by the name that the results have for it.
        environment: the peer's, None for edgefer's own.
        after: the file that it starts from, and whose cost it therefore bears too.
    """

    title: str
    arguments: tuple[str, ...]
    files: Mapping[str, str]
    environment: Environment | None = None
    after: str | None = None

    @property
    def name(self) -> str:
        """Of its directory: that of its first file."""
        return next(iter(self.files))


PACKAGES = {
    ONNX2TF: ("onnx2tf", "tensorflow-cpu", "tensorflow"),
    ONNXRUNTIME: ("onnxruntime",),
    LITERT: ("litert-quantizer", "ai-edge-litert"),
    NNCF: ("nncf", "onnxruntime"),
}
"""The peers' environments, and the packages of each whose versions the table names."""

REFERENCE = "fp32_onnx"
"""The network as it was trained, which all others are judged against."""
FP32 = {".onnx": REFERENCE, ".tflite": "fp32_tflite"}
"""The float network of each runtime, by suffix."""
PLAIN = "tensorflow"
"""TF's plain full-int8 file, which the second column of latencies is relative to."""

HOW = """\
- Every tool starts from `fer_b0.onnx` (EfficientNet-B0, 64x64) and gets the same 490 images
  (`fer2013_calibration.npz`); the peers get them as arrays, already resized and normalised, edgefer reads and resizes
  them itself and holds a fifth back. Peers run with their options as they come, but for per-channel weights.
- Top-1, agreement and SQNR are on the 3,589 images of `fer2013_public.npz`, every file run by the same versions of
  ONNX Runtime and LiteRT (edgefer's). Agreement: the share of images for which the file chooses the class that
  `fer_b0.onnx` does. SQNR: of the logits less their mean over the classes.
- Time: one process, one thread, batch 1. In each of {rounds} rounds every file in turn runs {warm_up} frames to warm
  up and {frames} that count; ms/frame is the median of the rounds' medians, and a ratio is the median of the rounds'
  ratios: to the float network in the same runtime, and to TF's plain full-int8 file. Normalisation and softmax are
  inside edgefer's files and timed; the other files get their input normalised, and quantized where they want it so.
- Conversion: processor time of all its processes and largest resident set of any, from a cold start until it has
  ended: that depends less on what else runs than the time on the wall, which `convert_cost.md` has. edgefer's covers
  both files, evaluation on the held-back images and the bundle's report. litert-quantizer's includes onnx2tf's
  conversion to float TFLite, from which it starts; onnx2tf writes its other variants on the way, as it always does.
- ONNX Runtime's Entropy search has 128 bins for 128 levels, which `quantize_static` does not let one change: its file
  has the same numbers as MinMax's.
- NNCF leaves SiLU float, so ONNX Runtime fuses 11 of the 81 convolutions (mixed preset) to int8 ones, and turns the
  weights of the others into floats in every frame. Its files are meant for OpenVINO.
"""

EDGEFER_OPTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("--mixed",),
    ("--effort", "balanced"),
)
"""Of `edgefer convert`, one pair of rows each; `best` adds little to `balanced`, and takes longer than all others."""

CONVERSIONS = (
    Conversion(
        "fp32, by onnx2tf", ("onnx2tf_tflite.py", "{model}", "float.tflite"), {"fp32_tflite": "float.tflite"}, ONNX2TF
    ),
    Conversion(
        "TF/onnx2tf full int8",
        ("onnx2tf_tflite.py", "{model}", "float.tflite", "{nhwc}", "int8.tflite"),
        {"tensorflow": "int8.tflite"},
        ONNX2TF,
    ),
    Conversion(
        "litert-quantizer static W8A8",
        ("litert_static.py", "{fp32_tflite}", "{nhwc}", "int8.tflite"),
        {"litert": "int8.tflite"},
        LITERT,
        after="fp32_tflite",
    ),
    *(
        Conversion(
            f"ONNX Runtime QDQ, {method}",
            ("onnxruntime_static.py", "{model}", "{nchw}", "int8.onnx", method),
            {f"onnxruntime_{method.lower()}": "int8.onnx"},
            ONNXRUNTIME,
        )
        for method in ("MinMax", "Percentile", "Entropy")
    ),
    *(
        Conversion(
            f"NNCF, {preset} preset",
            ("nncf_onnx.py", "{model}", "{nchw}", "int8.onnx", preset),
            {f"nncf_{preset}": "int8.onnx"},
            NNCF,
        )
        for preset in ("performance", "mixed")
    ),
    *(
        Conversion(
            f"**{' '.join(('edgefer', *options))}**",
            ("convert", "{model}", "--calibration", "{calibration}", *options, "-o", "bundle"),
            {
                "_".join(("edgefer", *(option.lstrip("-") for option in options), kind)): f"bundle/fer_b0_int8.{kind}"
                for kind in ("tflite", "onnx")
            },
        )
        for options in EDGEFER_OPTIONS
    ),
)


@dataclass(frozen=True)
class Row:
    """One file and all that was measured of it.

    Attributes:
        title: what made it.
        format: `onnx` or `tflite`.
        bytes: its size.
        quality: on the judged images.
        ms: per frame, median of all rounds.
        x_fp32: that divided by the float network's of the same runtime, median of the rounds' ratios.
        x_plain: the same relative to TF's plain full-int8 file.
        cost: of the conversion, both files of edgefer's in one; None for what was given.
        rounds_ms: per frame, the median of every round.
    """

    title: str
    format: str
    bytes: int
    quality: Quality
    ms: float
    x_fp32: float
    x_plain: float
    cost: Cost | None
    rounds_ms: Sequence[float]


def main() -> int:
    """Convert with every tool, judge and time all files, write the table and the JSON file beside it."""
    parser = argparse.ArgumentParser(description="Compare edgefer with other quantizers on fer_b0.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write; JSON goes beside it")
    parser.add_argument("--keep", type=Path, help="where what is done is kept, to go on from")
    arguments = parser.parse_args()
    target: Path = arguments.output

    try:
        for environment in PACKAGES:
            if environment.state != "ready":
                print(f"making {environment.path} ...", file=sys.stderr, flush=True)
                environment.install()
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as name:
            rows = measure_all((arguments.keep or Path(name)).absolute())
    except EdgeferError as error:
        sys.exit(f"{error}\n{error.remedy}")
    machine = (
        f"{cpu()}, {os.cpu_count()} CPUs, int8 instructions: {check_int8_instructions().detail}; "
        f"{platform.system()} {platform.release()}, load before the run {load:.2f}"
    )
    tools = {"edgefer": versions(sys.executable, ("onnxruntime", "ai-edge-litert", "numpy"))}
    tools |= {e.name: versions(e.interpreter, packages) for e, packages in PACKAGES.items()}
    document = {
        "machine": machine,
        "python": platform.python_version(),
        "tools": tools,
        "rows": [plain(row) for row in rows],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")
    target.write_text(signed("\n".join(render(rows, machine, tools)), "emit", "graph", "quantize"), "utf-8")
    print(target.read_text("utf-8"))
    return 0


def measure_all(directory: Path) -> list[Row]:
    """Every row of the table, each tool in a directory of its own; what lies there is not done again."""
    directory.mkdir(parents=True, exist_ok=True)
    spec = Spec.from_dict(read_toml(MODEL.with_suffix(".spec.toml")))
    paths = {REFERENCE: MODEL}
    inputs = {"model": MODEL, "calibration": CALIBRATION, **calibration_arrays(directory, spec)}
    costs: dict[str, Cost] = {}
    for conversion in CONVERSIONS:
        cost = convert(conversion, directory / conversion.name, {**inputs, **paths})
        if conversion.after:
            cost = total(costs[conversion.after], cost)
        for key, file in conversion.files.items():
            paths[key], costs[key] = directory / conversion.name / file, cost

    images = open_images(JUDGED)
    pixels = list(iter_pixels(images, spec.input))
    networks = {key: Network(path) for key, path in paths.items()}
    logits = {}
    for key, network in networks.items():
        kept = directory / f"{key}.npy"
        if not kept.exists() or kept.stat().st_mtime < paths[key].stat().st_mtime:
            print(f"judging {key} on {len(pixels)} images ...", file=sys.stderr, flush=True)
            np.save(kept, logits_of(network, pixels, spec))
        logits[key] = np.load(kept)
    qualities = compared(logits, REFERENCE, images, spec)
    rounds = frame_rounds(networks, pixels[0], spec)
    titles = {REFERENCE: "fp32, as trained"} | {key: c.title for c in CONVERSIONS for key in c.files}
    return [
        Row(
            title,
            paths[key].suffix[1:],
            paths[key].stat().st_size,
            qualities[key],
            median(rounds[key]),
            ratio(rounds, key, FP32[paths[key].suffix]),
            ratio(rounds, key, PLAIN),
            costs.get(key),
            rounds[key],
        )
        for key, title in titles.items()
    ]


def calibration_arrays(directory: Path, spec: Spec) -> dict[str, Path]:
    """The calibration images as edgefer itself resizes and normalises them, in both layouts."""
    images = open_images(CALIBRATION)
    array = np.concatenate([normalise(pixels, spec.input) for pixels in iter_pixels(images, spec.input)])
    paths = {layout: directory / f"{layout}.npy" for layout in ("nchw", "nhwc")}
    np.save(paths["nchw"], array)
    np.save(paths["nhwc"], np.ascontiguousarray(array.transpose(0, 2, 3, 1)))
    return paths


def convert(conversion: Conversion, directory: Path, paths: Mapping[str, Path]) -> Cost:
    """Run one conversion from a cold start, edgefer's without any cache; what it cost lies beside its files."""
    kept = directory / "cost.json"
    if kept.exists():
        return Cost(**json.loads(kept.read_text("utf-8")))
    if directory.exists():
        shutil.rmtree(directory)
    arguments = [argument.format_map(paths) for argument in conversion.arguments]
    if conversion.environment is None:
        environ = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        command: Command = [sys.executable, "-m", "edgefer", *arguments]
        cost = measure(command, directory, environ, accepted=(0, BOUND_MISSED))
    else:
        tool, worker = conversion.environment.interpreter, PEERS / arguments[0]
        cost = measure([tool, "-I", worker, *arguments[1:]], directory, on_path(tool))
    kept.write_text(json.dumps(asdict(cost)), "utf-8")
    return cost


def total(first: Cost, second: Cost) -> Cost:
    """The cost of two programs that run one after the other."""
    return Cost(first.wall_s + second.wall_s, first.cpu_s + second.cpu_s, max(first.peak_bytes, second.peak_bytes))


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON has it: null where a network equals the reference to the last bit."""
    values = asdict(row)
    if isinf(row.quality.sqnr_db):
        values["quality"]["sqnr_db"] = None
    return values


def render(rows: Sequence[Row], machine: str, tools: Mapping[str, str]) -> Iterator[str]:
    """The result as Markdown."""
    yield "# edgefer and other quantizers on fer_b0"
    yield ""
    yield "Written by `python benchmarks/quantizers.py`."
    yield ""
    yield (
        "| quantizer | format | top-1, % | agreement with fp32, % | SQNR, dB | bytes | ms/frame | x fp32 "
        "| x TF int8 | conversion, CPU s | peak, MB |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in sorted(rows, key=lambda row: row.format != "tflite"):
        quality, cost = row.quality, row.cost
        exact = quality.agreement == 1 and quality.sqnr_db > EXACT_DB
        yield (
            f"| {row.title} | {row.format} | {100 * quality.accuracy:.2f} | {100 * quality.agreement:.2f} "
            f"| {'' if exact else f'{quality.sqnr_db:.1f}'} | {row.bytes:,} "
            f"| {row.ms:.2f} | {row.x_fp32:.2f} | {row.x_plain:.2f} "
            f"| {f'{cost.cpu_s:.1f} | {cost.peak_bytes / 1e6:,.0f}' if cost else ' | '} |"
        )
    yield ""
    yield HOW.format(rounds=ROUNDS, frames=FRAMES, warm_up=WARM_UP)
    yield f"Machine: {machine}; Python {platform.python_version()}."
    yield f"Versions: {'; '.join(f'{tool}: {found}' for tool, found in tools.items())}."
    yield ""


if __name__ == "__main__":
    sys.exit(main())
