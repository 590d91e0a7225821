"""Where ONNX Runtime spends a file's time, by its own profiler, which tells what its optimised graph really runs.

shares = time_shares(path, feed)
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt
import onnxruntime

FRAMES = 60

KINDS = ("layers", "activations", "the rest")
"""Operators with weights, activations and gates, and what is left: pools, sums, conversions, and turned layouts."""

_LAYERS = frozenset(["Conv", "FusedConv", "FusedGemm", "Gemm", "QGemm", "QLinearConv"])
_ACTIVATIONS = frozenset(
    ["HardSigmoid", "HardSwish", "Max", "Mul", "QLinearMul", "QLinearSigmoid", "QuickGelu", "Relu", "Sigmoid"]
)


def time_shares(path: Path, feed: npt.NDArray[Any]) -> dict[str, float]:
    """By kind, the share of all nodes' time in one thread, batch 1; each node's is its median over many frames.

    The profiler adds about a microsecond to every node, so that shares of many small ones are overstated.
    """
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(FRAMES):
            session.run(None, {session.get_inputs()[0].name: feed})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"], event["args"]["op_name"]].append(event["dur"])
    found: Counter[str] = Counter()
    for (_, op), each in times.items():
        found[_kind(op)] += median(each)
    return {kind: found[kind] / found.total() for kind in KINDS}


def _kind(op: str) -> str:
    return "layers" if op in _LAYERS else "activations" if op in _ACTIVATIONS else "the rest"
