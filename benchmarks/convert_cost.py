"""Time and memory of `edgefer convert` beside the tools it replaces, one after the other on one machine.

    python benchmarks/convert_cost.py

needs ../shared and the onnx2tf environment (`edgefer doctor --install onnx2tf`); takes about four minutes.
Nothing heavy is imported here: on Linux a child's peak memory is never reported below its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from measured import signed

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
MODEL = SHARED / "models" / "fer_b0.onnx"
CALIBRATION = SHARED / "data" / "fer2013_calibration.npz"
PEERS = ROOT / "benchmarks" / "peers"
WORKER = ROOT / "edgefer" / "emit" / "_onnx2tf_worker.py"
RESULT = ROOT / "benchmarks" / "results" / "convert_cost.md"
SIDE = 64
EDGEFER_RUNS = 3
TIME_BOUND = 5
MEMORY_BOUND = 5
LIST_VERSIONS = """
import importlib.metadata, json
print(json.dumps({d.name.replace("_", "-"): d.version for d in importlib.metadata.distributions()}))
"""
HALF = "[[[[0.5,0.5,0.5]]]]"

Command: TypeAlias = list[str | Path]


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        wall_s: from start to end.
        cpu_s: user and system time of all its processes.
        peak_bytes: largest resident set of any of its processes.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> int:
    """Measure, write the table, and return 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(description="Compare the cost of converting fer_b0 with 490 images.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write")
    target = parser.parse_args().output

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as name:
        costs, tools = measure_all(Path(name))
    edgefer, full, percentile = costs["edgefer"], costs["onnx2tf"], costs["onnxruntime"]
    time_ratio = (full.wall_s + percentile.wall_s) / edgefer.wall_s
    memory_ratio = min(full.peak_bytes, percentile.peak_bytes) / edgefer.peak_bytes
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        signed(render(costs, time_ratio, memory_ratio, tools, load), "conversion", "emit", "graph", "quantize"), "utf-8"
    )
    print(target.read_text("utf-8"))
    return 0 if time_ratio >= TIME_BOUND and memory_ratio >= MEMORY_BOUND else 1


def measure_all(directory: Path) -> tuple[dict[str, Cost], str]:
    """Every row's cost, each in a directory of its own, and the versions of everything."""
    python = sys.executable
    tool = Path(ask(python, "from edgefer.host.environments import ONNX2TF as e; e.require(); print(e.interpreter)"))
    faces = directory / "faces"
    subprocess.run([python, "-I", PEERS / "calibration_array.py", CALIBRATION, str(SIDE), faces], check=True)
    costs = {
        "edgefer": measure_edgefer(directory),
        "onnx2tf": measure_onnx2tf(tool, faces.with_suffix(".npy"), directory / "onnx2tf"),
        "onnxruntime": measure_onnxruntime(faces.with_suffix(".npy"), directory / "onnxruntime"),
        "backend": measure_backend(tool, directory / "edgefer0", faces.with_suffix(".raw"), directory / "backend"),
    }
    ours = versions(python, ("onnxruntime", "ai-edge-litert", "numpy"))
    theirs = versions(tool, ("onnx2tf", "tensorflow-cpu", "tensorflow", "numpy"))
    return costs, f"edgefer and quantize_static with {ours}; onnx2tf with {theirs}"


def measure_edgefer(directory: Path) -> Cost:
    """`edgefer convert` to both formats, without any cache, several times: the worst of each figure."""
    command: Command = [sys.executable, "-m", "edgefer", "convert", MODEL, "--calibration", CALIBRATION, "-o", "bundle"]
    runs = [
        measure(command, directory / f"edgefer{run}", {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"})
        for run in range(EDGEFER_RUNS)
    ]
    return Cost(max(run.wall_s for run in runs), max(run.cpu_s for run in runs), max(run.peak_bytes for run in runs))


def measure_onnx2tf(tool: Path, images: Path, directory: Path) -> Cost:
    """Its own command line, which writes all its other variants on the way: there is no option against that."""
    directory.mkdir()
    shutil.copyfile(MODEL, directory / "model.onnx")
    sample = "calibration_image_sample_data_20x128x128x3_float32.npy"  # absent, it would be downloaded
    subprocess.run(
        [tool, "-c", f"import numpy as n; n.save('{sample}', n.random.rand(20, 128, 128, 3).astype('f'))"],
        cwd=directory,
    )
    options: Command = ["-oiqt", "-qt", "per-channel", "-cind", "input", images, HALF, HALF]
    return measure([tool, "-I", "-m", "onnx2tf", "-i", "model.onnx", *options], directory, on_path(tool))


def measure_onnxruntime(images: Path, directory: Path) -> Cost:
    """`quantize_static` with percentile ranges, its other options left alone."""
    command: Command = [sys.executable, "-I", PEERS / "onnxruntime_percentile.py", MODEL, images, "int8.onnx"]
    return measure(command, directory)


def measure_backend(tool: Path, edgefer: Path, pixels: Path, directory: Path) -> Cost:
    """onnx2tf and tensorflow with nothing but the one file that is wanted."""
    directory.mkdir()
    (reference,) = edgefer.glob("bundle/*_fp32.onnx")
    shutil.copyfile(reference, directory / "model.onnx")
    return measure([tool, "-I", WORKER, "model.onnx", pixels, "int8.tflite"], directory, on_path(tool))


def on_path(tool: Path) -> dict[str, str]:
    """onnx2tf calls programs of its environment by name."""
    return {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}


def versions(python: str | Path, names: Sequence[str]) -> str:
    """Which versions of `names` an environment has."""
    found = json.loads(ask(python, LIST_VERSIONS))
    return ", ".join(f"{name} {found[name]}" for name in names if name in found)


def ask(python: str | Path, code: str) -> str:
    """What `code` prints."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [python, "-c", code], env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def measure(
    command: Command, directory: Path, environ: dict[str, str] | None = None, accepted: Sequence[int] = (0,)
) -> Cost:
    """Run `command` in `directory`, its output in a log there; stop if its exit code is none of `accepted`."""
    directory.mkdir(exist_ok=True)
    print(f"{directory.name} ...", file=sys.stderr, flush=True)
    log = directory / "log"
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "EDGEFER_HOME": str(directory / "home"), **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        sys.exit(f"{' '.join(map(str, command))}\n{log.read_text('utf-8', errors='replace')[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    cost = Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)
    print(f"  {cost.wall_s:.1f} s, {cost.peak_bytes / 1e6:.0f} MB", file=sys.stderr, flush=True)
    return cost


ROWS = {
    "edgefer": f"`edgefer convert` to TFLite and ONNX (worst of {EDGEFER_RUNS}, no cache)",
    "onnx2tf": "onnx2tf, full int8 (`-oiqt -qt per-channel`)",
    "onnxruntime": "ONNX Runtime `quantize_static`, percentile, per-channel QDQ",
    "backend": "for comparison: onnx2tf as `--tflite-backend onnx2tf` drives it, TFLite alone",
}


def render(costs: dict[str, Cost], time_ratio: float, memory_ratio: float, tools: str, load: float) -> str:
    """The result as Markdown."""
    edgefer = costs["edgefer"]
    lines = [
        "# Cost of converting fer_b0 with 490 calibration images",
        "",
        "Written by `benchmarks/convert_cost.py`; what is measured and how: [README](../README.md).",
        "",
        "| | wall time, s | x edgefer | CPU time, s | peak memory, MB | x edgefer |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for key, title in ROWS.items():
        cost = costs[key]
        lines.append(
            f"| {title} | {cost.wall_s:.1f} | {cost.wall_s / edgefer.wall_s:.1f} | {cost.cpu_s:.1f} "
            f"| {cost.peak_bytes / 1e6:,.0f} | {cost.peak_bytes / edgefer.peak_bytes:.1f} |"
        )
    lines += [
        "",
        f"- Time: both peers together take {time_ratio:.1f} times as long as edgefer "
        f"(bound: at least {TIME_BOUND}: {_verdict(time_ratio >= TIME_BOUND)}).",
        f"- Memory: even the peer that needs less peaks at {memory_ratio:.1f} times edgefer's "
        f"(bound: at least {MEMORY_BOUND}: {_verdict(memory_ratio >= MEMORY_BOUND)}).",
        "",
        f"Machine: {cpu()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}, "
        f"load before the run {load:.2f}; Python {platform.python_version()}; {tools}.",
        "",
    ]
    return "\n".join(lines)


def _verdict(held: bool) -> str:
    return "held" if held else "**not held**"


def cpu() -> str:
    """What processor this machine has."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
